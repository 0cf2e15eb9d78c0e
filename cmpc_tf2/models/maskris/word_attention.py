"""The attention of words to places, as maps."""

from keras import layers, ops

from cmpc_tf2.models.maskris.decoder_layer import DecoderLayer
from cmpc_tf2.models.maskris.prompts import pooling_matrix


class WordAttention(layers.Layer):
    """The attention of words to places in a layer of the decoder: the mean over the heads, all levels in one map.

    The weight of a coarser cell is spread evenly over the cells of the finest level that it covers.

    Args:
        decoder_layer: The layer, whose weights are used.

    Call arguments: as those of the layer:
        visual: `(B, N, C)`.
        language: `(B, T, C)`.
        positions: `(1, N, C)`.

    Returns:
        float32 `(B, T, h, w)` on the grid of the finest level; every map sums to 1.
    """

    def __init__(self, decoder_layer: DecoderLayer, **kwargs):
        super().__init__(dtype=decoder_layer.dtype_policy, **kwargs)
        self.decoder_layer = decoder_layer

    def call(self, visual, language, positions):
        attention, grids = self.decoder_layer.v2l_cross_attn, self.decoder_layer.grids
        weights = attention.attention_weights(language, visual + positions)
        words, cells = language.shape[1], visual.shape[1]
        weights = ops.mean(ops.reshape(weights, (-1, attention.heads, words, cells)), axis=1)
        height, width = grids[-1]
        combined, start = 0, 0
        for rows, columns in grids:
            level = ops.reshape(weights[..., start : start + rows * columns], (-1, words, rows, columns))
            # Rows of these matrices sum to 1, so that spreading preserves the sum.
            spread = ops.matmul(pooling_matrix(height, rows).T, ops.matmul(level, pooling_matrix(width, columns)))
            combined, start = combined + spread, start + rows * columns
        return combined
