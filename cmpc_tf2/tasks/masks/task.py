"""Referring segmentation: the interface for the commands."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from cmpc_tf2.tasks.masks.metrics import VARIANTS, ScoreSet, coco_map, counts_of, iou

if TYPE_CHECKING:
    from cmpc_tf2.tasks.masks.protocol import Protocol


@dataclasses.dataclass(frozen=True)
class MaskTask:
    """Segments what an expression refers to.

    Attributes:
        thresholds: IoU values for the precision.
        average_precision: Whether the mean over these is a score of its own, and COCO's mAP is computed.
    """

    thresholds: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9)
    average_precision: bool = False

    @property
    def scores(self) -> ScoreSet:
        """The scores."""
        return ScoreSet(self.thresholds, self.average_precision)

    def summarize(self, records: list[dict]) -> dict:
        """Scores of a split from the records of its samples.

        Returns:
            By variant: `plain`; `dcrf`, None without DenseCRF; and `own_size`. Perhaps `coco_map`, a number, of the
            masks in `own_size`.
        """
        found = {
            variant: self.scores.summarize(counts_of(records, variant)) if f"{prefix}union" in records[0] else None
            for variant, prefix in VARIANTS.items()
        }
        if self.average_precision:
            ious = [iou(*counts) for counts in counts_of(records, "own_size")]
            found["coco_map"] = coco_map(ious, [record["score"] for record in records])
        return found

    def protocol(self, name: str, exact_masks: bool = False) -> "Protocol":
        """As `protocol.protocol_of`."""
        from cmpc_tf2.tasks.masks.protocol import protocol_of

        return protocol_of(name, exact_masks)

    def draw(self, image: np.ndarray, expression: str, mask: np.ndarray, target: np.ndarray, score: float):
        """A scored sample as a picture: uint8 RGB `(h + n, w, 3)`."""
        from cmpc_tf2.tasks.masks.drawing import draw_masks

        return draw_masks(image, [mask], [f"{expression} (IoU {score:.3f})"], target)

    def log_entry(self, scores: dict) -> dict[str, float]:
        """The scores of a validation split as entries of the training log; the first decides which model is best."""
        entry = {"val_overall_iou": scores["overall_iou"], "val_mean_iou": scores["mean_iou"]}
        if "average_precision" in scores:
            entry["val_average_precision"] = scores["average_precision"]
        return entry | {f"val_precision_{threshold}": value for threshold, value in scores["precision"].items()}

    def format_scores(self, title: str, scores: dict) -> str:
        """The scores in the original's format, with their `intervals` in brackets."""
        ends = scores["intervals"]

        def text(value: float, interval: list[float] | None) -> str:
            return f"{value:f}" + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")

        lines = [f"{title}:"]
        for threshold, value in scores["precision"].items():
            lines.append(f"precision@{threshold} = {text(value, ends['precision'][threshold])}")
        if "average_precision" in scores:
            lines.append(f"average precision = {text(scores['average_precision'], ends['average_precision'])}")
        overall, mean = (text(scores[name], ends[name]) for name in ("overall_iou", "mean_iou"))
        lines.append(f"overall IoU = {overall}; mean IoU = {mean}")
        return "\n".join(lines) + "\n"
