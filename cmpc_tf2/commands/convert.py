"""Converts checkpoints of TensorFlow 1 and PyTorch and weights of darknet to `.keras` files, and back."""

import argparse
import logging

from cmpc_tf2.commands.options import add_json, print_result
from cmpc_tf2.conversion.families import DARKNET, TF1, TORCH, load_families
from cmpc_tf2.conversion.names.darknet import is_darknet_file
from cmpc_tf2.conversion.tf1_reader import find_files
from cmpc_tf2.conversion.torch_checkpoint import is_torch_file
from cmpc_tf2.errors import UsageError
from cmpc_tf2.files import require_writable, write_json

logger = logging.getLogger(__name__)


def add_parser(commands):
    """Adds the `convert` command."""
    add_options(commands.add_parser("convert", help="TensorFlow 1 and PyTorch checkpoints to .keras files, and back"))


def add_options(command: argparse.ArgumentParser):
    """Adds the options of `convert`; the scripts `tools/convert_*_ckpt.py` are the same command."""
    command.set_defaults(run=run, usage_error=command.error)
    direction = command.add_mutually_exclusive_group(required=True)
    direction.add_argument(
        "--checkpoint",
        "--weights",
        metavar="FILE",
        help="PyTorch or safetensors file, TensorFlow 1 checkpoint (path without .index), or weights of darknet "
        "(yolov3.weights)",
    )
    direction.add_argument("--to-tf1", action="store_true", help="convert --model back to a TensorFlow 1 checkpoint")
    direction.add_argument("--to-torch", action="store_true", help="convert --model back to a PyTorch file")
    direction.add_argument("--to-darknet", action="store_true", help="convert --model back to weights of darknet")
    command.add_argument(
        "--model", metavar="FILE.keras", help="with --to-tf1, --to-torch and --to-darknet: the Keras model"
    )
    command.add_argument(
        "--output",
        required=True,
        help="FILE.keras to write; with --to-tf1 a PREFIX, with --to-torch FILE.pth, with --to-darknet FILE.weights",
    )
    command.add_argument(
        "--vocabulary",
        metavar="FILE",
        help="vocabulary to store in the model: a text file with one word per line, a .keras file that contains one, "
        "or for MAttNet and CAC a .json file of the original",
    )
    command.add_argument(
        "--backbone",
        metavar="FILE.keras",
        help="with a checkpoint of MAttNet: its detector, converted before, to put into the model",
    )
    command.add_argument(
        "--optimizer",
        metavar="FILE.npz",
        help="of a training checkpoint: write the state of its optimizer too, to train on",
    )
    command.add_argument(
        "--sizes",
        metavar="FILE.json",
        help="sizes that the checkpoint does not tell, if they are not the usual ones, such as the variant of a CAC",
    )
    command.add_argument("--report", metavar="FILE.json", help="write what became of every variable")
    add_json(command)


def run(arguments: argparse.Namespace):
    """The `convert` command: everything cheap is checked before TensorFlow is loaded."""
    is_back = arguments.to_tf1 or arguments.to_torch or arguments.to_darknet
    if is_back != bool(arguments.model):
        arguments.usage_error("--model goes with --to-tf1, --to-torch or --to-darknet, and each of them needs it")
    forward = ("vocabulary", "backbone", "sizes", "optimizer", "report")
    if is_back and any(getattr(arguments, name) for name in forward):
        arguments.usage_error("--vocabulary, --backbone, --sizes, --optimizer and --report go with --checkpoint")
    if is_back:
        _convert_back(arguments)
    else:
        _convert(arguments)


def _convert_back(arguments: argparse.Namespace):
    if arguments.to_tf1:
        from cmpc_tf2.conversion.tf1 import convert_back
    elif arguments.to_torch:
        from cmpc_tf2.conversion.pytorch import convert_back
    else:
        from cmpc_tf2.conversion.darknet_weights import convert_back

    count = convert_back(arguments.model, arguments.output)
    print_result(arguments, f"{arguments.output}: {count} variables", {"output": arguments.output, "variables": count})


def _format_of(path: str) -> str:
    """The format of a checkpoint."""
    if is_torch_file(path):
        return TORCH
    return DARKNET if is_darknet_file(path) else TF1


def _convert(arguments: argparse.Namespace):
    file_format = _format_of(arguments.checkpoint)
    others = find_files(arguments.checkpoint) if file_format == TF1 else [arguments.checkpoint]
    others += filter(None, [arguments.vocabulary, arguments.backbone, arguments.sizes])
    for path in filter(None, (arguments.output, arguments.report, arguments.optimizer)):
        require_writable(path, others=others)
        others.append(path)

    options = {}
    if file_format != DARKNET:
        options["sizes_file"] = arguments.sizes
    elif arguments.sizes:
        raise UsageError("--sizes: weights of darknet have one size; leave it out")
    if file_format == TORCH:
        from cmpc_tf2.conversion.pytorch import convert

        options["backbone_file"] = arguments.backbone
    elif arguments.backbone:
        raise UsageError("--backbone: goes with the PyTorch checkpoint of MAttNet; leave it out")
    elif file_format == DARKNET:
        from cmpc_tf2.conversion.darknet_weights import convert
    else:
        from cmpc_tf2.conversion.tf1 import convert

    report = convert(arguments.checkpoint, arguments.output, arguments.vocabulary, arguments.optimizer, **options)
    if arguments.report:
        write_json(arguments.report, report)
    step = "" if report["step"] is None else f", step {report['step']}"
    converted, ignored = len({entry[file_format] for entry in report["converted"]}), len(report["ignored"])
    text = f"{arguments.output}: {report['model']}{step}, {converted} variables converted, {ignored} ignored"
    if "image_size" in report["assumed"]:
        size = report["config"]["image_size"]
        text += f"\nnothing in {arguments.checkpoint} tells the size of its pictures; {size} x {size} is taken"
    print_result(arguments, text, report)
    system = load_families()[report["model"]].system
    if system.medium is not None and not arguments.vocabulary:
        logger.info(
            "%s: no vocabulary stored; %s one. Convert with --vocabulary FILE to store it",
            arguments.output,
            _what_needs_words(system.model_type),
        )


def _what_needs_words(model_type: type) -> str:
    """The commands that need the vocabulary of a model."""
    from cmpc_tf2.text.tokenizers import TOKENIZERS

    if TOKENIZERS[model_type.tokenizer_name].reads_stored_ids:
        return "predict, serve and export need"
    return "every command that runs the model needs"
