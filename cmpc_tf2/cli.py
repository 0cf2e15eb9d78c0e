"""`python -m cmpc_tf2 COMMAND` (and `cmpc COMMAND` once installed)."""

import argparse
import contextlib
import dataclasses
import importlib
import logging
import os
import reprlib
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import cmpc_tf2
from cmpc_tf2.config import EXPORT_FORMATS, RANGES, TRAIN_CHOICES
from cmpc_tf2.errors import InputError, UsageError
from cmpc_tf2.fields import COUNT, PositiveNumber, WholeNumber
from cmpc_tf2.memory import keep_freed_memory
from cmpc_tf2.systems import systems_of
from cmpc_tf2.task import IMAGES, Task


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
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    keep_freed_memory()
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
    return 1


def number(allowed: WholeNumber | PositiveNumber) -> Callable[[str], int | float]:
    """What makes a number of an option's text, and refuses those that are not allowed: a `type` for argparse."""
    convert = int if isinstance(allowed, WholeNumber) else float

    def parse(text: str) -> int | float:
        with contextlib.suppress(ValueError):
            if (value := convert(text)) in allowed:
                return value
        raise argparse.ArgumentTypeError(f"expected {allowed}, received {reprlib.repr(text)}")

    return parse


def start_parser(prog: str, description: str) -> tuple[argparse.ArgumentParser, argparse._SubParsersAction]:
    """A parser without commands, and where they are added."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--version", action="version", version=f"%(prog)s {cmpc_tf2.__version__}")
    return parser, parser.add_subparsers(title="commands", required=True, metavar="COMMAND")


def build_parser() -> argparse.ArgumentParser:
    parser, commands = start_parser("cmpc", "Referring image segmentation with CMPC.")
    add_evaluate(commands, IMAGES)
    add_train(commands, IMAGES)

    predict = commands.add_parser("predict", help="segment one picture")
    predict.set_defaults(module="cmpc_tf2.predict")
    predict.add_argument("--model", type=Path, required=True, metavar="FILE.keras")
    predict.add_argument("--image", type=Path, required=True, metavar="FILE", help="JPEG, PNG, ..., any size")
    add_expressions(predict)
    predict.add_argument("--output", type=Path, required=True, metavar="FILE.png", help="picture with masks drawn in")
    predict.add_argument(
        "--mask", type=Path, metavar="FILE.png", help="mask as 0 and 255; FILE_1.png, ... for several expressions"
    )
    add_inference_options(predict)

    add_export(commands, IMAGES)
    add_convert_options(commands.add_parser("convert", help="TensorFlow 1 checkpoints to .keras files, and back"))

    serve = commands.add_parser("serve", help="a page in the browser, or HTTP")
    serve.set_defaults(module="cmpc_tf2.serve")
    serve.add_argument("--api", action="store_true", help="HTTP (POST /v1/segment) in place of the page")
    add_serving_options(serve)

    demo = commands.add_parser("demo", help="the whole way on drawn data, offline: 5 to 9 minutes on 2 cores")
    demo.set_defaults(module="cmpc_tf2.demo")
    demo.add_argument("--long", action="store_true", help="train longer: 15 to 25 minutes in all")
    demo.add_argument("--seed", type=number(RANGES["seed"]), default=0, help="of the training run")
    demo.add_argument("--output", type=Path, default=Path("demo_output"), metavar="DIR")
    return parser


def add_evaluate(commands, task: Task):
    """Adds the `evaluate` command."""
    evaluate = commands.add_parser("evaluate", help="score a split")
    evaluate.set_defaults(module="cmpc_tf2.evaluate", task=task)
    evaluate.add_argument("--model", type=Path, required=True, metavar="FILE.keras")
    evaluate.add_argument("-d", "--dataset", required=True, help=task.dataset_names())
    evaluate.add_argument("-t", "--split", required=True, help="val, testA, testB, ...")
    evaluate.add_argument("--batch-root", type=Path, default=Path("."), help="folder with DATASET/SPLIT_batch/")
    evaluate.add_argument("-c", "--dcrf", action="store_true", help="score masks refined by DenseCRF too")
    evaluate.add_argument(
        "-bs", "--batch-size", type=number(RANGES["batch_size"]), default=4, help="expressions decoded together"
    )
    evaluate.add_argument(
        "--workers", type=number(WholeNumber(0, 1024)), default=1, help="with -c: processes that refine masks"
    )
    add_inference_options(evaluate)
    evaluate.add_argument(
        "--exact-masks",
        action="store_true",
        help="leave out the interpolated rim that the original counts; not comparable with published numbers",
    )
    evaluate.add_argument("--report", type=Path, metavar="FILE.json", help="write scores and per-sample records")
    evaluate.add_argument("-v", "--overlays", type=Path, metavar="DIR", help="draw every sample, and index.html")


def add_train(commands, task: Task):
    """Adds the `train` command. What is not given is left to the task's `TrainConfig`."""
    default = {field.name: field.default for field in dataclasses.fields(task.train_config)}
    train = commands.add_parser(
        "train", help="train a model; with --resume, go on with a run", argument_default=argparse.SUPPRESS
    )
    train.set_defaults(module="cmpc_tf2.train", task=task)
    train.add_argument("--output-dir", type=Path, required=True, metavar="DIR", help="checkpoints, log, config.json")
    train.add_argument(
        "--resume", action="store_true", default=False, help="go on with the run in DIR, by its config.json"
    )
    train.add_argument("-d", "--dataset", help=task.dataset_names())
    train.add_argument("-t", "--split", help="train, trainval")
    train.add_argument("--batch-root", type=Path, help="folder with DATASET/SPLIT_batch/ (default: .)")
    train.add_argument("--model-name", choices=systems_of(task.name), help="of a new model (default: the first)")
    train.add_argument("--model", dest="start_model", type=Path, metavar="FILE.keras", help="start from this model")
    train.add_argument("--backbone", type=Path, metavar="FILE.keras", help="start from this converted backbone")
    train.add_argument("--embeddings", type=Path, metavar="FILE.npy", help="start from these word vectors")
    train.add_argument("--vocabulary", type=Path, metavar="FILE", help="the batches' vocabulary, stored in the model")
    train.add_argument("--sizes", type=Path, metavar="FILE.json", help="sizes of the model, if not the usual")
    train.add_argument(
        "--optimizer",
        dest="start_optimizer",
        type=Path,
        metavar="FILE.npz",
        help="with --model: go on with this state of Adam, at its step",
    )
    length = train.add_mutually_exclusive_group()
    length.add_argument("--steps", type=number(COUNT), help=f"in all (default: {default['steps']})")
    length.add_argument(
        "--epochs", type=number(PositiveNumber(1_000_000)), help="in place of --steps: how often every sample is seen"
    )
    train.add_argument(
        "-bs", "--batch-size", type=number(RANGES["batch_size"]), help="samples per step, over all devices (default: 1)"
    )
    train.add_argument(
        "--accumulate", type=number(COUNT), metavar="PARTS", help="compute a batch in parts, to save memory"
    )
    train.add_argument(
        "-lr",
        "--learning-rate",
        type=number(RANGES["learning_rate"]),
        help="at step 0, for a batch of 1 (default: 0.00025)",
    )
    train.add_argument(
        "--rate-scaling",
        choices=TRAIN_CHOICES["rate_scaling"],
        help="multiply the rate by the batch size, or its root (default: none)",
    )
    train.add_argument(
        "--decay-steps", type=number(COUNT), help="until the rate is 0.00001 (default: as the model's original)"
    )
    train.add_argument(
        "--finetune-backbone", action="store_true", help="train the kernels of res3 to res5 too (the original's -conv5)"
    )
    train.add_argument("--recipe", choices=TRAIN_CHOICES["recipe"], help="maskris adds masked second passes")
    train.add_argument(
        "--precision",
        choices=TRAIN_CHOICES["precision"],
        help="of most layers; norms, softmaxes, what follows the levels, losses and weights stay float32",
    )
    train.add_argument("--jit-compile", action="store_true", help="compile the step with XLA")
    train.add_argument(
        "--strategy",
        choices=TRAIN_CHOICES["strategy"],
        help="all devices of this machine, or the machines in TF_CONFIG (default: none)",
    )
    train.add_argument("--validation-split", metavar="SPLIT", help="scored at every checkpoint; the best model is kept")
    train.add_argument("--checkpoint-every", type=number(COUNT), metavar="STEPS", help="(default: 10000)")
    train.add_argument("--seed", type=number(RANGES["seed"]), help="(default: 0)")


