"""Masks in HTTP answers."""

import base64
import io

import numpy as np
from pydantic import BaseModel

from cmpc_tf2.tasks.masks.explanation import Explanation


class Word(BaseModel):
    """A word that the model reads, and the probability of each type."""

    word: str
    known: bool
    types: dict[str, float]


class AttentionMap(BaseModel):
    """A word that the model reads, and a map of the places it attends to: a greyscale PNG file in base64."""

    word: str
    map: str


class RunLengths(BaseModel):
    """A mask in COCO's compressed run-length encoding, as pycocotools reads it."""

    size: tuple[int, int]
    counts: str


class Segment(BaseModel):
    """The mask of an expression."""

    expression: str
    mask: RunLengths | str
    area: int
    score: float
    words: list[Word]
    attention: list[AttentionMap]
    truncation: str | None


class Segments(BaseModel):
    """The answer to a request."""

    height: int
    width: int
    segments: list[Segment]


def make_segment(expression: str, explanation: Explanation, mask_format: str, threshold: float) -> Segment:
    """Makes the part of the answer for an expression.

    Args:
        expression: The expression.
        explanation: The model's result for it.
        mask_format: `rle` or `png`.
        threshold: Probability from which a pixel counts.
    """
    mask, total = np.empty(explanation.prediction.size, bool), 0.0
    for rows, probabilities in explanation.prediction.bands():
        mask[rows] = probabilities >= threshold
        total += probabilities[mask[rows]].sum(dtype=np.float64)
    area = int(mask.sum())
    words = []
    for reading in explanation.words:
        types = {word_type.value: share for word_type, share in reading.probabilities.items()}
        words.append(Word(word=reading.word, known=reading.is_known, types=types))
    attention = [
        AttentionMap(word=word, map=_png((weights * (255 / weights.max())).round().astype(np.uint8)))
        for word, weights in explanation.attention
    ]
    encoded = _png(mask) if mask_format == "png" else _run_lengths(mask)
    return Segment(
        expression=expression,
        mask=encoded,
        area=area,
        score=total / max(area, 1),
        words=words,
        attention=attention,
        truncation=explanation.truncation,
    )


def _run_lengths(mask: np.ndarray) -> RunLengths:
    from pycocotools import mask as coco

    encoded = coco.encode(np.asfortranarray(mask, np.uint8))
    return RunLengths(size=tuple(encoded["size"]), counts=encoded["counts"].decode("ascii"))


def _png(pixels: np.ndarray) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")
