"""Finds boxes in a picture, or in every n-th frame of a video."""

import argparse
import json
from pathlib import Path

from cmpc_tf2.commands.options import (
    add_expressions,
    add_json,
    add_model,
    add_precision,
    number,
    print_result,
)
from cmpc_tf2.commands.predict import require_words, warn_of_lost_words
from cmpc_tf2.data.image_files import read_image, require_image_name, write_image
from cmpc_tf2.errors import UsageError, named
from cmpc_tf2.fields import COUNT
from cmpc_tf2.files import making_folder, progress, require_new_folder, require_writable, write_bytes
from cmpc_tf2.tasks.boxes.drawing import draw_boxes
from cmpc_tf2.tasks.boxes.prediction import BoxPrediction
from cogrounding_tf2.data.original_files import read_words

RESULTS = "results.jsonl"


def add_parser(commands):
    """Adds the `predict` command."""
    predict = commands.add_parser("predict", help="find boxes in a picture or a video")
    predict.set_defaults(run=run)
    add_model(predict)
    source = predict.add_mutually_exclusive_group(required=True)
    source.add_argument("--image", type=Path, metavar="FILE", help="JPEG, PNG, ..., any size; for SL-Att.")
    source.add_argument(
        "--video", type=Path, metavar="FILE", help="mp4 or avi, or a folder of 00001.png, ...; for CG-SL-Att."
    )
    add_expressions(predict)
    predict.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="PATH",
        help="picture with boxes drawn in, a .png or .jpg file; with --video a new folder",
    )
    predict.add_argument(
        "--every",
        type=number(COUNT),
        metavar="N",
        help="with --video: every N-th frame, from the first on (default: 8)",
    )
    add_precision(predict)
    add_json(predict)


def run(arguments: argparse.Namespace):
    """The `predict` command: everything cheap is checked before the model is loaded."""
    require_words(arguments.expression)
    if arguments.image is None:
        predict_video(arguments)
    elif arguments.every is not None:
        raise UsageError("--every: goes with --video; leave it out")
    else:
        predict_image(arguments)


def predict_image(arguments: argparse.Namespace):
    """Finds boxes in a picture."""
    require_image_name(arguments.output)
    require_writable(arguments.output, others=[arguments.image, arguments.model])
    image = read_image(arguments.image, upright=True)
    predictor = _load(arguments, "grounding")

    from cmpc_tf2.inference.graphs import graphs_for

    predictor.set_image(image)
    with graphs_for(len(arguments.expression)):
        found = [predictor.predict(expression) for expression in arguments.expression]
    write_image(arguments.output, draw_boxes(image, [one.box for one in found], arguments.expression))
    results = [one.describe(text) for text, one in zip(arguments.expression, found, strict=True)]
    lines = [f"{text}: {_in_words(one)}" for text, one in zip(arguments.expression, found, strict=True)]
    text = "\n".join([*lines, str(arguments.output)])
    print_result(arguments, text, {"output": str(arguments.output), "results": results})


def predict_video(arguments: argparse.Namespace):
    """Finds boxes in frames of a video, each with the frames around it."""
    from cmpc_video_tf2.commands.predict import can_write_video, storable_rate, write_pictures, write_video
    from cmpc_video_tf2.data.clips import clips_of, open_path

    target, expressions, every = arguments.output, arguments.expression, arguments.every or 8
    require_new_folder(target)
    video = open_path(arguments.video)
    count = len(range(1, video.last + 1, every))
    shape = draw_boxes(next(video.frames()), [], expressions).shape
    rate = storable_rate(video.rate / every)
    has_video = can_write_video(shape, rate)
    predictor = _load(arguments, "grounding_clips")

    lines = []
    with making_folder(target) as partial:
        overlay = (
            write_video(partial / "overlay.mp4", shape, rate) if has_video else write_pictures(partial / "overlay")
        )
        with overlay as add_overlay:
            clips = clips_of(video.frames(), every, predictor.frames)
            for frame_number, frames in progress(clips, count, "predict"):
                with named(f"{arguments.video}: around frame {frame_number}"):
                    predictor.set_clip(frames)
                found = [predictor.predict(expression) for expression in expressions]
                image = frames[len(frames) // 2]
                add_overlay(frame_number, draw_boxes(image, [one.box for one in found], expressions))
                for text, one in zip(expressions, found, strict=True):
                    lines.append(json.dumps({"frame": frame_number, **one.describe(text)}))
        write_bytes(partial / RESULTS, "".join(f"{line}\n" for line in lines).encode())
    text = f"{len(lines)} boxes in {count} frames: {target / RESULTS}\n{target}"
    print_result(arguments, text, {"output": str(target), "results": str(target / RESULTS), "boxes": len(lines)})


def _load(arguments: argparse.Namespace, medium: str):
    """The predictor of the model file."""
    from cmpc_tf2.model_files import load_for_inference
    from cogrounding_tf2.predictor import BoxPredictor, ClipBoxPredictor

    model = load_for_inference(arguments.model, arguments.precision, medium=medium)
    words = arguments.vocabulary and read_words(arguments.vocabulary, model.config.vocabulary_size)
    predictor = {"grounding": BoxPredictor, "grounding_clips": ClipBoxPredictor}[medium](model, words)
    for expression in arguments.expression:
        warn_of_lost_words(expression, predictor.tokenizer, arguments.model)
    return predictor


def _in_words(found: BoxPrediction) -> str:
    x1, y1, x2, y2 = (round(float(value)) for value in found.box)
    return f"x {x1} to {x2}, y {y1} to {y2} (score {found.score:.2f})"
