"""Options that several or all commands have."""

import argparse
import contextlib
import json
import reprlib
from collections.abc import Callable
from pathlib import Path

from cmpc_tf2.data.datasets import find_dataset, is_known
from cmpc_tf2.errors import InputError
from cmpc_tf2.fields import RANGES, PositiveNumber, WholeNumber
from cmpc_tf2.medium import Medium


class CommandParser(argparse.ArgumentParser):
    """A parser with the options of every command."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.add_argument(
            "--quiet", action="store_true", default=False, help="no progress and no notes; warnings and errors remain"
        )


def number(allowed: WholeNumber | PositiveNumber) -> Callable[[str], int | float]:
    """A `type` for argparse that makes a number of an option's text, and refuses those that are not allowed."""
    convert = int if isinstance(allowed, WholeNumber) else float

    def parse(text: str) -> int | float:
        with contextlib.suppress(ValueError):
            if (value := convert(text)) in allowed:
                return value
        raise argparse.ArgumentTypeError(f"expected {allowed}, received {reprlib.repr(text)}")

    return parse


def add_model(command: argparse.ArgumentParser):
    """Adds the model file."""
    command.add_argument("--model", type=Path, required=True, metavar="FILE.keras", help="model file")


def add_json(command: argparse.ArgumentParser):
    """Adds the option that `print_result` goes by."""
    command.add_argument("--json", action="store_true", help="print the result as one JSON object")


def print_result(arguments: argparse.Namespace, text: str, result: dict):
    """Prints a command's result: the text, or with `--json` the object."""
    print(json.dumps(result) if arguments.json else text)


def add_vocabulary(command: argparse.ArgumentParser):
    """Adds the option for a model's vocabulary."""
    command.add_argument("--vocabulary", type=Path, metavar="FILE", help="needed if the model file holds none")


def find_batches(
    root: Path, name: str, split: str, medium: Medium, options: Callable[[], list[str]] = list
) -> tuple[str, list[Path]]:
    """The files of a split, with their tables of contents checked.

    Args:
        root: The value of `--batch-root`.
        name: A name or alias of a known data set, or the name of one of the user's own that was built there.
        split: The split.
        medium: Medium of the samples.
        options: Gives the further options of the command that builds the split; called only for an error message.

    Returns:
        The name of the data set in the paths of its batches, and the files in order.

    Raises:
        UsageError: The data set is neither known nor built, or has no such split.
        InputError: There are no batches, or a file cannot be used.
    """
    from cmpc_tf2.data.batches import MANIFEST, check_batches, list_batches, split_folder

    sample_type, folder = medium.sample_type, split_folder(root, name, split)
    is_own, advice = not is_known(name, medium.datasets), ""
    if not is_own or not (folder / MANIFEST).is_file():
        if is_own and sample_type.own_data_builder:
            command = " ".join([sample_type.own_data_builder, "-d", name, "-t", split, *options()])
            if built := sorted(path.parent.name for path in folder.parent.glob(f"*_batch/{MANIFEST}")):
                found = ", ".join(built)
                raise InputError(f"{folder}: no batches of {name} {split}, only {found}; make them with `{command}`")
            advice = f"; {folder} holds no batches of your own, which `{command}` makes"
        name = find_dataset(name, split, medium.datasets, advice).name
    paths = list_batches(root, name, split, sample_type, options)
    check_batches(paths, medium.sample_type_of(paths[0]))
    return name, paths


def read_vocabulary(path: Path | None, model) -> list[str] | None:
    """The words that `--vocabulary` gives for a model, a `ReferringModel`; None without the option.

    Raises:
        InputError: The file is not a vocabulary of this model.
    """
    return None if path is None else model.tokenizer_type.read_words(path, model.config.vocabulary_size)


def add_expressions(command: argparse.ArgumentParser, required: bool = True):
    """Adds the expressions of a `predict` command."""
    command.add_argument(
        "--expression", action="append", required=required, metavar="TEXT", help="what to mark; may be given repeatedly"
    )
    add_vocabulary(command)


def add_inference_options(command: argparse.ArgumentParser):
    """Adds how a model is loaded for inference."""
    command.add_argument(
        "--image-size",
        type=number(RANGES["image_size"]),
        help="side of the model's input in pixels (default: as in training)",
    )
    add_precision(command)


def add_precision(command: argparse.ArgumentParser):
    """Adds the type that a model computes in."""
    command.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="bfloat16 is less exact, and faster where the processor has it",
    )


def add_serving_options(command: argparse.ArgumentParser):
    """Adds the options of a `serve` command."""
    add_model(command)
    command.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in (default: this one alone)")
    command.add_argument("--port", type=number(WholeNumber(1, 65_535)), default=7860, help="(default: 7860)")
    command.add_argument("--api", action="store_true", help="HTTP alone, without the page")
    add_vocabulary(command)
    add_inference_options(command)
