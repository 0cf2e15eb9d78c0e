"""Converts TensorFlow 1 checkpoints to `.keras` files, and back."""

import argparse

from cmpc_tf2.conversion.tf1_names import PEEPHOLES
from cmpc_tf2.conversion.tf1_reader import find_files
from cmpc_tf2.files import require_writable, write_json


def add_parser(commands):
    """Adds the `convert` command."""
    add_options(commands.add_parser("convert", help="TensorFlow 1 checkpoints to .keras files, and back"))


def add_options(command: argparse.ArgumentParser):
    """Adds the options of `convert`; `tools/convert_tf1_ckpt.py` is the same command."""
    command.set_defaults(run=run, usage_error=command.error)
    direction = command.add_mutually_exclusive_group(required=True)
    direction.add_argument("--checkpoint", metavar="PREFIX", help="TensorFlow 1 checkpoint, path without .index")
    direction.add_argument("--to-tf1", action="store_true", help="convert --model back to a TensorFlow 1 checkpoint")
    command.add_argument("--model", metavar="FILE.keras", help="with --to-tf1: the Keras model")
    command.add_argument("--output", required=True, help="FILE.keras to write; with --to-tf1, the PREFIX to write")
    command.add_argument("--vocabulary", metavar="FILE", help="vocabulary to store in the model, one word per line")
    command.add_argument(
        "--optimizer", metavar="FILE.npz", help="of a training checkpoint: write the state of Adam too, to train on"
    )
    command.add_argument("--report", metavar="FILE.json", help="write what became of every variable")


def run(arguments: argparse.Namespace):
    """The `convert` command: everything cheap is checked before TensorFlow is loaded."""
    if arguments.to_tf1 != bool(arguments.model):
        arguments.usage_error("--model goes with --to-tf1, and --to-tf1 needs it")
    if arguments.to_tf1:
        if arguments.vocabulary or arguments.report or arguments.optimizer:
            arguments.usage_error("--vocabulary, --optimizer and --report go with --checkpoint")
        _to_tf1(arguments)
    else:
        _to_keras(arguments)


def _to_tf1(arguments: argparse.Namespace):
    from cmpc_tf2.conversion.tf1 import convert_back

    count = convert_back(arguments.model, arguments.output)
    print(f"{arguments.output}: {count} variables")


def _to_keras(arguments: argparse.Namespace):
    others = find_files(arguments.checkpoint)
    if arguments.vocabulary:
        others.append(arguments.vocabulary)
    for path in filter(None, (arguments.output, arguments.report, arguments.optimizer)):
        require_writable(path, others=others)
        others.append(path)

    from cmpc_tf2.conversion.tf1 import convert

    report = convert(arguments.checkpoint, arguments.output, arguments.vocabulary, arguments.optimizer)
    if arguments.report:
        write_json(arguments.report, report)
    step = "" if report["step"] is None else f", step {report['step']}"
    converted, ignored = len({entry["tf1"] for entry in report["converted"]}), len(report["ignored"])
    print(f"{arguments.output}: {report['model']}{step}, {converted} variables converted, {ignored} ignored")
    size = report["config"].get("image_size")
    if size and not {entry["tf1"] for entry in report["converted"]} & {*PEEPHOLES}:  # There is one for each cell.
        print(f"nothing in {arguments.checkpoint} tells the size of its pictures; {size} x {size} is taken")
