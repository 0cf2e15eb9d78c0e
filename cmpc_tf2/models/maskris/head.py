"""Convolutions around the decoder, and the logits."""

import keras
from keras import layers, ops

from cmpc_tf2.layers.transformer import fan_in_uniform
from cmpc_tf2.registration import PACKAGE

EPSILON = 1e-5


@keras.saving.register_keras_serializable(package=PACKAGE)
class ConvolutionNorm(layers.Layer):
    """A convolution and a group norm.

    Args:
        filters: Channels of the output.
        kernel_size: Side of the kernel in cells.
        groups: Groups of the group norm.
        use_bias: Whether the convolution has a bias.

    Input and output: `(B, h, w, C)`.
    """

    def __init__(self, filters: int, kernel_size: int, groups: int, use_bias: bool, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.groups = groups
        self.use_bias = use_bias

    def build(self, input_shape):
        self.conv = layers.Conv2D(
            self.filters,
            self.kernel_size,
            padding="same",
            use_bias=self.use_bias,
            kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
            dtype=self.dtype_policy,
            name="conv",
        )
        self.gn = layers.GroupNormalization(self.groups, epsilon=EPSILON, dtype=self.dtype_policy, name="gn")
        self.conv.build(input_shape)
        self.gn.build((*input_shape[:-1], self.filters))

    def call(self, x):
        return self.gn(self.conv(x))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        sizes = {"filters": self.filters, "kernel_size": self.kernel_size, "groups": self.groups}
        return {**super().get_config(), **sizes, "use_bias": self.use_bias}


@keras.saving.register_keras_serializable(package=PACKAGE)
class ClassScores(layers.Layer):
    """Logits of cells: scalar products of an embedding of each class with the projected features of the cells.

    The projection, a 1x1 convolution, is folded into the embeddings, so the projected features are never formed:
    `e . (W f + b) = (W^T e) . f + e . b`.

    Args:
        channels: Channels of the projection.

    Call arguments:
        features: `(B, h, w, C)`.
        embeddings: `(B, classes, channels)`.

    Returns:
        `(B, h, w, classes)`.
    """

    def __init__(self, channels: int, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels

    def build(self, features_shape, embeddings_shape):
        fan_in = features_shape[-1]
        self.kernel = self.add_weight((1, 1, fan_in, self.channels), fan_in_uniform(fan_in), name="kernel")
        self.bias = self.add_weight((self.channels,), fan_in_uniform(fan_in), name="bias")

    def call(self, features, embeddings):
        _, height, width, channels = features.shape
        weights = ops.matmul(self.kernel[0, 0], ops.swapaxes(embeddings, 1, 2))  # (B, C, classes)
        offsets = ops.matmul(embeddings, self.bias)  # (B, classes)
        cells = ops.reshape(features, (-1, height * width, channels))
        logits = ops.matmul(cells, weights) + offsets[:, None, :]
        return ops.reshape(logits, (-1, height, width, embeddings.shape[1]))

    def get_config(self):
        return {**super().get_config(), "channels": self.channels}
