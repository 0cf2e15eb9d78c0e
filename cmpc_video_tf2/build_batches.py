"""Turns annotated videos into `.npz` batches, one sentence about one frame each.

The same as `python -m cmpc_video_tf2 build_batches`.
"""

import argparse
import sys

from cmpc_tf2.cli import dispatch
from cmpc_tf2.commands import build_batches as build
from cmpc_tf2.commands.options import CommandParser
from cmpc_video_tf2.medium import CLIPS


def add_parser(commands):
    """Adds the `build_batches` command."""
    add_options(commands.add_parser("build_batches", help=build.HELP))


def add_options(parser: argparse.ArgumentParser):
    """Adds the options of `build_batches`."""
    parser.set_defaults(run=run)
    build.add_common_options(parser, CLIPS.datasets)
    build.add_size_option(parser)
    parser.add_argument(
        "--all-frames",
        action="store_true",
        help="store all 16 frames, as the original does and I3D needs, not only the 5 that R2D reads",
    )


def build_parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog=CLIPS.sample_type.builder, description=__doc__.splitlines()[0])
    add_options(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    return dispatch(build_parser(), argv)


def run(arguments: argparse.Namespace) -> int:
    """The `build_batches` command for clips."""
    from cmpc_video_tf2.data.builder import VideoBuild

    return build.run(arguments, VideoBuild)


if __name__ == "__main__":
    sys.exit(main())
