"""The inputs of models in HTTP requests: videos."""

import logging
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import Form, UploadFile

from cmpc_tf2.data.image_files import encode_image
from cmpc_tf2.errors import InputError
from cmpc_tf2.serving.segmenter import Limits, RequestError
from cmpc_tf2.serving.uploads import Example, ReadPixels, Upload
from cmpc_video_tf2.commands.predict import write_video
from cmpc_video_tf2.config import CLIP_FRAMES
from cmpc_video_tf2.data.clips import VideoFile, clip_numbers
from cmpc_video_tf2.data.moving_shapes import SWELLING, compose

logger = logging.getLogger(__name__)

# A short video: about 40 seconds.
MOST_FRAMES = 1000
# Numbers of the videos of `moving_shapes` that are examples; they are of the test split.
EXAMPLES = (1200, 1201, 1202)


def video_upload(count: int = CLIP_FRAMES) -> Upload:
    """Videos for a model that reads clips of some frames, and marks the middle one."""

    def receive_video(
        video: UploadFile,
        moment: Annotated[float, Form(ge=0, le=1, description="the frame to mark: 0 is the first, 1 the last")] = 0.5,
    ) -> ReadPixels:
        """The fields `video` and `moment`."""

        def read(limits: Limits) -> np.ndarray:
            # The decoder takes the path of a file.
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "video"
                with path.open("wb") as file:
                    shutil.copyfileobj(video.file, file)
                return read_clip(path, moment, limits, count)

        return read

    return Upload(
        medium="clips", receive=receive_video, picture_of=lambda pixels: pixels[count // 2], draw_examples=draw_videos
    )


def read_clip(path: Path, moment: float, limits: Limits, count: int = CLIP_FRAMES) -> np.ndarray:
    """Decodes the clip around a moment of an uploaded video.

    Args:
        path: An mp4 or avi file.
        moment: From 0 (the first frame) to 1 (the last).
        limits: Limits of the file, and of the pixels of a frame.
        count: Frames of a clip.

    Returns:
        uint8 RGB `(count, h, w, 3)`.

    Raises:
        RequestError: It is not such a file, or too large or too long.
    """
    size = path.stat().st_size
    if size > limits.file_bytes:
        raise RequestError(413, f"video: expected at most {limits.file_bytes} bytes, found {size}", "video")
    with path.open("rb") as file:
        head = file.read(12)
    # The decoder also knows formats that name other files.
    if head[4:8] != b"ftyp" and not (head[:4] == b"RIFF" and head[8:] == b"AVI "):
        raise RequestError(422, "video: expected an mp4 or avi file", "video")
    try:
        return np.stack(_clip_at(VideoFile(path), moment, limits, count))
    except RequestError:
        raise
    except InputError as error:
        raise RequestError(422, "video: cannot be decoded, or is cut off", "video") from error


def _clip_at(video: VideoFile, moment: float, limits: Limits, count: int) -> list[np.ndarray]:
    """The frames around a moment. If the file is right about its length, it is decoded once, otherwise twice."""

    def numbers(last: int) -> list[int]:
        return clip_numbers(1 + round(moment * (last - 1)), last, count)

    stated = video.stated_last
    wanted = set(numbers(int(stated))) if 1 <= stated <= MOST_FRAMES else set()
    held, last, shape = {}, 0, None
    for last, frame in enumerate(video.frames(), start=1):
        shape = shape or frame.shape
        _require_frame(frame, shape, limits)
        if last > MOST_FRAMES:
            raise RequestError(413, f"video: expected at most {MOST_FRAMES} frames; cut it shorter", "video")
        if last in wanted:
            held[last] = frame
    found = numbers(last)
    return [held[number] for number in found] if held.keys() >= set(found) else video.read(found)


def _require_frame(frame: np.ndarray, first_shape: tuple[int, ...], limits: Limits):
    height, width = frame.shape[:2]
    if frame.shape != first_shape:
        raise RequestError(422, "video: its frames have different sizes; expected one size", "video")
    if height * width > limits.pixels:
        raise RequestError(413, f"video: expected at most {limits.pixels} pixels, found {width} x {height}", "video")
    if min(height, width) < limits.shortest_side:
        raise RequestError(422, f"video: expected sides of at least {limits.shortest_side} pixels", "video")


def draw_videos() -> list[Example]:
    """Three videos of `moving_shapes`, each with a sentence for each shape; none if OpenCV cannot write mp4 files."""
    examples = []
    with tempfile.TemporaryDirectory() as folder:
        for number in EXAMPLES:
            _, frames, sentences = compose(SWELLING, number, 2 * CLIP_FRAMES)
            # Enlarged: MPEG-4 blurs small frames.
            frames = [frame.repeat(4, axis=0).repeat(4, axis=1) for frame in frames]
            path = Path(folder) / f"video_{number:05d}.mp4"
            try:
                with write_video(path, frames[0].shape, rate=25) as add:
                    for index, frame in enumerate(frames):
                        add(index, frame)
            except InputError as error:
                logger.warning("no examples: %s", error)
                return []
            expressions = [about[-1] for about in sentences]
            examples.append(Example(path.name, path.read_bytes(), encode_image(frames[CLIP_FRAMES]), expressions))
    return examples
