"""The losses of the original, and a metric for training batches.

Everything is computed in the dtype of the outputs, float32 or float64.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from cogrounding_tf2.config import IMAGE_SIZE, PROPOSED
from cogrounding_tf2.models.package import PACKAGE
from cogrounding_tf2.models.proposals import ANCHORS_IN_CELLS, FIRST_PLACES, PROPOSALS, SIDES

# Factor of the errors of the box in the first loss, and factor and margin of the second.
BOX_WEIGHT, RANK_WEIGHT, MARGIN = 5.0, 100.0, 0.1


class Targets(NamedTuple):
    """What the outputs are compared with, the anchor with the largest overlap and the cell of the centre.

    Attributes:
        proposal: The number of the proposal, int `(B,)`, among 4032.
        place: Its place, int `(B,)`, among 1344.
        values: tx, ty, tw, th, float `(B, 4)`.
    """

    proposal: Any
    place: Any
    values: Any


def targets_of(boxes) -> Targets:
    """The targets of boxes in the square: x1, y1, x2, y2 in pixels, float `(B, 4)`."""
    boxes = ops.clip(boxes, 0, IMAGE_SIZE - 1)
    anchors = ops.convert_to_tensor(ANCHORS_IN_CELLS, boxes.dtype)
    sides = ops.convert_to_tensor(SIDES, boxes.dtype)
    sizes = ((boxes[:, 2:] - boxes[:, :2]) / IMAGE_SIZE)[:, None] * sides[:, None]  # (B, 9, 2), in cells.
    shared = ops.prod(ops.minimum(sizes, anchors), axis=-1)
    overlap = shared / (ops.prod(sizes, axis=-1) + ops.prod(anchors, axis=-1) - shared + 1e-16)
    best = ops.argmax(overlap, axis=-1)
    side = ops.take(ops.convert_to_tensor(SIDES, "int32"), best)
    centre = (boxes[:, :2] + boxes[:, 2:]) / (2 * IMAGE_SIZE) * ops.cast(side, boxes.dtype)[:, None]
    cell = ops.floor(centre)
    column, row = (ops.cast(cell[:, axis], "int32") for axis in range(2))
    in_scale = row * side + column
    first = ops.take(ops.convert_to_tensor(FIRST_PLACES, "int32"), best)
    anchor = ops.cast(best, "int32") % PROPOSED  # Of the scale.
    size = ops.take_along_axis(sizes, best[:, None, None], axis=1)[:, 0]
    scaled = ops.log(size / ops.take(anchors, best, axis=0) + 1e-16)
    values = ops.concatenate([centre - cell, scaled], axis=-1)
    return Targets(3 * first + anchor * side * side + in_scale, first + in_scale, values)


def detection_loss(box_logits, targets: Targets):
    """The errors of the target's proposal, and the cross-entropy of its confidence among all.

    Args:
        box_logits: `(B, 4032, 5)`.
        targets: The targets.
    """
    chosen = ops.take_along_axis(box_logits, targets.proposal[:, None, None], axis=1)[:, 0]
    predicted = ops.concatenate([ops.sigmoid(chosen[:, :2]), chosen[:, 2:4]], axis=-1)
    errors = ops.mean(ops.square(predicted - targets.values), axis=0)
    return BOX_WEIGHT * ops.sum(errors) + _cross_entropy(box_logits[..., 4], targets.proposal)


def rank_loss(similarity, visual, subject, targets: Targets):
    """A place fits its own sentence better than another sentence, and the sentence its own place better than another.

    The other sample is that at the same place of the batch in reverse order.

    Args:
        similarity: `(B, 1344)`.
        visual: `(B, 1344, D)`.
        subject: `(B, D)`.
        targets: The targets.
    """
    other_subject, other_place = ops.flip(subject, axis=0), ops.flip(targets.place, axis=0)
    own = ops.take_along_axis(similarity, targets.place[:, None], axis=1)[:, 0]
    features = ops.take_along_axis(visual, targets.place[:, None, None], axis=1)[:, 0]
    of_subject = ops.sum(other_subject * features, axis=-1)
    of_place = ops.take_along_axis(similarity, other_place[:, None], axis=1)[:, 0]
    return ops.mean(ops.relu(MARGIN + of_subject - own) + ops.relu(MARGIN + of_place - own)) / 2


def location_loss(location, targets: Targets):
    """The cross-entropy of the target's place among all, of the scores of positions, `(B, 1344)`."""
    return _cross_entropy(location, targets.place)


def _cross_entropy(scores, index):
    chosen = ops.take_along_axis(scores, index[:, None], axis=1)[:, 0]
    return ops.mean(ops.logsumexp(scores, axis=-1) - chosen)


@keras.saving.register_keras_serializable(package=PACKAGE)
class BoxAccuracy(keras.metrics.Mean):
    """Share of samples whose best box has an IoU above 0.5, in the square.

    Call arguments:
        y_true: x1, y1, x2, y2 in pixels of the square, `(..., 4)`; B boxes in all.
        y_pred: `box_logits`, `(B, 4032, 5)`.
    """

    def __init__(self, name="accuracy", dtype=None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth = ops.cast(ops.reshape(y_true, (-1, 4)), y_pred.dtype)
        box = best_box(y_pred)
        sides = ops.minimum(box[:, 2:], truth[:, 2:]) - ops.maximum(box[:, :2], truth[:, :2])
        shared = ops.prod(ops.maximum(sides, 0), axis=-1)
        areas = (ops.prod(one[:, 2:] - one[:, :2], axis=-1) for one in (box, truth))
        super().update_state(shared / (sum(areas) - shared + 1e-16) > 0.5, sample_weight)


def best_box(box_logits):
    """The box with the highest confidence: x1, y1, x2, y2 in pixels of the square, `(B, 4)`."""
    best = ops.argmax(box_logits[..., 4], axis=-1)
    logits = ops.take_along_axis(box_logits, best[:, None, None], axis=1)[:, 0]

    def of_best(values):
        return ops.take(ops.convert_to_tensor(values, logits.dtype), best, axis=0)

    stride = of_best(IMAGE_SIZE / PROPOSALS["side"])[:, None]
    cells = of_best(np.stack([PROPOSALS["column"], PROPOSALS["row"]], axis=-1))
    centre = (ops.sigmoid(logits[:, :2]) + cells) * stride
    half = ops.exp(logits[:, 2:4]) * of_best(ANCHORS_IN_CELLS[PROPOSALS["anchor"]]) * stride / 2
    return ops.concatenate([centre - half, centre + half], axis=-1)
