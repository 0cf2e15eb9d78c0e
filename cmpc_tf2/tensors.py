"""Arrays as tensors."""

import keras
import numpy as np

# Of the memory of TensorFlow's tensors, in bytes.
_ALIGNMENT = 64


def copied(value: np.ndarray):
    """A tensor with a copy of an array, on any backend.

    TensorFlow's own conversion copies an array twice. It uses the memory of an aligned array as it is.
    """
    if keras.backend.backend() != "tensorflow" or value.dtype != "float32":
        return keras.ops.convert_to_tensor(value.copy())

    import tensorflow as tf

    memory = np.empty(value.nbytes + _ALIGNMENT, "uint8")
    start = -memory.ctypes.data % _ALIGNMENT
    copy = memory[start : start + value.nbytes].view(value.dtype).reshape(value.shape)
    np.copyto(copy, value)
    return tf.experimental.dlpack.from_dlpack(copy.__dlpack__())
