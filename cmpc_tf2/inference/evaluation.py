"""Scores a model on a split."""

import dataclasses
import functools
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cmpc_tf2.data.batches import Sample, read_batch
from cmpc_tf2.data.datasets import rebuild_command
from cmpc_tf2.data.stored_words import require_same_words
from cmpc_tf2.errors import InputError, named
from cmpc_tf2.files import progress
from cmpc_tf2.medium import PICTURES, Medium
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.processes import map_in_order
from cmpc_tf2.tasks.masks.metrics import iou
from cmpc_tf2.text.tokenizer import Tokenizer
from cmpc_tf2.text.vocabulary import NoWordsError

if TYPE_CHECKING:
    from cmpc_tf2.inference.runner import Runner
    from cmpc_tf2.tasks.task import Protocol

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class DecodedSample:
    """A sample with the output of the model.

    Attributes:
        index: Its number in the split.
        sample: The sample.
        answer: As `Runner.decode` gives it, without batch axis; None if its expression has no words.
        boxes: What reports say of the boxes that a two-stage model chooses (`Runner.decode_and_compare`).
    """

    index: int
    sample: Sample
    answer: Any
    boxes: dict[str, bool] = dataclasses.field(default_factory=dict)


def evaluate(
    model: "Runner",
    paths: list[Path],
    dcrf: bool = False,
    protocol: "Protocol | None" = None,
    batch_size: int = 4,
    workers: int = 0,
    on_prediction: Callable[[int, Sample, Any, float], None] | None = None,
    medium: Medium = PICTURES,
    shown: str | None = None,
    on_marks: Callable[[int, Sample, dict[str, Any]], None] | None = None,
) -> dict:
    """Scores a model on batches by a protocol (`tasks/task.py`).

    Differs from TF1: an expression without words is skipped and reported; a sample with an empty ground truth and an
    empty prediction has an IoU of 1; a split may have any number of samples (`tests/inference/test_evaluation.py`).

    Args:
        model: The model.
        paths: The split's files in order.
        dcrf: Score masks refined by DenseCRF too.
        protocol: None for that of the model's original.
        batch_size: Expressions of one picture that are decoded together. Changes nothing but float rounding.
        workers: With `dcrf`, processes that refine and score while the model continues. They do not change the scores.
        on_prediction: Called with each sample's index, the sample, what the model marks (`Protocol.score`) and its IoU.
        medium: Medium of the samples.
        shown: Variant of that mark (`Task.variants`); None for the refined mask with `dcrf`, or that of the protocol.
        on_marks: Called with each sample's index, the sample, and what the model marks by variant.

    Returns:
        The report's `samples`, `skipped`, `truncated` (indices; empty for models that read the stored token ids),
        `per_sample`, and what `Task.summarize` adds.

    Raises:
        InputError: A batch cannot be used.
    """
    task, skipped, records = medium.task, [], []
    protocol = protocol or task.protocol(model.protocol_name)
    shown = shown or ("dcrf" if dcrf else protocol.shown)
    options = {"protocol": protocol, "preprocessing": model.preprocessing, "dcrf": dcrf}
    score = functools.partial(_score, wanted=None if on_marks else shown, **options)
    sample_type = medium.sample_type_of(paths[0])
    tokenizer = make_tokenizer_for(model, paths, sample_type)
    decoded_samples = decode_samples(model, tokenizer, progress(paths, len(paths), "evaluate"), batch_size, sample_type)
    for decoded, scored in map_in_order(score, decoded_samples, workers if dcrf else 0):
        if scored is None:
            skipped.append({"index": decoded.index, "reason": "the expression has no words"})
            logger.warning("%s: skipped: the expression has no words", paths[decoded.index])
            continue
        marks, record = scored
        records.append({"index": decoded.index, **decoded.sample.describe(), **record, **decoded.boxes})
        if on_prediction is not None:
            on_prediction(decoded.index, decoded.sample, marks[shown], iou(*task.pairs_of([record], shown)[0]))
        if on_marks is not None:
            on_marks(decoded.index, decoded.sample, marks)
    if not records:
        raise InputError(f"{paths[0].parent}: every sample was skipped: {skipped[0]['reason']}")
    records = task.finish(records)
    found = {"samples": len(records), "skipped": skipped, "truncated": _truncated(records, tokenizer)}
    return {**found, **task.summarize(records), "per_sample": records}


