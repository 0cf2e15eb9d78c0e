"""Serves a video model: a page in the browser, and HTTP."""

import argparse
import logging

import numpy as np

from cmpc_tf2.commands.options import add_serving_options, read_vocabulary
from cmpc_tf2.commands.serve import require_servable, serve
from cmpc_video_tf2.config import CLIP_FRAMES

logger = logging.getLogger(__name__)


def add_parser(commands):
    """Adds the `serve` command."""
    command = commands.add_parser("serve", help="a page in the browser, and HTTP")
    command.set_defaults(run=run)
    add_serving_options(command)


def run(arguments: argparse.Namespace):
    """The `serve` command: everything cheap is checked before the model is loaded."""
    require_servable(arguments)
    logger.info("loading %s", arguments.model)

    from cmpc_tf2.model_files import load_for_inference
    from cmpc_tf2.serving.segmenter import Limits, Segmenter
    from cmpc_video_tf2.predictor import VideoPredictor
    from cmpc_video_tf2.uploads import video_upload

    model = load_for_inference(arguments.model, arguments.precision, arguments.image_size, "clips")
    predictor = VideoPredictor(model, read_vocabulary(arguments.vocabulary, model))
    predictor.set_clip(np.zeros((CLIP_FRAMES, 64, 64, 3), np.uint8))
    predictor.explain("thing")  # The first answer would take longer.
    limits = Limits(file_bytes=100_000_000, pixels=4_000_000)
    serve(arguments, Segmenter(predictor, predictor.set_clip, limits), video_upload())
