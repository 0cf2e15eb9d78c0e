"""Segments one picture by one or more expressions."""

import argparse
import logging
from pathlib import Path

from cmpc_tf2.commands.options import add_expressions, add_inference_options, add_model, read_vocabulary
from cmpc_tf2.data.image_files import read_image, require_image_name, write_image
from cmpc_tf2.files import require_writable
from cmpc_tf2.tasks.masks.drawing import draw_masks
from cmpc_tf2.text.tokenizers import Tokenizer
from cmpc_tf2.text.vocabulary import NoWordsError

logger = logging.getLogger(__name__)


def add_parser(commands):
    """Adds the `predict` command."""
    predict = commands.add_parser("predict", help="segment one picture")
    predict.set_defaults(run=run)
    add_model(predict)
    predict.add_argument("--image", type=Path, required=True, metavar="FILE", help="JPEG, PNG, ..., any size")
    add_expressions(predict)
    predict.add_argument("--output", type=Path, required=True, metavar="FILE.png", help="picture with masks drawn in")
    predict.add_argument(
        "--mask", type=Path, metavar="FILE.png", help="mask as 0 and 255; FILE_1.png, ... for several expressions"
    )
    add_inference_options(predict)


def run(arguments: argparse.Namespace):
    """The `predict` command: everything cheap is checked before the model is loaded."""
    masks = mask_paths(arguments.mask, len(arguments.expression)) if arguments.mask else []
    inputs = [arguments.image, arguments.model]
    require_image_name(arguments.output)
    require_writable(arguments.output, others=inputs)
    for path in masks:
        require_image_name(path, lossless=True)
        require_writable(path, others=[*inputs, arguments.output])
    require_words(arguments.expression)
    image = read_image(arguments.image, upright=True)

    from cmpc_tf2.inference.predictor import Predictor
    from cmpc_tf2.model_files import load_for_inference

    model = load_for_inference(arguments.model, arguments.precision, arguments.image_size)
    predictor = Predictor(model, read_vocabulary(arguments.vocabulary, model))
    predictor.set_image(image)
    for expression in arguments.expression:
        warn_of_lost_words(expression, predictor.tokenizer, arguments.model)
    predicted = [predictor.predict(expression).mask for expression in arguments.expression]

    write_image(arguments.output, draw_masks(image, predicted, arguments.expression))
    for path, mask in zip(masks, predicted, strict=bool(masks)):
        write_image(path, mask)
    for expression, mask in zip(arguments.expression, predicted, strict=True):
        print(f"{expression}: {mask.mean():.2%} of the picture")
    print(arguments.output)


def require_words(expressions: list[str]):
    """Checks that no expression is blank; what else is no word, the model's tokenizer says.

    Raises:
        NoWordsError: One of them is.
    """
    for expression in expressions:
        if not expression.strip():
            raise NoWordsError(expression)


def mask_paths(path: Path, count: int) -> list[Path]:
    """One file or folder per expression: `mask.png`, or `mask_1.png`, `mask_2.png`, ... if there are several."""
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}_{number}{path.suffix}") for number in range(1, count + 1)]


def warn_of_lost_words(expression: str, tokenizer: Tokenizer, model_file: Path):
    """Warns if a model ignores much of an expression: it knows no word, or reads the first words only.

    Raises:
        NoWordsError: The expression has no words.
    """
    if not any(tokenizer.is_known(token) for token in tokenizer.split(expression)):
        logger.warning("expression %r: %s knows none of its words", expression, model_file)
    if truncation := tokenizer.describe_truncation(expression):
        logger.warning("expression %r: %s", expression, truncation)
