"""Segments every n-th frame of a video by one or more expressions."""

import argparse
import os
import shutil
from pathlib import Path

import numpy as np

from cmpc_tf2.data.image_ops import write_image
from cmpc_tf2.data.text import Vocabulary
from cmpc_tf2.errors import InputError
from cmpc_tf2.files import progress, require_writable
from cmpc_tf2.overlays import draw_masks
from cmpc_tf2.predict import require_words, warn_of_lost_words
from cmpc_video_tf2.data.clips import clips_of, open_path


def run(arguments: argparse.Namespace):
    """The `predict` command: everything cheap is checked before the model is loaded."""
    target, expressions = arguments.output, arguments.expression
    if target.exists():
        raise InputError(f"{target}: is there already; give the name of a new folder")
    require_writable(target)
    require_words(expressions)
    video = open_path(arguments.video)
    count = len(range(1, video.last + 1, arguments.every))
    vocabulary = Vocabulary.from_file(arguments.vocabulary) if arguments.vocabulary else None

    from cmpc_tf2.checkpoints import load_for_inference
    from cmpc_video_tf2.models.cmpc_video import CMPCVideo
    from cmpc_video_tf2.predictor import VideoPredictor

    model = load_for_inference(arguments.model, arguments.precision, arguments.image_size, CMPCVideo)
    predictor = VideoPredictor(model, vocabulary)
    for expression in expressions:
        warn_of_lost_words(expression, predictor.vocabulary, arguments.model, model.config.max_words)

    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    shares = np.zeros(len(expressions))
    try:
        folders = [partial / name for name in mask_folders(len(expressions))]
        for folder in folders:
            os.makedirs(folder)
        with OverlayVideo(partial / "overlay.mp4", max(1.0, video.rate / arguments.every)) as overlay:
            for number, frames in progress(clips_of(video.frames(), arguments.every), count, "predict"):
                try:
                    predictor.set_clip(frames)
                except InputError as error:
                    raise InputError(f"{arguments.video}: around frame {number}: {error}") from None
                masks = [predictor.predict(expression).mask for expression in expressions]
                for folder, mask in zip(folders, masks, strict=True):
                    write_image(folder / f"{number:05d}.png", mask)
                overlay.add(draw_masks(frames[len(frames) // 2], masks, expressions))
                shares += [mask.mean() for mask in masks]
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for expression, share in zip(expressions, shares / count, strict=True):
        print(f"{expression}: {share:.2%} of {count} frames")
    print(target)


def mask_folders(count: int) -> list[str]:
    """One for each expression: `masks`, or `masks_1`, `masks_2`, ... if there are several."""
    return ["masks"] if count == 1 else [f"masks_{number}" for number in range(1, count + 1)]


class OverlayVideo:
    """An mp4 file that is written frame by frame.

    Args:
        path: The file.
        rate: Frames a second.
    """

    def __init__(self, path: Path, rate: float):
        self._path = path
        self._rate = rate
        self._writer = None

    def __enter__(self) -> "OverlayVideo":
        return self

    def add(self, frame: np.ndarray):
        """Appends a frame, uint8 RGB `(h, w, 3)`; all have the size of the first.

        Raises:
            InputError: OpenCV cannot write such a file.
        """
        import cv2

        height, width = frame.shape[:2]
        # The codec wants even sides.
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._writer is None:
            fourcc = cv2.VideoWriter_fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._path), fourcc, self._rate, frame.shape[1::-1])
            if not self._writer.isOpened():
                raise InputError(f"{self._path}: OpenCV cannot write mp4 files here")
        self._writer.write(np.ascontiguousarray(frame[..., ::-1]))

    def __exit__(self, *exception):
        if self._writer is not None:
            self._writer.release()
