"""Converts TensorFlow 1 checkpoints to `.keras` files, and back."""

import argparse

from cmpc_tf2.conversion.families import load_families
from cmpc_tf2.conversion.tf1_reader import find_files
from cmpc_tf2.files import require_writable, write_json


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
    if not load_families()[report["model"]].stores_image_size:
        size = report["config"]["image_size"]
        print(f"nothing in {arguments.checkpoint} tells the size of its pictures; {size} x {size} is taken")
