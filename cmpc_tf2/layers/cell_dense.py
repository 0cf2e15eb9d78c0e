"""A dense layer over maps."""

import keras

from cmpc_tf2.registration import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class CellDense(keras.layers.Dense):
    """`keras.layers.Dense` over the last axis of maps, `(B, ..., C)`: what a 1x1 convolution does.

    A class of its own because the names of classes are part of the paths in model files, and files have this one.
    """
