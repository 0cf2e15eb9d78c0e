"""RMI: the parts put together."""

import itertools
from typing import ClassVar

import keras
from keras import layers, ops

from cmpc_tf2.config import PACKAGE, ReferringConfig
from cmpc_tf2.layers.basic_lstm import lstm_cell
from cmpc_tf2.layers.spatial_grid import GRID_CHANNELS, spatial_grid
from cmpc_tf2.models.ancestors import build_visual_projection, read_words, score_cells
from cmpc_tf2.models.referring_model import ReferringModel
from cmpc_tf2.precision import EXACT


@keras.saving.register_keras_serializable(package=PACKAGE)
class MultimodalLSTM(keras.layers.Layer):
    """An LSTM that reads a sentence at every cell of the picture, with one kernel for all cells.

    Its input at a cell and word is `[visual, word vector, word feature, grid]`. The product with the kernel splits
    exactly into a part of the picture, a part of the word, and the state's. At pads the state is carried on.

    Source: `RNN/ALSTM` in `RMI_model.py` of TF-phrasecut-public.

    Args:
        units: Width of state and output.

    Call arguments:
        visual: `(B or 1, h, w, C)`; one picture serves every sentence of the batch.
        vectors: `(B, T, E)`.
        words: `(B, T, D)`.
        is_word: bool `(B, T)`.

    Returns:
        `(B, h, w, units)`: the last h.
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, visual_shape, vectors_shape, words_shape, is_word_shape):
        _, height, width, _ = visual_shape
        self._grid = spatial_grid(height, width)
        rows = visual_shape[-1], vectors_shape[-1], words_shape[-1], GRID_CHANNELS, self.units
        *self._ends, last = itertools.accumulate(rows)
        shape = (last, 4 * self.units)
        self.kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name="kernel")
        self.bias = self.add_weight(shape=(4 * self.units,), initializer="zeros", name="bias")

    def call(self, visual, vectors, words, is_word):
        of_visual, of_vector, of_word, of_grid, of_state = ops.split(self.kernel, self._ends, axis=0)
        grid = ops.matmul(ops.cast(self._grid, self.compute_dtype), of_grid) + self.bias
        from_picture = ops.matmul(visual, of_visual) + grid
        from_words = ops.matmul(vectors, of_vector) + ops.matmul(words, of_word)  # (B, T, 4 * units)
        # One picture may stand beside many sentences: the state has the shape of their sum.
        c = h = ops.zeros_like((from_picture + from_words[:, :1, None])[..., : self.units])
        for step in range(vectors.shape[1]):

            def read(step=step, c=c, h=h):
                gates = from_picture + from_words[:, step, None, None] + ops.matmul(h, of_state)
                new_c, new_h = lstm_cell(gates, c)
                is_here = is_word[:, step, None, None, None]
                return ops.where(is_here, new_c, c), ops.where(is_here, new_h, h)

            # Where no sentence of the batch has a word yet, nothing is computed.
            c, h = ops.cond(ops.any(is_word[:, step]), read, lambda c=c, h=h: (c, h))
        return h

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package=PACKAGE)
class RMI(ReferringModel):
    """Recurrent Multimodal Interaction: picture and sentence are read together, word by word, at every cell.

    Args: as `ReferringModel`. Call arguments: as `CMPC`. Returns: as `LSTMBaseline`.

    Source: `RMI_model.py` of TF-phrasecut-public (chenxi116, commit b0b0778); Liu et al., ICCV 2017.

    Differs from TF1: every sample of a batch gets what it would get alone. Tested by `tests/models/test_ancestors.py`.
    """

    title = "an RMI model"
    loss_weights: ClassVar = {"coarse_logits": 1.0}
    build_visual_projection = staticmethod(build_visual_projection)

    @staticmethod
    def build_expression_decoder(config: ReferringConfig) -> keras.Model:
        visual = keras.Input((config.grid_size, config.grid_size, config.feature_dim), name="visual")
        token_ids = keras.Input((config.max_words,), dtype="int32", name="token_ids")
        words, is_word, vectors = read_words(token_ids, config)
        h = MultimodalLSTM(config.fusion_dim, name="multimodal_lstm")(visual, vectors, words, is_word)
        h = ops.cast(h, EXACT)  # In bfloat16 1.001 is 1, and the logarithm of nothing infinite.
        features = layers.ReLU(dtype=EXACT, name="stretch")(0.5 * (ops.log(1.001 + h) - ops.log(1.001 - h)))
        outputs = score_cells(features, config)
        return keras.Model({"visual": visual, "token_ids": token_ids}, outputs, name="expression_decoder")
