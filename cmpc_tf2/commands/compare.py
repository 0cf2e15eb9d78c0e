"""Compares models on a split, or reports of evaluations."""

import argparse
import functools
import logging
from pathlib import Path

from cmpc_tf2.commands.options import add_json, find_batches, print_result
from cmpc_tf2.data.datasets import dataset_names
from cmpc_tf2.errors import InputError, UsageError
from cmpc_tf2.files import require_folder, require_writable, write_json
from cmpc_tf2.medium import Medium

logger = logging.getLogger(__name__)


def add_parser(commands, medium: Medium):
    """Adds the `compare` command."""
    compare = commands.add_parser("compare", help="compare models on a split, or their reports, with paired intervals")
    compare.set_defaults(run=run, medium=medium)
    compare.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="two or more models (.keras), or reports of evaluate (.json); the others are compared with the first",
    )
    compare.add_argument("-d", "--dataset", help=f"with models: {dataset_names(medium.datasets)}, or your own")
    compare.add_argument("-t", "--split", help="with models: val, testA, testB, ...")
    compare.add_argument("--batch-root", type=Path, default=Path("."), help="folder with DATASET/SPLIT_batch/")
    compare.add_argument("--report", type=Path, metavar="FILE.json", help="write scores, differences, groups, records")
    compare.add_argument(
        "--html",
        type=Path,
        metavar="FILE.html",
        help="write a page; of models also their masks side by side, to the folder FILE_files",
    )
    add_json(compare)


def run(arguments: argparse.Namespace):
    """The `compare` command."""
    from cmpc_tf2.reports.comparison import compare_reports, format_comparison
    from cmpc_tf2.reports.comparison_page import pictures_folder, write_comparison_page
    from cmpc_tf2.reports.report import read_report

    are_models = _are_models(arguments)
    outputs = list(filter(None, [arguments.report, arguments.html]))
    for number, path in enumerate(outputs):
        require_writable(path, others=[*arguments.files, *outputs[:number]])
    if are_models:
        folder = arguments.html and pictures_folder(arguments.html)
        if folder:
            require_folder(folder)
        reports = _evaluate(arguments, folder)
    else:
        folder, reports = None, [read_report(path) for path in arguments.files]
    comparison = compare_reports(reports)
    print_result(arguments, format_comparison(comparison), comparison)
    if arguments.report:
        write_json(arguments.report, comparison)
    if arguments.html:
        write_comparison_page(arguments.html, comparison, folder)
    for path in filter(None, [*outputs, folder]):
        logger.info("written: %s", path)


def _are_models(arguments: argparse.Namespace) -> bool:
    """Whether the files are models, and not reports.

    Raises:
        UsageError: There is only one, some are neither, or the options go with the other kind.
    """
    if len(arguments.files) < 2:
        raise UsageError("compare: expected two files or more, received one")
    suffixes = {path.suffix for path in arguments.files}
    if len(suffixes) > 1 or not suffixes <= {".keras", ".json"}:
        raise UsageError("compare: expected models (.keras) alone, or reports of evaluate (.json) alone")
    are_models, has_split = suffixes == {".keras"}, (arguments.dataset is not None, arguments.split is not None)
    if are_models and not all(has_split):
        raise UsageError("compare: models need a split to be scored on; give -d DATASET and -t SPLIT")
    if not are_models and any(has_split):
        raise UsageError("compare: reports say what was scored; leave out -d and -t")
    return are_models


def _evaluate(arguments: argparse.Namespace, folder: Path | None) -> list[dict]:
    """Reports of the models; what can be checked before the first of them runs, is."""
    from cmpc_tf2.data.sample_fields import read_fields

    medium, split = arguments.medium, arguments.split
    dataset, paths = find_batches(arguments.batch_root, arguments.dataset, split, medium)
    fields = read_fields(paths[0].parent, len(paths))

    from cmpc_tf2.inference.evaluation import evaluate
    from cmpc_tf2.inference.runner import make_runner
    from cmpc_tf2.model_files import load_for_inference, read_config
    from cmpc_tf2.reports.comparison import MEASURE, label_of
    from cmpc_tf2.reports.comparison_page import PictureWriter
    from cmpc_tf2.reports.report import make_report

    for path in arguments.files:
        if not path.is_file():
            raise InputError(f"{path}: no such model file")
        read_config(path)
    reports, writer = [], PictureWriter(folder) if folder else None
    for number, path in enumerate(arguments.files):
        model = load_for_inference(path, medium=medium.name)
        logger.info("%s: %s", label_of(number), path)
        protocol = medium.task.protocol(model.protocol_name)
        write = functools.partial(writer.add, label_of(number)) if writer else None
        options = {"protocol": protocol, "medium": medium, "shown": MEASURE, "on_prediction": write}
        result = evaluate(make_runner(model), paths, **options)
        head = {"dataset": dataset, "split": split, "model": str(path), "protocol": protocol.description}
        reports.append(make_report(head, result, fields, medium.task))
    return reports
