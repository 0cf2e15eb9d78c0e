"""Builds batches from annotations; what pictures and clips have in common is used by `cmpc_video_tf2` too."""

import argparse
import dataclasses
import re
import sys
from pathlib import Path

from cmpc_tf2.commands.options import number
from cmpc_tf2.data.datasets import dataset_names
from cmpc_tf2.errors import UsageError
from cmpc_tf2.fields import RANGES, WholeNumber
from cmpc_tf2.medium import PICTURES

HELP = "build batches from annotations"


def add_parser(commands):
    """Adds the `build_batches` command."""
    add_options(commands.add_parser("build_batches", help=HELP))


def add_options(parser: argparse.ArgumentParser):
    """Adds the options of `build_batches`; the script `build_batches.py` is the same command."""
    parser.set_defaults(run=run_pictures)
    add_common_options(parser, PICTURES.datasets)
    add_size_option(parser)
    parser.add_argument("--refer-root", type=Path, help="REFER's annotations (default: DATA_ROOT/refer)")
    parser.add_argument(
        "--annotations",
        type=Path,
        metavar="FILE",
        help="your own: .jsonl, .csv or COCO .json (docs/own_data.md); -d then names your data set",
    )
    parser.add_argument(
        "--resizing",
        choices=("fit", "stretch"),
        default="fit",
        help="of train pictures: fit for CMPC and its ancestors, stretch for MaskRIS (default: fit)",
    )
    parser.add_argument(
        "--objects",
        action="store_true",
        help="store pictures as they are, with the boxes and categories of all annotated objects: for two-stage models",
    )
    parser.add_argument(
        "--prepro",
        type=Path,
        metavar="DIR",
        help="with --objects: folder with data.json as MAttNet's or CAC's authors prepared it, in place of REFER's "
        "references; has attributes too",
    )


def run_pictures(arguments: argparse.Namespace) -> int:
    """The `build_batches` command for pictures."""
    from cmpc_tf2.data.image_builder import ImageBuild
    from cmpc_tf2.data.object_builder import ObjectBuild

    if not arguments.objects:
        if arguments.prepro is not None:
            raise UsageError("--prepro: expected with --objects; add it")
        return run(arguments, ImageBuild)
    for option, value in (("--image-size", arguments.image_size), ("--resizing", arguments.resizing)):
        if value != getattr(ObjectBuild, option[2:].replace("-", "_")):
            raise UsageError(f"{option}: with --objects, pictures are stored as they are; leave it out")
    return run(arguments, ObjectBuild)


def add_common_options(parser: argparse.ArgumentParser, datasets: tuple):
    """Adds the options that all builders have.

    Args:
        parser: The command's.
        datasets: Registered data sets.
    """
    parser.add_argument("-d", "--dataset", required=True, help=dataset_names(datasets))
    parser.add_argument("-t", "--split", required=True, help="train, val, test, ...")
    parser.add_argument(
        "--data-root", type=Path, default=Path("data"), help="vocabularies, annotations, images (default: data)"
    )
    parser.add_argument(
        "--image-root", type=Path, help="image or video files (default: the dataset's folder in DATA_ROOT)"
    )
    parser.add_argument("--output-root", type=Path, default=Path("."), help="where DATASET/SPLIT_batch/ is made")
    parser.add_argument(
        "--vocabulary",
        type=Path,
        help="vocabulary file, or a model's (default: the dataset's, in DATA_ROOT)",
    )
    parser.add_argument(
        "--workers", type=number(WholeNumber(most=1024)), default=1, metavar="N", help="processes; they change no byte"
    )
    parser.add_argument("--shard", type=_shard, default=(1, 1), metavar="I/N", help="build part I of N, then --merge")
    parser.add_argument("--compress", action="store_true", help="compressed .npz: smaller and slower, same contents")
    parser.add_argument("--overwrite", action="store_true", help="replace a split, or a shard, that is already there")
    parser.add_argument("--skip-errors", action="store_true", help="exit with 0 even if samples had to be left out")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--merge", action="store_true", help="put the shards of a split together")
    action.add_argument("--check", action="store_true", help="verify a built split against its manifest")


def add_size_option(parser: argparse.ArgumentParser):
    """Adds the size of train pictures, for builders that resize them."""
    parser.add_argument(
        "--image-size",
        type=number(RANGES["image_size"]),
        default=320,
        help="side of train pictures in pixels; the original's is 320",
    )


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if not (match and 1 <= int(match[1]) <= int(match[2])):
        raise argparse.ArgumentTypeError(f"expected I/N with I from 1 to N, received {text!r:.40}")
    return int(match[1]), int(match[2])


def run(arguments: argparse.Namespace, settings_type: type) -> int:
    """Builds, merges or checks a split.

    Args:
        arguments: Parsed options.
        settings_type: A class of `BuildSettings`.
    """
    from cmpc_tf2.data.builder import build_split, check_split
    from cmpc_tf2.data.merging import merge_shards

    names = {field.name for field in dataclasses.fields(settings_type)}
    settings = settings_type(**{name: value for name, value in vars(arguments).items() if name in names})
    if arguments.check:
        print(f"{check_split(settings)} batches, all as the manifest says")
        return 0
    result = merge_shards(settings) if arguments.merge else build_split(settings)
    skipped = len(result.skipped) - result.dropped
    dropped = f", {result.dropped} left out by the data set's protocol" if result.dropped else ""
    print(f"{result.written} batches written, {skipped} samples skipped{dropped}")
    if skipped and not arguments.skip_errors:
        print(f"error: {skipped} samples skipped; --skip-errors accepts that", file=sys.stderr)
        return 1
    return 0
