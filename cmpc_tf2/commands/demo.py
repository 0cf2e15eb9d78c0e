"""The whole workflow in one command, offline: data, training, scores, export, and to TensorFlow 1 and back.

The data set is `shapes`, drawn here; the model is a small CMPC on 160 x 160 pixels, trained from scratch. Every step
is a command that a user could type, and is shown.
"""

import argparse
import json
import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path

from cmpc_tf2.commands.options import number
from cmpc_tf2.data.batches import MANIFEST, split_folder
from cmpc_tf2.errors import InputError
from cmpc_tf2.fields import RANGES
from cmpc_tf2.files import is_quiet, require_folder, write_json
from cmpc_tf2.tasks.masks.densecrf import load_densecrf

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
SPLITS = ("val", "testA", "testB")
# Sizes of the small model: 0.7 M weights.
SIZES = {
    "image_size": 160,
    "embedding_dim": 32,
    "feature_dim": 64,
    "fusion_dim": 64,
    "word_parser_dim": 32,
    "backbone": {"width": 8, "depths": [1, 1, 2, 1]},
}
# For a model that starts from random weights: more samples per step, a higher rate, and a backbone that learns.
TRAINING = ("-bs", "8", "-lr", "0.002", "--finetune-backbone")
STEPS, LONG_STEPS = 2000, 9000
EXPRESSION = "the circle left of the square"


def add_parser(commands):
    """Adds the `demo` command."""
    demo = commands.add_parser("demo", help="the whole way on drawn data, offline: 5 to 9 minutes on 2 cores")
    demo.set_defaults(run=run)
    demo.add_argument("--long", action="store_true", help="train longer: 15 to 25 minutes in all")
    demo.add_argument("--seed", type=number(RANGES["seed"]), default=0, help="of the training run")
    demo.add_argument("--output", type=Path, default=Path("demo_output"), metavar="DIR")


def run(arguments: argparse.Namespace):
    """The `demo` command."""
    folder = arguments.output
    load_densecrf()
    make_folder(folder)
    build_data(folder)
    options = [*TRAINING, "--seed", arguments.seed]
    model = train_model("cmpc_tf2", folder, "shapes", SIZES, LONG_STEPS if arguments.long else STEPS, options)

    reports = {
        split: evaluate(model, folder, split, "-c", "--overlays", folder / "overlays" / split) for split in SPLITS
    }
    files = ["--image", next((folder / "data" / "shapes" / "images").iterdir()), "--output", folder / "overlay.png"]
    call("-m", "cmpc_tf2", "predict", "--model", model, *files, "--expression", EXPRESSION)
    call("-m", "cmpc_tf2", "export", "--model", model, "--output", folder / "saved_model")

    tf1 = folder / "shapes.tfmodel"
    call("-m", "cmpc_tf2", "convert", "--to-tf1", "--model", model, "--output", tf1)
    back = folder / "from_tf1.keras"
    report = folder / "conversion.json"
    call("-m", "cmpc_tf2", "convert", "--checkpoint", tf1, "--output", back, "--report", report)
    if evaluate(back, folder, "val")["per_sample"] != [
        {name: count for name, count in record.items() if not name.startswith("dcrf")}
        for record in reports["val"]["per_sample"]
    ]:
        raise InputError(f"{back}: its scores differ from those of the model it was converted from")
    print("The model that went to TensorFlow 1 and back gives the same mask for every sample of val.\n")
    print(table(reports))
    print(f"\nPictures: {folder}/overlays, {folder}/training_curve.png; SavedModel: {folder}/saved_model")


def make_folder(folder: Path):
    """Makes the folder of a demo.

    Raises:
        InputError: It cannot be made, or holds a demo already.
    """
    require_folder(folder)
    if (folder / "run").exists():
        raise InputError(f"{folder}: holds a demo already; remove it, or give another folder (--output)")
    os.makedirs(folder, exist_ok=True)


def build_data(folder: Path):
    """Draws `shapes` and builds its four splits; those that are there stay."""
    build_splits("cmpc_tf2", folder, "shapes", ("train", *SPLITS), "--image-size", SIZES["image_size"])


