"""Relation-aware reasoning: cells that relation words connect exchange features."""

import math

import keras
from keras import layers, ops

from cmpc_tf2.layers.affinity import projected_affinity
from cmpc_tf2.layers.cell_dense import CellDense
from cmpc_tf2.layers.fusion import fusible, relu_of_sum
from cmpc_tf2.layers.normalization import GlobalLayerNormalization, l2_normalize
from cmpc_tf2.registration import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class GraphConvolution(keras.layers.Layer):
    """Updates nodes with their messages: `g = relu(x + LN(message))`, `l2n(relu(LN(g W + b)))`.

    Source: `graph_conv` in `CMPC_model.py` of CMPC-Refseg.

    Call arguments:
        nodes: `(B, N, C)`.
        messages: `(B, N, C)`.

    Returns:
        `(B, N, C)`, of unit norm.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.message_norm = GlobalLayerNormalization(name="message_norm")
        self.update_norm = GlobalLayerNormalization(name="update_norm")

    def build(self, nodes_shape):
        self.update = CellDense(nodes_shape[-1], name="update")
        for layer in (self.message_norm, self.update, self.update_norm):
            layer.build(nodes_shape)

    def call(self, nodes, messages):
        nodes = relu_of_sum(nodes, self.message_norm(messages))
        updated = self.update(nodes)
        return _activate(updated, *self.update_norm.affine(updated))


@fusible
def _activate(x, scale, offset):
    return ops.cast(l2_normalize(ops.relu(ops.cast(x, "float32") * scale + offset)), x.dtype)


@keras.saving.register_keras_serializable(package=PACKAGE)
class RelationGraph(keras.layers.Layer):
    """Passes messages between cells over the relation words.

    With cells m (N x C), words q (T x C) and p the probability that a word is a relation:

        a = p * ((m W_m + b_m) (q W_q + b_q)^T) / sqrt(C)             N x T
        A = softmax(a over words) softmax(a over cells)^T             N x N
        g = GraphConvolution(m, A m)

    Neither A nor A m nor `m W_m` is ever formed: the products are reassociated, which is exact and some forty times
    cheaper.

    Source: `build_spa_graph` in `CMPC_model.py` of CMPC-Refseg.

    Differs from TF1: pads are masked in each sample; see `TextEncoder`. Tested by `tests/models/test_cmpc_parts.py`.

    Call arguments:
        cells: `(B, h, w, C)`.
        words: `(B, T, C)`.
        relation_probs: `(B, T)`.
        is_word: bool `(B, T)`.

    Returns:
        `(B, h, w, C)`, of unit norm.
    """

    def build(self, cells_shape, words_shape):
        _, height, width, channels = cells_shape
        self.cell_projection = layers.Dense(channels, name="cell_projection")
        self.word_projection = layers.Dense(channels, name="word_projection")
        self.convolution = GraphConvolution(name="convolution")
        self.cell_projection.build((None, None, channels))
        self.word_projection.build(words_shape)
        self.convolution.build((None, height * width, channels))

    def call(self, cells, words, relation_probs, is_word):
        _, height, width, channels = cells.shape
        nodes = ops.reshape(cells, (-1, height * width, channels))  # (B, N, C)
        over_words, over_cells = self.assignments(nodes, words, relation_probs, is_word)
        gathered = ops.einsum("bnt,bnc->btc", over_cells, nodes)
        updated = self.convolution(nodes, ops.matmul(over_words, gathered))
        return ops.reshape(updated, (-1, height, width, channels))

    def compute_output_shape(self, cells_shape, words_shape):
        return (words_shape[0], *cells_shape[1:])

    def assignments(self, nodes, words, relation_probs, is_word):
        """The two factors of the adjacency: softmax over words, softmax over cells; both `(B, N, T)`, 0 at pads."""
        affinity = projected_affinity(nodes, self.cell_projection, self.word_projection(words))
        affinity *= relation_probs[:, None, :] / math.sqrt(nodes.shape[-1])
        # In float32: -1e9 is beyond float16.
        affinity = ops.cast(affinity, "float32")
        mask = is_word[:, None, :]
        over_words = ops.softmax(ops.where(mask, affinity, -1e9), axis=2)
        over_cells = ops.where(mask, ops.softmax(affinity, axis=1), 0.0)
        return ops.cast(over_words, nodes.dtype), ops.cast(over_cells, nodes.dtype)
