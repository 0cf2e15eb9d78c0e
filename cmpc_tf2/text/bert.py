"""BERT, a language encoder."""

import math

import keras
from keras import layers, ops

from cmpc_tf2.layers.normalization import softmax
from cmpc_tf2.layers.transformer import STANDARD_DEVIATION, gelu, linear, merge_heads, split_heads
from cmpc_tf2.registration import PACKAGE
from cmpc_tf2.text.config import BertConfig
from cmpc_tf2.text.vocabulary import PAD_ID

EPSILON = 1e-12
DROPOUT = 0.1
TOKEN_TYPES = 2
# Added to the scores of masked tokens.
MASKED_SCORE = -10_000.0


@keras.saving.register_keras_serializable(package=PACKAGE)
class BertEmbeddings(layers.Layer):
    """Token ids to vectors: the sum of word, position and token type, normalised.

    The vector of the padding token is never trained.

    Args:
        config: Sizes; a `BertConfig` or its `to_dict()`.

    Input: int32 `(B, T)`. Output: `(B, T, width)`.
    """

    def __init__(self, config: BertConfig | dict, **kwargs):
        super().__init__(**kwargs)
        self.config = config if isinstance(config, BertConfig) else BertConfig(**config)
        self.dropout = layers.Dropout(DROPOUT, name="dropout")

    def build(self, token_ids_shape):
        config = self.config
        self.word_embeddings = self._table(config.vocabulary_size, "word_embeddings")
        self.position_embeddings = self._table(config.positions, "position_embeddings")
        self.token_type_embeddings = self._table(TOKEN_TYPES, "token_type_embeddings")
        self.LayerNorm = layers.LayerNormalization(epsilon=EPSILON, dtype=self.dtype_policy, name="LayerNorm")
        self.LayerNorm.build((*token_ids_shape, config.width))

    def _table(self, rows: int, name: str) -> layers.Embedding:
        initializer = keras.initializers.RandomNormal(stddev=STANDARD_DEVIATION)
        table = layers.Embedding(rows, self.config.width, initializer, dtype=self.dtype_policy, name=name)
        table.build()
        return table

    def call(self, token_ids):
        words = self.word_embeddings(token_ids)
        words = ops.where(ops.equal(token_ids, PAD_ID)[..., None], ops.stop_gradient(words), words)
        positions = self.position_embeddings.embeddings[: token_ids.shape[1]]
        return self.dropout(self.LayerNorm(words + positions + self.token_type_embeddings.embeddings[0]))

    def get_config(self):
        return {**super().get_config(), "config": self.config.to_dict()}


@keras.saving.register_keras_serializable(package=PACKAGE)
class BertLayer(layers.Layer):
    """A transformer layer: self-attention, then a feed-forward network; both are residual and normalised after.

    Args:
        config: Sizes; a `BertConfig` or its `to_dict()`.

    Call arguments:
        x: `(B, T, width)`.
        score_mask: `(B, 1, 1, T)`, added to the scores.

    Returns:
        The shape of `x`.
    """

    def __init__(self, config: BertConfig | dict, **kwargs):
        super().__init__(**kwargs)
        self.config = config if isinstance(config, BertConfig) else BertConfig(**config)
        self.dropout = layers.Dropout(DROPOUT, name="dropout")

    def build(self, x_shape):
        width = x_shape[-1]
        self.query, self.key, self.value = (
            linear(width, f"attention.self.{name}", dtype=self.dtype_policy) for name in ("query", "key", "value")
        )
        self.attention_output = linear(width, "attention.output.dense", dtype=self.dtype_policy)
        self.attention_norm = self._norm("attention.output.LayerNorm")
        self.intermediate = linear(
            self.config.intermediate, "intermediate.dense", activation=gelu, dtype=self.dtype_policy
        )
        self.output_dense = linear(width, "output.dense", dtype=self.dtype_policy)
        self.output_norm = self._norm("output.LayerNorm")
        self.output_dense.build((*x_shape[:-1], self.config.intermediate))
        for layer in (self.query, self.key, self.value, self.attention_output, self.intermediate):
            layer.build(x_shape)
        for norm in (self.attention_norm, self.output_norm):
            norm.build(x_shape)

    def _norm(self, name: str) -> layers.LayerNormalization:
        return layers.LayerNormalization(epsilon=EPSILON, dtype=self.dtype_policy, name=name)

    def call(self, x, score_mask):
        query, key, value = (split_heads(dense(x), self.config.heads) for dense in (self.query, self.key, self.value))
        scores = ops.matmul(query, ops.swapaxes(key, -1, -2)) / math.sqrt(query.shape[-1])
        probabilities = self.dropout(softmax(scores + score_mask))
        attended = self.attention_output(merge_heads(ops.matmul(probabilities, value)))
        x = self.attention_norm(x + self.dropout(attended))
        return self.output_norm(x + self.dropout(self.output_dense(self.intermediate(x))))

    def get_config(self):
        return {**super().get_config(), "config": self.config.to_dict()}


@keras.saving.register_keras_serializable(package=PACKAGE)
class Bert(layers.Layer):
    """BERT over the tokens of a sentence and over prompts, which are vectors of the same width.

    The prompts have no position and no token type, and are not normalised with the embeddings.

    Source: `bert/modeling_bert.py` and `model/backbones/bert_encoder.py` of naver-ai/maskris (commit 01b54d5);
    Devlin et al., NAACL 2019.

    Args:
        config: Sizes; a `BertConfig` or its `to_dict()`.

    Call arguments:
        token_ids: int32 `(B, T)`.
        token_mask: int32 `(B, T)`, 1 for tokens and 0 for padding, which is computed, but not attended to.
        prompts: `(B, P, width)`, or `(1, P, width)` for the same prompts in every sentence.

    Returns:
        Features of the tokens, `(B, T, width)`.
    """

    def __init__(self, config: BertConfig | dict, **kwargs):
        super().__init__(**kwargs)
        self.config = config if isinstance(config, BertConfig) else BertConfig(**config)

    def build(self, token_ids_shape, token_mask_shape, prompts_shape):
        batch, length = token_ids_shape
        self.embeddings = BertEmbeddings(self.config, dtype=self.dtype_policy, name="embeddings")
        self.embeddings.build(token_ids_shape)
        self.encoder = [
            BertLayer(self.config, dtype=self.dtype_policy, name=f"encoder.layer.{index}")
            for index in range(self.config.layers)
        ]
        for layer in self.encoder:
            layer.build((batch, length + prompts_shape[1], self.config.width))

    def call(self, token_ids, token_mask, prompts):
        _, length = token_ids.shape
        words = self.embeddings(token_ids)
        prompts = ops.broadcast_to(prompts, (ops.shape(words)[0], *prompts.shape[1:]))
        x = ops.concatenate([words, ops.cast(prompts, words.dtype)], axis=1)
        score_mask = ops.pad((1.0 - ops.cast(token_mask, "float32")) * MASKED_SCORE, [[0, 0], [0, prompts.shape[1]]])
        for layer in self.encoder:
            x = layer(x, ops.cast(score_mask[:, None, None, :], x.dtype))
        return x[:, :length]

    def compute_output_shape(self, token_ids_shape):
        return (*token_ids_shape, self.config.width)

    def get_config(self):
        return {**super().get_config(), "config": self.config.to_dict()}
