"""The `.npz` files of clips: those of pictures, with frames.

With all 16 frames of a clip the format is the original's. By default the builder writes only the five frames that
CMPC-V on R2D reads; the original's reader cannot use such files.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from cmpc_tf2.data.batches import Sample, digest_of, require_array
from cmpc_tf2.errors import InputError
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_video_tf2.config import CLIP_FRAMES, R2D_FRAMES

_FRAMES = "frames"
_FRAME_ID = "frame_id"


@dataclasses.dataclass(frozen=True, eq=False)
class VideoSample(Sample):
    """One referring expression with the clip around an annotated frame, and that frame's ground truth.

    Attributes:
        image: The annotated frame.
        mask: Mask of the annotated frame.
        frames: uint8 RGB `(16, h, w, 3)`, or of these the five that R2D reads, `(5, h, w, 3)`.
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
    def stored(self) -> tuple[int, ...]:
        """The indices of `frames` in the clip."""
        return R2D_FRAMES if len(self.frames) == len(R2D_FRAMES) else tuple(range(CLIP_FRAMES))

    @property
    def pixels(self) -> np.ndarray:
        """All stored frames: uint8 `(16 or 5, h, w, 3)`."""
        return self.frames

    @property
    def digest(self) -> str:
        """As `Sample.digest`, of the five frames that every file holds."""
        five = [self.stored.index(index) for index in R2D_FRAMES]
        return digest_of(self.frames[five])

    @staticmethod
    def input_shape(size: int) -> tuple[int, ...]:
        return CLIP_FRAMES, size, size, 3

    @staticmethod
    def build_options(preprocessing: Preprocessing) -> list[str]:
        needs_all = not set(preprocessing.frames) <= set(R2D_FRAMES)
        return [*Sample.build_options(preprocessing), *["--all-frames"] * needs_all]

    def require_fit(self, preprocessing: Preprocessing):
        if not set(preprocessing.frames) <= set(self.stored):
            found, needed = len(self.stored), len(preprocessing.frames)
            raise InputError(f"holds {found} frames of the clip, but the model reads {needed}")

    def fitted(self, preprocessing: Preprocessing) -> np.ndarray:
        """The fitted clip, before its values are normalised: uint8 RGB `(16, S, S, 3)`; 0 in frames not read."""
        return fit_clip(dict(zip(self.stored, self.frames, strict=True)), preprocessing)

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {**super().to_arrays(), _FRAMES: self.frames, _FRAME_ID: np.array(self.frame_id)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "VideoSample":
        picture, frames, frame_id = Sample.from_arrays(arrays), arrays[_FRAMES], arrays[_FRAME_ID]
        height, width = picture.image.shape[:2]
        expected = [(count, height, width, 3) for count in (CLIP_FRAMES, len(R2D_FRAMES))]
        description = f"uint8 (16 or 5, {height}, {width}, 3)"
        require_array(frames.dtype == np.uint8 and frames.shape in expected, _FRAMES, description, frames)
        require_array(frame_id.shape == () and frame_id.dtype.kind in "iu", _FRAME_ID, "a whole number", frame_id)
        return cls(**vars(picture), frames=frames, frame_id=int(frame_id))


def fit_clip(frames: Mapping[int, np.ndarray], preprocessing: Preprocessing) -> np.ndarray:
    """A clip as the model sees it, each frame fitted as a picture is.

    Args:
        frames: Frames by their index in the clip, uint8 `(h, w, 3)`; at least those that the model reads.
        preprocessing: Preprocessing of the model.

    Returns:
        uint8 `(16, S, S, 3)`; 0 in the frames that the model does not read.
    """
    clip = np.zeros((CLIP_FRAMES, preprocessing.size, preprocessing.size, 3), np.uint8)
    for index in preprocessing.frames:
        clip[index] = preprocessing.fit(frames[index])
    return clip
