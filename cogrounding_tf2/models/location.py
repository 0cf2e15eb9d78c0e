"""Where in the picture the object is, by the sentence and the other objects."""

import keras
import numpy as np
from keras import layers, ops

from cmpc_tf2.layers.spatial_grid import GRID_CHANNELS, spatial_grid
from cmpc_tf2.layers.torch_normalization import TorchBatchNormalization, unit_length
from cmpc_tf2.text.phrases import dense
from cogrounding_tf2.config import GRIDS
from cogrounding_tf2.models.package import PACKAGE

# Keeps the range of the scores from being zero.
SMALLEST_RANGE = 1e-6


def place_features(side: int) -> np.ndarray:
    """The position features of the cells of a square grid, row by row: those of `spatial_grid`, but row first."""
    return spatial_grid(side, side).transpose(1, 0, 2).reshape(-1, GRID_CHANNELS)


@keras.saving.register_keras_serializable(package=PACKAGE)
class LocationScores(layers.Layer):
    """Scores places by their positions relative to the likely objects, as the sentence describes them.

    With E the embedded positions, `(P, 8)`, and o the objectness, the original projects the rows of `(E E^T) diag(o)`,
    `(P, P)`. Here they are never formed: `E (E^T diag(o) W) + b` is the same.

    Source: `model/grounding_model_semantic_attn.py` of SijieSong/CVPR21-Cogrounding_semantic_attention (commit
    7b0630a).

    Args:
        channels: Channels of the projected rows.

    Call arguments:
        objectness: `(B, P)`, P = 1344 places in the order scale, row, column.
        location: `(B, channels)`, of unit length.

    Returns:
        `(B, P)`; the lowest score of a sample is 0, the highest nearly 1.
    """

    def __init__(self, channels: int, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels

    def build(self, objectness_shape, location_shape=None):
        self._features = np.concatenate([place_features(side) for side in GRIDS])
        places = len(self._features)
        options = {"dtype": self.dtype_policy}
        self.place_projection = dense(GRID_CHANNELS, GRID_CHANNELS, "loc_embedding.0", **options)
        self.place_projection.build((places, GRID_CHANNELS))
        self.place_norm = TorchBatchNormalization(**options, name="loc_embedding.1")
        self.place_norm.build((places, GRID_CHANNELS))
        self.row_projection = dense(self.channels, places, "loc_text_embedding.0", **options)
        self.row_projection.build((None, places, places))
        self.row_norm = TorchBatchNormalization(**options, name="loc_text_embedding.1")
        self.row_norm.build((None, places, self.channels))

    def call(self, objectness, location, training=None):
        places = self.place_projection(ops.convert_to_tensor(self._features, objectness.dtype))
        # Equal for all samples of a batch.
        places = self.place_norm(places, training=training, repeats=ops.shape(objectness)[0])
        places = unit_length(ops.relu(places))
        weighted = ops.transpose(places) * unit_length(objectness)[:, None]  # (B, 8, P)
        rows = ops.matmul(places, ops.matmul(weighted, self.row_projection.kernel)) + self.row_projection.bias
        rows = unit_length(ops.relu(self.row_norm(rows, training=training)))
        scores = ops.matmul(rows, location[..., None])[..., 0]
        lowest, highest = (bound(scores, axis=-1, keepdims=True) for bound in (ops.min, ops.max))
        return (scores - lowest) / (highest - lowest + SMALLEST_RANGE)

    def compute_output_shape(self, objectness_shape, location_shape):
        return objectness_shape

    def get_config(self):
        return {**super().get_config(), "channels": self.channels}
