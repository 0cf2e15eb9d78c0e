"""Both models in training mode and in float64: the losses of the original's first step follow from their outputs."""

import keras
import numpy as np
import pytest
from keras import ops

from cmpc_tf2.layers.torch_normalization import TorchBatchNormalization
from cmpc_tf2.precision import building_with
from cogrounding_original import TINY, TINY_CLIPS, assign_by_rule, read_golden, read_manifest
from cogrounding_tf2.config import GRIDS
from cogrounding_tf2.conversion.names import image_pairs, video_pairs
from cogrounding_tf2.models.cg_sl_att import CGSLAtt
from cogrounding_tf2.models.sl_att import SLAtt

# Relative to the picture.
ANCHORS = (
    np.array([(373, 326), (156, 198), (116, 90), (59, 119), (62, 45), (30, 61), (33, 23), (16, 30), (10, 13)]) / 416
)


def normalize(pictures: np.ndarray) -> np.ndarray:
    """As PyTorch rounds it, in float32, then as float64: `Preprocessing.normalize` differs by 1e-7."""
    mean, deviation = np.float32((0.485, 0.456, 0.406)), np.float32((0.229, 0.224, 0.225))
    return ((pictures / np.float32(255) - mean) / deviation).astype("float64")


def without_dropout(model):
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    return model


@pytest.fixture(scope="module")
def image_outputs():
    golden = read_golden("image_tiny")
    with building_with("float64"):
        model = without_dropout(SLAtt(TINY))
    assign_by_rule(model.weights, image_pairs(TINY), read_manifest("image_tiny"))
    order = golden["train/order"][0]
    image = normalize(np.stack([golden[f"{sample}/image"] for sample in order]))
    words = np.stack([golden[f"{sample}/words"] for sample in order]).astype("int32")
    boxes = np.stack([golden[f"{sample}/box"] for sample in order])
    outputs = model({"image": ops.convert_to_tensor(image), "token_ids": ops.convert_to_tensor(words)}, training=True)
    return outputs, boxes, golden["train64/trajectory"][0]


@pytest.fixture(scope="module")
def pair_outputs():
    golden = read_golden("video_tiny")
    with building_with("float64"):
        model = CGSLAtt(TINY_CLIPS)
        pair_model = without_dropout(model.pair_model())
    assign_by_rule(model.weights, video_pairs(TINY_CLIPS), read_manifest("video_tiny"))
    order = golden["train/order"][0]
    clip = normalize(golden["frames"][order][:, 1:3])
    words, boxes = golden["words"][order].astype("int32"), golden["boxes"][order][:, 1:3].reshape(-1, 4)
    outputs = pair_model(
        {"clip": ops.convert_to_tensor(clip), "token_ids": ops.convert_to_tensor(words)}, training=True
    )
    return outputs, boxes, golden["train64/trajectory"][0]


def target_of(box: np.ndarray) -> tuple[int, int, np.ndarray]:
    """Index of the target among the boxes and among the places, and its x, y, w, h."""
    x1, y1, x2, y2 = np.clip(box.astype("float64"), 0, 255)
    size = np.array([x2 - x1, y2 - y1]) / 256
    common = np.minimum(size, ANCHORS).prod(-1)
    best = int(np.argmax(common / (size.prod() + ANCHORS.prod(-1) - common)))
    scale, anchor = divmod(best, 3)
    side = GRIDS[scale]
    centre = np.array([x1 + x2, y1 + y2]) / 512 * side
    column, row = centre.astype(int)
    start, cell = sum(n * n for n in GRIDS[:scale]), row * side + column
    size_target = np.log(size / ANCHORS[best])
    values = np.concatenate([centre - [column, row], size_target])
    return 3 * start + anchor * side * side + cell, start + cell, values


def cross_entropy(logits: np.ndarray, targets: list[int]) -> float:
    highest = logits.max(axis=1)
    chosen = logits[range(len(targets)), targets]
    return float(np.mean(highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1)) - chosen))


def losses_of(outputs: dict, boxes: np.ndarray) -> list[float]:
    """The yolo loss, the rank loss and the location loss."""
    found = {name: ops.convert_to_numpy(value) for name, value in outputs.items()}
    assert all(value.dtype == np.float64 for value in found.values())
    indices, places, values = zip(*map(target_of, boxes), strict=True)
    rows = np.arange(len(boxes))
    numbers = found["box_logits"][rows, list(indices), :4]
    numbers[:, :2] = 1 / (1 + np.exp(-numbers[:, :2]))
    yolo = 5 * np.square(numbers - np.stack(values)).mean(axis=0).sum()
    yolo += cross_entropy(found["box_logits"][..., 4], indices)
    other, places = rows[::-1], np.array(places)
    right = found["similarity"][rows, places]
    swapped = (found["subject"][other] * found["visual"][rows, places]).sum(-1)
    misplaced = found["similarity"][rows, places[other]]
    rank = sum(np.maximum(0.1 + wrong - right, 0).sum() for wrong in (swapped, misplaced)) / (2 * len(rows))
    return [yolo, rank, cross_entropy(found["location"], places)]


def test_momentum():
    """Convolutions behind the backbone take nearly all of the new batch, all other norms a tenth."""
    model = CGSLAtt(TINY_CLIPS)
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, TorchBatchNormalization)]
    assert len(norms) == 72 + 4 + 18
    for norm in norms:
        assert norm.momentum == (0.999 if norm.path.endswith("/bn") else 0.1), norm.path


@pytest.mark.parametrize("form", ["image_outputs", "pair_outputs"])
def test_losses_of_the_first_step(form, request, parity):
    outputs, boxes, expected = request.getfixturevalue(form)
    parity.within("Co-Grounding: losses of the first step", losses_of(outputs, boxes), expected[:3], 1e-9, name=form)
