"""Scores of models that choose among given boxes, as MAttNet: by annotated boxes, by detected boxes, and by masks.

Boxes are x, y, width and height in pixels.
"""

import dataclasses

import numpy as np

# A detected box is right if its IoU reaches this.
THRESHOLD = 0.5
# An object has an attribute if its probability reaches this.
ATTRIBUTE_THRESHOLD = 0.5


def chooses_annotation(scores: np.ndarray, target: int) -> bool:
    """Whether the annotated box with the highest score is the right one.

    Args:
        scores: `(n,)`, of all annotated boxes of the picture.
        target: The number of the right one.
    """
    return int(np.argmax(scores)) == target


def is_right(box: np.ndarray, target: np.ndarray) -> bool:
    """Whether a detected box is right: its IoU with the annotated one is at least 0.5."""
    return iou(box, target) >= THRESHOLD


def iou(box: np.ndarray, target: np.ndarray) -> float:
    """The IoU of two boxes, `(4,)`, whose last pixels are at x + width - 1 and y + height - 1.

    Boxes that share a single row or column of pixels do not overlap.

    Source: `computeIoU` in `lib/models/eval_dets_utils.py` of lichengunc/MAttNet (commit 3204d07).
    """
    box, target = np.asarray(box, np.float64), np.asarray(target, np.float64)
    sides = np.minimum(box[:2] + box[2:] - 1, target[:2] + target[2:] - 1) - np.maximum(box[:2], target[:2])
    shared = (sides + 1).prod() if (sides > 0).all() else 0.0
    return float(shared / (box[2:].prod() + target[2:].prod() - shared))


@dataclasses.dataclass(frozen=True)
class AttributeScores:
    """How well attributes were found, over all objects that have any.

    Attributes:
        precision: Share of the found attributes that are right; None if none was found.
        recall: Share of the annotated attributes that were found; None if there is none.
        f1: Their harmonic mean; 0 if both are, None if one of them is.
    """

    precision: float | None
    recall: float | None
    f1: float | None


def attribute_scores(logits: np.ndarray, labels: np.ndarray) -> AttributeScores:
    """Scores the attributes of referred objects. Those without any do not count.

    Args:
        logits: `(N, A)`.
        labels: `(N, A)`, 0 or 1.
    """
    is_labelled = np.asarray(labels) > 0
    # The original rounds probabilities to float32 before it compares them.
    with np.errstate(over="ignore"):
        probabilities = 1 / (1 + np.exp(-np.asarray(logits, np.float32)))
    is_found = (probabilities >= ATTRIBUTE_THRESHOLD) & is_labelled.any(axis=-1, keepdims=True)
    right, found, expected = (int(np.sum(one)) for one in (is_found & is_labelled, is_found, is_labelled))
    precision = right / found if found else None
    recall = right / expected if expected else None
    if precision is None or recall is None:
        return AttributeScores(precision, recall, None)
    return AttributeScores(precision, recall, 2 * right / (found + expected))
