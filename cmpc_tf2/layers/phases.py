"""Splits a map into phases, on which a dilated convolution is an ordinary one."""

import keras
from keras import ops

from cmpc_tf2.registration import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class SplitPhases(keras.layers.Layer):
    """Groups every `rate`-th row and column: `(B, h, w, C)` to `(rate * rate * B, h / rate, w / rate, C)`.

    A 3x3 convolution dilated by `rate` never mixes phases, and zeros around a phase are the zeros around the map. So on
    the phases it is an ordinary convolution, which is faster.

    Args:
        rate: Divides height and width.
    """

    def __init__(self, rate: int, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate

    def call(self, x):
        _, height, width, channels = x.shape
        rows, columns = height // self.rate, width // self.rate
        x = ops.reshape(x, (-1, rows, self.rate, columns, self.rate, channels))
        return ops.reshape(ops.transpose(x, (2, 4, 0, 1, 3, 5)), (-1, rows, columns, channels))

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        batch = None if batch is None else batch * self.rate**2
        return batch, height // self.rate, width // self.rate, channels

    def get_config(self):
        return {**super().get_config(), "rate": self.rate}


@keras.saving.register_keras_serializable(package=PACKAGE)
class MergePhases(SplitPhases):
    """The inverse of `SplitPhases`."""

    def call(self, x):
        _, rows, columns, channels = x.shape
        x = ops.reshape(x, (self.rate, self.rate, -1, rows, columns, channels))
        x = ops.transpose(x, (2, 3, 0, 4, 1, 5))
        return ops.reshape(x, (-1, rows * self.rate, columns * self.rate, channels))

    def compute_output_shape(self, input_shape):
        batch, rows, columns, channels = input_shape
        batch = None if batch is None else batch // self.rate**2
        return batch, rows * self.rate, columns * self.rate, channels
