"""The input of the page for videos."""

from pathlib import Path

import gradio as gr
import numpy as np

from cmpc_tf2.errors import InputError
from cmpc_tf2.serving.page import PageInput, without_decoding
from cmpc_tf2.serving.segmenter import Limits, RequestError
from cmpc_video_tf2.config import CLIP_FRAMES
from cmpc_video_tf2.data.clips import VideoFile, clip_numbers

# A short video: about 40 seconds.
MOST_FRAMES = 1000


def read_clip(path: Path, moment: float, limits: Limits) -> np.ndarray:
    """Decodes the clip around a moment of an uploaded video.

    Args:
        path: An mp4 or avi file.
        moment: From 0 (the first frame) to 1 (the last).
        limits: Limits of the file, and of the pixels of a frame.

    Returns:
        uint8 RGB `(16, h, w, 3)`.

    Raises:
        RequestError: It is not such a file, or too large or too long.
    """
    size = path.stat().st_size
    if size > limits.file_bytes:
        raise RequestError(413, f"video: expected at most {limits.file_bytes} bytes, found {size}")
    with path.open("rb") as file:
        head = file.read(12)
    # The decoder also knows formats that name other files.
    if head[4:8] != b"ftyp" and not (head[:4] == b"RIFF" and head[8:] == b"AVI "):
        raise RequestError(422, "video: expected an mp4 or avi file")
    try:
        return np.stack(_clip_at(VideoFile(path), moment, limits))
    except RequestError:
        raise
    except InputError as error:
        raise RequestError(422, "video: cannot be decoded, or is cut off") from error


def _clip_at(video: VideoFile, moment: float, limits: Limits) -> list[np.ndarray]:
    """The frames around a moment. If the file is right about its length, it is decoded once, otherwise twice."""

    def numbers(last: int) -> list[int]:
        return clip_numbers(1 + round(moment * (last - 1)), last)

    stated = video.stated_last
    wanted = set(numbers(int(stated))) if 1 <= stated <= MOST_FRAMES else set()
    held, last, shape = {}, 0, None
    for last, frame in enumerate(video.frames(), start=1):
        shape = shape or frame.shape
        _require_frame(frame, shape, limits)
        if last > MOST_FRAMES:
            raise RequestError(413, f"video: expected at most {MOST_FRAMES} frames; cut it shorter")
        if last in wanted:
            held[last] = frame
    found = numbers(last)
    return [held[number] for number in found] if held.keys() >= set(found) else video.read(found)


def _require_frame(frame: np.ndarray, first_shape: tuple[int, ...], limits: Limits):
    height, width = frame.shape[:2]
    if frame.shape != first_shape:
        raise RequestError(422, "video: its frames have different sizes; expected one size")
    if height * width > limits.pixels:
        raise RequestError(413, f"video: expected at most {limits.pixels} pixels, found {width} x {height}")
    if min(height, width) < limits.shortest_side:
        raise RequestError(422, f"video: expected sides of at least {limits.shortest_side} pixels")


VIDEO_INPUT = PageInput(
    name="video",
    upload=lambda **options: without_decoding(gr.Video(sources=["upload"], **options)),
    read=read_clip,
    shown=lambda pixels: pixels[CLIP_FRAMES // 2],
    has_moments=True,
)
