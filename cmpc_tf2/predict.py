"""Segments one picture by one or more expressions."""

import argparse
from pathlib import Path

from cmpc_tf2.data.image_ops import read_image, require_image_suffix, write_image
from cmpc_tf2.data.text import Vocabulary, tokenize
from cmpc_tf2.errors import InputError, UsageError
from cmpc_tf2.files import require_writable
from cmpc_tf2.overlays import draw_masks


def run(arguments: argparse.Namespace):
    """The `predict` command: everything cheap is checked before the model is loaded."""
    for path in filter(None, (arguments.output, arguments.mask)):
        require_writable(path)
        require_image_suffix(path)
    if arguments.output == arguments.mask:
        raise UsageError(f"--mask: {arguments.mask} is the name given to --output; give another")
    for expression in arguments.expression:
        if not tokenize(expression):
            raise InputError(f"expression {expression!r}: has no words")
    image = read_image(arguments.image, upright=True)
    vocabulary = Vocabulary.from_file(arguments.vocabulary) if arguments.vocabulary else None

    from cmpc_tf2.checkpoints import load_model
    from cmpc_tf2.predictor import Predictor

    predictor = Predictor(load_model(arguments.model), vocabulary)
    predictor.set_image(image)
    masks = [predictor.predict(expression).mask for expression in arguments.expression]

    write_image(arguments.output, draw_masks(image, masks))
    if arguments.mask:
        for path, mask in zip(mask_paths(arguments.mask, len(masks)), masks, strict=True):
            write_image(path, mask)
    for expression, mask in zip(arguments.expression, masks, strict=True):
        print(f"{expression}: {mask.mean():.2%} of the picture")
    print(arguments.output)


def mask_paths(path: Path, count: int) -> list[Path]:
    """One file per expression: `mask.png`, or `mask_1.png`, `mask_2.png`, ... if there are several."""
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}_{number}{path.suffix}") for number in range(1, count + 1)]
