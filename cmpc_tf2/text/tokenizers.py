"""Whole words as tokens, and the table of all tokenizers, by which model files name theirs."""

import numpy as np

from cmpc_tf2.text.grounding import GroundingTokenizer
from cmpc_tf2.text.tokenizer import TokenizedWord, Tokenizer
from cmpc_tf2.text.vocabulary import PAD_ID, NoWordsError, Vocabulary, tokenize
from cmpc_tf2.text.whitespace import WhitespaceTokenizer
from cmpc_tf2.text.wordpiece import WordPieceTokenizer


class WordTokenizer(Tokenizer):
    """Whole words by their number in a vocabulary, padded on the left with 0: CMPC and its ancestors.

    Args:
        words: The words by token id.
        max_words: Word slots of an expression.

    Attributes:
        vocabulary: The words.
    """

    name = "words"
    reads_stored_ids = True
    inputs = "token ids with 0 for padding on the left"
    unit = "words"

    def __init__(self, words: list[str] | Vocabulary, max_words: int):
        self.vocabulary = words if isinstance(words, Vocabulary) else Vocabulary(words)
        self.max_words = max_words

    @staticmethod
    def require_special_tokens(words: list[str]):
        Vocabulary(words)

    def split(self, expression: str) -> list[str]:
        tokens = tokenize(expression)
        if not tokens:
            raise NoWordsError(expression)
        return tokens

    def tokens(self, expression: str) -> list[str]:
        return self.split(expression)[: self.max_words]

    def words(self, expression: str) -> list[TokenizedWord]:
        tokens = self.tokens(expression)
        start = self.max_words - len(tokens)
        return [
            TokenizedWord(token, self.is_known(token), slice(slot, slot + 1))
            for slot, token in enumerate(tokens, start)
        ]

    def is_known(self, token: str) -> bool:
        return token in self.vocabulary.ids

    def encode(self, expression: str) -> dict[str, np.ndarray]:
        token_ids = self.vocabulary.encode(expression, self.max_words)
        if not token_ids.any():
            raise NoWordsError(expression)
        return {"token_ids": token_ids.astype(np.int32)}

    @staticmethod
    def random_inputs(config, lengths: list[int], rng: np.random.Generator) -> dict[str, np.ndarray]:
        token_ids = rng.integers(1, config.vocabulary_size, size=(len(lengths), config.max_words), dtype=np.int32)
        for row, length in zip(token_ids, lengths, strict=True):
            row[: config.max_words - length] = PAD_ID
        return {"token_ids": token_ids}


_TYPES = (WordTokenizer, WordPieceTokenizer, GroundingTokenizer, WhitespaceTokenizer)
TOKENIZERS = {tokenizer.name: tokenizer for tokenizer in _TYPES}
