"""Bilinear resizing as TensorFlow 1 did it by default, and with aligned corners."""

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
    return _bilinear_matrix(source, np.arange(target) * (source / target))


def aligned_bilinear_matrix(source: int, target: int) -> np.ndarray:
    """As `legacy_bilinear_matrix`, with aligned corners: the first and the last value are those of the source."""
    return _bilinear_matrix(source, np.linspace(0, source - 1, target))


def _bilinear_matrix(source: int, position: np.ndarray) -> np.ndarray:
    """Weights that read a line of `source` values at `position`; float32 `(len(position), source)`."""
    target = len(position)
    lower = np.minimum(np.floor(position).astype(int), source - 1)
    upper = np.minimum(lower + 1, source - 1)
    weight = position - lower
    matrix = np.zeros((target, source))
    np.add.at(matrix, (np.arange(target), lower), 1 - weight)
    np.add.at(matrix, (np.arange(target), upper), weight)
    return matrix.astype("float32")


class BilinearResize(keras.layers.Layer):
    """Resizes maps bilinearly. A subclass says where the pixels are.

    Bilinear resizing is linear in each axis, so it is two small matrix products with constant weights: exact,
    differentiable and the same on every Keras backend.

    Args:
        size: Side of the output, or its height and width, in pixels.

    Input: `(B, h, w, C)`. Output: `(B, height, width, C)`.
    """

    def __init__(self, size: int | tuple[int, int], **kwargs):
        super().__init__(**kwargs)
        self.size = size

    @staticmethod
    def matrix(source: int, target: int) -> np.ndarray:
        """Weights that resize a line, float32 `(target, source)`."""
        raise NotImplementedError

    def build(self, input_shape):
        _, height, width, _ = input_shape
        self._target = (self.size, self.size) if isinstance(self.size, int) else tuple(self.size)
        self._rows = self.matrix(height, self._target[0])
        self._columns = self.matrix(width, self._target[1])

    def call(self, x):
        rows = ops.cast(self._rows, x.dtype)
        columns = ops.cast(self._columns, x.dtype)
        _, height, _, channels = x.shape
        target_height, target_width = self._target
        x = ops.matmul(columns, x)  # (B, h, width, C)
        x = ops.matmul(rows, ops.reshape(x, (-1, height, target_width * channels)))
        return ops.reshape(x, (-1, target_height, target_width, channels))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self._target, input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable(package=PACKAGE)
class LegacyBilinearResize(BilinearResize):
    """`BilinearResize` as TensorFlow 1's `tf.image.resize_bilinear` does it."""

    matrix = staticmethod(legacy_bilinear_matrix)


@keras.saving.register_keras_serializable(package=PACKAGE)
class AlignedBilinearResize(BilinearResize):
    """`BilinearResize` with aligned corners: the outermost values of the output are those of the input."""

    matrix = staticmethod(aligned_bilinear_matrix)
