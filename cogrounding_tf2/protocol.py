"""How the original scores boxes, and the post-processing of clips."""

import dataclasses
from typing import ClassVar

import numpy as np
from scipy.special import softmax

from cmpc_tf2.data.batches import digest_of
from cmpc_tf2.preprocessing.letterbox import Letterbox
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.tasks.boxes.metrics import VARIANTS, intersection_and_union
from cmpc_tf2.tasks.boxes.task import BoxTask
from cmpc_tf2.tasks.task import Protocol, Variant
from cogrounding_tf2.config import CANDIDATES
from cogrounding_tf2.data.truths import true_box
from cogrounding_tf2.decoding import decode_boxes, predict_box, ranked


class BoxProtocol(Protocol):
    """The predicted box against the annotated one, both in the pixels of the picture.

    The annotation passes through the whole pixels of the square on its way (`truths.true_box`), so that `plain` is
    that of the original; `exact` compares what `predict` gives with the annotation itself.

    Source: `test_epoch` in the training script of SijieSong/CVPR21-Cogrounding_semantic_attention (commit 7b0630a).
    """

    description = "original, boxes in whole pixels of the square"
    shown = "plain"

    def score(
        self, sample, answer: np.ndarray, preprocessing: Preprocessing, **options
    ) -> tuple[dict[str, np.ndarray], dict]:
        """As `Protocol.score`.

        Returns:
            The boxes by variant, float32 `(4,)`. The record has also `box`, that of `exact`, and its `score`.
        """
        size = sample.image.shape[:2]
        place = Letterbox.of(*size, preprocessing.size)
        plain = place.restore_box(decode_boxes(answer, ranked(answer)))[0]
        prediction = predict_box(answer, size, preprocessing)
        boxes = {"plain": plain, "exact": prediction.box}
        targets = {"plain": true_box(sample.box, place), "exact": np.asarray(sample.box, np.float64)}
        record = {"box": [round(float(value), 2) for value in prediction.box], "score": round(prediction.score, 6)}
        for name, box in boxes.items():
            record |= counts(box, targets[name], VARIANTS[name].prefix)
        return boxes, record


def counts(box: np.ndarray, target: np.ndarray, prefix: str) -> dict[str, float]:
    """Intersection and union of two boxes as a record has them."""
    intersection, union = intersection_and_union(box, target)
    return {f"{prefix}intersection": intersection, f"{prefix}union": union}


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """The best boxes of an item, for post-processing.

    Attributes:
        boxes: In the original's precision, float32 `(K, 4)`.
        scores: Their confidences, float32 `(K,)`.
        features: The features of their places, float32 `(K, D)`.
        frames: Digests of the frames of the item.
        annotated: Index of the annotated one.
        target: The truth, as the original compares with it.
    """

    boxes: np.ndarray
    scores: np.ndarray
    features: np.ndarray
    frames: list[str]
    annotated: int
    target: np.ndarray


class ClipProtocol(BoxProtocol):
    """As `BoxProtocol`, of the middle frame; the records keep what post-processing needs.

    Source: the test script of the original, and its post-processing.
    """

    def score(
        self, sample, answer: dict[str, np.ndarray], preprocessing: Preprocessing, **options
    ) -> tuple[dict[str, np.ndarray], dict]:
        logits = answer["box_logits"]
        boxes, record = super().score(sample, logits, preprocessing, **options)
        place = Letterbox.of(*sample.image.shape[:2], preprocessing.size)
        best = ranked(logits, CANDIDATES)
        record["candidates"] = Candidates(
            boxes=place.restore_box(decode_boxes(logits, best)),
            scores=np.float32(logits[best, 4]),
            features=answer["features"],
            frames=[digest_of(frame) for frame in sample.frames],
            annotated=sample.annotated,
            target=true_box(sample.box, place),
        )
        return boxes, record


class ClipBoxTask(BoxTask):
    """As `BoxTask`, with a variant for boxes chosen by post-processing."""

    variants: ClassVar[dict] = {
        **VARIANTS,
        "postprocessed": Variant("postprocessed_", "boxes chosen by post-processing", "post-processed"),
    }

    def finish(self, records: list[dict]) -> list[dict]:
        """Chooses among the candidates of every item by those of the items around it."""
        by_index = {record["index"]: record for record in records}
        chosen = {index: _choose(index, by_index) for index in by_index}
        for index, record in by_index.items():
            candidates = record["candidates"]
            record["postprocessed_box"] = [round(float(value), 2) for value in candidates.boxes[chosen[index]]]
            record |= counts(candidates.boxes[chosen[index]], candidates.target, "postprocessed_")
        return [{name: value for name, value in record.items() if name != "candidates"} for record in records]


def _choose(index: int, records: dict[int, dict]) -> int:
    """The candidate of an item that is most like the confident ones of the items around it.

    For a candidate c and a frame f, w is the largest product of its features with those of a candidate there, and p the
    confidence of that one; the candidate with the largest sum of `softmax(w) p` over the frames wins. Frames beyond
    the ends of the clip count 0, without normalising again.
    """
    own = records[index]["candidates"]
    weights = np.zeros((len(own.boxes), len(own.frames)), np.float32)
    scores, exists = np.zeros_like(weights), np.zeros(len(own.frames), bool)
    for number, frame in enumerate(own.frames):
        other = records.get(index + number - own.annotated)
        if other is None or not _is_of_clip(records[index], other, frame):
            continue
        there, exists[number] = other["candidates"], True
        products = own.features @ there.features.T
        best = products.argmax(axis=1)
        weights[:, number] = products[np.arange(len(best)), best]
        scores[:, number] = there.scores[best]
    shares = softmax(weights, axis=1) * exists
    return int(np.argmax((shares * scores).sum(axis=1)))


def _is_of_clip(record: dict, other: dict, frame: str) -> bool:
    """Whether an item is the one of a frame of another item: the same sentence about that frame."""
    candidates = other["candidates"]
    return record["expression"] == other["expression"] and candidates.frames[candidates.annotated] == frame
