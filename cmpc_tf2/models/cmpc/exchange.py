"""Text-guided exchange of features between the levels."""

import math

import keras
from keras import layers, ops

from cmpc_tf2.layers.affinity import projected_affinity
from cmpc_tf2.layers.cell_dense import CellDense
from cmpc_tf2.layers.fusion import fusible
from cmpc_tf2.layers.normalization import l2_normalize, softmax
from cmpc_tf2.registration import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class TextGuidedExchange(keras.layers.Layer):
    """Adds features of other levels to one level, gated by the sentence.

    The level x is pooled to a vector with attention from the sentence s; vector and sentence make the gates:

        attention = softmax_cells((x W_k + b_k) (s W_q + b_q)^T / sqrt(C))
        context = l2n([attention^T x, s] W_c + b_c)
        x' = x + sum over others y: relu(y W_y + b_y) * sigmoid(context G_y + h_y)

    Source: `global_vec`, `lang_se` and `gated_exchange_module` in `CMPC_model.py` of CMPC-Refseg.

    Differs from TF1: the context is normalised per sample; the original normalises it over the batch too. Tested by
    `tests/models/test_contract.py`.

    Args:
        sources: Names of the other levels, in the order they are passed.

    Call arguments:
        level: `(B, h, w, C)`.
        others: List of tensors `(B, h, w, C)`, one per source.
        sentence: `(B, S)`.

    Returns:
        `(B, h, w, C)`, not yet normalised.
    """

    def __init__(self, sources: list[str], **kwargs):
        super().__init__(**kwargs)
        self.sources = list(sources)

    def build(self, level_shape, sentence_shape):
        channels = level_shape[-1]
        dtype = self.dtype_policy
        self.key = layers.Dense(channels, dtype=dtype, name="key")
        self.query = layers.Dense(channels, dtype=dtype, name="query")
        self.context = layers.Dense(channels, dtype=dtype, name="context")
        self.transforms = [
            CellDense(channels, activation="relu", dtype=dtype, name=f"transform_{s}") for s in self.sources
        ]
        self.gates = [layers.Dense(channels, activation="sigmoid", dtype=dtype, name=f"gate_{s}") for s in self.sources]
        self.query.build(sentence_shape)
        self.context.build((None, channels + sentence_shape[-1]))
        for layer in (self.key, *self.transforms, *self.gates):
            layer.build((None, channels))

    def call(self, level, others, sentence):
        context = self.pool(level, sentence)[:, None, None, :]
        given = [transform(other) for other, transform in zip(others, self.transforms, strict=True)]
        return _add_gated(level, *given, *(gate(context) for gate in self.gates))

    def compute_output_shape(self, level_shape):
        return level_shape

    def pool(self, level, sentence):
        """The context vector `(B, C)` of a level."""
        channels = level.shape[-1]
        cells = ops.reshape(level, (-1, level.shape[1] * level.shape[2], channels))
        scores = projected_affinity(cells, self.key, self.query(sentence)[:, None])[..., 0] / math.sqrt(channels)
        pooled = ops.einsum("bn,bnc->bc", softmax(scores, axis=1), cells)
        return l2_normalize(self.context(ops.concatenate([pooled, sentence], axis=-1)))

    def get_config(self):
        return {**super().get_config(), "sources": self.sources}


@fusible
def _add_gated(level, *given_and_gates):
    count = len(given_and_gates) // 2
    for given, gate in zip(given_and_gates[:count], given_and_gates[count:], strict=True):
        level = level + given * gate
    return level
