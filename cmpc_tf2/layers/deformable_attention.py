"""Multi-scale deformable attention: every cell attends to a few cells of each level, at positions it chooses itself."""

import functools
import math

import keras
import numpy as np
from keras import layers, ops

from cmpc_tf2.registration import PACKAGE


def sample_levels(value, grids: list[tuple[int, int]], locations, weights):
    """Weighted sums of bilinear samples of several maps.

    A sample outside of its map counts as zero, and so do the parts outside of one at the border.

    Source: `multi_scale_deformable_attn_pytorch` of mmcv 1.4.8.

    Args:
        value: `(B, N, heads, d)`, the cells of all maps, row by row.
        grids: Rows and columns of each map.
        locations: `(B, Q, heads, levels, points, 2)`, x and y, from 0 to 1 over a map.
        weights: `(B, Q, heads, levels, points)`.

    Returns:
        `(B, Q, heads * d)`.
    """
    _, _, heads, channels = value.shape
    queries = locations.shape[1]
    # One picture and head after another: the samples of all together would be the largest tensor of a model. For the
    # gradient they are taken again, which takes little time: kept, they would be most of the memory of a step.
    parts = [ops.moveaxis(x, 2, 1) for x in (value, locations, weights)]
    parts = [ops.reshape(x, (-1, *x.shape[2:])) for x in parts]
    sample = keras.remat(functools.partial(_sample_head, grids))
    sampled = ops.map(lambda one: sample(*one), parts)  # (B * heads, Q, d)
    sampled = ops.reshape(sampled, (-1, heads, queries, channels))
    return ops.reshape(ops.moveaxis(sampled, 1, 2), (-1, queries, heads * channels))


def _sample_head(grids, value, locations, weights):
    """`sample_levels` of one head of one picture: arguments without the first axis and that of heads; `(Q, d)`."""
    queries, levels, points = weights.shape
    rows, columns = np.array(grids, "int32").T[..., None]  # (levels, 1)
    starts = np.cumsum(rows * columns)[:, None].astype("int32") - rows * columns
    x, y = ops.unstack(locations, axis=-1)
    in_row = list(_neighbours(x, columns))
    indices, shares = [], []  # Of the four cells around each sample.
    for row, row_share in _neighbours(y, rows):
        for column, column_share in in_row:
            indices.append(starts + row * columns + column)
            shares.append(weights * row_share * column_share)
    indices, shares = (
        ops.concatenate([ops.reshape(part, (queries, levels * points)) for part in parts], axis=-1)
        for parts in (indices, shares)
    )
    around = ops.take(value, indices, axis=0)  # (Q, 4 * levels * points, d)
    return ops.squeeze(ops.matmul(shares[:, None], around), axis=1)


def _neighbours(place, size):
    """The two cells around a place along an axis, and their shares of a sample.

    Args:
        place: `(Q, levels, points)`, from 0 to 1.
        size: Cells of the axis, `(levels, 1)`.

    Returns:
        For each, its number, int32, and its share, 0 if there is no such cell.
    """
    place = place * size.astype("float32") - 0.5
    first = ops.floor(place)
    for cell, share in ((first, first + 1 - place), (first + 1, place - first)):
        number = ops.minimum(ops.maximum(ops.cast(cell, "int32"), 0), size - 1)
        yield number, ops.where((cell >= 0) & (cell < size), share, 0.0)


@keras.saving.register_keras_serializable(package=PACKAGE)
class DeformableAttention(layers.Layer):
    """Multi-scale deformable self-attention with its residual; always float32.

    Source: `MultiScaleDeformableAttention` of mmcv 1.4.8, as `model/msdeform_decoder.py` of naver-ai/maskris (commit
    01b54d5) uses it; Zhu et al., ICLR 2021.

    Args:
        grids: Rows and columns of each level.
        heads: Attention heads.
        points: Samples of a head in each level.

    Call arguments:
        visual: `(B, N, C)`, the cells of all levels, row by row.
        positions: `(1, N, C)`, added where cells choose their samples and weights.

    Returns:
        float32 `(B, N, C)`.
    """

    def __init__(self, grids: list[tuple[int, int]], heads: int, points: int, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.grids = [tuple(grid) for grid in grids]
        self.heads = heads
        self.points = points

    def build(self, visual_shape, positions_shape):
        channels, samples = visual_shape[-1], self.heads * len(self.grids) * self.points
        self.sampling_offsets = layers.Dense(
            2 * samples,
            kernel_initializer="zeros",
            bias_initializer=self._initial_offsets,
            dtype="float32",
            name="sampling_offsets",
        )
        self.attention_weights = layers.Dense(
            samples, kernel_initializer="zeros", dtype="float32", name="attention_weights"
        )
        self.value_proj = layers.Dense(channels, dtype="float32", name="value_proj")
        self.output_proj = layers.Dense(channels, dtype="float32", name="output_proj")
        for layer in (self.sampling_offsets, self.attention_weights, self.value_proj, self.output_proj):
            layer.build(visual_shape)
        centres = [
            np.stack(np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij"))
            for rows, columns in self.grids
        ]
        yx = np.concatenate([centre.reshape(2, -1) for centre in centres], axis=1)
        self._centres = yx[::-1].T.reshape(-1, 1, 1, 1, 2).astype("float32")  # x and y of each cell.
        self._sides = np.array(self.grids, "float32")[:, None, ::-1]  # Columns and rows of each level.

    def _initial_offsets(self, shape, dtype=None):
        """Every head looks in another direction, and its points at 1, 2, ... cells from the centre."""
        angles = np.arange(self.heads) * (2 * math.pi / self.heads)
        directions = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        directions /= np.abs(directions).max(axis=-1, keepdims=True)
        offsets = directions[:, None, None, :] * np.arange(1, self.points + 1)[:, None]
        offsets = np.broadcast_to(offsets, (self.heads, len(self.grids), self.points, 2))
        return ops.convert_to_tensor(offsets.reshape(shape), dtype)

    def call(self, visual, positions):
        cells, levels = visual.shape[1], len(self.grids)
        located = visual + positions
        offsets = ops.reshape(self.sampling_offsets(located), (-1, cells, self.heads, levels, self.points, 2))
        weights = ops.reshape(self.attention_weights(located), (-1, cells, self.heads, levels * self.points))
        weights = ops.reshape(ops.softmax(weights), (-1, cells, self.heads, levels, self.points))
        value = ops.reshape(self.value_proj(visual), (-1, cells, self.heads, visual.shape[-1] // self.heads))
        sampled = sample_levels(value, self.grids, self._centres + offsets / self._sides, weights)
        return visual + self.output_proj(sampled)

    def get_config(self):
        return {**super().get_config(), "grids": self.grids, "heads": self.heads, "points": self.points}