def add_export(commands, task: Task):
    """Adds the `export` command."""
    export = commands.add_parser("export", help="write a model that runs without this project")
    export.set_defaults(module="cmpc_tf2.export", task=task)
    export.add_argument("--model", type=Path, required=True, metavar="FILE.keras")
    export.add_argument("--output", type=Path, required=True, help="a new folder, or FILE.onnx, FILE.tflite")
    export.add_argument(
        "--format",
        choices=EXPORT_FORMATS,
        default="saved_model",
        help="saved_model takes picture files and sentences; the others take tensors",
    )


def add_convert_options(command: argparse.ArgumentParser):
    """Adds what `convert` needs to know; `tools/convert_tf1_ckpt.py` is the same command."""
    command.set_defaults(module="cmpc_tf2.convert", usage_error=command.error)
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


def add_serving_options(command: argparse.ArgumentParser):
    """Adds what a `serve` command needs to know."""
    command.add_argument("--model", type=Path, required=True, metavar="FILE.keras")
    command.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in (default: this one alone)")
    command.add_argument("--port", type=number(WholeNumber(1, 65_535)), default=7860, help="(default: 7860)")
    add_vocabulary(command)
    add_inference_options(command)


def add_vocabulary(command: argparse.ArgumentParser):
    """Adds where a model's words are."""
    command.add_argument("--vocabulary", type=Path, metavar="FILE", help="needed if the model file holds none")


def add_expressions(command: argparse.ArgumentParser):
    """Adds what a `predict` command is asked for."""
    command.add_argument(
        "--expression", action="append", required=True, metavar="TEXT", help="what to mark; may be given repeatedly"
    )
    add_vocabulary(command)


def add_inference_options(command: argparse.ArgumentParser):
    """Adds how a model is loaded to be used."""
    command.add_argument(
        "--image-size",
        type=number(RANGES["image_size"]),
        help="side of what the model sees, if not that of its training; not the original's",
    )
    command.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="bfloat16 is less exact, and faster where the processor has it",
    )


def main(argv: list[str] | None = None) -> int:
    """Runs `python -m cmpc_tf2`."""
    return dispatch(build_parser(), argv)


def dispatch(parser: argparse.ArgumentParser, argv: list[str] | None) -> int:
    """Runs a command; its module is loaded only after its arguments were understood."""
    arguments = parser.parse_args(argv)
    return run_command(lambda options: importlib.import_module(options.module).run(options), arguments)
