"""Scores a model of boxes and a model of masks on the same split, each by both measures."""

import argparse
from pathlib import Path

from cmpc_tf2.commands.options import add_json, find_batches, number, print_result
from cmpc_tf2.data.datasets import dataset_names
from cmpc_tf2.fields import RANGES
from cmpc_tf2.files import require_writable, write_json
from cmpc_tf2.medium import PICTURES


def add_parser(commands):
    """Adds the `compare` command."""
    compare = commands.add_parser("compare", help="score boxes and masks side by side")
    compare.set_defaults(run=run)
    compare.add_argument("--boxes", type=Path, required=True, metavar="FILE.keras", help="an SL-Att. model")
    compare.add_argument("--masks", type=Path, required=True, metavar="FILE.keras", help="a model of cmpc_tf2")
    compare.add_argument(
        "-d", "--dataset", required=True, help=f"{dataset_names(PICTURES.datasets)}, or your own; a split of masks"
    )
    compare.add_argument("-t", "--split", required=True, help="val, testA, testB, ...")
    compare.add_argument("--batch-root", type=Path, default=Path("."), help="folder with DATASET/SPLIT_batch/")
    compare.add_argument(
        "-bs", "--batch-size", type=number(RANGES["batch_size"]), default=4, help="expressions decoded together"
    )
    compare.add_argument("--report", type=Path, metavar="FILE.json", help="write the scores with their intervals")
    add_json(compare)


def run(arguments: argparse.Namespace):
    """The `compare` command: everything cheap is checked before the models are loaded."""
    models = {"boxes": arguments.boxes, "masks": arguments.masks}
    if arguments.report:
        require_writable(arguments.report, others=list(models.values()))
    dataset, paths = find_batches(arguments.batch_root, arguments.dataset, arguments.split, PICTURES)

    from cmpc_tf2.inference.runner import make_runner
    from cmpc_tf2.model_files import load_for_inference
    from cogrounding_tf2.side_by_side import compare, format_table

    media = {"boxes": "grounding", "masks": "pictures"}
    runners = {kind: make_runner(load_for_inference(path, medium=media[kind])) for kind, path in models.items()}
    result = compare(runners["boxes"], runners["masks"], paths, arguments.batch_size)
    names = {kind: str(path) for kind, path in models.items()}
    report = {"dataset": dataset, "split": arguments.split, **names, **result}
    heading = f"{dataset} {arguments.split}: {result['samples']} samples, 95 % bootstrap intervals in brackets"
    print_result(arguments, f"{heading}\n{format_table(result, names)}", report)
    if arguments.report:
        write_json(arguments.report, report)
