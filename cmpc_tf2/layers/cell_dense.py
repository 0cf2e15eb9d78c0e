"""A dense layer over maps."""

import keras
from keras import ops

from cmpc_tf2.config import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class CellDense(keras.layers.Dense):
    """`keras.layers.Dense` over the last axis, computed as one matrix product: what a 1x1 convolution does.

    Keras reshapes between product and bias, which keeps TensorFlow from computing product, bias and activation in one
    pass. Here the reshaping is outside.

    Call arguments:
        x: `(B, ..., C)`.

    Returns:
        `(B, ..., units)`.
    """

    def call(self, x, training=None):
        flat = super().call(ops.reshape(x, (-1, x.shape[-1])), training=training)
        return ops.reshape(flat, (-1, *x.shape[1:-1], self.units))
