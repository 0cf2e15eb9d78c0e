"""The classifier of word types, and sentence features pooled from words of some types."""

import keras
from keras import layers, ops

from cmpc_tf2.layers.normalization import l2_normalize, softmax
from cmpc_tf2.registration import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class WordParser(keras.layers.Layer):
    """Classifies every word into word types: a two-layer perceptron with a softmax.

    Source: `build_lang_parser` in `CMPC_model.py` of CMPC-Refseg.

    Args:
        hidden_dim: Hidden units.
        types: Number of word types.

    Call arguments:
        words: `(B, T, C)`.

    Returns:
        Probabilities `(B, T, types)`; meaningless at pads.
    """

    def __init__(self, hidden_dim: int, types: int, **kwargs):
        super().__init__(**kwargs)
        self.hidden = layers.Dense(hidden_dim, activation="relu", name="hidden")
        self.types = layers.Dense(types, name="types")

    def build(self, words_shape):
        self.hidden.build(words_shape)
        self.types.build((*words_shape[:-1], self.hidden.units))

    def call(self, words):
        return softmax(self.types(self.hidden(words)))

    def compute_output_shape(self, words_shape):
        return (*words_shape[:-1], self.types.units)

    def get_config(self):
        return {**super().get_config(), "hidden_dim": self.hidden.units, "types": self.types.units}


@keras.saving.register_keras_serializable(package=PACKAGE)
class WeightedWordPool(keras.layers.Layer):
    """Sums the words, each weighted by its probability of being of one of some types, and scales to unit norm.

    Args:
        type_indices: Outputs of the word parser that are summed.

    Call arguments:
        words: `(B, T, C)`, zero at pads.
        type_probs: `(B, T, K)`.

    Returns:
        `(B, C)`.
    """

    def __init__(self, type_indices: list[int], **kwargs):
        super().__init__(**kwargs)
        self.type_indices = list(type_indices)

    def call(self, words, type_probs):
        weights = sum(type_probs[:, :, index] for index in self.type_indices)
        return l2_normalize(ops.einsum("bt,btc->bc", weights, words))

    def compute_output_shape(self, words_shape):
        return words_shape[0], words_shape[-1]

    def get_config(self):
        return {**super().get_config(), "type_indices": self.type_indices}
