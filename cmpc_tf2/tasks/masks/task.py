"""Referring segmentation: the interface for the commands."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cmpc_tf2.tasks.boxes.candidates import BoxShares
from cmpc_tf2.tasks.masks.metrics import VARIANTS, ScoreSet, coco_map, iou
from cmpc_tf2.tasks.task import Scores, Task, score_with_interval

if TYPE_CHECKING:
    from cmpc_tf2.tasks.masks.protocol import MaskProtocol

# Name of the measure of the boxes that models choose.
BOXES = "boxes"


@dataclasses.dataclass(frozen=True)
class MaskTask(Task):
    """Segments what an expression refers to.

    Attributes:
        thresholds: IoU values for the precision.
        average_precision: Whether the mean over these is a score of its own, and COCO's mAP is computed.
    """

    thresholds: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9)
    average_precision: bool = False

    name: ClassVar[str] = "Segmentation"
    variants: ClassVar[dict] = VARIANTS
    scores_note: ClassVar[str] = "Overall IoU: sum of intersections over sum of unions. Mean IoU: mean over samples."

    @property
    def scores(self) -> ScoreSet:
        """The scores."""
        return ScoreSet(self.thresholds, self.average_precision)

    def measures(self, records: list[dict]) -> dict[str, tuple[Scores, list]]:
        """As `Task.measures`; of models that choose boxes also `boxes`, how often they choose the right one."""
        shares = BoxShares.of(records)
        return super().measures(records) | ({BOXES: (shares, shares.numbers_of(records))} if shares else {})

    def summarize(self, records: list[dict]) -> dict:
        """As `Task.summarize`; perhaps also `coco_map`, a number, of the masks in `own_size`."""
        found = super().summarize(records)
        if self.average_precision:
            ious = [iou(*counts) for counts in self.pairs_of(records, "own_size")]
            found["coco_map"] = coco_map(ious, [record["score"] for record in records])
        return found

    def protocol(self, name: str, exact_masks: bool = False) -> "MaskProtocol":
        """As `protocol.protocol_of`."""
        from cmpc_tf2.tasks.masks.protocol import protocol_of

        return protocol_of(name, exact_masks)

    def draw(self, sample, prediction: np.ndarray, score: float) -> np.ndarray:
        from cmpc_tf2.tasks.masks.drawing import draw_masks

        return draw_masks(sample.image, [prediction], [f"{sample.expression} (IoU {score:.3f})"], sample.mask)

    def log_entry(self, scores: dict) -> dict[str, float]:
        entry = {"val_overall_iou": scores["overall_iou"], "val_mean_iou": scores["mean_iou"]}
        if "average_precision" in scores:
            entry["val_average_precision"] = scores["average_precision"]
        return entry | {f"val_precision_{threshold}": value for threshold, value in scores["precision"].items()}

    def format_scores(self, title: str, scores: dict) -> str:
        """As `Task.format_scores`, in the original's format."""
        ends, text = scores["intervals"], score_with_interval
        lines = [f"{title}:"]
        for threshold, value in scores["precision"].items():
            lines.append(f"precision@{threshold} = {text(value, ends['precision'][threshold])}")
        if "average_precision" in scores:
            lines.append(f"average precision = {text(scores['average_precision'], ends['average_precision'])}")
        overall, mean = (text(scores[name], ends[name]) for name in ("overall_iou", "mean_iou"))
        lines.append(f"overall IoU = {overall}; mean IoU = {mean}")
        return "\n".join(lines) + "\n"

    def format_more(self, report: dict) -> list[str]:
        lines = []
        if scores := report.get(BOXES):
            shares = BoxShares(tuple(scores["intervals"]))
            values = [score_with_interval(scores[name], scores["intervals"][name]) for name in shares.names]
            shown = (f"{title} = {value}" for title, value in zip(shares.titles, values, strict=True))
            lines.append("; ".join(shown) + "\n")
        if "coco_map" in report:
            lines.append(
                f"COCO mAP (one scored mask per sentence, at the picture's own size) = {report['coco_map']:f}\n"
            )
        return lines
