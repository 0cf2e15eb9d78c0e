"""The whole workflow for videos in one command, offline: draws clips, trains on them, scores held-out ones."""

import argparse
import json
from pathlib import Path

from cmpc_tf2.commands import demo
from cmpc_tf2.commands.demo import build_splits, call, make_folder, train_model
from cmpc_tf2.commands.options import number
from cmpc_tf2.data.batches import list_batches, read_batch
from cmpc_tf2.fields import RANGES
from cmpc_tf2.tasks.masks.metrics import iou
from cmpc_video_tf2.config import CLIP_BACKBONES
from cmpc_video_tf2.data.annotations import read_queries, read_split
from cmpc_video_tf2.data.datasets import A2DFiles
from cmpc_video_tf2.data.moving_shapes import DRAWN_CLIPS, SIDE
from cmpc_video_tf2.data.samples import VideoSample

# Sizes of the small model: those of the demo of pictures.
SIZES = {**demo.SIZES, "image_size": SIDE}
# I3D with about as many weights in its kernels.
I3D_WIDTH = 16
TRAINING = ("-bs", "4", "-lr", "0.002", "--finetune-backbone")
STEPS = 2500
DATASET = "moving_shapes"


def add_parser(commands):
    """Adds the `demo` command."""
    parser = commands.add_parser("demo", help="train and score a small model on drawn clips, offline")
    parser.set_defaults(run=run)
    parser.add_argument("--seed", type=number(RANGES["seed"]), default=0, help="of the training run")
    parser.add_argument("--backbone-type", choices=CLIP_BACKBONES, default="r2d", help="(default: r2d)")
    parser.add_argument("--output", type=Path, default=Path("video_demo_output"), metavar="DIR")


def run(arguments: argparse.Namespace):
    """The `demo` command."""
    folder = arguments.output
    make_folder(folder)
    build_data(folder)
    sizes = sizes_of(arguments.backbone_type)
    model = train_model("cmpc_video_tf2", folder, DATASET, sizes, STEPS, [*TRAINING, "--seed", arguments.seed])

    report = folder / "test.json"
    data = ["-d", DATASET, "-t", "test", "--batch-root", folder]
    outputs = ["--report", report, "--overlays", folder / "overlays"]
    call("-m", "cmpc_video_tf2", "evaluate", "--model", model, *data, *outputs)
    files = A2DFiles.below(folder / "data" / DATASET)
    video_id, expression = held_out_action(files)
    video = files.frames[0] / video_id
    asked = ["--expression", expression, "--every", "4", "--output", folder / "prediction"]
    call("-m", "cmpc_video_tf2", "predict", "--model", model, "--video", video, *asked)

    print(f"{'expressions':14}{'samples':>9}{'overall IoU':>14}")
    for kind, (count, score) in scores_by_kind(json.loads(report.read_bytes()), folder).items():
        print(f"{kind:14}{count:9}{score:14.3f}")
    print(f"\nPictures: {folder}/overlays, {folder}/training_curve.png; video: {folder}/prediction/overlay.mp4")


def sizes_of(backbone_type: str) -> dict:
    """Sizes of the small model on a backbone."""
    backbone = {"r2d": SIZES["backbone"], "i3d": {"width": I3D_WIDTH}}[backbone_type]
    return {**SIZES, "backbone_type": backbone_type, "backbone": backbone}


def held_out_action(files: A2DFiles) -> tuple[str, str]:
    """A video of the test split, and a sentence about an action in it."""
    splits = read_split(files.splits)
    return next(
        (query.video_id, query.expression)
        for query in read_queries(files.queries)
        if splits[query.video_id] == "test" and DRAWN_CLIPS[DATASET].action_in(query.expression)
    )


def build_data(folder: Path, dataset: str = DATASET):
    """Draws a data set and builds its splits; existing ones are kept."""
    build_splits("cmpc_video_tf2", folder, dataset, ("train", "test"), "--image-size", SIDE, "--all-frames")


def scores_by_kind(report: dict, folder: Path, dataset: str = DATASET) -> dict[str, tuple[int, float]]:
    """Samples and overall IoU of all sentences, of those with attributes, with an action, with each action.

    Args:
        report: Report on the test split.
        folder: Folder with its batches.
        dataset: Name of the drawn data set.
    """
    clips, counts = DRAWN_CLIPS[dataset], {}
    paths = list_batches(folder, dataset, "test", VideoSample)
    for record in report["per_sample"]:
        action = clips.action_in(read_batch(paths[record["index"]], VideoSample).expression)
        for kind in ("all", *(("actions", f"  {action}") if action else ("attributes",))):
            total = counts.setdefault(kind, [0, 0, 0])
            for place, value in enumerate((1, record["intersection"], record["union"])):
                total[place] += value
    order = ("all", "attributes", "actions", *(f"  {action}" for action in clips.actions))
    return {kind: (counts[kind][0], iou(*counts[kind][1:])) for kind in order if kind in counts}
