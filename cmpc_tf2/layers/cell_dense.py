"""A dense layer over maps."""

import keras

from cmpc_tf2.registration import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class CellDense(keras.layers.Dense):
    """`keras.layers.Dense` over the last axis of maps, `(B, ..., C)`: a 1x1 convolution.

    It is a separate class because class names are part of the weight paths in model files, and files contain this one.
    """
