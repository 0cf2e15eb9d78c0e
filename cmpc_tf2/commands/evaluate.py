"""Scores a split."""

import argparse
import contextlib
import functools
import logging
import os
from collections.abc import Callable
from pathlib import Path

from cmpc_tf2.commands.options import add_inference_options, add_json, add_model, find_batches, number, print_result
from cmpc_tf2.data.annotation_fields import describe, is_plain_name
from cmpc_tf2.data.datasets import dataset_names
from cmpc_tf2.errors import InputError
from cmpc_tf2.fields import RANGES, WholeNumber
from cmpc_tf2.files import making_folder, require_folder, require_new_folder, require_writable, write_json
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
    evaluate.set_defaults(dcrf=False, workers=0, exact_masks=False, phrasecut=None, predictions=None)
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
    evaluate.add_argument(
        "--phrasecut",
        type=Path,
        metavar="DIR",
        help="add PhraseCut's own metrics and subsets; DIR holds its annotations and subset.py of its code",
    )
    evaluate.add_argument(
        "--predictions",
        type=Path,
        metavar="DIR",
        help="new folder: every mask at the picture's own size, as TASK_ID.png for PhraseCut, otherwise NUMBER.png",
    )


def run(arguments: argparse.Namespace):
    """The `evaluate` command: everything cheap is checked before the model is loaded."""
    from cmpc_tf2.data.sample_fields import read_fields

    medium, split = arguments.medium, arguments.split
    _check_options(arguments)
    dataset, paths = find_batches(arguments.batch_root, arguments.dataset, split, medium)
    fields = read_fields(paths[0].parent, len(paths))
    scorer = _phrasecut_scorer(arguments, paths, fields)
    names = _mask_names(paths[0].parent, fields) if arguments.predictions else []

    from cmpc_tf2.inference.evaluation import evaluate
    from cmpc_tf2.inference.runner import make_runner
    from cmpc_tf2.model_files import load_for_inference
    from cmpc_tf2.reports.evaluation_page import write_evaluation_page
    from cmpc_tf2.reports.gallery import GalleryWriter
    from cmpc_tf2.reports.phrasecut import format_phrasecut
    from cmpc_tf2.reports.report import make_report

    model = load_for_inference(arguments.model, arguments.precision, arguments.image_size, medium.name)
    protocol = medium.task.protocol(model.protocol_name, arguments.exact_masks)
    gallery = None
    if arguments.overlays:
        os.makedirs(arguments.overlays, exist_ok=True)
        gallery = GalleryWriter(arguments.overlays, medium.task)
    with making_folder(arguments.predictions) if arguments.predictions else contextlib.nullcontext() as folder:
        writer = folder and functools.partial(_write_mask, folder, names)
        result = evaluate(
            make_runner(model),
            paths,
            dcrf=arguments.dcrf,
            protocol=protocol,
            batch_size=arguments.batch_size,
            workers=arguments.workers,
            on_prediction=gallery and gallery.add,
            medium=medium,
            on_marks=_call_all([writer, scorer and scorer.add]),
        )
    head = {"dataset": dataset, "split": split, "model": str(arguments.model), "protocol": protocol.description}
    report = make_report(head, result, scorer.with_subsets(fields) if scorer else fields, medium.task)
    text = format_scores(report, medium)
    if scorer:
        report["phrasecut"] = scorer.summarize()
        text += "\n" + format_phrasecut(report["phrasecut"])
    print_result(arguments, text, report)
    if arguments.report:
        write_json(arguments.report, report)
    if gallery:
        gallery.finish(f"{dataset} {split}")
    if arguments.html:
        shown = "dcrf" if arguments.dcrf else protocol.shown
        write_evaluation_page(arguments.html, report, medium.task, shown, arguments.overlays)
    index = arguments.overlays and arguments.overlays / "index.html"
    for path in filter(None, [arguments.report, index, arguments.html, arguments.predictions]):
        logger.info("written: %s", path)


def _check_options(arguments: argparse.Namespace):
    from cmpc_tf2.tasks.masks.densecrf import load_densecrf

    if arguments.dcrf:
        load_densecrf()
    if arguments.report:
        require_writable(arguments.report, others=[arguments.model])
    if arguments.html:
        require_writable(arguments.html, others=[arguments.model, *filter(None, [arguments.report])])
    if arguments.overlays:
        require_folder(arguments.overlays)
    if arguments.predictions:
        require_new_folder(arguments.predictions)


def _phrasecut_scorer(arguments: argparse.Namespace, paths: list[Path], fields: list[dict]):
    """A `PhraseCutScorer`; None without `--phrasecut`."""
    if not arguments.phrasecut:
        return None
    from cmpc_tf2.data.phrasecut import read_phrasecut
    from cmpc_tf2.reports.phrasecut import PhraseCutScorer

    return PhraseCutScorer(read_phrasecut(arguments.phrasecut, arguments.split), paths, fields)


def _mask_names(folder: Path, fields: list[dict]) -> list[str]:
    """Names of the files for masks, without suffix: the data set's ids of the samples, otherwise their numbers."""
    names = [str(one.get("task_id", index)) for index, one in enumerate(fields)]
    for name in names:
        if not is_plain_name(name):
            raise InputError(f"{folder}: expected task ids that can be names of files, found {describe(name)}")
    return names


def _write_mask(folder: Path, names: list[str], index: int, sample, masks: dict):
    from cmpc_tf2.data.image_files import write_image

    write_image(folder / f"{names[index]}.png", masks["own_size"])


def _call_all(functions: list) -> Callable | None:
    """Calls those that are not None with the same arguments; None if all are."""
    given = [function for function in functions if function]

    def call(*arguments):
        for function in given:
            function(*arguments)

    return call if given else None


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
