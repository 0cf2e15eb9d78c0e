"""Pieces that Swin, BERT and the decoder of MaskRIS share."""

import math

import keras
from keras import layers, ops

from cmpc_tf2.registration import PACKAGE

STANDARD_DEVIATION = 0.02


def linear(units: int, name: str, **options) -> layers.Dense:
    """A dense layer with normally distributed initial weights, as transformers have them.

    Args:
        units: Channels of the output.
        name: Name of the layer.
        options: Further arguments of `keras.layers.Dense`.
    """
    initializer = keras.initializers.RandomNormal(stddev=STANDARD_DEVIATION)
    return layers.Dense(units, kernel_initializer=initializer, name=name, **options)


def fan_in_uniform(fan_in: int) -> keras.initializers.Initializer:
    """PyTorch's default for weights and biases: uniform from `-1 / sqrt(fan_in)` to `1 / sqrt(fan_in)`.

    Args:
        fan_in: Inputs of one output.
    """
    return keras.initializers.RandomUniform(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))


def split_heads(x, heads: int):
    """Channels by head: `(B, N, heads * d)` to `(B, heads, N, d)`."""
    _, length, channels = x.shape
    return ops.transpose(ops.reshape(x, (-1, length, heads, channels // heads)), (0, 2, 1, 3))


def merge_heads(x):
    """The reverse of `split_heads`."""
    _, heads, length, channels = x.shape
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, length, heads * channels))


def gelu(x):
    """The exact GELU, `x` times the cumulative distribution of the standard normal distribution.

    `keras.activations.gelu` computes it with `erfc` on TensorFlow, which ONNX does not have.
    """
    return 0.5 * x * (1.0 + ops.erf(x * math.sqrt(0.5)))


@keras.saving.register_keras_serializable(package=PACKAGE)
class FeedForward(layers.Layer):
    """Two dense layers with an activation between them.

    Args:
        units: Channels between the layers.
        activation: Name of the activation; `gelu` is the exact one.

    Input and output: `(B, ..., C)`.
    """

    def __init__(self, units: int, activation: str, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.activation = activation

    def build(self, input_shape):
        activation = gelu if self.activation == "gelu" else self.activation
        self.fc1 = linear(self.units, "fc1", activation=activation, dtype=self.dtype_policy)
        self.fc2 = linear(input_shape[-1], "fc2", dtype=self.dtype_policy)
        self.fc1.build(input_shape)
        self.fc2.build((*input_shape[:-1], self.units))

    def call(self, x):
        return self.fc2(self.fc1(x))

    def get_config(self):
        return {**super().get_config(), "units": self.units, "activation": self.activation}
