"""Multi-head attention of the decoder, with projections folded into whichever side is short.

With N cells and T words (4116 and 25 at full size), the projections of the cells would be the largest products of a
layer. They are linear, so the projections of the words absorb them, which is exact and five times cheaper.
"""

import keras
from keras import layers, ops

from cmpc_tf2.layers.normalization import softmax
from cmpc_tf2.layers.transformer import linear, merge_heads, split_heads
from cmpc_tf2.registration import PACKAGE

# Scores stay between -LIMIT and LIMIT, as in the original.
LIMIT = 50_000.0


def masked_softmax(scores, is_token):
    """Softmax of bounded scores over the last axis; 0 where `is_token`, a bool mask or None, is false."""
    scores = ops.cast(ops.clip(scores, -LIMIT, LIMIT), "float32")
    return softmax(scores if is_token is None else ops.where(is_token, scores, float("-inf")))


class _FoldedAttention(layers.Layer):
    """Multi-head attention of queries to keys; a subclass says what is folded.

    Source: `MultiHeadAttention` in `model/tranformer_decoder.py` of naver-ai/maskris (commit 01b54d5).

    Args:
        heads: Attention heads.
        head_dim: Channels of a head.

    Call arguments:
        queries: `(B, Q, C)`.
        keys: `(B, K, C)`.
        values: `(B, K, C)`.
        is_token: bool `(B, K)`, false for keys that are not attended to; None if all are.

    Returns:
        `(B, Q, C)`.
    """

    def __init__(self, heads: int, head_dim: int, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads
        self.head_dim = head_dim

    def build(self, queries_shape, keys_shape, values_shape):
        channels, inner = queries_shape[-1], self.heads * self.head_dim
        for name in ("q_proj", "k_proj", "v_proj"):
            projection = linear(inner, name, dtype=self.dtype_policy)
            projection.build((None, None, channels))
            setattr(self, name, projection)
        self.out_proj = linear(channels, "out_proj", dtype=self.dtype_policy)
        self.out_proj.build((None, None, inner))

    def fold(self, projected, projection):
        """Moves a projection from one side of a scalar product to the other.

        Args:
            projected: The other side, `(B, heads, T, d)`, projected.
            projection: The layer that is not applied to its own side.

        Returns:
            What replaces the projected other side, `(B, heads * T, C)`, and the contribution of the bias, `(B, heads *
            T)`.
        """
        kernel = ops.reshape(projection.kernel, (-1, self.heads, self.head_dim))
        bias = ops.reshape(projection.bias, (self.heads, 1, self.head_dim))
        folded = ops.einsum("bhtd,chd->bhtc", projected, kernel)
        rows = self.heads * projected.shape[2]
        offset = ops.sum(projected * bias, axis=-1)
        return ops.reshape(folded, (-1, rows, folded.shape[-1])), ops.reshape(offset, (-1, rows))

    def get_config(self):
        return {**super().get_config(), "heads": self.heads, "head_dim": self.head_dim}


@keras.saving.register_keras_serializable(package=PACKAGE)
class FewQueriesAttention(_FoldedAttention):
    """Attention that projects no keys and no values: for few queries."""

    def call(self, queries, keys, values, is_token=None):
        length, channels = queries.shape[1], queries.shape[2]
        weights = self.attention_weights(queries, keys, is_token)
        attended = ops.matmul(ops.cast(weights, values.dtype), values)  # (B, heads * Q, C)
        attended = ops.reshape(attended, (-1, self.heads, length, channels))
        kernel = ops.reshape(self.v_proj.kernel, (channels, self.heads, self.head_dim))
        bias = ops.reshape(self.v_proj.bias, (self.heads, 1, self.head_dim))
        return self.out_proj(merge_heads(ops.einsum("bhtc,chd->bhtd", attended, kernel) + bias))

    def attention_weights(self, queries, keys, is_token=None):
        """The weights of the keys for each head and query: float32 `(B, heads * Q, K)`; each row sums to 1."""
        query = split_heads(self.q_proj(queries), self.heads) * self.head_dim**-0.5
        folded, offset = self.fold(query, self.k_proj)
        scores = ops.matmul(folded, ops.swapaxes(keys, 1, 2)) + offset[..., None]
        return masked_softmax(scores, None if is_token is None else is_token[:, None, :])


@keras.saving.register_keras_serializable(package=PACKAGE)
class FewKeysAttention(_FoldedAttention):
    """Attention that projects no queries and no outputs: for few keys."""

    def call(self, queries, keys, values, is_token=None):
        (_, cells, channels), length = queries.shape, keys.shape[1]
        key = split_heads(self.k_proj(keys), self.heads) * self.head_dim**-0.5
        folded, offset = self.fold(key, self.q_proj)
        scores = ops.matmul(queries, ops.swapaxes(folded, 1, 2)) + offset[:, None, :]  # (B, Q, heads * K)
        scores = ops.reshape(scores, (-1, cells, self.heads, length))
        weights = masked_softmax(scores, None if is_token is None else is_token[:, None, None, :])
        weights = ops.reshape(ops.cast(weights, queries.dtype), (-1, cells, self.heads * length))
        value = split_heads(self.v_proj(values), self.heads)
        kernel = ops.reshape(self.out_proj.kernel, (self.heads, self.head_dim, channels))
        value = ops.reshape(ops.einsum("bhtd,hdc->bhtc", value, kernel), (-1, self.heads * length, channels))
        return ops.matmul(weights, value) + self.out_proj.bias
