"""PhraseCut's own metrics, for a split and for its subsets.

They are counted as its evaluator counts them: in masks at the picture's own size against the ground truth that it
draws, with a mean IoU of 0 where nothing is hit, and precisions strictly above the IoU.

Source: `utils/evaluator.py` and `utils/iou.py` of ChenyunWu/PhraseCutDataset (commit 276470b).
"""

from pathlib import Path

import numpy as np

from cmpc_tf2.data.batches import read_batch
from cmpc_tf2.data.phrasecut import PhraseCutSplit
from cmpc_tf2.errors import InputError
from cmpc_tf2.reports.comparison import aligned
from cmpc_tf2.tasks.masks.metrics import intersection_and_union

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


def phrasecut_scores(pairs: list[tuple[int, int]]) -> dict:
    """The metrics of tasks, given the intersection and the union of each.

    Returns:
        `tasks`, their number; `mean_iou`; `cumulative_iou`, the sum of intersections over the sum of unions; and
        `precision` by threshold, the share of tasks whose IoU is above it.
    """
    intersections, unions = np.array(pairs, float).T
    ious = np.divide(intersections, unions, out=np.zeros_like(unions), where=intersections > 0)
    return {
        "tasks": len(pairs),
        "mean_iou": float(ious.mean()),
        "cumulative_iou": float(intersections.sum() / max(unions.sum(), 1)),
        "precision": {str(threshold): float((ious > threshold).mean()) for threshold in THRESHOLDS},
    }


class PhraseCutScorer:
    """Scores the masks of a split as they come.

    Args:
        split: The tasks.
        paths: Files of the samples, in order.
        fields: Fields of each sample.

    Raises:
        InputError: The samples are not those of the split, or their pictures were resized.
    """

    def __init__(self, split: PhraseCutSplit, paths: list[Path], fields: list[dict]):
        self._split = split
        self._task_ids = [one.get("task_id") for one in fields]
        self._pairs: dict[int, tuple[int, int]] = {}
        self._subsets: dict[int, dict[str, bool]] = {}
        folder, known = paths[0].parent, set(split.task_ids)
        if None in self._task_ids:
            raise InputError(
                f"{folder}: its samples have no task_id, which --phrasecut needs; build a split of PhraseCut "
                "with this version (--overwrite)"
            )
        if unknown := [one for one in self._task_ids if one not in known]:
            raise InputError(
                f"{folder}: task {unknown[0]} is not in the annotations; give those the split was built from"
            )
        found, expected = read_batch(paths[0]).mask.shape, split.size(self._task_ids[0])
        if found != expected:
            raise InputError(
                f"{paths[0]}: expected a picture of its own size, {expected[1]} x {expected[0]}, found "
                f"{found[1]} x {found[0]}; PhraseCut's metrics need a split that is not resized, such as val"
            )

    def add(self, index: int, sample, masks: dict[str, np.ndarray]):
        """Scores a mask; arguments as `on_marks` of `evaluate`."""
        task_id, mask = self._task_ids[index], masks["own_size"]
        self._pairs[index] = intersection_and_union(mask, self._split.draw_mask(task_id, *mask.shape))
        self._subsets[index] = self._split.subsets(task_id)

    def with_subsets(self, fields: list[dict]) -> list[dict]:
        """The fields of the samples with the names of the subsets of each that was scored."""
        return [
            {**one, "subsets": [name for name, belongs in self._subsets.get(index, {}).items() if belongs]}
            for index, one in enumerate(fields)
        ]

    def summarize(self) -> dict:
        """The entry of a report.

        Returns:
            `tasks` of the split; `not_predicted`, how many of them have no mask; `mean_iou_of_all`, where these count
            as 0; and `subsets`: by name, first `all`, the scores of the tasks that have one. Empty ones are left out.
        """
        indices = list(self._pairs)
        members = {"all": indices}
        for name in self._subsets[indices[0]]:
            members[name] = [index for index in indices if self._subsets[index][name]]
        subsets = {
            name: phrasecut_scores([self._pairs[index] for index in found]) for name, found in members.items() if found
        }
        predicted = len({self._task_ids[index] for index in indices})
        tasks = len(self._split.task_ids)
        return {
            "tasks": tasks,
            "not_predicted": tasks - predicted,
            "mean_iou_of_all": subsets["all"]["mean_iou"] * predicted / tasks,
            "subsets": subsets,
        }


def format_phrasecut(summary: dict) -> str:
    """The entry of a report as text."""
    heads = ["subset", "tasks", "mean IoU", "cumulative IoU", *[f"Pr@{threshold}" for threshold in THRESHOLDS]]
    rows = [heads]
    for name, scores in summary["subsets"].items():
        values = [scores["mean_iou"], scores["cumulative_iou"], *scores["precision"].values()]
        rows.append([name, str(scores["tasks"]), *(f"{value:.4f}" for value in values)])
    lines = ["PhraseCut's own metrics (masks at the picture's own size; Pr@X: IoU above X):", *aligned(rows)]
    if summary["not_predicted"]:
        lines.append(
            f"{summary['not_predicted']} of {summary['tasks']} tasks have no mask; "
            f"if they count as 0, the mean IoU is {summary['mean_iou_of_all']:.4f}"
        )
    return "\n".join(lines) + "\n"
