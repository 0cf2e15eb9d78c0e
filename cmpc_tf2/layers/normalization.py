"""The two normalisations of the original graph that stock Keras does not have."""

import keras
from keras import ops

from cmpc_tf2.layers.fusion import fusible
from cmpc_tf2.registration import PACKAGE


def l2_normalize(x, axis=-1):
    """Scales `x` to unit L2 norm along `axis`: `x / sqrt(max(sum(x^2), 1e-12))`.

    The epsilon bounds the SQUARED norm, as in `tf.nn.l2_normalize`; `keras.ops.normalize` bounds the norm.

    Args:
        x: Tensor of any shape.
        axis: An axis or a tuple of axes.

    Returns:
        A tensor of the shape and dtype of `x`, computed in float32; all-zero slices stay zero.
    """
    return ops.cast(ops.cast(x, "float32") * inverse_norm(x, axis), x.dtype)


def inverse_norm(x, axis=-1):
    """The factor of `l2_normalize`, float32, with ones in place of `axis`."""
    squared_norm = ops.sum(ops.square(ops.cast(x, "float32")), axis=axis, keepdims=True)
    return ops.rsqrt(ops.maximum(squared_norm, 1e-12))


def softmax(x, axis=-1):
    """`softmax` computed in float32; a tensor of the dtype of `x`."""
    return ops.cast(ops.softmax(ops.cast(x, "float32"), axis=axis), x.dtype)


@keras.saving.register_keras_serializable(package=PACKAGE)
class L2Normalize(keras.layers.Layer):
    """`l2_normalize` over the channels (last axis), as a layer."""

    def call(self, x):
        return _l2_normalize_channels(x)

    def compute_output_shape(self, input_shape):
        return input_shape


_l2_normalize_channels = fusible(l2_normalize)


@keras.saving.register_keras_serializable(package=PACKAGE)
class GlobalLayerNormalization(keras.layers.Layer):
    """Layer normalisation over ALL axes but the batch, with one gamma and beta per channel.

    `y = gamma * (x - mean) / sqrt(variance + 1e-12) + beta`; mean and population variance are taken over every
    position and channel of one sample together.

    Differs from `keras.layers.LayerNormalization`: that one normalises each position alone and its scale has the
    shape of the normalised axes.

    Source: `tf.contrib.layers.layer_norm` of TensorFlow 1.5 with its default arguments.

    Input and output: `(B, ..., C)`, of one dtype; computed in float32, whatever the precision of the model.
    """

    EPSILON = 1e-12

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})

    def build(self, input_shape):
        channels = input_shape[-1]
        self.gamma = self.add_weight(shape=(channels,), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(channels,), initializer="zeros", name="beta")

    def call(self, x):
        scale, offset = self.affine(x)
        return ops.cast(ops.cast(x, "float32") * scale + offset, x.dtype)

    def affine(self, x):
        """Factor and offset, each `(B, ..., C)` with ones between, that normalise `x`."""
        axes = tuple(range(1, len(x.shape)))
        exact = ops.cast(x, "float32")
        mean, variance = ops.moments(exact, axes=axes, keepdims=True)
        scale = ops.rsqrt(variance + self.EPSILON) * self.gamma
        return scale, self.beta - mean * scale
