"""Scores a split."""

import argparse
import logging
import os
from pathlib import Path

from cmpc_tf2.commands.options import add_inference_options, add_json, add_model, find_batches, number, print_result
from cmpc_tf2.data.datasets import dataset_names
from cmpc_tf2.fields import RANGES, WholeNumber
from cmpc_tf2.files import require_folder, require_writable, write_json
from cmpc_tf2.medium import Medium
from cmpc_tf2.tasks.masks.task import MaskTask

logger = logging.getLogger(__name__)


def add_parser(commands, medium: Medium):
    """Adds the `evaluate` command."""
    evaluate = commands.add_parser("evaluate", help="score a split")
    evaluate.set_defaults(run=run, medium=medium)
    add_model(evaluate)
    evaluate.add_argument("-d", "--dataset", required=True, help=f"{dataset_names(medium.datasets)}, or your own")
    evaluate.add_argument("-t", "--split", required=True, help="val, testA, testB, ...")
    evaluate.add_argument("--batch-root", type=Path, default=Path("."), help="folder with DATASET/SPLIT_batch/")
    evaluate.add_argument(
        "-bs", "--batch-size", type=number(RANGES["batch_size"]), default=4, help="expressions decoded together"
    )
    add_inference_options(evaluate)
    evaluate.set_defaults(dcrf=False, workers=0, exact_masks=False)
    if isinstance(medium.task, MaskTask):
        _add_mask_options(evaluate)
    evaluate.add_argument("--report", type=Path, metavar="FILE.json", help="write scores and per-sample records")
    evaluate.add_argument(
        "--html",
        type=Path,
        metavar="FILE.html",
        help="write a page: scores with intervals, groups, worst and best samples",
    )
    evaluate.add_argument("-v", "--overlays", type=Path, metavar="DIR", help="draw every sample, and index.html")
    add_json(evaluate)


def _add_mask_options(evaluate: argparse.ArgumentParser):
    evaluate.add_argument("-c", "--dcrf", action="store_true", help="score masks refined by DenseCRF too")
    evaluate.add_argument(
        "--workers", type=number(WholeNumber(0, 1024)), default=1, help="with -c: processes that refine masks"
    )
    evaluate.add_argument(
        "--exact-masks",
        action="store_true",
        help="leave out the interpolated rim that the original counts; not comparable with published numbers",
    )


def run(arguments: argparse.Namespace):
    """The `evaluate` command: everything cheap is checked before the model is loaded."""
    from cmpc_tf2.data.sample_fields import read_fields
    from cmpc_tf2.tasks.masks.densecrf import load_densecrf

    medium, split = arguments.medium, arguments.split
    if arguments.dcrf:
        load_densecrf()
    if arguments.report:
        require_writable(arguments.report, others=[arguments.model])
    if arguments.html:
        require_writable(arguments.html, others=[arguments.model, *filter(None, [arguments.report])])
    if arguments.overlays:
        require_folder(arguments.overlays)
    dataset, paths = find_batches(arguments.batch_root, arguments.dataset, split, medium)
    fields = read_fields(paths[0].parent, len(paths))

    from cmpc_tf2.inference.evaluation import evaluate
    from cmpc_tf2.inference.runner import make_runner
    from cmpc_tf2.model_files import load_for_inference
    from cmpc_tf2.reports.evaluation_page import write_evaluation_page
    from cmpc_tf2.reports.gallery import GalleryWriter
    from cmpc_tf2.reports.report import make_report

    model = load_for_inference(arguments.model, arguments.precision, arguments.image_size, medium.name)
    protocol = medium.task.protocol(model.protocol_name, arguments.exact_masks)
    gallery = None
    if arguments.overlays:
        os.makedirs(arguments.overlays, exist_ok=True)
        gallery = GalleryWriter(arguments.overlays, medium.task)
    result = evaluate(
        make_runner(model),
        paths,
        dcrf=arguments.dcrf,
        protocol=protocol,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        on_prediction=gallery and gallery.add,
        medium=medium,
    )
    head = {"dataset": dataset, "split": split, "model": str(arguments.model), "protocol": protocol.description}
    report = make_report(head, result, fields, medium.task)
    print_result(arguments, format_scores(report, medium), report)
    if arguments.report:
        write_json(arguments.report, report)
    if gallery:
        gallery.finish(f"{dataset} {split}")
    if arguments.html:
        shown = "dcrf" if arguments.dcrf else protocol.shown
        write_evaluation_page(arguments.html, report, medium.task, shown, arguments.overlays)
    index = arguments.overlays and arguments.overlays / "index.html"
    for path in filter(None, [arguments.report, index, arguments.html]):
        logger.info("written: %s", path)


def format_scores(report: dict, medium: Medium) -> str:
    """The scores of a report as text."""
    lines = [
        f"{report['dataset']} {report['split']}: {report['samples']} samples, protocol: {report['protocol']}",
        f"95 % bootstrap intervals over {report['bootstrap']['pictures']} pictures in brackets",
    ]
    task = medium.task
    for name, variant in task.variants.items():
        if report[name]:
            lines.append(task.format_scores(f"{task.name} evaluation ({variant.title})", report[name]))
    return "\n".join([*lines, *task.format_more(report)])
