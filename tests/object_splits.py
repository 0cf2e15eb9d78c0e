"""A small detector, and small splits of objects for two-stage models."""

import io

import numpy as np
from PIL import Image

from cmpc_tf2.data.batches import batch_path, write_batch
from cmpc_tf2.data.objects import ObjectSample
from cmpc_tf2.data.segmentations import run_lengths
from cmpc_tf2.model_files import save_model
from cmpc_tf2.models.mask_rcnn_c4.config import MaskRCNNC4Config
from cmpc_tf2.models.mask_rcnn_c4.model import MaskRCNNC4
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