def make_tokenizer_for(model: "Runner", paths: list[Path], sample_type: type[Sample]) -> Tokenizer | None:
    """The tokenizer of a model that reads sentences; None if it reads the stored token ids, which are checked."""
    if not model.tokenizer_type.reads_stored_ids:
        return model.make_tokenizer()
    if model.vocabulary is not None:
        require_same_words(paths, model.make_tokenizer(), sample_type)
    return None


def _truncated(records: list[dict], tokenizer: Tokenizer | None) -> list[int]:
    """Indices of the samples whose expressions are longer than the model reads."""
    if tokenizer is None:
        return []
    found = [record["index"] for record in records if tokenizer.describe_truncation(record["expression"])]
    if found:
        logger.warning("%d of %d expressions are longer than the model reads", len(found), len(records))
    return found


def _score(
    decoded: DecodedSample, wanted: str | None, protocol: "Protocol", **options
) -> tuple[dict[str, Any], dict] | None:
    """What the model marks, of all variants or of the wanted one, and the record; None without words.

    Marks that nobody wants need not be sent between processes.
    """
    if decoded.answer is None:
        return None
    marks, record = protocol.score(decoded.sample, decoded.answer, **options)
    return marks if wanted is None else {wanted: marks[wanted]}, record


def decode_samples(
    model: "Runner",
    tokenizer: Tokenizer | None,
    paths: Iterable[Path],
    batch_size: int,
    sample_type: type[Sample],
) -> Iterator[DecodedSample]:
    """Decodes all samples; neighbouring ones of equal pixels share the encoding."""
    read = ((path, _read_fitting(path, sample_type, model.preprocessing)) for path in paths)
    with_text = ((index, sample, _text_of(model, tokenizer, path, sample)) for index, (path, sample) in enumerate(read))
    for samples in group_by_pixels(with_text):
        features = None
        while members := list(itertools.islice(samples, batch_size)):
            readable = [member for member in members if member[2] is not None]
            yield from (DecodedSample(index, sample, None) for index, sample, text in members if text is None)
            if not readable:
                continue
            if features is None:
                features = model.encode(readable[0][1].fitted(model.preprocessing)[None])
            texts = [text for *_, text in readable]
            stacked = {name: np.stack([text[name] for text in texts]) for name in texts[0]}
            answers, boxes = model.decode_and_compare(features, [sample for _, sample, _ in readable], stacked)
            for (index, sample, _), answer, box in zip(readable, one_by_one(answers), boxes, strict=True):
                yield DecodedSample(index, sample, answer, box)


def one_by_one(answers: np.ndarray | dict[str, np.ndarray]) -> Iterable:
    """The answers of a batch, from `Runner.decode`, without batch axis."""
    if isinstance(answers, dict):
        return (dict(zip(answers, values, strict=True)) for values in zip(*answers.values(), strict=True))
    return answers


def _read_fitting(path: Path, sample_type: type[Sample], preprocessing: Preprocessing) -> Sample:
    sample = read_batch(path, sample_type)
    with named(path, lambda: f"; build it again with `{rebuild_command(path.parent, sample_type, preprocessing)}`"):
        sample.require_fit(preprocessing)
    return sample


def _text_of(model: "Runner", tokenizer: Tokenizer | None, path: Path, sample: Sample) -> dict[str, np.ndarray] | None:
    """The model's inputs for the expression of a sample; None if it has no words.

    Without a tokenizer they are the stored token ids.
    """
    if tokenizer is not None:
        try:
            return tokenizer.encode(sample.expression)
        except NoWordsError:
            return None
    ids, config = sample.token_ids, model.config
    if ids.shape != (config.max_words,) or ids.min() < 0 or ids.max() >= config.vocabulary_size:
        raise InputError(
            f"{path}: token ids do not fit the model, which has {config.max_words} word slots and "
            f"{config.vocabulary_size} words; build the split with the model's vocabulary"
        )
    return {"token_ids": ids} if ids.any() else None


def group_by_pixels(samples: Iterable[tuple]) -> Iterator[Iterator[tuple]]:
    """Groups neighbouring samples of equal pixels, so that a picture is encoded once for all its expressions.

    Args:
        samples: Tuples of a number, a sample and whatever goes with it, in order.

    Yields:
        An iterator over the tuples of one picture, to be used up before the next group.
    """
    last, group_number = None, 0

    def number_of_group(numbered):
        nonlocal last, group_number
        pixels = numbered[1].pixels
        if last is None or not np.array_equal(last, pixels):
            last, group_number = pixels, group_number + 1
        return group_number

    for _, group in itertools.groupby(samples, key=number_of_group):
        yield group
