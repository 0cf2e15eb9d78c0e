"""The word LSTM of the original."""

from collections.abc import Callable

import keras
from keras import ops

from cmpc_tf2.registration import PACKAGE

FORGET_BIAS = 1.0


def lstm_cell(gates, c):
    """One step of `BasicLSTM` from the sums of its gates, `(..., 4 * units)`, and c: the next c and h."""
    i, j, f, o = ops.split(gates, 4, axis=-1)
    c = c * ops.sigmoid(f + FORGET_BIAS) + ops.sigmoid(i) * ops.tanh(j)
    return c, ops.sigmoid(o) * ops.tanh(c)


def read_sentence(input_gates: Callable, state_kernel, is_word, zeros) -> list:
    """Runs `lstm_cell` over the words of left-padded sentences; at a pad the state does not change.

    Args:
        input_gates: Returns the input's share of the gates for a step, `(B, ..., 4 * units)`.
        state_kernel: `(units, 4 * units)`, for the state's share.
        is_word: bool `(B, T)`, False at padded positions.
        zeros: The first state, `(B, ..., units)`.

    Returns:
        h after each of the T steps.
    """
    c = h = zeros
    outputs = []
    for step in range(is_word.shape[1]):
        new_c, new_h = lstm_cell(input_gates(step) + ops.matmul(h, state_kernel), c)
        is_here = ops.reshape(is_word[:, step], (-1, *[1] * (len(zeros.shape) - 1)))
        c, h = ops.where(is_here, new_c, c), ops.where(is_here, new_h, h)
        outputs.append(h)
    return outputs


@keras.saving.register_keras_serializable(package=PACKAGE)
class BasicLSTM(keras.layers.Layer):
    """TensorFlow 1's `BasicLSTMCell` run over left-padded sentences.

    One step, with gates in the order i, j, f, o:

        i, j, f, o = split([x, h] kernel + bias)
        c' = c * sigmoid(f + 1) + sigmoid(i) * tanh(j)
        h' = sigmoid(o) * tanh(c')

    At a padded position the state does not change and the output is zero.

    Differs from `keras.layers.LSTM`: gate order (Keras: i, f, j, o), and the forget bias of 1 is added at run time
    instead of being part of the stored bias, so that weights convert bit for bit in both directions.

    Source: `BasicLSTMCell` of TensorFlow 1.5 and `CMPC_model.py` of CMPC-Refseg.

    Args:
        units: Width of state and output.

    Call arguments:
        x: `(B, T, E)`.
        is_word: bool `(B, T)`, False at padded positions.

    Returns:
        `(B, T, units)`.
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        self.input_width = input_shape[-1]
        shape = (self.input_width + self.units, 4 * self.units)
        self.kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name="kernel")
        self.bias = self.add_weight(shape=(4 * self.units,), initializer="zeros", name="bias")

    def call(self, x, is_word):
        # The input's share of all steps is one product; only the state's share has to be sequential. (Unstacked: the
        # gradient of a slice is as large as the whole.)
        from_input = ops.unstack(ops.matmul(x, self.kernel[: self.input_width]) + self.bias, axis=1)
        state_kernel = self.kernel[self.input_width :]
        zeros = ops.zeros_like(from_input[0][:, : self.units])
        outputs = read_sentence(from_input.__getitem__, state_kernel, is_word, zeros)
        return ops.where(is_word[:, :, None], ops.stack(outputs, axis=1), 0.0)

    def get_config(self):
        return {**super().get_config(), "units": self.units}
