"""Sentences to vectors, as the models of boxes read them."""

import keras
from keras import layers, ops

from cmpc_tf2.layers.torch_normalization import TorchBatchNormalization, unit_length
from cmpc_tf2.text.phrases import SentenceEncoder, dense
from cogrounding_tf2.models.package import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class LanguageEncoder(SentenceEncoder):
    """Sentences to word vectors and sentence vectors.

    Source: `RNNEncoder` in `model/grounding_model_semantic_attn.py` of SijieSong/CVPR21-Cogrounding_semantic_attention
    (commit 7b0630a).

    Args:
        vocabulary_size: Rows of the table of words.
        units: Width of a word, and of a direction of the LSTM.

    Call arguments:
        token_ids: int32 `(B, T)`, padded on the right with 0.

    Returns:
        As `SentenceEncoder`, but `sentence` is the context of the last word. So its backward half has seen one word
        only.
    """

    def __init__(self, vocabulary_size: int, units: int, **kwargs):
        super().__init__(vocabulary_size, units, units, units, dropout=0.2, **kwargs)

    def sentence(self, of_last, of_first):
        return of_last

    def get_config(self):
        return {**layers.Layer.get_config(self), "vocabulary_size": self.vocabulary_size, "units": self.units}


def language_vector(sentence, channels: int):
    """The sentence vector as the detection head takes it: `(B, 2 D)` to `(B, D)`, of unit length."""
    x = dense(channels, sentence.shape[-1], "mapping_lang.0")(sentence)
    x = ops.relu(TorchBatchNormalization(name="mapping_lang.1")(x))
    x = layers.Dropout(0.1, name="mapping_lang.3")(x)
    x = dense(channels, channels, "mapping_lang.4")(x)
    return unit_length(ops.relu(TorchBatchNormalization(name="mapping_lang.5")(x)))
