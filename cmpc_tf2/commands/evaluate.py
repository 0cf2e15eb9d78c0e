"""Scores a split."""

import argparse
import os
from pathlib import Path

from cmpc_tf2.commands.options import add_inference_options, add_model, find_batches, number
from cmpc_tf2.data.datasets import dataset_names
from cmpc_tf2.fields import RANGES, WholeNumber
from cmpc_tf2.files import require_folder, require_writable, write_json
from cmpc_tf2.medium import Medium


def add_parser(commands, medium: Medium):
    """Adds the `evaluate` command."""
    evaluate = commands.add_parser("evaluate", help="score a split")
    evaluate.set_defaults(run=run, medium=medium)
    add_model(evaluate)
    evaluate.add_argument("-d", "--dataset", required=True, help=f"{dataset_names(medium.datasets)}, or your own")
    evaluate.add_argument("-t", "--split", required=True, help="val, testA, testB, ...")
    evaluate.add_argument("--batch-root", type=Path, default=Path("."), help="folder with DATASET/SPLIT_batch/")
    evaluate.add_argument("-c", "--dcrf", action="store_true", help="score masks refined by DenseCRF too")
    evaluate.add_argument(
        "-bs", "--batch-size", type=number(RANGES["batch_size"]), default=4, help="expressions decoded together"
    )
    evaluate.add_argument(
        "--workers", type=number(WholeNumber(0, 1024)), default=1, help="with -c: processes that refine masks"
    )
    add_inference_options(evaluate)
    evaluate.add_argument(
        "--exact-masks",
        action="store_true",
        help="leave out the interpolated rim that the original counts; not comparable with published numbers",
    )
    evaluate.add_argument("--report", type=Path, metavar="FILE.json", help="write scores and per-sample records")
    evaluate.add_argument("-v", "--overlays", type=Path, metavar="DIR", help="draw every sample, and index.html")


def run(arguments: argparse.Namespace):
    """The `evaluate` command: everything cheap is checked before the model is loaded."""
    from cmpc_tf2.tasks.masks.densecrf import load_densecrf

    medium, split = arguments.medium, arguments.split
    if arguments.dcrf:
        load_densecrf()
    if arguments.report:
        require_writable(arguments.report, others=[arguments.model])
    if arguments.overlays:
        require_folder(arguments.overlays)
    dataset, paths = find_batches(arguments.batch_root, arguments.dataset, split, medium)

    from cmpc_tf2.inference.evaluation import evaluate
    from cmpc_tf2.inference.gallery import GalleryWriter
    from cmpc_tf2.inference.runner import ModelRunner
    from cmpc_tf2.model_files import load_for_inference

    model = load_for_inference(arguments.model, arguments.precision, arguments.image_size, medium.name)
    protocol = medium.task.protocol(model.protocol_name, arguments.exact_masks)
    gallery = None
    if arguments.overlays:
        os.makedirs(arguments.overlays, exist_ok=True)
        gallery = GalleryWriter(arguments.overlays, medium.task)
    result = evaluate(
        ModelRunner(model),
        paths,
        dcrf=arguments.dcrf,
        protocol=protocol,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        on_prediction=gallery and gallery.add,
        medium=medium,
    )
    print(f"{dataset} {split}: {result['samples']} samples, protocol: {protocol.description}")
    print(medium.task.format_scores("Segmentation evaluation (without DenseCRF)", result["plain"]))
    if arguments.dcrf:
        print(medium.task.format_scores("Segmentation evaluation (with DenseCRF)", result["dcrf"]))
    if "own_size" in result:
        print(medium.task.format_scores("Segmentation evaluation at the picture's own size", result["own_size"]))
    if arguments.report:
        head = {
            "dataset": dataset,
            "split": split,
            "model": str(arguments.model),
            "protocol": protocol.description,
        }
        write_json(arguments.report, {**head, **result})
    if gallery:
        gallery.finish(f"{dataset} {split}")
