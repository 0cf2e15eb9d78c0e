"""Frames of a video, from a folder of pictures or from a video file, and the clip around one of them."""

import functools
import re
from pathlib import Path

import numpy as np

from cmpc_tf2.data.image_ops import read_image
from cmpc_tf2.errors import InputError
from cmpc_video_tf2.config import CLIP_FRAMES

VIDEO_SUFFIXES = (".mp4", ".avi")


def clip_numbers(annotated: int, last: int) -> list[int]:
    """Numbers of the 16 frames around an annotated one; beyond the ends the first or last frame stands again.

    Source: `frame_range` in `CMPC_video/build_A2D_batches.py` of CMPC-Refseg.

    Args:
        annotated: The annotated frame, counted from 1.
        last: The video's last frame.
    """
    first = annotated - CLIP_FRAMES // 2
    return [min(max(number, 1), last) for number in range(first, first + CLIP_FRAMES)]


class FrameFolder:
    """A video as a folder of `00001.png`, `00002.png`, ...

    Args:
        path: The folder.

    Attributes:
        last: The number of the last frame.

    Raises:
        InputError: It holds no frame.
    """

    def __init__(self, path: Path):
        self.path = path
        files = {int(file.stem): file for file in path.iterdir() if re.fullmatch(r"\d+\.(png|jpg|jpeg)", file.name)}
        if not files:
            raise InputError(f"{path}: holds no frames; expected 00001.png, 00002.png, ...")
        self._files = files
        self.last = max(files)

    def read(self, numbers: list[int]) -> list[np.ndarray]:
        """Frames as uint8 RGB `(h, w, 3)`.

        Raises:
            InputError: One is missing or unreadable.
        """
        for number in numbers:
            if number not in self._files:
                raise InputError(f"{self.path}: frame {number} of {self.last} is missing")
        frames = {number: read_image(self._files[number]) for number in set(numbers)}
        return [frames[number] for number in numbers]


class VideoFile:
    """A video file, decoded by OpenCV from its beginning, so that frame numbers are exact.

    Args:
        path: An mp4 or avi file; it is opened when frames are asked for.
    """

    def __init__(self, path: Path):
        self.path = path

    @functools.cached_property
    def last(self) -> int:
        """The number of frames, counted by decoding.

        Raises:
            InputError: The file cannot be opened, or not one frame can be decoded.
        """
        return sum(1 for _ in self._decode())

    def read(self, numbers: list[int]) -> list[np.ndarray]:
        """As `FrameFolder.read`."""
        wanted, frames = set(numbers), {}
        for number, frame in enumerate(self._decode(), start=1):
            if number in wanted:
                frames[number] = frame[..., ::-1]
            if len(frames) == len(wanted):
                return [frames[number] for number in numbers]
        raise InputError(f"{self.path}: frame {max(wanted)} cannot be decoded; is the file whole?")

    def _decode(self):
        import cv2

        capture = cv2.VideoCapture(str(self.path))
        try:
            is_read, frame = capture.read()
            if not is_read:
                raise InputError(f"{self.path}: not a video that OpenCV can decode")
            while is_read:
                yield frame
                is_read, frame = capture.read()
        finally:
            capture.release()


def open_video(folders: list[Path], video_id: str) -> FrameFolder | VideoFile:
    """A video by its id: a folder of frames, or else a file `<id>.mp4` or `<id>.avi`.

    Args:
        folders: Where to look, in this order.
        video_id: Name of the folder or file.

    Raises:
        InputError: There is neither.
    """
    for folder in folders:
        if (folder / video_id).is_dir():
            return FrameFolder(folder / video_id)
        for suffix in VIDEO_SUFFIXES:
            if (folder / f"{video_id}{suffix}").is_file():
                return VideoFile(folder / f"{video_id}{suffix}")
    places = " or ".join(str(folder) for folder in folders)
    raise InputError(f"{video_id}: no folder of frames and no {' or '.join(VIDEO_SUFFIXES)} file in {places}")
