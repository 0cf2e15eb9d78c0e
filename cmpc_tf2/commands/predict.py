"""Segments one picture, or many, by one or more expressions."""

import argparse
import contextlib
import hashlib
import logging
from pathlib import Path

from cmpc_tf2.commands.options import (
    add_expressions,
    add_inference_options,
    add_json,
    add_model,
    number,
    print_result,
    read_vocabulary,
)
from cmpc_tf2.data.image_files import read_image, require_image_name, write_image
from cmpc_tf2.errors import InputError, UsageError
from cmpc_tf2.fields import RANGES
from cmpc_tf2.files import read_bytes, require_folder, require_writable
from cmpc_tf2.inference.requests import Request, read_requests
from cmpc_tf2.inference.results import ResultsFolder, describe_mask
from cmpc_tf2.tasks.masks.drawing import draw_masks
from cmpc_tf2.text.tokenizers import Tokenizer
from cmpc_tf2.text.vocabulary import NoWordsError

logger = logging.getLogger(__name__)


def add_parser(commands):
    """Adds the `predict` command."""
    predict = commands.add_parser("predict", help="segment a picture, or many")
    predict.set_defaults(run=run)
    add_model(predict)
    source = predict.add_mutually_exclusive_group(required=True)
    source.add_argument("--image", type=Path, metavar="FILE", help="JPEG, PNG, ..., any size")
    source.add_argument(
        "--images",
        nargs="+",
        metavar="PATH",
        help="many pictures: files, folders, glob patterns, or .jsonl lists of rows with image and expression",
    )
    add_expressions(predict, required=False)
    predict.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="PATH",
        help="picture with masks drawn in, a .png or .jpg file; with --images a folder, where a run continues",
    )
    predict.add_argument(
        "--mask", type=Path, metavar="FILE.png", help="mask as 0 and 255; FILE_1.png, ... for several expressions"
    )
    predict.add_argument(
        "--image-root", type=Path, metavar="DIR", help="where the paths in a list start (default: the list's folder)"
    )
    predict.add_argument(
        "-bs", "--batch-size", type=number(RANGES["batch_size"]), default=4, help="pictures encoded together"
    )
    add_inference_options(predict)
    add_json(predict)


def run(arguments: argparse.Namespace):
    """The `predict` command: everything cheap is checked before the model is loaded."""
    if arguments.images is not None:
        if arguments.mask:
            raise UsageError("--mask: with --images, the masks are written below --output; leave the option out")
        predict_many(arguments)
    elif not arguments.expression:
        raise UsageError("--expression: needed with --image")
    else:
        predict_one(arguments)


def predict_one(arguments: argparse.Namespace):
    """Segments one picture."""
    masks = mask_paths(arguments.mask, len(arguments.expression)) if arguments.mask else []
    inputs = [arguments.image, arguments.model]
    require_image_name(arguments.output)
    require_writable(arguments.output, others=inputs)
    for path in masks:
        require_image_name(path, lossless=True)
        require_writable(path, others=[*inputs, arguments.output])
    require_words(arguments.expression)
    image = read_image(arguments.image, upright=True)

    from cmpc_tf2.inference.graphs import graphs_for
    from cmpc_tf2.inference.predictor import Predictor
    from cmpc_tf2.model_files import load_for_inference

    model = load_for_inference(arguments.model, arguments.precision, arguments.image_size)
    predictor = Predictor(model, read_vocabulary(arguments.vocabulary, model))
    predictor.set_image(image)
    for expression in arguments.expression:
        warn_of_lost_words(expression, predictor.tokenizer, arguments.model)
    with graphs_for(len(arguments.expression)):
        scored = [predictor.predict(expression).scored_mask() for expression in arguments.expression]
    predicted = [mask for mask, _ in scored]

    write_image(arguments.output, draw_masks(image, predicted, arguments.expression))
    for path, mask in zip(masks, predicted, strict=bool(masks)):
        write_image(path, mask)
    named = list(zip(arguments.expression, scored, strict=True))
    lines = [f"{expression}: {mask.mean():.2%} of the picture" for expression, (mask, _) in named]
    results = [describe_mask(expression, mask, score) for expression, (mask, score) in named]
    result = {"output": str(arguments.output), "masks": [str(path) for path in masks], "results": results}
    print_result(arguments, "\n".join([*lines, str(arguments.output)]), result)


def predict_many(arguments: argparse.Namespace):
    """Segments many pictures into a folder, and continues there if it is run again."""
    output = arguments.output
    require_folder(output)
    requests = read_requests(arguments.images, arguments.expression or [], arguments.image_root, output)
    files = {"model": arguments.model, "vocabulary": arguments.vocabulary}
    digests = {name: path and hashlib.sha256(read_bytes(path)).hexdigest() for name, path in files.items()}
    settings = {**digests, "image_size": arguments.image_size, "precision": arguments.precision}
    results = ResultsFolder(output, settings)
    failed = _segment(arguments, requests, results) if results.remaining(requests) else 0
    empty = results.count_empty(requests)
    counts = {"masks": len(requests) - failed, "empty": empty, "failed": failed}
    note = f", {empty} of them empty" if empty else ""
    text = f"{counts['masks']} of {len(requests)} masks{note}\n{results.path}"
    print_result(arguments, text, {"results": str(results.path), **counts})
    if failed:
        raise InputError(
            f"{failed} of {len(requests)} masks could not be made: see the messages above. "
            "Correct the files, and run the command again for those alone"
        )


def _segment(arguments: argparse.Namespace, requests: list[Request], results: ResultsFolder) -> int:
    from cmpc_tf2.inference.many_pictures import segment_pictures
    from cmpc_tf2.inference.runner import make_runner
    from cmpc_tf2.model_files import load_for_inference

    model = load_for_inference(arguments.model, arguments.precision, arguments.image_size)
    tokenizer = model.make_tokenizer(read_vocabulary(arguments.vocabulary, model))
    for expression in {request.expression: None for request in results.remaining(requests)}:
        with contextlib.suppress(NoWordsError):  # Reported with the pictures.
            warn_of_lost_words(expression, tokenizer, arguments.model)
    return segment_pictures(make_runner(model), tokenizer, requests, results, arguments.batch_size)


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
