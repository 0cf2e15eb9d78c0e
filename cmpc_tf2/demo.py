"""The whole way in one command, offline: a TensorFlow 1 checkpoint is converted and segments a picture.

The checkpoint has random weights and the picture is drawn here, so the masks mean nothing; every step is real.
"""

import argparse
import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import keras
import numpy as np

from cmpc_tf2.checkpoints import load_model, save_model
from cmpc_tf2.config import BackboneConfig, ModelConfig
from cmpc_tf2.data.image_ops import write_image
from cmpc_tf2.errors import InputError
from cmpc_tf2.models.cmpc import CMPC

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
VOCABULARY = ["<pad>", "<go>", "<eos>", "<unk>", "the", "red", "green", "blue", "circle", "square", "left", "of"]
EXPRESSIONS = ("the red circle", "the blue square left of the circle")
CONFIG = ModelConfig(
    vocabulary_size=len(VOCABULARY),
    embedding_dim=16,
    feature_dim=64,
    fusion_dim=32,
    word_parser_dim=32,
    backbone=BackboneConfig(width=16, depths=(1, 2, 3, 1)),
)


def run(arguments: argparse.Namespace):
    """The `demo` command."""
    folder = arguments.output
    converter = ROOT / "tools" / "convert_tf1_ckpt.py"
    if not converter.is_file():
        raise InputError("the demo uses tools/convert_tf1_ckpt.py: run it from a checkout of the repository")
    os.makedirs(folder, exist_ok=True)

    logger.info("A random model, a vocabulary and a picture in %s", folder)
    keras.utils.set_random_seed(2020)
    random_model = CMPC(CONFIG, name="cmpc")
    save_model(random_model, folder / "random.keras")
    (folder / "vocabulary.txt").write_text("\n".join(VOCABULARY) + "\n")
    write_image(folder / "picture.png", draw_picture())

    checkpoint = folder / "tf1" / "unc_iter_0.tfmodel"
    os.makedirs(checkpoint.parent, exist_ok=True)
    call(converter, "--to-tf1", "--model", folder / "random.keras", "--output", checkpoint)
    model_file = folder / "cmpc.keras"
    options = ["--vocabulary", folder / "vocabulary.txt", "--report", folder / "conversion.json"]
    call(converter, "--checkpoint", checkpoint, "--output", model_file, *options)
    for old, new in zip(random_model.variables, load_model(model_file).variables, strict=True):
        if not np.array_equal(old, new):
            raise InputError(f"{model_file}: {new.path} differs from the model that the checkpoint was written from")
    logger.info("Every weight came back unchanged.")

    expressions = [word for expression in EXPRESSIONS for word in ("--expression", expression)]
    files = ["--image", folder / "picture.png", "--output", folder / "overlay.png"]
    call("-m", "cmpc_tf2", "predict", "--model", model_file, *files, *expressions)


def call(*command):
    """Runs a command as a user would, and shows it."""
    command = [str(part) for part in command]
    shown = [os.path.relpath(part) if os.path.isabs(part) else part for part in command]
    print("$ python", shlex.join(shown), flush=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if subprocess.run([sys.executable, *command], env=environment).returncode:
        raise InputError("the command above failed")


def draw_picture() -> np.ndarray:
    """A few coloured shapes on grey; uint8 RGB `(300, 420, 3)`."""
    image = np.full((300, 420, 3), 200, np.uint8)
    cv2.circle(image, (300, 110), 60, (210, 40, 40), thickness=-1)
    cv2.circle(image, (360, 240), 35, (40, 160, 60), thickness=-1)
    cv2.rectangle(image, (50, 120), (150, 220), (40, 70, 200), thickness=-1)
    return image
