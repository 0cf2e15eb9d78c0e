"""Metrics of boxes: accuracy at an IoU above one half, and mean IoU."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from cmpc_tf2.tasks.task import Scores, Variant

# An answer is right if its IoU is above this.
THRESHOLD = 0.5
# The ways in which the box of a sample is scored.
VARIANTS = {
    "plain": Variant("", "original's protocol, boxes in whole pixels of the square", "original's protocol"),
    "exact": Variant("exact_", "boxes as predict gives them, against the annotation", "exact boxes"),
}


def intersection_and_union(box: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Areas that two boxes share, and that they cover together, in pixels.

    Args:
        box: x1, y1, x2, y2, `(4,)`; the area of a box with its corners swapped is that of the product of its sides.
        target: As `box`.

    Returns:
        Numbers in the precision of the boxes; the original computes in float32.
    """
    sides = np.minimum(box[2:], target[2:]) - np.maximum(box[:2], target[:2])
    shared = np.maximum(sides, 0).prod()
    return float(shared), float((box[2:] - box[:2]).prod() + (target[2:] - target[:2]).prod() - shared)


@dataclasses.dataclass(frozen=True)
class BoxScores(Scores):
    """The scores of boxes."""

    titles: ClassVar[list[str]] = ["accuracy@0.5", "mean IoU"]

    def columns(self, pairs: np.ndarray) -> np.ndarray:
        """1, IoU, and whether it is above one half: float64 `(N, 3)`."""
        intersections, unions = np.asarray(pairs, np.float32).reshape(-1, 2).T
        ious = intersections / (unions + np.float32(1e-16))
        return np.column_stack([np.ones(len(ious)), ious, ious > THRESHOLD]).astype(np.float64)

    def from_sums(self, sums: np.ndarray) -> np.ndarray:
        """The share of right answers, and the mean IoU: `(..., 2)`."""
        with np.errstate(invalid="ignore"):
            means = sums[..., 1:] / sums[..., :1]
        return means[..., ::-1]

    def as_report(self, values: Sequence) -> dict:
        """`accuracy` and `mean_iou`."""
        return dict(zip(("accuracy", "mean_iou"), values, strict=True))
