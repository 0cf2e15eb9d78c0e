"""Boxes and masks of the same expressions, scored by both measures.

A box counts as right if its IoU with the tight box of the ground truth is above 0.5. A mask has the tight box around
it, and a box the mask of its pixels, so both kinds of models have both kinds of scores. A mask can also be restricted
to the box of another model.
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from cmpc_tf2.data.batches import Sample
from cmpc_tf2.data.segmentations import tight_box
from cmpc_tf2.files import progress
from cmpc_tf2.inference.evaluation import decode_samples, make_tokenizer_for
from cmpc_tf2.medium import PICTURES
from cmpc_tf2.reports.report import SampleSet, flat_scores, score_text, with_intervals
from cmpc_tf2.tasks.boxes.metrics import BoxScores
from cmpc_tf2.tasks.boxes.metrics import intersection_and_union as box_counts
from cmpc_tf2.tasks.masks.metrics import ScoreSet, intersection_and_union
from cmpc_tf2.tasks.masks.prediction import Prediction
from cogrounding_tf2.decoding import predict_box

if TYPE_CHECKING:
    from cmpc_tf2.inference.runner import Runner

# The answers that are scored.
ANSWERS = {"box": "box of {boxes}", "mask": "mask of {masks}", "restricted": "mask of {masks} in the box of {boxes}"}
NO_BOX = (0, 0, 0, 0)


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
    """What a model marks: a box, x1, y1, x2, y2 in pixels, and the pixels, bool `(h, w)`."""

    box: np.ndarray
    mask: np.ndarray


def compare(boxes: "Runner", masks: "Runner", paths: list[Path], batch_size: int = 4) -> dict:
    """Scores a model of boxes and a model of masks on a split of masks.

    Args:
        boxes: The model of boxes.
        masks: The model of masks.
        paths: Files of the split in order.
        batch_size: Expressions of a picture that are decoded together.

    Returns:
        `samples`; `bootstrap`; and `answers`: for each of `ANSWERS`, `boxes` and `masks`, its scores with intervals.
    """
    kind = PICTURES.sample_type_of(paths[0])
    streams = [
        decode_samples(model, make_tokenizer_for(model, paths, kind), of_model, batch_size, kind)
        for model, of_model in ((boxes, progress(paths, len(paths), "compare")), (masks, paths))
    ]
    records, box_pairs, mask_pairs = [], [], []
    for of_box, of_mask in zip(*streams, strict=True):
        sample = of_box.sample
        truth = tight_box(sample.mask)
        if of_box.answer is None or of_mask.answer is None or truth is None:
            continue
        answers = _answers(sample, of_box.answer, of_mask.answer, boxes, masks)
        records.append({"index": of_box.index, **sample.describe()})
        box_pairs.append([box_counts(np.float32(answer.box), np.float32(truth)) for answer in answers])
        mask_pairs.append([intersection_and_union(answer.mask, sample.mask) for answer in answers])
    samples = SampleSet(records)
    scored = {
        kind: (scores, samples.score(list(zip(*pairs, strict=True)), scores))
        for kind, scores, pairs in (
            ("boxes", BoxScores(), box_pairs),
            ("masks", ScoreSet((0.5, 0.7, 0.9)), mask_pairs),
        )
    }
    found = {
        answer: {
            kind: with_intervals(results[number][0][0], results[number][1][:, 0], scores)
            for kind, (scores, results) in scored.items()
        }
        for number, answer in enumerate(ANSWERS)
    }
    return {"samples": len(records), "bootstrap": samples.head, "answers": found}


def _answers(sample: Sample, box_logits, mask_logits, boxes: "Runner", masks: "Runner") -> list[Answer]:
    """In the order of `ANSWERS`."""
    size = sample.mask.shape
    box = predict_box(box_logits, size, boxes.preprocessing)
    mask = Prediction(expit(mask_logits), size, masks.preprocessing).mask
    restricted = mask & box.mask
    return [Answer(box.box, box.mask), *(Answer(np.array(tight_box(one) or NO_BOX), one) for one in (mask, restricted))]


def format_table(result: dict, names: dict[str, str]) -> str:
    """The scores as a table.

    Args:
        result: From `compare`.
        names: Names of the two models, `boxes` and `masks`.
    """
    heads = ["accuracy@0.5 of boxes", "overall IoU of masks", "mean IoU of masks"]
    rows = []
    for answer, title in ANSWERS.items():
        scores = result["answers"][answer]
        chosen = [flat_scores(scores["boxes"])[0], *flat_scores(scores["masks"])[:2]]
        rows.append([title.format(**names), *(score_text(*one) for one in chosen)])
    widths = [max(map(len, column)) for column in zip(["", *heads], *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [["", *heads], *rows]
    ]
    return "\n".join(lines)
