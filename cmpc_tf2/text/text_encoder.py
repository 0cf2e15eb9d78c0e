"""Token ids to word features."""

import keras
from keras import ops

from cmpc_tf2.layers.basic_lstm import BasicLSTM
from cmpc_tf2.layers.normalization import l2_normalize
from cmpc_tf2.registration import PACKAGE
from cmpc_tf2.text.vocabulary import PAD_ID


@keras.saving.register_keras_serializable(package=PACKAGE)
class TextEncoder(keras.layers.Layer):
    """Embeds the words of left-padded expressions and runs the LSTM over them.

    Source: `build_graph` in `CMPC_model.py` of CMPC-Refseg.

    Differs from TF1: which positions are words is decided for each sample, where the original uses the first one
    of the batch. An expression of pads alone counts as `T` words with zero features, as it does there. Tested by
    `tests/text/test_text_encoder.py`.

    Args:
        vocabulary_size: Rows of the embedding table.
        embedding_dim: Width of a word vector.
        units: Width of a word feature.
        embedding_initializer: Initializer of the word vectors; the default has the spread of GloVe vectors, for runs
            that start without them.

    Call arguments:
        token_ids: int32 `(B, T)`, 0 in front of the first word and nowhere else.

    Returns:
        Word features `(B, T, units)`, of unit norm, zero at pads; `is_word`, bool `(B, T)`; and the word vectors
        `(B, T, embedding_dim)`.
    """

    def __init__(self, vocabulary_size: int, embedding_dim: int, units: int, embedding_initializer=None, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.embedding_dim = embedding_dim
        self.units = units
        self.embedding_initializer = keras.initializers.get(
            embedding_initializer or keras.initializers.RandomNormal(stddev=0.4)
        )
        self.lstm = BasicLSTM(units, name="lstm")

    def build(self, token_ids_shape):
        self.embedding = self.add_weight(
            shape=(self.vocabulary_size, self.embedding_dim), initializer=self.embedding_initializer, name="embedding"
        )
        self.lstm.build((*token_ids_shape, self.embedding_dim))

    def call(self, token_ids):
        is_word = ops.not_equal(token_ids, PAD_ID)
        vectors = ops.take(self.embedding, token_ids, axis=0)
        outputs = self.lstm(vectors, is_word)
        is_empty = ops.logical_not(ops.any(is_word, axis=1, keepdims=True))
        return l2_normalize(outputs), ops.logical_or(is_word, is_empty), vectors

    def compute_output_spec(self, token_ids):
        shape = token_ids.shape
        words = keras.KerasTensor((*shape, self.units), self.compute_dtype)
        vectors = keras.KerasTensor((*shape, self.embedding_dim), self.compute_dtype)
        return words, keras.KerasTensor(shape, "bool"), vectors

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "embedding_dim": self.embedding_dim,
            "units": self.units,
            "embedding_initializer": keras.initializers.serialize(self.embedding_initializer),
        }
