"""What the commands need to know about boxes in pictures and in clips."""

import argparse
from pathlib import Path

import numpy as np

from cmpc_tf2.data.batches import split_folder
from cmpc_tf2.files import read_json
from cmpc_tf2.keras_files import read_config
from cmpc_tf2.medium import Medium
from cmpc_tf2.systems import SYSTEMS, find_system
from cmpc_tf2.tasks.boxes.task import BoxTask
from cmpc_tf2.training.config import CONFIG_NAME
from cogrounding_tf2.config import CoGroundingTrainConfig, GroundingTrainConfig
from cogrounding_tf2.data.datasets import BOX_DATASETS, CLIP_DATASETS
from cogrounding_tf2.data.samples import BoxClipSample
from cogrounding_tf2.protocol import ClipBoxTask

BOXES = Medium(
    name="grounding",
    datasets=BOX_DATASETS,
    train_config=GroundingTrainConfig,
    task=BoxTask({"boxes": "cogrounding_tf2.protocol:BoxProtocol"}),
    sample="cogrounding_tf2.data.samples:BoxSample",
    siblings=("grounding_clips",),
)
CLIP_BOXES = Medium(
    name="grounding_clips",
    datasets=BOX_DATASETS,
    train_config=CoGroundingTrainConfig,
    task=ClipBoxTask({"boxes": "cogrounding_tf2.protocol:ClipProtocol"}),
    sample="cogrounding_tf2.data.samples:BoxClipSample",
    siblings=("grounding",),
)
_MEDIA = {medium.name: medium for medium in (BOXES, CLIP_BOXES)}


def medium_of(arguments: argparse.Namespace) -> Medium:
    """Whether a command is about pictures or clips: its run says so, or its split, or its model.

    Errors of the files are left to the command.
    """
    if getattr(arguments, "resume", False):
        return _of_run(arguments.output_dir / CONFIG_NAME)
    if getattr(arguments, "model_name", None):
        return _MEDIA[SYSTEMS[arguments.model_name].medium]
    if getattr(arguments, "dataset", None) and getattr(arguments, "split", None):
        root = getattr(arguments, "batch_root", Path("."))
        return _of_split(root, arguments.dataset, arguments.split)
    model = getattr(arguments, "model", None) or getattr(arguments, "start_model", None)
    return of_model(model) if model else BOXES


def of_model(path: Path) -> Medium:
    """The medium of a model file."""
    if path.suffix == ".keras" and path.is_file():
        system = find_system(str(read_config(path).get("registered_name")))
        if system is not None:
            return _MEDIA.get(system.medium, BOXES)
    return BOXES


def _of_run(path: Path) -> Medium:
    content = read_json(path) if path.is_file() else {}
    name = content.get("model_name") if isinstance(content, dict) else None
    return _MEDIA.get(SYSTEMS[name].medium, BOXES) if name in SYSTEMS else BOXES


def _of_split(root: Path, dataset: str, split: str) -> Medium:
    """By the keys of the first file; without one, by the data set."""
    for path in sorted(split_folder(root, dataset, split).glob("*.npz"))[:1]:
        try:
            with np.load(path) as arrays:
                return CLIP_BOXES if set(BoxClipSample.keys) <= set(arrays.files) else BOXES
        except (OSError, ValueError, EOFError):
            break
    names = {name for one in CLIP_DATASETS for name in (one.name, *one.aliases)}
    return CLIP_BOXES if dataset in names else BOXES
