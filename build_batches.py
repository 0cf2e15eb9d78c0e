"""Turns annotations into `.npz` batches, one referring expression each.

The same as `python -m cmpc_tf2 build_batches`.
"""

import argparse
import sys

from cmpc_tf2.cli import dispatch
from cmpc_tf2.commands.build_batches import add_options
from cmpc_tf2.commands.options import CommandParser


def build_parser() -> argparse.ArgumentParser:
    parser = CommandParser(description=__doc__.splitlines()[0])
    add_options(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    return dispatch(build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
