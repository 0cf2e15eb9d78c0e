"""The ConvLSTM that fuses the levels."""

import keras
from keras import ops

from cmpc_tf2.layers.fusion import fusible
from cmpc_tf2.layers.normalization import GlobalLayerNormalization
from cmpc_tf2.registration import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class PeepholeConvLSTM(keras.layers.Layer):
    """A layer-normalised ConvLSTM with a 1x1 kernel and peepholes, run over a short list of feature maps.

    One step from the state (c, h), zero at first; the gates' order is j, i, f, o:

        j, i, f, o = split([x, h] kernel)
        j, i, f = LN(j), LN(i + W_ci * c), LN(f + W_cf * c)
        c' = c * sigmoid(f + 1) + sigmoid(i) * tanh(j)
        o, c' = LN(o + W_co * c'), LN(c')
        h' = sigmoid(o) * tanh(c')

    The normalised c' is the state of the next step. The peepholes have one weight per cell: a trained layer is bound to
    its grid.

    Source: `ConvLSTMCell` in `util/cell.py` of CMPC-Refseg.

    Args:
        filters: Channels of state and output.

    Call arguments:
        sequence: List of tensors `(B, h, w, C)`, one per step.

    Returns:
        `(B, h, w, filters)`: the last h'.
    """

    FORGET_BIAS = 1.0

    def __init__(self, filters: int, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.norm_j = GlobalLayerNormalization(name="norm_j")
        self.norm_i = GlobalLayerNormalization(name="norm_i")
        self.norm_f = GlobalLayerNormalization(name="norm_f")
        self.norm_o = GlobalLayerNormalization(name="norm_o")
        self.norm_c = GlobalLayerNormalization(name="norm_c")

    def build(self, input_shape):
        _, height, width, self.input_channels = input_shape[0]
        cells = (height, width, self.filters)
        self.kernel = self.add_weight(
            shape=(self.input_channels + self.filters, 4 * self.filters), initializer="glorot_uniform", name="kernel"
        )
        self.peephole_i = self.add_weight(shape=cells, initializer="glorot_uniform", name="peephole_i")
        self.peephole_f = self.add_weight(shape=cells, initializer="glorot_uniform", name="peephole_f")
        self.peephole_o = self.add_weight(shape=cells, initializer="glorot_uniform", name="peephole_o")
        for norm in (self.norm_j, self.norm_i, self.norm_f, self.norm_o, self.norm_c):
            norm.build((None, *cells))

    def call(self, sequence):
        # A product per gate: splitting one product of all gates would copy more than splitting the kernel does.
        kernel_j, kernel_i, kernel_f, kernel_o = ops.split(self.kernel, 4, axis=1)
        c = h = None
        for x in sequence:
            inputs = x if c is None else ops.concatenate([x, h], axis=-1)
            rows = inputs.shape[-1]
            i = ops.matmul(inputs, kernel_i[:rows])
            if c is not None:
                i = _add_product(i, self.peephole_i, c)
            j = ops.matmul(inputs, kernel_j[:rows])
            new_c = _gate(i, *self.norm_i.affine(i), j, *self.norm_j.affine(j))
            if c is not None:  # In the first step c is zero: neither the peepholes nor the forget gate matter.
                f = _add_product(ops.matmul(inputs, kernel_f[:rows]), self.peephole_f, c)
                scale, offset = self.norm_f.affine(f)
                new_c = _keep(f, scale, offset + self.FORGET_BIAS, c, new_c)
            o = _add_product(ops.matmul(inputs, kernel_o[:rows]), self.peephole_o, new_c)
            normalize_c = self.norm_c.affine(new_c)
            h = _gate(o, *self.norm_o.affine(o), new_c, *normalize_c)
            c = _scale(new_c, *normalize_c)
        return h

    def compute_output_shape(self, sequence_shape):
        return (*sequence_shape[0][:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


@fusible
def _add_product(x, weights, state):
    return x + weights * state


@fusible
def _scale(x, scale, offset):
    return x * scale + offset


@fusible
def _gate(gate, gate_scale, gate_offset, x, scale, offset):
    return ops.sigmoid(gate * gate_scale + gate_offset) * ops.tanh(x * scale + offset)


@fusible
def _keep(keep, scale, offset, state, new):
    return new + state * ops.sigmoid(keep * scale + offset)
