"""The `.npz` files of clips: those of pictures, with frames.

With all 16 frames of a clip the format is the original's. By default the builder writes only the five frames that the
model reads; the original's reader cannot use such files.
"""

import dataclasses

import numpy as np

from cmpc_tf2.data.batches import Sample, require_array
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_video_tf2.config import CLIP_FRAMES, FRAMES_READ

_FRAMES = "frames"
_FRAME_ID = "frame_id"


@dataclasses.dataclass(frozen=True, eq=False)
class VideoSample(Sample):
    """One referring expression with the clip around an annotated frame, and that frame's ground truth.

    Attributes:
        image: The annotated frame.
        mask: Mask of the annotated frame.
        frames: uint8 RGB `(16, h, w, 3)`, or of these the five that the model reads, `(5, h, w, 3)`.
        frame_id: Number of the annotated frame in its video, from 1.
    """

    frames: np.ndarray
    frame_id: int

    contents = "clips"
    builder = "python -m cmpc_video_tf2.build_batches"
    own_data_builder = None
    keys = (*Sample.keys, _FRAMES, _FRAME_ID)
    input_name = "clip"

    @property
    def pixels(self) -> np.ndarray:
        """The five frames that are read: uint8 `(5, h, w, 3)`."""
        return self.frames if len(self.frames) == len(FRAMES_READ) else self.frames[list(FRAMES_READ)]

    @staticmethod
    def input_shape(size: int) -> tuple[int, ...]:
        return CLIP_FRAMES, size, size, 3

    def fitted(self, preprocessing: Preprocessing) -> np.ndarray:
        """The fitted clip, before its values are normalised: uint8 RGB `(16, S, S, 3)`; 0 in frames not read."""
        return fit_clip(self.pixels, preprocessing)

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {**super().to_arrays(), _FRAMES: self.frames, _FRAME_ID: np.array(self.frame_id)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "VideoSample":
        picture, frames, frame_id = Sample.from_arrays(arrays), arrays[_FRAMES], arrays[_FRAME_ID]
        height, width = picture.image.shape[:2]
        expected = [(count, height, width, 3) for count in (CLIP_FRAMES, len(FRAMES_READ))]
        description = f"uint8 (16 or 5, {height}, {width}, 3)"
        require_array(frames.dtype == np.uint8 and frames.shape in expected, _FRAMES, description, frames)
        require_array(frame_id.shape == () and frame_id.dtype.kind in "iu", _FRAME_ID, "a whole number", frame_id)
        return cls(**vars(picture), frames=frames, frame_id=int(frame_id))


def fit_clip(frames: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """A clip as the model sees it, each frame fitted as a picture is.

    Args:
        frames: The five frames that are read, uint8 `(5, h, w, 3)`.
        preprocessing: Preprocessing of the model.

    Returns:
        uint8 `(16, S, S, 3)`; 0 in the frames that the model does not read.
    """
    clip = np.zeros((CLIP_FRAMES, preprocessing.size, preprocessing.size, 3), np.uint8)
    for index, frame in zip(FRAMES_READ, frames, strict=True):
        clip[index] = preprocessing.fit(frame)
    return clip
