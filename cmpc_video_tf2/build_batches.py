"""Turns annotated videos into `.npz` batches, one sentence about one frame each."""

import argparse
import sys

from cmpc_tf2.cli import run_command
from cmpc_tf2.commands import build_batches as build
from cmpc_video_tf2.medium import CLIPS


def build_parser() -> argparse.ArgumentParser:
    parser = build.build_parser(CLIPS, __doc__)
    parser.add_argument(
        "--all-frames", action="store_true", help="store the original's 16 frames, not only the 5 that the model reads"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    return run_command(_run, build_parser().parse_args(argv))


def _run(arguments: argparse.Namespace) -> int:
    from cmpc_video_tf2.data.builder import VideoBuild

    return build.run(arguments, VideoBuild)


if __name__ == "__main__":
    sys.exit(main())
