"""Referring expression comprehension: the interface for the commands."""

import dataclasses
from typing import ClassVar

import numpy as np

from cmpc_tf2.systems import import_object
from cmpc_tf2.tasks.boxes.metrics import VARIANTS, BoxScores
from cmpc_tf2.tasks.task import Protocol, Task, score_with_interval


@dataclasses.dataclass(frozen=True)
class BoxTask(Task):
    """Finds the box of what an expression refers to.

    Attributes:
        protocols: Classes of protocols by the name that a model gives, as `module:name`.
    """

    protocols: dict[str, str]

    name: ClassVar[str] = "Box"
    variants: ClassVar[dict] = VARIANTS
    scores_note: ClassVar[str] = "Accuracy: share of boxes with an IoU above 0.5. Mean IoU: mean over samples."
    scores: ClassVar[BoxScores] = BoxScores()

    def protocol(self, name: str, exact_masks: bool = False) -> Protocol:
        return import_object(self.protocols[name])()

    def draw(self, sample, prediction: np.ndarray, score: float) -> np.ndarray:
        from cmpc_tf2.tasks.boxes.drawing import draw_boxes

        return draw_boxes(sample.image, [prediction], [f"{sample.expression} (IoU {score:.3f})"], sample.box)

    def log_entry(self, scores: dict) -> dict[str, float]:
        return {"val_accuracy": scores["accuracy"], "val_mean_iou": scores["mean_iou"]}

    def format_scores(self, title: str, scores: dict) -> str:
        ends = scores["intervals"]
        accuracy, mean = (score_with_interval(scores[name], ends[name]) for name in ("accuracy", "mean_iou"))
        return f"{title}:\naccuracy@0.5 = {accuracy}; mean IoU = {mean}\n"
