"""`python -m cmpc_tf2 COMMAND` (and `cmpc COMMAND` once installed)."""

import argparse
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable

import cmpc_tf2
from cmpc_tf2.commands import build_batches, compare, convert, demo, evaluate, export, predict, serve, train
from cmpc_tf2.commands.options import CommandParser
from cmpc_tf2.errors import InputError, UsageError
from cmpc_tf2.medium import PICTURES


def run_command(command: Callable[[argparse.Namespace], int | None], arguments: argparse.Namespace) -> int:
    """Runs a command and turns a user's mistake into one line on standard error.

    Returns:
        The exit status: what the command returns (None is 0), 1 if it could not do its work, 2 for an option with an
        impossible value.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # A terminal that cannot show a letter is no reason to fail.
    with contextlib.suppress(ValueError):  # Not in the main thread.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # Unwinds, so that temporary files are removed.
    os.environ["KERAS_BACKEND"] = "tensorflow"  # The commands need it, whatever Keras is set to otherwise.
    # TensorFlow reports what it cannot do as exceptions; on a machine without a GPU it also logs an error.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    logging.root.handlers[0].addFilter(_is_for_the_user)
    logging.disable(logging.INFO if arguments.quiet else logging.NOTSET)
    try:
        return command(arguments) or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
    except MemoryError as error:
        print(f"error: out of memory{': ' if str(error) else ''}{error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        logging.disable(logging.NOTSET)
    return 1


def _is_for_the_user(record: logging.LogRecord) -> bool:
    """Leaves out what libraries note about graphs while they save and convert them; their errors remain."""
    return record.levelno >= logging.ERROR or not record.name.startswith(("absl", "tensorflow", "tf2onnx"))


def start_parser(prog: str, description: str) -> tuple[argparse.ArgumentParser, argparse._SubParsersAction]:
    """A parser without commands, and where they are added."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--version", action="version", version=f"%(prog)s {cmpc_tf2.__version__}")
    return parser, parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=CommandParser)


def build_parser() -> argparse.ArgumentParser:
    parser, commands = start_parser("cmpc", "Referring image segmentation: a picture and a sentence in, a mask out.")
    build_batches.add_parser(commands)
    evaluate.add_parser(commands, PICTURES)
    compare.add_parser(commands, PICTURES)
    train.add_parser(commands, PICTURES)
    predict.add_parser(commands)
    export.add_parser(commands, PICTURES)
    convert.add_parser(commands)
    serve.add_parser(commands)
    demo.add_parser(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs `python -m cmpc_tf2`."""
    return dispatch(build_parser(), argv)


def dispatch(parser: argparse.ArgumentParser, argv: list[str] | None) -> int:
    """Runs the command that the arguments name."""
    if "_ARGCOMPLETE" in os.environ:  # A shell asks for completions (docs/commands.md).
        import argcomplete

        argcomplete.autocomplete(parser)
    arguments = parser.parse_args(argv)
    return run_command(arguments.run, arguments)
