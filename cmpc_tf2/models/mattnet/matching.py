"""What the modules of MAttNet share: features of one scale, and the space in which boxes and phrases are compared."""

import keras
from keras import layers, ops

from cmpc_tf2.layers.torch_normalization import TorchBatchNormalization, unit_length
from cmpc_tf2.registration import PACKAGE
from cmpc_tf2.text.phrases import dense

INITIAL_SCALE = 20.0


@keras.saving.register_keras_serializable(package=PACKAGE)
class ScaledUnitLength(layers.Layer):
    """Scales the last axis to unit length, then each channel by a trained factor, so that features of all kinds agree.

    Source: `Normalize_Scale` in `lib/layers/visual_encoder.py` of lichengunc/MAttNet (commit 3204d07).

    Call arguments:
        x: `(..., C)`.

    Returns:
        The shape of `x`; zeros stay zeros.
    """

    def build(self, x_shape):
        initializer = keras.initializers.Constant(INITIAL_SCALE)
        self.weight = self.add_weight((1, x_shape[-1]), initializer, name="weight")

    def call(self, x):
        return unit_length(x) * self.weight[0]

    def compute_output_shape(self, x_shape):
        return x_shape


class RowCounts(keras.Operation):
    """Counts how often each row is taken.

    Call arguments:
        rows: int32 `(R,)`, numbers of rows of `x`.
        x: `(B, ...)`.

    Returns:
        int32 `(B,)`.
    """

    def call(self, rows, x):
        return ops.sum(ops.cast(rows[:, None] == ops.arange(ops.shape(x)[0]), "int32"), axis=0)

    def compute_output_spec(self, rows, x):
        return keras.KerasTensor(x.shape[:1], "int32")


class RowMeans(keras.Operation):
    """Takes rows, averaged over their cells, in one operation: model files number layers by their depth in the graph.

    Call arguments:
        rows: int32 `(R,)`, numbers of rows of `x`.
        x: `(B, n, N, C)`.

    Returns:
        `(R, n, C)`.
    """

    def call(self, rows, x):
        return ops.take(ops.mean(x, axis=-2), rows, axis=0)

    def compute_output_spec(self, rows, x):
        return keras.KerasTensor((*rows.shape, x.shape[1], x.shape[-1]), x.dtype)


def batch_norm(name: str) -> TorchBatchNormalization:
    """A batch norm with the initial weights of PyTorch 0.2, where its factors begin between 0 and 1."""
    return TorchBatchNormalization(gamma_initializer=keras.initializers.RandomUniform(0, 1), name=name)


def joint_embedding(x, units: int, name: str):
    """Boxes or phrases as vectors of unit length in the common space: `(..., C)` to `(..., units)`.

    Source: `vis_emb_fc` and `lang_emb_fc` in `lib/layers/joint_match.py` of lichengunc/MAttNet (commit 3204d07).

    Args:
        x: The features.
        units: Width of the space.
        name: Beginning of the names of the layers.
    """
    x = dense(units, x.shape[-1], f"{name}.0")(x)
    x = ops.relu(batch_norm(f"{name}.1")(x))
    x = layers.Dropout(0.1, name=f"{name}.3")(x)
    x = dense(units, units, f"{name}.4")(x)
    return unit_length(batch_norm(f"{name}.5")(x))
