"""Positions of the cells of several levels."""

import math

import keras
import numpy as np
from keras import layers, ops

from cmpc_tf2.registration import PACKAGE

TEMPERATURE = 10_000
EPSILON = 1e-6


def sine_positions(height: int, width: int, channels: int) -> np.ndarray:
    """Sines and cosines of the row, in the first half of the channels, and of the column, in the second half.

    Source: `SinePositionalEncoding` of mmdet 2.23.0, with `normalize=True`.

    Args:
        height: Rows of the map.
        width: Columns of the map.
        channels: A multiple of 4.

    Returns:
        float32 `(height, width, channels)`.
    """
    half = channels // 2
    periods = TEMPERATURE ** (2 * (np.arange(half) // 2) / half)
    axes = []
    for size in (height, width):
        angles = (np.arange(size) + 1)[:, None] / (size + EPSILON) * 2 * math.pi / periods  # (size, half)
        axes.append(np.where(np.arange(half) % 2, np.cos(angles), np.sin(angles)))
    rows, columns = axes
    rows = np.broadcast_to(rows[:, None], (height, width, half))
    columns = np.broadcast_to(columns[None], (height, width, half))
    return np.concatenate([rows, columns], axis=-1).astype("float32")


@keras.saving.register_keras_serializable(package=PACKAGE)
class LevelPositions(layers.Layer):
    """Positions of cells: `sine_positions`, plus a learned vector for each level.

    Args:
        grids: Rows and columns of each level.

    Input: `(B, N, C)`, the cells that are located. Output: `(1, N, C)`, which depends on the channels alone.
    """

    def __init__(self, grids: list[tuple[int, int]], **kwargs):
        super().__init__(**kwargs)
        self.grids = [tuple(grid) for grid in grids]

    def build(self, input_shape):
        channels = input_shape[-1]
        initializer = keras.initializers.RandomNormal(stddev=1.0)
        self.embeddings = self.add_weight((len(self.grids), channels), initializer, name="embeddings")
        sines = [sine_positions(*grid, channels).reshape(-1, channels) for grid in self.grids]
        self._sines = np.concatenate(sines)
        self._levels = np.repeat(np.arange(len(sines), dtype="int32"), [len(level) for level in sines])

    def call(self, visual):
        vectors = ops.take(self.embeddings, self._levels, axis=0)
        return (ops.cast(self._sines, vectors.dtype) + vectors)[None]

    def get_config(self):
        return {**super().get_config(), "grids": self.grids}
