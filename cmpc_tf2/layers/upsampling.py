"""Bilinear resizing as TensorFlow 1 did it by default."""

import keras
import numpy as np
from keras import ops

from cmpc_tf2.registration import PACKAGE


def legacy_bilinear_matrix(source: int, target: int) -> np.ndarray:
    """Weights that resize a line of `source` values to `target` values.

    Output `i` reads position `i * source / target`: no half-pixel centres, corners not aligned, clamped at the end.

    Source: `ResizeBilinear` with `align_corners=False`, the default of `tf.image.resize_bilinear` in TensorFlow 1.

    Args:
        source: Number of input values.
        target: Number of output values.

    Returns:
        float32 `(target, source)`; every row sums to 1.
    """
    position = np.arange(target) * (source / target)
    lower = np.minimum(np.floor(position).astype(int), source - 1)
    upper = np.minimum(lower + 1, source - 1)
    weight = position - lower
    matrix = np.zeros((target, source))
    np.add.at(matrix, (np.arange(target), lower), 1 - weight)
    np.add.at(matrix, (np.arange(target), upper), weight)
    return matrix.astype("float32")


@keras.saving.register_keras_serializable(package=PACKAGE)
class LegacyBilinearResize(keras.layers.Layer):
    """Resizes `(B, h, w, C)` to `(B, size, size, C)` as TensorFlow 1's `tf.image.resize_bilinear` does.

    Bilinear resizing is linear in each axis, so it is two small matrix products with constant weights: exact,
    differentiable and the same on every Keras backend.

    Args:
        size: Height and width of the output in pixels.
    """

    def __init__(self, size: int, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def build(self, input_shape):
        _, height, width, _ = input_shape
        self._rows = legacy_bilinear_matrix(height, self.size)
        self._columns = legacy_bilinear_matrix(width, self.size)

    def call(self, x):
        rows = ops.cast(self._rows, x.dtype)
        columns = ops.cast(self._columns, x.dtype)
        _, height, _, channels = x.shape
        x = ops.matmul(columns, x)  # (B, h, size, C)
        x = ops.matmul(rows, ops.reshape(x, (-1, height, self.size * channels)))
        return ops.reshape(x, (-1, self.size, self.size, channels))

    def get_config(self):
        return {**super().get_config(), "size": self.size}
