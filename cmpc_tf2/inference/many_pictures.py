"""Segments many pictures: a picture that fails is named, and the others go on."""

import itertools
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from scipy.special import expit

from cmpc_tf2.data.image_files import read_image
from cmpc_tf2.errors import InputError
from cmpc_tf2.files import progress
from cmpc_tf2.inference.requests import Request
from cmpc_tf2.inference.results import ResultsFolder, picture_names
from cmpc_tf2.inference.runner import Runner
from cmpc_tf2.tasks.masks.prediction import Prediction
from cmpc_tf2.text.tokenizer import Tokenizer
from cmpc_tf2.text.vocabulary import NoWordsError

logger = logging.getLogger(__name__)

# Path, pixels, and what to segment in it.
_Picture = tuple[Path, np.ndarray, list[Request]]


def segment_pictures(
    runner: Runner, tokenizer: Tokenizer, requests: list[Request], results: ResultsFolder, batch_size: int
) -> int:
    """Segments what has no result yet.

    Args:
        runner: The model.
        tokenizer: Tokenizer of the model.
        requests: What to segment; those of a picture next to each other.
        results: Where the results go. Requests that have a result there are left out.
        batch_size: Pictures encoded together. Changes nothing but float rounding.

    Returns:
        How many requests failed; the log names them.
    """
    names = picture_names({request.path for request in requests})
    remaining = results.remaining(requests)
    pictures = [(path, list(group)) for path, group in itertools.groupby(remaining, key=lambda request: request.path)]
    shown = progress(pictures, len(names), "predict", done=len(names) - len(pictures))
    finished = 0
    for batch in _batched(_readable(shown, tokenizer), min(batch_size, runner.pictures_at_once or batch_size)):
        for (path, image, group), predictions in zip(batch, _predict(runner, tokenizer, batch), strict=True):
            scored = [(request, *one.scored_mask()) for request, one in zip(group, predictions, strict=True)]
            results.add(names[path], image, scored)
            finished += len(group)
    return len(remaining) - finished


def _readable(pictures: Iterable[tuple[Path, list[Request]]], tokenizer: Tokenizer) -> Iterator[_Picture]:
    """The pictures that can be read, with the expressions that have words."""
    for path, group in pictures:
        kept = []
        for request in group:
            try:
                tokenizer.encode(request.expression)
                kept.append(request)
            except NoWordsError as error:
                logger.error("failed: %s: %s", request.image, error)
        try:
            if kept:
                yield path, read_image(path, upright=True), kept
        except InputError as error:
            logger.error("failed: %s", error)


def _predict(runner: Runner, tokenizer: Tokenizer, batch: list[_Picture]) -> Iterator[list[Prediction]]:
    features = runner.encode(np.stack([runner.preprocessing.fit(image) for _, image, _ in batch]))
    texts = [[tokenizer.encode(request.expression) for request in group] for *_, group in batch]
    if len(batch) == 1:
        logits = [runner.decode(features, _stack(texts[0]))]
    elif all(len(of_picture) == 1 for of_picture in texts):
        logits = runner.decode(features, _stack(text for (text,) in texts))[:, None]
    else:  # The expressions of a picture share its features.
        logits = (
            runner.decode({name: value[index : index + 1] for name, value in features.items()}, _stack(of_picture))
            for index, of_picture in enumerate(texts)
        )
    for (_, image, _), of_picture in zip(batch, logits, strict=True):
        yield [Prediction(expit(one), image.shape[:2], runner.preprocessing) for one in of_picture]


def _stack(texts: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    texts = list(texts)
    return {name: np.stack([text[name] for text in texts]) for name in texts[0]}


def _batched(items: Iterator, size: int) -> Iterator[list]:
    while batch := list(itertools.islice(items, size)):
        yield batch
