"""How good masks are: overall IoU, mean IoU, precision at IoU thresholds."""

import numpy as np

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


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
    """

    def __init__(self, thresholds: tuple[float, ...] = THRESHOLDS):
        self.thresholds = thresholds
        self._pairs: list[tuple[int, int]] = []

    def add(self, intersection: int, union: int):
        """Takes in one sample."""
        self._pairs.append((intersection, union))

    def summary(self) -> dict:
        """Scores as fractions.

        Returns:
            `overall_iou`: sum of intersections over sum of unions. `mean_iou`: mean of each sample's IoU.
            `precision`: share of samples per threshold. All None if there is no sample.
        """
        if not self._pairs:
            return {"overall_iou": None, "mean_iou": None, "precision": {str(x): None for x in self.thresholds}}
        intersections, unions = np.array(self._pairs).T
        ious = np.array([iou(i, u) for i, u in self._pairs])
        return {
            "overall_iou": iou(int(intersections.sum()), int(unions.sum())),
            "mean_iou": float(ious.mean()),
            "precision": {str(x): float((ious >= x).mean()) for x in self.thresholds},
        }
