"""Metrics of masks: overall IoU, mean IoU, precision at IoU thresholds."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from cmpc_tf2.tasks.task import Scores, Variant

# The masks of a sample that are scored.
VARIANTS = {
    "plain": Variant("", "without DenseCRF", "original's protocol"),
    "dcrf": Variant("dcrf_", "with DenseCRF", "with DenseCRF"),
    "own_size": Variant(
        "own_size_", "masks as predict gives them, at the picture's own size", "predict's masks, own size"
    ),
}


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


def counts_of(records: list[dict], variant: str) -> list[tuple[int, int]]:
    """Intersection and union of the records of samples, for one of `VARIANTS`."""
    prefix = VARIANTS[variant].prefix
    return [(record[f"{prefix}intersection"], record[f"{prefix}union"]) for record in records]


def coco_map(ious: Sequence[float], scores: Sequence[float]) -> float:
    """COCO's mean average precision of one scored mask per sample, each against the one object of its sample.

    All masks are ranked by score. The precision is interpolated at 101 recalls, and averaged over them and over the IoU
    thresholds 0.5, 0.55, ..., 0.95.

    Source: `COCOeval.accumulate` of pycocotools, categories ignored; `evaluate` in MTTR scores A2D-Sentences by it.

    Args:
        ious: IoU of each mask, 0 to 1.
        scores: Its score.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    ious = np.asarray(ious, np.float64)[order]
    ranks, recalls = np.arange(1, len(ious) + 1), np.linspace(0, 1, 101)
    precisions = []
    for threshold in np.linspace(0.5, 0.95, 10):
        found = np.cumsum(ious >= threshold)
        # The best precision at this recall or a higher one; 0 beyond the highest.
        best = np.maximum.accumulate((found / ranks)[::-1])[::-1]
        places = np.searchsorted(found / len(ious), recalls, side="left")
        precisions.append(np.append(best, 0.0)[places].mean())
    return float(np.mean(precisions))


@dataclasses.dataclass(frozen=True)
class ScoreSet(Scores):
    """The scores of masks.

    Attributes:
        thresholds: IoU values for the precision; a sample counts from the threshold on (IoU >= X).
        average_precision: Whether the mean of the precisions is a score of its own.
    """

    thresholds: tuple[float, ...]
    average_precision: bool = False

    @property
    def titles(self) -> list[str]:
        """Names of the scores in words, in the order of `from_sums`."""
        precisions = [f"precision@{threshold}" for threshold in self.thresholds]
        return ["overall IoU", "mean IoU", *precisions, *["average precision"] * self.average_precision]

    def columns(self, pairs: np.ndarray) -> np.ndarray:
        """The numbers to sum: 1, intersection, union, IoU, and for each threshold whether the IoU reaches it.

        Args:
            pairs: `(N, 2)`, intersection and union of each sample.

        Returns:
            float64 `(N, 4 + X)`, in which all numbers but the IoU are whole.
        """
        pairs = np.asarray(pairs, np.float64).reshape(-1, 2)
        ious = _ratio(*pairs.T)
        reached = ious[:, None] >= np.array(self.thresholds)
        return np.column_stack([np.ones(len(pairs)), pairs, ious, reached])

    def from_sums(self, sums: np.ndarray) -> np.ndarray:
        """The scores, as fractions.

        Args:
            sums: `(..., 4 + X)`, sums of `columns`.

        Returns:
            float64 `(..., S)`: overall IoU (sum of intersections over sum of unions), mean IoU (mean of each sample's),
            precisions (shares of samples), and their mean, if it is a score. NaN where there is no sample.
        """
        counts, intersections, unions = np.moveaxis(sums[..., :3], -1, 0)
        with np.errstate(invalid="ignore"):
            means = sums[..., 3:] / counts[..., None]
        overall = np.where(counts > 0, _ratio(intersections, unions), np.nan)
        averages = [means[..., 1:].mean(-1, keepdims=True)] * self.average_precision
        return np.concatenate([overall[..., None], means, *averages], axis=-1)

    def as_report(self, values: Sequence) -> dict:
        """Values in the order of `from_sums` as reports have them.

        Returns:
            `overall_iou`, `mean_iou`, `precision` by threshold, and `average_precision`, if it is a score.
        """
        overall, mean, *precisions = values
        average = {"average_precision": precisions.pop()} if self.average_precision else {}
        precision = dict(zip(map(str, self.thresholds), precisions, strict=True))
        return {"overall_iou": overall, "mean_iou": mean, "precision": precision} | average


def _ratio(intersections: np.ndarray, unions: np.ndarray) -> np.ndarray:
    """As `iou`, of arrays."""
    return np.divide(intersections, unions, out=np.ones_like(unions), where=unions > 0)
