"""A small detector, small splits of objects for two-stage models, and what holds for runs on them."""

import io
import shutil

import keras
import numpy as np
from PIL import Image

from cmpc_tf2.cli import main
from cmpc_tf2.commands.train import read_config
from cmpc_tf2.data.batches import batch_path, write_batch
from cmpc_tf2.data.objects import ObjectSample
from cmpc_tf2.data.segmentations import run_lengths
from cmpc_tf2.model_files import load_model, save_model
from cmpc_tf2.models.mask_rcnn_c4.config import MaskRCNNC4Config
from cmpc_tf2.models.mask_rcnn_c4.model import MaskRCNNC4
from cmpc_tf2.training.checkpoints import find_checkpoints
from cmpc_tf2.training.run import start_model
from original import weight_by_rule

DETECTOR = MaskRCNNC4Config(
    {"width": 2, "depths": [1, 1, 1, 1]}, classes=4, rpn_dim=6, mask_dim=5, shorter_side=48, longer_side=80,
    candidates=40, proposals=6, training_candidates=60, training_proposals=12,
)  # fmt: skip
WORDS = ["<pad>", "<unk>", "the", "red", "man", "left", "right", "one"]
BOXES = np.array([[2, 3, 20, 30], [30, 5, 15, 25], [10, 20, 30.5, 12]])


def write_split(root, split, pictures=3):
    """For each picture two objects, with two sentences and with one, and a third object without any."""
    folder = batch_path(root, "shapes", split, 0).parent
    folder.mkdir(parents=True)
    number = 0
    for picture in range(pictures):
        file = io.BytesIO()
        pixels = np.random.default_rng([len(split), picture]).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, "png")
        for index, sentences in enumerate((["the left man", "red one"], ["right man"])):
            mask = np.zeros((40, 60), bool)
            mask[5:20, 10:30] = True
            words = (("red", "left"), ("red",))[index]
            facts = (BOXES, np.array([1, 1, 2]), index, mask.shape, run_lengths(mask), words)
            for sentence in sentences:
                sample = ObjectSample(np.arange(20), np.frombuffer(file.getvalue(), np.uint8), *facts, sentence)
                write_batch(batch_path(root, "shapes", split, number), sample)
                number += 1


def write_files_to_start_from(root, config: MaskRCNNC4Config = DETECTOR):
    """`detector.keras` and `words.txt`."""
    detector = MaskRCNNC4(config)
    for weight in detector.weights:
        weight.assign(weight_by_rule(weight.path, weight.shape))
    save_model(detector, root / "detector.keras")
    (root / "words.txt").write_text("\n".join(WORDS) + "\n")


def require_same_steps_when_resumed(run, folder):
    """Resumes a copy of a run of 4 steps as if it had been killed before its last checkpoint; all must be equal."""
    shutil.copytree(run, folder)
    checkpoints = find_checkpoints(folder / "checkpoints")
    assert list(checkpoints) == [2, 4]
    shutil.rmtree(checkpoints[4])
    (folder / "last.keras").unlink()
    assert main(["train", "--output-dir", str(folder), "--resume"]) == 0
    expected, found = (load_model(path / "last.keras").weights for path in (run, folder))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)
    assert (folder / "log.csv").read_text() == (run / "log.csv").read_text()


def require_initial_weights_of_the_seed(run):
    """The weights that a run starts from are random, and the same for the same seed."""
    config, weights = read_config(run / "config.json"), []
    for _ in range(2):
        keras.utils.set_random_seed(config.seed)
        model = start_model(config, WORDS)
        weights.append({weight.path: np.asarray(weight) for weight in model.weights})
    first, again = weights
    for path, weight in first.items():
        np.testing.assert_array_equal(weight, again[path], err_msg=path)
    fixed = {weight.path for weight in model.detector.weights}
    assert any(np.ptp(weight) > 0 for path, weight in first.items() if path not in fixed)
