"""Frames of a video, from a folder of pictures or from a video file, and the clip around one of them."""

import functools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from cmpc_tf2.data.image_files import read_image
from cmpc_tf2.errors import InputError
from cmpc_video_tf2.config import CLIP_FRAMES

VIDEO_SUFFIXES = (".mp4", ".avi")


def clip_numbers(annotated: int, last: int, count: int = CLIP_FRAMES) -> list[int]:
    """Numbers of the frames around an annotated one; beyond the ends the first or last frame is repeated.

    Source: `frame_range` in `CMPC_video/build_A2D_batches.py` of CMPC-Refseg.

    Args:
        annotated: The annotated frame, counted from 1.
        last: The video's last frame.
        count: Frames of a clip.
    """
    first = annotated - count // 2
    return [min(max(number, 1), last) for number in range(first, first + count)]


def clips_of(
    frames: Iterable[np.ndarray], every: int, count: int = CLIP_FRAMES
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """The clip around every n-th frame of a video, from the first on; few frames are held at a time.

    Args:
        frames: All frames in order.
        every: Step from one annotated frame to the next.
        count: Frames of a clip.

    Yields:
        The number of the annotated frame, from 1, and the frames around it.
    """
    held: dict[int, np.ndarray] = {}
    annotated, last = 1, 0
    ahead = count - 1 - count // 2

    def clip() -> tuple[int, list[np.ndarray]]:
        return annotated, [held[number] for number in clip_numbers(annotated, last, count)]

    for last, frame in enumerate(frames, start=1):
        held[last] = frame
        if last == annotated + ahead:
            yield clip()
            annotated += every
        for number in [number for number in held if number < annotated - count // 2]:
            del held[number]
    while annotated <= last:
        yield clip()
        annotated += every


class FrameFolder:
    """A video as a folder of `00001.png`, `00002.png`, ...

    Args:
        path: The folder.

    Attributes:
        last: The number of the last frame.
        rate: Frames a second.

    Raises:
        InputError: It holds no frame, or several of a number, or one with the number 0.
    """

    def __init__(self, path: Path):
        self.path = path
        found = sorted(file for file in path.iterdir() if re.fullmatch(r"\d+\.(png|jpg|jpeg)", file.name))
        if not found:
            raise InputError(f"{path}: holds no frames; expected 00001.png, 00002.png, ...")
        files = {int(file.stem): file for file in found}
        if len(files) < len(found) or 0 in files:
            raise InputError(
                f"{path}: expected one picture of each number from 00001.png on; found {found[0].name}, ..."
            )
        self._files = files
        self.last = max(files)
        self.rate = 25.0  # A folder has no frame rate.

    def frames(self) -> Iterator[np.ndarray]:
        """All frames in order; as `read`."""
        return (self.read([number])[0] for number in range(1, self.last + 1))

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
        path: An mp4 or avi file; it is opened when frames are read.
    """

    def __init__(self, path: Path):
        self.path = path

    @property
    def rate(self) -> float:
        """Frames a second, as the file says; 25 if it says nothing that can be."""
        import cv2

        rate = self._stated(cv2.CAP_PROP_FPS)
        return rate if 0 < rate < math.inf else 25.0

    @property
    def stated_last(self) -> float:
        """The number of frames, as the file says; it may be wrong, `last` is not."""
        import cv2

        return self._stated(cv2.CAP_PROP_FRAME_COUNT)

    def _stated(self, what: int) -> float:
        import cv2

        return cv2.VideoCapture(str(self.path)).get(what)

    @functools.cached_property
    def last(self) -> int:
        """The number of frames, counted by decoding.

        Raises:
            InputError: The file cannot be opened, or not one frame can be decoded.
        """
        return sum(1 for _ in self.frames())

    def read(self, numbers: list[int]) -> list[np.ndarray]:
        """As `FrameFolder.read`."""
        wanted, frames = set(numbers), {}
        for number, frame in enumerate(self.frames(), start=1):
            if number in wanted:
                frames[number] = frame
            if len(frames) == len(wanted):
                return [frames[number] for number in numbers]
        raise InputError(f"{self.path}: frame {max(wanted)} cannot be decoded; is the file whole?")

    def frames(self) -> Iterator[np.ndarray]:
        """All frames in order, as uint8 RGB `(h, w, 3)`.

        Raises:
            InputError: Not one can be decoded.
        """
        import cv2

        capture = cv2.VideoCapture(str(self.path))
        try:
            is_read, frame = capture.read()
            if not is_read:
                raise InputError(f"{self.path}: not a video that OpenCV can decode")
            while is_read:
                yield frame[..., ::-1]
                is_read, frame = capture.read()
        finally:
            capture.release()


def open_path(path: Path) -> FrameFolder | VideoFile:
    """A video by its path: a folder of frames or a video file.

    Raises:
        InputError: There is neither, or the folder holds no frames.
    """
    if path.is_dir():
        return FrameFolder(path)
    if not path.is_file():
        raise InputError(f"{path}: no such video")
    return VideoFile(path)


def open_video(folders: Sequence[Path], video_id: str) -> FrameFolder | VideoFile:
    """A video by its id: a folder of frames, or else a file `<id>.mp4` or `<id>.avi`.

    Args:
        folders: Where to look, in this order.
        video_id: Name of the folder or file.

    Raises:
        InputError: There is neither.
    """
    for folder in folders:
        names = [video_id, *(f"{video_id}{suffix}" for suffix in VIDEO_SUFFIXES)]
        for path in (folder / name for name in names):
            if path.exists():
                return open_path(path)
    places = " or ".join(str(folder) for folder in folders)
    raise InputError(f"{video_id}: no folder of frames and no {' or '.join(VIDEO_SUFFIXES)} file in {places}")
