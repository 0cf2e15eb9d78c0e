"""A parsed expression as tensors of a functional model: its words and their types."""

import dataclasses

from keras import ops

from cmpc_tf2.models.cmpc.config import CMPCConfig
from cmpc_tf2.models.cmpc.word_parser import WeightedWordPool, WordParser
from cmpc_tf2.text.text_encoder import TextEncoder
from cmpc_tf2.text.word_types import WordType


@dataclasses.dataclass(frozen=True, eq=False)
class ParsedExpression:
    """Parsed expressions.

    Attributes:
        words: `(B, T, C)`, zero at pads.
        is_word: bool `(B, T)`.
        type_probs: `(B, T, K)`.
        config: Sizes, with the word types in the order of K.
    """

    words: object
    is_word: object
    type_probs: object
    config: CMPCConfig

    def probability(self, word_type: WordType):
        """The probability of a type for each word: `(B, T)`."""
        return self.type_probs[:, :, self.config.word_types.index(word_type)]

    def pool(self, name: str, *word_types: WordType):
        """The words of some types, pooled to one feature of unit norm: `(B, C)`."""
        indices = [self.config.word_types.index(word_type) for word_type in word_types]
        return WeightedWordPool(indices, name=name)(self.words, self.type_probs)

    def pool_necessary(self):
        """All words but the unnecessary ones, pooled: `(B, C)`."""
        types = [word_type for word_type in self.config.word_types if word_type is not WordType.UNNECESSARY]
        return self.pool("necessary_feature", *types)


def parse_expression(token_ids, config: CMPCConfig) -> ParsedExpression:
    """Encodes and parses token ids, int32 `(B, T)`."""
    encoder = TextEncoder(config.vocabulary_size, config.embedding_dim, config.feature_dim, name="text_encoder")
    words, is_word, _ = encoder(token_ids)
    if "word_types" in config.without:  # Every word counts as every type.
        type_probs = ops.ones_like(words[:, :, : len(config.word_types)])
    else:
        type_probs = WordParser(config.word_parser_dim, len(config.word_types), name="word_parser")(words)
    return ParsedExpression(words, is_word, type_probs, config)
