"""Metrics of masks: overall IoU, mean IoU, precision at IoU thresholds."""

import numpy as np


def intersection_and_union(prediction: np.ndarray, target: np.ndarray) -> tuple[int, int]:
    """Pixels in both masks, and in either. Every non-zero value counts as foreground.

    Args:
        prediction: `(h, w)`.
        target: `(h, w)`.
    """
    prediction, target = prediction != 0, target != 0
    return int(np.sum(prediction & target)), int(np.sum(prediction | target))


def iou(intersection: int, union: int) -> float:
    """Intersection over union; 1 if both masks are empty, where the original divides by zero."""
    return intersection / union if union else 1.0


class SegmentationScores:
    """Collects intersections and unions of a split.

    Args:
        thresholds: IoU values for the precision; a sample counts from the threshold on (IoU >= X).
        average_precision: Also return the mean of the precisions.
    """

    def __init__(self, thresholds: tuple[float, ...], average_precision: bool = False):
        self.thresholds = thresholds
        self._has_average = average_precision
        self._pairs: list[tuple[int, int]] = []

    def add(self, intersection: int, union: int):
        """Adds a sample."""
        self._pairs.append((intersection, union))

    def summary(self) -> dict:
        """Scores as fractions.

        Returns:
            `overall_iou`: sum of intersections over sum of unions. `mean_iou`: mean of each sample's IoU.
            `precision`: share of samples per threshold. `average_precision`: their mean, if requested. All None if
            there is no sample.
        """
        if not self._pairs:
            scores = {"overall_iou": None, "mean_iou": None, "precision": {str(x): None for x in self.thresholds}}
            return scores | ({"average_precision": None} if self._has_average else {})
        intersections, unions = np.array(self._pairs).T
        ious = np.array([iou(i, u) for i, u in self._pairs])
        precision = {str(x): float((ious >= x).mean()) for x in self.thresholds}
        scores = {
            "overall_iou": iou(int(intersections.sum()), int(unions.sum())),
            "mean_iou": float(ious.mean()),
            "precision": precision,
        }
        return scores | ({"average_precision": float(np.mean([*precision.values()]))} if self._has_average else {})
