"""Segments one picture by one or more expressions."""

import argparse
import logging
from pathlib import Path

from cmpc_tf2.data.image_ops import read_image, require_image_name, write_image
from cmpc_tf2.data.text import Vocabulary, tokenize
from cmpc_tf2.errors import InputError
from cmpc_tf2.files import require_writable
from cmpc_tf2.overlays import draw_masks

logger = logging.getLogger(__name__)


def run(arguments: argparse.Namespace):
    """The `predict` command: everything cheap is checked before the model is loaded."""
    masks = mask_paths(arguments.mask, len(arguments.expression)) if arguments.mask else []
    require_image_name(arguments.output)
    for path in masks:
        require_image_name(path, lossless=True)
    inputs = [arguments.image, arguments.model]
    require_writable(arguments.output, others=inputs)
    for path in masks:
        require_writable(path, others=[*inputs, arguments.output])
    require_words(arguments.expression)
    image = read_image(arguments.image, upright=True)
    vocabulary = Vocabulary.from_file(arguments.vocabulary) if arguments.vocabulary else None

    from cmpc_tf2.checkpoints import load_for_inference
    from cmpc_tf2.predictor import Predictor

    model = load_for_inference(arguments.model, arguments.precision, arguments.image_size)
    predictor = Predictor(model, vocabulary)
    predictor.set_image(image)
    for expression in arguments.expression:
        warn_of_lost_words(expression, predictor.vocabulary, arguments.model, model.config.max_words)
    predicted = [predictor.predict(expression).mask for expression in arguments.expression]

    write_image(arguments.output, draw_masks(image, predicted, arguments.expression))
    for path, mask in zip(masks, predicted, strict=bool(masks)):
        write_image(path, mask)
    for expression, mask in zip(arguments.expression, predicted, strict=True):
        print(f"{expression}: {mask.mean():.2%} of the picture")
    print(arguments.output)


def require_words(expressions: list[str]):
    """Checks that there is a word in every expression.

    Raises:
        InputError: There is none in one of them.
    """
    for expression in expressions:
        if not tokenize(expression):
            raise InputError(f"expression {expression!r}: has no words")


def mask_paths(path: Path, count: int) -> list[Path]:
    """One file per expression: `mask.png`, or `mask_1.png`, `mask_2.png`, ... if there are several."""
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}_{number}{path.suffix}") for number in range(1, count + 1)]


def warn_of_lost_words(expression: str, vocabulary: Vocabulary, model_file: Path, max_words: int):
    """Warns where a model sees little of an expression: only unknown words, or the first `max_words` of more."""
    tokens = tokenize(expression)
    if not any(token in vocabulary.ids for token in tokens):
        logger.warning("expression %r: %s knows none of its words", expression, model_file)
    if len(tokens) > max_words:
        logger.warning("expression %r: only the first %d of its %d words count", expression, max_words, len(tokens))
