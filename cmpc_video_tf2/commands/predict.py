"""Segments every n-th frame of a video by one or more expressions."""

import argparse
import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from cmpc_tf2.commands.options import add_expressions, add_inference_options, add_model, number, read_vocabulary
from cmpc_tf2.commands.predict import mask_paths, require_words, warn_of_lost_words
from cmpc_tf2.data.image_files import write_image
from cmpc_tf2.errors import InputError, named
from cmpc_tf2.fields import COUNT
from cmpc_tf2.files import making_folder, progress, require_new_folder
from cmpc_tf2.tasks.masks.drawing import draw_masks
from cmpc_video_tf2.data.clips import VideoFile, clips_of, open_path

logger = logging.getLogger(__name__)

# Limits of MPEG-4: units of time in a second, and pixels of a side (OpenCV rounds them down to even ones).
MOST_TICKS, LONGEST_SIDE = 65_535, 8190


def add_parser(commands):
    """Adds the `predict` command."""
    predict = commands.add_parser("predict", help="segment a video")
    predict.set_defaults(run=run)
    add_model(predict)
    predict.add_argument(
        "--video", type=Path, required=True, metavar="FILE", help="mp4 or avi, or a folder of 00001.png, ..."
    )
    add_expressions(predict)
    predict.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder for the masks")
    predict.add_argument(
        "--every",
        type=number(COUNT),
        default=8,
        metavar="N",
        help="segment every N-th frame, from the first on (default: 8)",
    )
    add_inference_options(predict)


def run(arguments: argparse.Namespace):
    """The `predict` command: everything cheap is checked before the model is loaded."""
    target, expressions = arguments.output, arguments.expression
    require_new_folder(target)
    require_words(expressions)
    video = open_path(arguments.video)
    count = len(range(1, video.last + 1, arguments.every))
    shape = draw_masks(next(video.frames()), [], expressions).shape
    rate = storable_rate(video.rate / arguments.every)
    has_video = can_write_video(shape, rate)
    if not has_video:
        logger.warning("the overlay becomes pictures, %s/overlay/00001.png, ..., in place of overlay.mp4", target)

    from cmpc_tf2.model_files import load_for_inference
    from cmpc_video_tf2.predictor import VideoPredictor

    model = load_for_inference(arguments.model, arguments.precision, arguments.image_size, "clips")
    predictor = VideoPredictor(model, read_vocabulary(arguments.vocabulary, model))
    for expression in expressions:
        warn_of_lost_words(expression, predictor.tokenizer, arguments.model)

    shares = np.zeros(len(expressions))
    with making_folder(target) as partial:
        folders = mask_paths(partial / "masks", len(expressions))
        for folder in folders:
            folder.mkdir()
        overlay = (
            write_video(partial / "overlay.mp4", shape, rate) if has_video else write_pictures(partial / "overlay")
        )
        with overlay as add_overlay:
            for number, frames in progress(clips_of(video.frames(), arguments.every), count, "predict"):
                with named(f"{arguments.video}: around frame {number}"):
                    predictor.set_clip(frames)
                masks = [predictor.predict(expression).mask for expression in expressions]
                for folder, mask in zip(folders, masks, strict=True):
                    write_image(folder / f"{number:05d}.png", mask)
                add_overlay(number, draw_masks(frames[len(frames) // 2], masks, expressions))
                shares += [mask.mean() for mask in masks]
    for expression, share in zip(expressions, shares / count, strict=True):
        print(f"{expression}: {share:.2%} of {count} frames")
    print(target)


def storable_rate(rate: float) -> float:
    """The nearest frame rate that MPEG-4 can store, and at least 1: OpenCV writes it with up to three decimals."""
    rate = min(max(rate, 1.0), MOST_TICKS)
    decimals = next(count for count in (3, 2, 1, 0) if rate * 10**count <= MOST_TICKS)
    return round(rate, decimals)


def can_write_video(shape: tuple[int, ...], rate: float) -> bool:
    """Whether OpenCV can write such a video here, by writing a frame; if not, the log says why.

    Args: as `write_video`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.mp4"
        try:
            with write_video(path, shape, rate) as add:
                add(1, np.zeros(shape, np.uint8))
            VideoFile(path).read([1])
        except InputError as error:
            logger.warning("%s", error)
            return False
    return True


@contextlib.contextmanager
def write_video(path: Path, shape: tuple[int, ...], rate: float) -> Iterator[Callable[[int, np.ndarray], None]]:
    """Writes an mp4 file frame by frame.

    Args:
        path: The file.
        shape: Shape of the frames, `(h, w, 3)`. If they are larger than MPEG-4 allows, the video is smaller.
        rate: Frames a second, from `storable_rate`.

    Yields:
        A function that appends a frame, uint8 RGB, given its number in the source. Other sizes are fitted.

    Raises:
        InputError: OpenCV cannot write such a file.
    """
    import cv2

    scale = min(1.0, LONGEST_SIDE / max(shape[:2]))
    height, width = (max(1, round(side * scale)) for side in shape[:2])
    # The codec wants even sides.
    rows, columns = height + height % 2, width + width % 2
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate, (columns, rows))
    try:
        if not writer.isOpened():
            raise InputError(f"OpenCV cannot write an mp4 file of {columns} x {rows} pixels, {rate:g} frames a second")

        def add(_: int, frame: np.ndarray):
            if frame.shape[:2] != (height, width):
                frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
            padded = np.pad(frame, ((0, rows - height), (0, columns - width), (0, 0)), mode="edge")
            writer.write(np.ascontiguousarray(padded[..., ::-1]))

        yield add
    finally:
        writer.release()


@contextlib.contextmanager
def write_pictures(folder: Path) -> Iterator[Callable[[int, np.ndarray], None]]:
    """As `write_video`, a PNG file for each frame, named after its number."""
    folder.mkdir()
    yield lambda number, frame: write_image(folder / f"{number:05d}.png", frame)
