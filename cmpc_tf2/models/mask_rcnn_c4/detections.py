"""The objects of a picture, chosen from the boxes of all classes."""

import dataclasses

import numpy as np

# Overlap at which a box of the same class is left out.
OVERLAP = 0.3
# Least score of a detection. If no box has it, it falls by the step until one has.
LEAST_SCORE, STEP = 0.65, 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class Detections:
    """Objects of a picture, by class and then by falling score.

    Attributes:
        boxes: float32 `(n, 4)`, x1, y1, x2, y2 in pixels of the picture. Some may lie outside, with swapped corners.
        classes: int64 `(n,)`, from 1; 0 is the background.
        scores: float32 `(n,)`.
    """

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)


def select_detections(boxes: np.ndarray, probabilities: np.ndarray) -> Detections:
    """The detections among the boxes of a picture.

    There is at least one: the least score falls until there is, in the worst case below zero.

    Differs from the original: the classes are in their order, not in that of the hashes of their names.

    Args:
        boxes: float32 `(n, classes, 4)`, with n of at least 1.
        probabilities: float32 `(n, classes)`.
    """
    best, least = probabilities[:, 1:].max(), LEAST_SCORE
    while best < least:
        least -= STEP
    kept = []
    for number in range(1, probabilities.shape[1]):
        # Boxes with lower scores suppress none of these.
        chosen = np.flatnonzero(probabilities[:, number] >= least)
        chosen = chosen[suppress(boxes[chosen, number], probabilities[chosen, number], OVERLAP)]
        kept += [(row, number) for row in chosen]
    rows, classes = np.array(kept, np.int64).reshape(-1, 2).T
    return Detections(boxes[rows, classes], classes, probabilities[rows, classes])


def suppress(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> np.ndarray:
    """Non-maximum suppression of boxes that may be inverted, which TensorFlow takes for boxes with swapped corners.

    As `tensorflow_operations.suppress` otherwise. Inverted boxes overlap with nothing.

    Args:
        boxes: float32 `(n, 4)`.
        scores: float32 `(n,)`.
        overlap: Least overlap of a box that is left out.

    Returns:
        Indices of the boxes to keep, by falling score.
    """
    corners = boxes + np.float32([0, 0, 1, 1])
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    kept, left = [], np.argsort(-scores, kind="stable")
    while len(left):
        first, left = left[0], left[1:]
        kept.append(first)
        upper_left = np.maximum(corners[first, :2], corners[left, :2])
        lower_right = np.minimum(corners[first, 2:], corners[left, 2:])
        common = np.maximum(lower_right - upper_left, 0).prod(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):  # An inverted box can have an area below zero.
            overlaps = common / (areas[first] + areas[left] - common)
        left = left[~(overlaps >= np.float32(overlap))]
    return np.array(kept, np.intp)
