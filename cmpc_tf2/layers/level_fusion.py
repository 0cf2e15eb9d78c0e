"""Fuses the maps of a level, the sentence and the position of each cell."""

import itertools

import keras
from keras import ops

from cmpc_tf2.layers.fusion import relu_of_sum
from cmpc_tf2.layers.spatial_grid import GRID_CHANNELS, spatial_grid
from cmpc_tf2.registration import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class LevelFusion(keras.layers.Layer):
    """`relu([maps ..., tile(sentence), grid] W + b)`, a 1x1 convolution over the concatenation.

    The sentence is the same in every cell and the grid in every sample, so their shares are added as a vector and a
    constant map instead of being tiled and convolved.

    Source: the end of `build_lang2vis` in `CMPC_model.py` of CMPC-Refseg.

    Args:
        filters: Channels of the output.

    Call arguments:
        maps: List of tensors `(B, h, w, C)`.
        sentence: `(B, C)`.

    Returns:
        `(B, h, w, filters)`.
    """

    def __init__(self, filters: int, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, maps_shape, sentence_shape):
        _, height, width, _ = maps_shape[0]
        self._grid = spatial_grid(height, width)
        rows = [shape[-1] for shape in [*maps_shape, sentence_shape]]
        *self._ends, inputs = itertools.accumulate([*rows, GRID_CHANNELS])
        self.kernel = self.add_weight(shape=(inputs, self.filters), initializer="glorot_uniform", name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def call(self, maps, sentence):
        *map_kernels, sentence_kernel, grid_kernel = ops.split(self.kernel, self._ends, axis=0)
        position = ops.matmul(ops.cast(self._grid, self.compute_dtype), grid_kernel) + self.bias
        sentence = ops.matmul(sentence, sentence_kernel)[:, None, None, :]
        products = [ops.matmul(feature_map, kernel) for feature_map, kernel in zip(maps, map_kernels, strict=True)]
        return relu_of_sum(*products, sentence, position)

    def compute_output_shape(self, maps_shape, sentence_shape):
        return (sentence_shape[0], *maps_shape[0][1:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}
