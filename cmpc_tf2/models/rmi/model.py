"""RMI, assembled from its parts."""

import itertools

import keras
from keras import layers, ops

from cmpc_tf2.layers.basic_lstm import read_sentence
from cmpc_tf2.layers.spatial_grid import GRID_CHANNELS, spatial_grid
from cmpc_tf2.models.ancestors import DeepestLevelModel, read_words, score_cells
from cmpc_tf2.models.config import DeepLabModelConfig
from cmpc_tf2.registration import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class MultimodalLSTM(keras.layers.Layer):
    """An LSTM that reads a sentence at every cell of the picture, with one kernel for all cells.

    Its input at a cell and word is `[visual, word vector, word feature, grid]`. The product with the kernel splits
    exactly into the shares of the picture, the word and the state. At pads the state does not change.

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
        visual_kernel, vector_kernel, word_kernel, grid_kernel, state_kernel = ops.split(
            self.kernel, self._ends, axis=0
        )
        grid = ops.matmul(ops.cast(self._grid, self.compute_dtype), grid_kernel) + self.bias
        from_picture = ops.matmul(visual, visual_kernel) + grid
        from_words = ops.matmul(vectors, vector_kernel) + ops.matmul(words, word_kernel)  # (B, T, 4 * units)
        from_words = ops.unstack(from_words, axis=1)

        def input_gates(step: int):
            return from_picture + from_words[step][:, None, None]

        # The picture may have batch size 1 with many sentences: the state has the shape of the sum.
        zeros = ops.zeros_like(input_gates(0)[..., : self.units])
        return read_sentence(input_gates, state_kernel, is_word, zeros)[-1]

    def compute_output_shape(self, visual_shape, words_shape):
        return (words_shape[0], *visual_shape[1:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package=PACKAGE)
class RMI(DeepestLevelModel):
    """Recurrent Multimodal Interaction: picture and sentence are read together, word by word, at every cell.

    Args: as `ReferringModel`. Call arguments: as `CMPC`. Returns: as `LSTMBaseline`.

    Source: `RMI_model.py` of TF-phrasecut-public (chenxi116, commit b0b0778); Liu et al., ICCV 2017.

    Differs from TF1: every sample of a batch gets what it would get alone. Tested by `tests/models/test_ancestors.py`.
    """

    title = "an RMI model"

    @staticmethod
    def build_expression_decoder(config: DeepLabModelConfig) -> keras.Model:
        visual = keras.Input((config.grid_size, config.grid_size, config.feature_dim), name="visual")
        token_ids = keras.Input((config.max_words,), dtype="int32", name="token_ids")
        words, is_word, vectors = read_words(token_ids, config)
        h = MultimodalLSTM(config.fusion_dim, name="multimodal_lstm")(visual, vectors, words, is_word)
        h = ops.cast(h, "float32")  # In bfloat16, 1.001 rounds to 1, and log(0) is infinite.
        features = layers.ReLU(dtype="float32", name="stretch")(0.5 * (ops.log(1.001 + h) - ops.log(1.001 - h)))
        outputs = score_cells(features, config)
        return keras.Model({"visual": visual, "token_ids": token_ids}, outputs, name="expression_decoder")
