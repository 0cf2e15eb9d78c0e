"""The whole workflow for boxes in one command, offline: data, training, scores, a drawn answer and an export."""

import argparse
import json
from pathlib import Path

from cmpc_tf2.commands.demo import build_splits, call, make_folder, train_model
from cmpc_tf2.commands.options import number
from cmpc_tf2.fields import COUNT, RANGES
from cmpc_video_tf2.data.datasets import A2DFiles

SIZES = {"feature_dim": 48, "darknet": {"widths": [4, 4, 8, 16, 24, 32]}}
# For a model that starts from random weights: a higher rate than the original's, whose backbone is pretrained.
TRAINING = ("-lr", "0.004")
# Samples per step, and steps; a clip has two frames.
BATCH_SIZES = {"shapes": 8, "moving_shapes": 4}
STEPS = {"shapes": 1500, "moving_shapes": 1000}
EXPRESSION = "the circle left of the square"


def add_parser(commands):
    """Adds the `demo` command."""
    parser = commands.add_parser("demo", help="train and score a small model on drawn data, offline")
    parser.set_defaults(run=run)
    parser.add_argument("--clips", action="store_true", help="clips and CG-SL-Att. in place of pictures and SL-Att.")
    pictures, clips = STEPS.values()
    parser.add_argument("--steps", type=number(COUNT), help=f"training steps (default: {pictures}, of clips {clips})")
    parser.add_argument("--seed", type=number(RANGES["seed"]), default=0, help="of the training run")
    parser.add_argument("--output", type=Path, default=Path("grounding_demo_output"), metavar="DIR")


def run(arguments: argparse.Namespace):
    """The `demo` command."""
    folder = arguments.output
    make_folder(folder)
    dataset, split = ("moving_shapes", "test") if arguments.clips else ("shapes", "val")
    build_splits("cogrounding_tf2", folder, dataset, ("train", split))
    system = "cg_sl_att" if arguments.clips else "sl_att"
    options = [*TRAINING, "-bs", BATCH_SIZES[dataset], "--model-name", system, "--seed", arguments.seed]
    steps = arguments.steps or STEPS[dataset]
    model = train_model("cogrounding_tf2", folder, dataset, SIZES, steps, options, metric="accuracy")

    report = folder / f"{split}.json"
    data = ["-d", dataset, "-t", split, "--batch-root", folder]
    outputs = ["--report", report, "--overlays", folder / "overlays"]
    call("-m", "cogrounding_tf2", "evaluate", "--model", model, *data, *outputs)
    if arguments.clips:
        video = sorted(A2DFiles.below(folder / "data" / dataset).frames[0].iterdir())[-1]
        source = ["--video", video, "--every", "4", "--output", folder / "prediction", "--expression", "the red shape"]
    else:
        picture = sorted((folder / "data" / "shapes" / "images").iterdir())[-1]
        source = ["--image", picture, "--output", folder / "overlay.png", "--expression", EXPRESSION]
    call("-m", "cogrounding_tf2", "predict", "--model", model, *source)
    call("-m", "cogrounding_tf2", "export", "--model", model, "--output", folder / "saved_model")
    print(table(json.loads(report.read_bytes())))
    print(f"\nPictures: {folder}/overlays, {folder}/training_curve.png; SavedModel: {folder}/saved_model")


def table(report: dict) -> str:
    """The scores of a report, one line for each variant."""
    lines = [f"{'boxes':16}{'accuracy@0.5':>14}{'mean IoU':>12}"]
    for name in ("plain", "exact", "postprocessed"):
        if report.get(name):
            lines.append(f"{name:16}{report[name]['accuracy']:14.3f}{report[name]['mean_iou']:12.3f}")
    return "\n".join(lines)
