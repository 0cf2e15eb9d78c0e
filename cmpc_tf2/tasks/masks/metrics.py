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
        ious = np.array([iou(*pair) for pair in self._pairs])

        def mean(values) -> float | None:
            return float(np.mean(values)) if self._pairs else None

        precision = {str(x): mean(ious >= x) for x in self.thresholds}
        overall = iou(*map(sum, zip(*self._pairs, strict=True))) if self._pairs else None
        scores = {"overall_iou": overall, "mean_iou": mean(ious), "precision": precision}
        return scores | ({"average_precision": mean([*precision.values()])} if self._has_average else {})
