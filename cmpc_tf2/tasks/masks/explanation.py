"""How a model arrives at its mask."""

import dataclasses

import numpy as np
from scipy.special import expit

from cmpc_tf2.errors import InputError
from cmpc_tf2.tasks.masks.prediction import Prediction
from cmpc_tf2.text.tokenizer import TokenizedWord
from cmpc_tf2.text.word_types import WordType


@dataclasses.dataclass(frozen=True)
class WordReading:
    """How the model classifies a word.

    Attributes:
        word: As tokenised.
        is_known: Whether it is in the vocabulary.
        probabilities: Probability of each word type; they sum to 1.
    """

    word: str
    is_known: bool
    probabilities: dict[WordType, float]


@dataclasses.dataclass(frozen=True)
class Phrase:
    """The words of an expression that tell about one aspect of the object.

    Attributes:
        aspect: The aspect, such as `subject` or `location`.
        words: The words that the model reads, in order, with their weights, which sum to 1 at most.
        share: How much the aspect counts among all, 0 to 1; None if the model does not weight aspects.
    """

    aspect: str
    words: list[tuple[str, float]]
    share: float | None = None

    @classmethod
    def of_slots(cls, aspect: str, words: list[TokenizedWord], weights: np.ndarray, share: float | None = None):
        """A phrase, given the weights of the slots of a model's inputs, `(T,)`."""
        return cls(aspect, [(word.text, float(weights[word.slots].sum())) for word in words], share)


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """An object that a two-stage model chooses among.

    Attributes:
        box: x1, y1, x2, y2 in pixels of the picture, both corners included, float32 `(4,)`. It may lie outside of the
            picture; then its corners are swapped.
        label: Name of its category.
        score: How well it fits the expression.
        parts: What the modules of the model contribute to the score, by name.
    """

    box: np.ndarray
    label: str
    score: float
    parts: dict[str, float]


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
    """The result for one expression, and how the model arrives at it.

    Attributes:
        prediction: The mask.
        words: The words that the model reads, in order; empty for a model without word types.
        similarity: By stage of the reasoning, in order, a float32 map with one value per cell of the fitted picture:
            how similar the features are, at that stage, to those of the places in the final mask; the cosine to their
            mean, averaged over the levels. Two-stage models give other maps, at any size: MAttNet (`subject`) the
            attention to the cells of the best object's box, CAC (`response`) the logits by which the feature map is
            weighted.
        attention: The words that the model reads, in order, each with a float32 map with one value per cell of the
            fitted picture: how strongly the word attends to the cell; every map sums to 1. Empty for a model without
            attention of words to places.
        phrases: The aspects that the model splits an expression into, in order; empty for a model that does not.
        candidates: The objects that the model chooses among, the best first; empty for a model that segments at once.
        unknown_words: Those of the expression that are not in the vocabulary, in order.
        truncation: How many words the model reads, if it does not read all; otherwise None.
    """

    prediction: Prediction
    words: list[WordReading]
    similarity: dict[str, np.ndarray]
    attention: list[tuple[str, np.ndarray]] = dataclasses.field(default_factory=list)
    phrases: list[Phrase] = dataclasses.field(default_factory=list)
    candidates: list[Candidate] = dataclasses.field(default_factory=list)
    unknown_words: list[str] = dataclasses.field(default_factory=list)
    truncation: str | None = None

    def heat_map(self, shown: str | np.ndarray) -> np.ndarray:
        """A map at the picture's size, stretched to 0 to 1: float32 `(h, w)`.

        Args:
            shown: A stage of `similarity`, or one of the maps of `attention`.

        Raises:
            InputError: The model has no such stage.
        """
        if isinstance(shown, str) and shown not in self.similarity:
            raise InputError(f"stage {shown!r}: the model has {', '.join(self.similarity) or 'no stages'}")
        cells = self.similarity[shown] if isinstance(shown, str) else shown
        heat = self.prediction.preprocessing.restore(cells, *self.prediction.size)
        return ((heat - heat.min()) / max(np.ptp(heat), 1e-12)).astype(np.float32)


def stage_similarity(found: dict[str, np.ndarray], stages: list[str]) -> dict[str, np.ndarray]:
    """`Explanation.similarity` of the results of `Runner.explain`; stages that are not among them are left out."""
    logits = found["mask_logits"][..., 0]
    similarity = {}
    for stage in stages:
        maps = [value for name, value in found.items() if name.startswith(f"{stage}/")]
        if maps:
            stride = len(logits) // len(maps[0])
            # The upsampled map holds the cells' own values where cells begin.
            weights = expit(logits[::stride, ::stride])
            similarity[stage] = np.mean([_cosine_to_mean(cells, weights) for cells in maps], axis=0)
    return similarity


def _cosine_to_mean(cells: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Cosine between the features of every cell, `(h, w, C)`, and their weighted mean: `(h, w)`."""
    cells = cells.astype(np.float32)
    mean = np.einsum("yx,yxc->c", weights, cells)
    lengths = np.linalg.norm(cells, axis=-1) * np.linalg.norm(mean)
    return cells @ mean / np.maximum(lengths, 1e-12)