def build_splits(module: str, folder: Path, dataset: str, splits: tuple[str, ...], *options):
    """Builds the splits of a drawn data set; those that are there stay.

    Args:
        module: The module of the `build_batches` command.
        folder: The demo's.
        dataset: Name of the data set.
        splits: Names of the splits.
        options: Further options of `build_batches`.
    """
    places = ["--data-root", folder / "data", "--output-root", folder, "--workers", os.cpu_count()]
    for split in splits:
        if not (split_folder(folder, dataset, split) / MANIFEST).exists():
            call("-m", module, "build_batches", "-d", dataset, "-t", split, *places, *options)


def train_model(
    module: str, folder: Path, dataset: str, sizes: dict, steps: int, options: list, metric: str = "overall_iou"
) -> Path:
    """Trains a new model and draws its training curve.

    Args:
        module: The module of the `train` command.
        folder: The demo's.
        dataset: A data set that was built there.
        sizes: Sizes of the model.
        steps: Training steps.
        options: Further options of `train`.
        metric: The metric that the curve shows.

    Returns:
        The model file.
    """
    write_json(folder / "sizes.json", sizes)
    data = ["-d", dataset, "-t", "train", "--batch-root", folder]
    model = ["--sizes", folder / "sizes.json", "--vocabulary", folder / "data" / f"vocabulary_{dataset}.txt"]
    schedule = ["--steps", steps, "--decay-steps", steps, "--checkpoint-every", steps // 10]
    call("-m", module, "train", *data, "--output-dir", folder / "run", *model, *schedule, *options)
    draw_curve(folder / "run", folder / "training_curve.png", metric)
    return folder / "run" / "last.keras"


def evaluate(model: Path, folder: Path, split: str, *options) -> dict:
    """Scores a model; returns the report."""
    report = folder / f"{model.stem}_{split}.json"
    os.makedirs(folder / "overlays", exist_ok=True)
    batches = ["-d", "shapes", "-t", split, "--batch-root", folder]
    call("-m", "cmpc_tf2", "evaluate", "--model", model, *batches, "--report", report, *options)
    return json.loads(report.read_bytes())


def table(reports: dict[str, dict]) -> str:
    """Scores of splits, without and with DenseCRF."""
    lines = [f"{'':17}{'overall IoU':>22}{'mean IoU':>22}"]
    lines.append(f"{'split':8}{'samples':>9}" + f"{'plain':>12}{'CRF':>10}" * 2)
    for split, report in reports.items():
        scores = [report[kind][name] for name in ("overall_iou", "mean_iou") for kind in ("plain", "dcrf")]
        numbers = "".join(f"{score:{width}.3f}" for score, width in zip(scores, (12, 10, 12, 10), strict=True))
        lines.append(f"{split:8}{report['samples']:9}{numbers}")
    return "\n".join(lines)


def draw_curve(run_folder: Path, path: Path, metric: str):
    """Draws loss and a metric on the training batches over the steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from cmpc_tf2.training.run_log import read_log

    entries = read_log(run_folder)
    steps = [int(entry["step"]) for entry in entries]
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, name, title in zip(axes, ("loss", metric), ("loss", metric.replace("_iou", " IoU")), strict=True):
        axis.plot(steps, [float(entry[name]) for entry in entries], marker="o")
        axis.set(xlabel="step", title=f"{title} on training batches")
        axis.grid(alpha=0.3)
    axes[1].set_ylim(0, 1)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def call(*command):
    """Runs a command as a user would, and shows it; quietly, if this process is quiet."""
    command = [str(part) for part in command]
    if is_quiet():
        command.append("--quiet")
    else:
        shown = [os.path.relpath(part) if os.path.isabs(part) else part for part in command]
        print("$ python", shlex.join(shown), flush=True)
    if subprocess.run([sys.executable, *command], env=environment()).returncode:
        raise InputError("the command above failed")


def environment() -> dict[str, str]:
    """The environment of a command: this process's, with this package on `PYTHONPATH` after the user's folders."""
    folders = filter(None, (os.environ.get("PYTHONPATH"), str(ROOT)))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
