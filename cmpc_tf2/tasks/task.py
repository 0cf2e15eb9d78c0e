"""The interface of all tasks: the answer of a model to an expression, how it is scored, and how it is drawn."""

import abc
import dataclasses
from typing import Any, ClassVar

import numpy as np

from cmpc_tf2.preprocessing.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True)
class Variant:
    """One of the ways in which a sample is scored.

    Attributes:
        prefix: Of its `intersection` and `union` in the record of a sample.
        title: The variant in words.
        short_title: The same for heads of tables.
    """

    prefix: str
    title: str
    short_title: str


class Protocol(abc.ABC):
    """A protocol of published numbers: from the answer of a model to intersection and union. A model names its own.

    Attributes:
        description: The protocol in words, for reports.
        shown: The variant to draw.
    """

    description: ClassVar[str]
    shown: ClassVar[str]

    @abc.abstractmethod
    def score(self, sample, answer: np.ndarray, preprocessing: Preprocessing, **options) -> tuple[dict, dict]:
        """Compares the answer to one expression with its ground truth.

        Args:
            sample: The sample.
            answer: `Runner.decode`'s, for the resized picture.
            preprocessing: How the picture was resized.
            options: Of the task.

        Returns:
            What the model marks, at the picture's own size, by variant; and the record: `intersection` and `union` of
            each, with the variant's prefix, and whatever else reports say.
        """


class Scores(abc.ABC):
    """The scores of a set of samples. Each is a function of sums over the samples, so resamples need only other sums.

    Attributes:
        titles: Names of the scores in words, in the order of `from_sums`.
    """

    titles: list[str]

    @abc.abstractmethod
    def columns(self, pairs: np.ndarray) -> np.ndarray:
        """The numbers to sum, `(N, K)`, of samples given by intersection and union, `(N, 2)`, or other numbers."""

    @abc.abstractmethod
    def from_sums(self, sums: np.ndarray) -> np.ndarray:
        """The scores, fractions `(..., S)`, given sums of `columns`, `(..., K)`; NaN where there is no sample."""

    @abc.abstractmethod
    def as_report(self, values) -> dict:
        """Values in the order of `from_sums` as reports have them: numbers, or dicts of numbers, by name."""

    def summarize(self, pairs) -> dict:
        """The scores of samples, given their intersections and unions, as `as_report`; all None if there is none."""
        scores = self.from_sums(self.columns(pairs).sum(axis=0))
        return self.as_report([float(score) if len(pairs) else None for score in scores])


class Task(abc.ABC):
    """What the commands need to know about the answers of models.

    Attributes:
        name: In messages and titles.
        variants: The ways in which a sample is scored.
        scores: The scores of a set of samples.
        scores_note: The scores in words, for pages.
    """

    name: ClassVar[str]
    variants: ClassVar[dict[str, Variant]]
    scores_note: ClassVar[str]
    scores: Scores

    def pairs_of(self, records: list[dict], variant: str) -> list[tuple]:
        """Intersection and union of the records of samples, for a variant."""
        prefix = self.variants[variant].prefix
        return [(record[f"{prefix}intersection"], record[f"{prefix}union"]) for record in records]

    def finish(self, records: list[dict]) -> list[dict]:
        """The records of a split, completed by what only all of them together tell."""
        return records

    def measures(self, records: list[dict]) -> dict[str, tuple[Scores, list]]:
        """What is scored of a split, by name: the scores, and of each sample what their `columns` take.

        Each variant that was scored is a measure.
        """
        scored = [name for name, variant in self.variants.items() if f"{variant.prefix}union" in records[0]]
        return {name: (self.scores, self.pairs_of(records, name)) for name in scored}

    def summarize(self, records: list[dict]) -> dict:
        """Scores of a split from the records of its samples, by measure; None for a variant that was not scored."""
        found = {name: scores.summarize(numbers) for name, (scores, numbers) in self.measures(records).items()}
        return {**dict.fromkeys(self.variants), **found}

    @abc.abstractmethod
    def protocol(self, name: str, exact_masks: bool = False) -> Protocol:
        """A protocol by the name that a model gives.

        Args:
            name: As `ReferringModel.protocol_name`.
            exact_masks: Leave out the rim that the original of CMPC counts.
        """

    @abc.abstractmethod
    def draw(self, sample, prediction: Any, score: float) -> np.ndarray:
        """A scored sample as a picture: uint8 RGB `(h + n, w, 3)`.

        Args:
            sample: The sample.
            prediction: What the model marks, from `Protocol.score`.
            score: Its IoU.
        """

    @abc.abstractmethod
    def log_entry(self, scores: dict) -> dict[str, float]:
        """The scores of a validation split as entries of the training log; the first decides which model is best."""

    @abc.abstractmethod
    def format_scores(self, title: str, scores: dict) -> str:
        """The scores of a variant as text, with their `intervals` in brackets."""

    def format_more(self, report: dict) -> list[str]:
        """Further lines of text about a report."""
        return []


def score_with_interval(value: float, interval: list[float] | None) -> str:
    """A score, and its interval in brackets if it has one."""
    return f"{value:f}" + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")
