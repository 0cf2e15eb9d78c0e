"""Entity perception: MUTAN fusion of vision and language, split where the words enter.

Source: `mutan_head` and `mutan_fusion` in `CMPC_model.py` of CMPC-Refseg. The original convolves once per head; here
the heads are the blocks of one wide kernel.
"""

import math

import keras
from keras import ops

from cmpc_tf2.layers.cell_dense import CellDense
from cmpc_tf2.layers.fusion import fusible
from cmpc_tf2.layers.normalization import l2_normalize
from cmpc_tf2.layers.spatial_grid import GRID_CHANNELS, spatial_grid
from cmpc_tf2.registration import PACKAGE


def _dense_heads(inputs: int, units: int, heads: int, name: str) -> CellDense:
    """A layer of `heads` blocks, each initialised as if it stood alone (Glorot uniform)."""
    limit = math.sqrt(6 / (inputs + units))
    initializer = keras.initializers.RandomUniform(-limit, limit)
    return CellDense(heads * units, activation="tanh", kernel_initializer=initializer, name=name)


@keras.saving.register_keras_serializable(package=PACKAGE)
class MutanVisual(keras.layers.Layer):
    """The visual half of MUTAN: `tanh([v, grid] W_k + b_k)` for every head k. It does not depend on the words.

    Args:
        units: Channels of a head.
        heads: Number of heads.

    Call arguments:
        visual: `(B, h, w, C)`.

    Returns:
        `(B, h, w, heads, units)`.
    """

    def __init__(self, units: int, heads: int, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.heads = heads

    def build(self, visual_shape):
        _, height, width, channels = visual_shape
        self._grid = spatial_grid(height, width)
        self.projection = _dense_heads(channels + GRID_CHANNELS, self.units, self.heads, name="projection")
        self.projection.build((None, height, width, channels + GRID_CHANNELS))

    def call(self, visual):
        _, height, width, _ = visual.shape
        grid = ops.cast(self._grid[None], visual.dtype)
        grid = ops.broadcast_to(grid, (ops.shape(visual)[0], height, width, GRID_CHANNELS))
        x = self.projection(ops.concatenate([visual, grid], axis=-1))
        return ops.reshape(x, (-1, height, width, self.heads, self.units))

    def compute_output_shape(self, visual_shape):
        return (*visual_shape[:-1], self.heads, self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "heads": self.heads}


@keras.saving.register_keras_serializable(package=PACKAGE)
class MutanFusion(keras.layers.Layer):
    """The language half of MUTAN, and the fusion: `m = l2n(tanh(sum_k visual_k * tanh(language W_k + b_k)))`.

    Call arguments:
        visual_heads: `(B or 1, ..., heads, C)` from `MutanVisual`; one image serves every expression of the batch.
        language: `(B, C)`.

    Returns:
        `(B, ..., C)`.
    """

    def build(self, visual_heads_shape, language_shape):
        *_, self.heads, self.units = visual_heads_shape
        self.projection = _dense_heads(language_shape[-1], self.units, self.heads, name="projection")
        self.projection.build(language_shape)

    def call(self, visual_heads, language):
        ones = (1,) * (len(visual_heads.shape) - 3)
        language_heads = ops.reshape(self.projection(language), (-1, *ones, self.heads, self.units))
        return _fuse(visual_heads, language_heads)

    def compute_output_shape(self, visual_heads_shape, language_shape):
        return (language_shape[0], *visual_heads_shape[1:-2], self.units)


@fusible
def _fuse(visual_heads, language_heads):
    return l2_normalize(ops.tanh(ops.sum(visual_heads * language_heads, axis=-2)))
