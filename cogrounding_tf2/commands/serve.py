"""Serves a grounding model: a page in the browser, and HTTP."""

import argparse
import logging

import numpy as np

from cmpc_tf2.commands.options import add_serving_options
from cmpc_tf2.commands.serve import require_servable, serve
from cogrounding_tf2.data.original_files import read_words
from cogrounding_tf2.medium import CLIP_BOXES, of_model

logger = logging.getLogger(__name__)


def add_parser(commands):
    """Adds the `serve` command."""
    command = commands.add_parser("serve", help="a page in the browser, and HTTP")
    command.set_defaults(run=run)
    add_serving_options(command)


def run(arguments: argparse.Namespace):
    """The `serve` command: everything cheap is checked before the model is loaded."""
    require_servable(arguments)
    medium = of_model(arguments.model)
    logger.info("loading %s", arguments.model)

    from cmpc_tf2.model_files import load_for_inference
    from cmpc_tf2.serving.segmenter import Limits, Segmenter
    from cmpc_tf2.serving.uploads import PICTURE_UPLOAD
    from cmpc_video_tf2.uploads import video_upload
    from cogrounding_tf2.predictor import BoxPredictor, ClipBoxPredictor

    model = load_for_inference(arguments.model, arguments.precision, arguments.image_size, medium.name)
    words = arguments.vocabulary and read_words(arguments.vocabulary, model.config.vocabulary_size)
    if medium is CLIP_BOXES:
        predictor = ClipBoxPredictor(model, words)
        set_pixels, blank = predictor.set_clip, np.zeros((predictor.frames, 64, 64, 3), np.uint8)
        limits, upload = Limits(file_bytes=100_000_000, pixels=4_000_000), video_upload(predictor.frames)
    else:
        predictor = BoxPredictor(model, words)
        set_pixels, blank = predictor.set_image, np.zeros((64, 64, 3), np.uint8)
        limits, upload = Limits(), PICTURE_UPLOAD
    set_pixels(blank)
    predictor.explain("thing")  # The first answer would take longer.
    serve(arguments, Segmenter(predictor, set_pixels, limits), upload)
