"""Scores of models that choose boxes, as MAttNet and CAC: among annotated boxes, and of detected ones.

Boxes are x, y, width and height in pixels.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from cmpc_tf2.tasks.task import Scores

# A detected box is right if its IoU reaches this.
THRESHOLD = 0.5
# An object has an attribute if its probability reaches this.
ATTRIBUTE_THRESHOLD = 0.5
# Shares of the expressions with the right box, by name: what the record of a sample says of it, and the share in words.
SHARES = {
    "given_boxes": ("given_box", "right box of the annotated ones"),
    "detected_boxes": ("detected_box", "right box of the detected ones"),
}


@dataclasses.dataclass(frozen=True)
class BoxShares(Scores):
    """Shares of the expressions for which a model chooses the right box.

    Attributes:
        names: Some of `SHARES`.
    """

    names: tuple[str, ...]

    @classmethod
    def of(cls, records: list[dict]) -> "BoxShares | None":
        """Those that all records allow; None if there is none."""
        names = tuple(name for name, (key, _) in SHARES.items() if all(key in record for record in records))
        return cls(names) if names else None

    def numbers_of(self, records: list[dict]) -> list[list[bool]]:
        """What the records of samples say, for `columns`."""
        return [[record[SHARES[name][0]] for name in self.names] for record in records]

    @property
    def titles(self) -> list[str]:
        """The shares in words."""
        return [SHARES[name][1] for name in self.names]

    def columns(self, numbers: Sequence) -> np.ndarray:
        """1, and for each share whether the sample counts: float64 `(N, 1 + S)`."""
        numbers = np.asarray(numbers, np.float64).reshape(-1, len(self.names))
        return np.column_stack([np.ones(len(numbers)), numbers])

    def from_sums(self, sums: np.ndarray) -> np.ndarray:
        """The shares, `(..., S)`."""
        with np.errstate(invalid="ignore"):
            return sums[..., 1:] / sums[..., :1]

    def as_report(self, values: Sequence) -> dict:
        """The shares by name."""
        return dict(zip(self.names, values, strict=True))


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


def boxes_to_sides(boxes: np.ndarray) -> np.ndarray:
    """Boxes as x, y, width and height, float64 `(n, 4)`, given the corners, both included.

    A box with its corners swapped has a width or height below 1, and overlaps with nothing.
    """
    corners = np.asarray(boxes, np.float64)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2] + 1], axis=1)


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
