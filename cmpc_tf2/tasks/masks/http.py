"""Masks in HTTP answers."""

import base64
import dataclasses

import numpy as np
from pydantic import BaseModel

from cmpc_tf2.data.image_files import encode_image
from cmpc_tf2.data.segmentations import coco_box, encode_run_lengths
from cmpc_tf2.preprocessing.pasting import clip_boxes
from cmpc_tf2.tasks.boxes.prediction import BoxPrediction
from cmpc_tf2.tasks.masks.explanation import Candidate, Explanation, Phrase
from cmpc_tf2.tasks.masks.prediction import Prediction

MASK_FORMATS = ("rle", "png", "probabilities")
# Longer side of the maps of the stages, in pixels: a few for each cell of the models.
STAGE_SIDE = 128
# Objects of an answer, the best ones.
MOST_CANDIDATES = 10


class Word(BaseModel):
    """A word that the model reads, and the probability of each type."""

    word: str
    known: bool
    types: dict[str, float]


class AttentionMap(BaseModel):
    """A word that the model reads, and a map of the places it attends to: a greyscale PNG file in base64."""

    word: str
    map: str


class StageMap(BaseModel):
    """A stage of the reasoning, and its heat map (`Explanation.heat_map`): a greyscale PNG file in base64."""

    stage: str
    map: str


class PhraseWord(BaseModel):
    """A word that the model reads, and its weight in a phrase, 0 to 1."""

    word: str
    weight: float


class PhraseReading(BaseModel):
    """An aspect of the object, how much it counts if the model weights aspects, and the words that tell about it."""

    aspect: str
    share: float | None
    words: list[PhraseWord]


class FoundObject(BaseModel):
    """An object that the model chooses among: its box as COCO has it, category, score, and the modules' parts of it."""

    bbox: tuple[float, float, float, float]
    label: str
    score: float
    parts: dict[str, float]


class RunLengths(BaseModel):
    """A mask in COCO's compressed run-length encoding, as pycocotools reads it."""

    size: tuple[int, int]
    counts: str


class Segment(BaseModel):
    """The mask of an expression, and its box as COCO has it (x, y, width, height); of a model of boxes its pixels."""

    expression: str
    mask: RunLengths | str
    bbox: tuple[float, float, float, float]
    area: int
    score: float
    unknown_words: list[str]
    words: list[Word]
    phrases: list[PhraseReading]
    candidates: list[FoundObject]
    stages: list[StageMap]
    attention: list[AttentionMap]
    truncation: str | None


class Segments(BaseModel):
    """The answer to a request."""

    height: int
    width: int
    segments: list[Segment]


def make_segment(
    expression: str,
    explanation: Explanation,
    mask_format: str,
    threshold: float,
    refined_by: np.ndarray | None = None,
) -> Segment:
    """Makes the part of the answer for an expression.

    Args:
        expression: The expression.
        explanation: The model's result for it.
        mask_format: One of `MASK_FORMATS`.
        threshold: Probability from which a pixel counts.
        refined_by: The picture, uint8 RGB `(h, w, 3)`, if the mask is that of DenseCRF in place of the threshold.
    """
    prediction = explanation.prediction
    mask, score = prediction.scored_mask(threshold, refined_by)
    words = []
    for reading in explanation.words:
        types = {word_type.value: share for word_type, share in reading.probabilities.items()}
        words.append(Word(word=reading.word, known=reading.is_known, types=types))
    attention = [
        AttentionMap(word=word, map=_png(_grey(weights / weights.max()))) for word, weights in explanation.attention
    ]
    encode = {
        "rle": lambda mask: RunLengths(**encode_run_lengths(mask)),
        "png": _png,
        "probabilities": lambda _: _png(_levels(prediction)),
    }[mask_format]
    return Segment(
        expression=expression,
        mask=encode(mask),
        bbox=prediction.bbox if isinstance(prediction, BoxPrediction) else coco_box(mask),
        area=int(mask.sum()),
        score=score,
        unknown_words=explanation.unknown_words,
        words=words,
        phrases=[_phrase(phrase) for phrase in explanation.phrases],
        candidates=[_found_object(one, prediction.size) for one in explanation.candidates[:MOST_CANDIDATES]],
        stages=_stage_maps(explanation),
        attention=attention,
        truncation=explanation.truncation,
    )


def _phrase(phrase: Phrase) -> PhraseReading:
    words = [PhraseWord(word=word, weight=weight) for word, weight in phrase.words]
    return PhraseReading(aspect=phrase.aspect, share=phrase.share, words=words)


def _found_object(candidate: Candidate, size: tuple[int, int]) -> FoundObject:
    x1, y1, x2, y2 = map(float, clip_boxes(candidate.box, *size))
    box = x1, y1, max(0.0, x2 - x1 + 1), max(0.0, y2 - y1 + 1)
    return FoundObject(bbox=box, label=candidate.label, score=candidate.score, parts=candidate.parts)


def _stage_maps(explanation: Explanation) -> list[StageMap]:
    height, width = explanation.prediction.size
    scale = min(1, STAGE_SIDE / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small = dataclasses.replace(explanation, prediction=dataclasses.replace(explanation.prediction, size=size))
    return [StageMap(stage=stage, map=_png(_grey(small.heat_map(stage)))) for stage in small.similarity]


def _levels(prediction: Prediction) -> np.ndarray:
    """The probabilities in steps of 1/256, rounded down: a level of at least 128 is a probability of at least 0.5."""
    levels = np.empty(prediction.size, np.uint8)
    for rows, probabilities in prediction.bands():
        levels[rows] = np.minimum(probabilities * 256, 255)
    return levels


def _grey(values: np.ndarray) -> np.ndarray:
    """Values from 0 to 1 as grey levels from 0 to 255."""
    return (values * 255).round().astype(np.uint8)


def _png(pixels: np.ndarray) -> str:
    return base64.b64encode(encode_image(pixels)).decode("ascii")
