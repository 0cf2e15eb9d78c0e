"""Turns annotated boxes in pictures and clips into `.npz` batches, one sentence each.

The same as `python -m cogrounding_tf2 build_batches`.
"""

import argparse
import sys
from pathlib import Path

from cmpc_tf2.cli import dispatch
from cmpc_tf2.commands import build_batches as build
from cmpc_tf2.commands.options import CommandParser
from cmpc_tf2.data.datasets import find_dataset
from cmpc_tf2.errors import UsageError
from cogrounding_tf2.data.datasets import BOX_DATASETS, CLIP_DATASETS


def add_parser(commands):
    """Adds the `build_batches` command."""
    add_options(commands.add_parser("build_batches", help=build.HELP))


def add_options(parser: argparse.ArgumentParser):
    """Adds the options of `build_batches`."""
    parser.set_defaults(run=run)
    build.add_common_options(parser, BOX_DATASETS)
    parser.add_argument("--refer-root", type=Path, help="REFER's annotations (default: DATA_ROOT/refer)")
    parser.add_argument(
        "--split-root",
        type=Path,
        help="the authors' lists, DATASET/DATASET_SPLIT.pth and corpus.pth, in place of REFER's annotations; of vid "
        "VID/VID_video_level_SPLIT.pth (default there: DATA_ROOT)",
    )
    parser.add_argument(
        "--frames",
        type=int,
        choices=(2, 5),
        help="frames of a clip: 2 to train, 5 to test (default: 2 for splits named train, 5 for others)",
    )


def build_parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="python -m cogrounding_tf2 build_batches", description=__doc__.splitlines()[0])
    add_options(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    return dispatch(build_parser(), argv)


def run(arguments: argparse.Namespace) -> int:
    """The `build_batches` command for boxes."""
    from cogrounding_tf2.data.builder import ClipBoxBuild, PictureBoxBuild

    dataset = find_dataset(arguments.dataset, arguments.split, BOX_DATASETS)
    is_clip = dataset in CLIP_DATASETS
    given = {"--refer-root": arguments.refer_root} if is_clip else {"--frames": arguments.frames}
    for option in (option for option, value in given.items() if value is not None):
        raise UsageError(f"{option}: expected a data set of {'pictures' if is_clip else 'clips'}, not {dataset.name}")
    return build.run(arguments, ClipBoxBuild if is_clip else PictureBoxBuild)


if __name__ == "__main__":
    sys.exit(main())
