"""Scores of answers that have both a box and a mask, as CAC is scored.

Source: `eval_split` in `lib/model/test.py` of wenz116/lang2seg (commit 3af9a47).
"""

from typing import NamedTuple

import numpy as np

from cmpc_tf2.tasks.boxes.candidates import THRESHOLD, iou
from cmpc_tf2.tasks.nearest import resize_nearest


class Outcome(NamedTuple):
    """How an answer compares with the annotation.

    Attributes:
        box_iou: Intersection over union of the boxes.
        has_right_box: Whether that is at least one half.
        intersection: Pixels that both masks have.
        union: Pixels that one of them has.
    """

    box_iou: float
    has_right_box: bool
    intersection: int
    union: int


def compare(
    box: np.ndarray,
    mask: np.ndarray,
    target_box: np.ndarray,
    target_mask: np.ndarray,
    scaled_size: tuple[int, int] | None = None,
) -> Outcome:
    """Compares an answer with the annotation.

    The original compares masks with one that it has resized to the scaled picture and back, both by the nearest
    neighbour. Where the picture is enlarged, as most are, that is the annotation itself. Where it is made smaller,
    pixels at the rim differ.

    Args:
        box: The answer, x1, y1, x2, y2 in pixels of the picture, both corners included. With its corners swapped, it
            overlaps with nothing.
        mask: Its mask, bool `(h, w)`.
        target_box: The annotation, as COCO has it: x, y, width and height.
        target_mask: Its mask, bool `(h, w)`.
        scaled_size: Height and width of the scaled picture, for the original's mask; None for the annotation itself.
    """
    x1, y1, x2, y2 = np.asarray(box, np.float64)
    overlap = iou(np.array([x1, y1, x2 - x1 + 1, y2 - y1 + 1]), target_box)
    if scaled_size:
        target_mask = resize_nearest(resize_nearest(target_mask, *scaled_size), *mask.shape)
    found, wanted = np.asarray(mask, bool), np.asarray(target_mask, bool)
    intersection, union = int((found & wanted).sum()), int((found | wanted).sum())
    return Outcome(overlap, overlap >= THRESHOLD, intersection, union)
