"""`python -m cogrounding_tf2 COMMAND` (and `cogrounding COMMAND` once installed)."""

import argparse
from collections.abc import Callable

from cmpc_tf2.cli import dispatch, start_parser
from cmpc_tf2.commands import evaluate, export, train
from cogrounding_tf2 import build_batches
from cogrounding_tf2.commands import compare, demo, predict, serve
from cogrounding_tf2.medium import BOXES, medium_of


def build_parser() -> argparse.ArgumentParser:
    parser, commands = start_parser(
        "cogrounding", "Referring expression comprehension: a picture or clip and a sentence in, a box out."
    )
    build_batches.add_parser(commands)
    for command in (evaluate, train, export):
        command.add_parser(commands, BOXES)
    predict.add_parser(commands)
    compare.add_parser(commands)
    serve.add_parser(commands)
    demo.add_parser(commands)
    for name, command in (("evaluate", evaluate), ("train", train), ("export", export)):
        commands.choices[name].set_defaults(run=_finding_medium(command.run))
    return parser


def _finding_medium(run: Callable[[argparse.Namespace], int | None]) -> Callable[[argparse.Namespace], int | None]:
    """The command for pictures or for clips."""

    def run_for_medium(arguments: argparse.Namespace) -> int | None:
        arguments.medium = medium_of(arguments)
        return run(arguments)

    return run_for_medium


def main(argv: list[str] | None = None) -> int:
    """Runs `python -m cogrounding_tf2`."""
    return dispatch(build_parser(), argv)
