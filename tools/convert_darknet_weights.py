"""Converts weights of DarkNet-53 (`yolov3.weights`) to Keras models, and back.

The same as `python -m cmpc_tf2 convert`.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cmpc_tf2.cli import dispatch
from cmpc_tf2.commands.convert import add_options
from cmpc_tf2.commands.options import CommandParser


def build_parser() -> argparse.ArgumentParser:
    parser = CommandParser(description=__doc__.splitlines()[0])
    add_options(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    return dispatch(build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
