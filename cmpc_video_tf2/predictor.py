"""Clips and sentences in, masks of the annotated frame out."""

import numpy as np

from cmpc_tf2.errors import InputError
from cmpc_tf2.inference.predictor import ExpressionPredictor
from cmpc_video_tf2.config import CLIP_FRAMES
from cmpc_video_tf2.data.samples import fit_clip


class VideoPredictor(ExpressionPredictor):
    """Segments a frame of a clip by referring expressions.

    Args: as `ExpressionPredictor`.
    """

    input_name = "clip"

    def set_clip(self, frames: np.ndarray | list[np.ndarray]):
        """Encodes a clip; the following `predict` calls are about its ninth frame.

        Args:
            frames: 16 frames, uint8 RGB `(h, w, 3)` each, any size.

        Raises:
            InputError: They are not 16, or of other shapes or types.
        """
        frames = [np.asarray(frame) for frame in frames]
        shapes = {(frame.dtype.name, frame.shape) for frame in frames}
        dtype, shape = next(iter(shapes)) if len(shapes) == 1 else (None, ())
        if len(frames) != CLIP_FRAMES or dtype != "uint8" or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise InputError(f"clip: expected 16 frames of uint8 (h, w, 3), found {len(frames)} of {sorted(shapes)}")
        self._encode(fit_clip(dict(enumerate(frames)), self._runner.preprocessing), shape[:2])
