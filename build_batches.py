"""Turns annotations into `.npz` batches, one referring expression each."""

import argparse
import sys
from pathlib import Path

from cmpc_tf2.cli import run_command
from cmpc_tf2.commands import build_batches as build
from cmpc_tf2.medium import PICTURES
from cmpc_tf2.preprocessing.resizing import RESIZINGS


def build_parser() -> argparse.ArgumentParser:
    parser = build.build_parser(PICTURES, __doc__)
    parser.add_argument("--refer-root", type=Path, help="REFER's annotations (default: DATA_ROOT/refer)")
    parser.add_argument(
        "--annotations",
        type=Path,
        metavar="FILE",
        help="your own: .jsonl, .csv or COCO .json (docs/own_data.md); -d then names your data set",
    )
    parser.add_argument(
        "--resizing",
        choices=RESIZINGS,
        default="fit",
        help="of train pictures: fit for CMPC and its ancestors, stretch for MaskRIS (default: fit)",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    return run_command(_run, build_parser().parse_args(argv))


def _run(arguments: argparse.Namespace) -> int:
    from cmpc_tf2.data.image_builder import ImageBuild

    return build.run(arguments, ImageBuild)


if __name__ == "__main__":
    sys.exit(main())
