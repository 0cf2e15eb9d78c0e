"""Whole words, padded on the right: what the models of boxes and the two-stage models have in common."""

from typing import ClassVar

import numpy as np

from cmpc_tf2.text.tokenizer import TokenizedWord, Tokenizer
from cmpc_tf2.text.vocabulary import PAD_ID, UNKNOWN, Vocabulary


class RightPaddedTokenizer(Tokenizer):
    """Whole words by their number in a vocabulary, padded on the right with 0; subclasses split sentences.

    Args:
        words: The words by token id.
        max_words: Slots of an expression.

    Attributes:
        vocabulary: The words.

    Raises:
        InputError: `<pad>` is not the first word, or a special word of the tokenizer is missing.
    """

    reads_stored_ids = False
    unit = "words"
    # Tokens after the last word, if there is room for them.
    ending: ClassVar[tuple[str, ...]] = ()

    def __init__(self, words: list[str], max_words: int):
        self.require_special_tokens(words)
        self.vocabulary = Vocabulary(words)
        self.max_words = max_words

    @staticmethod
    def require_special_tokens(words: list[str]):
        Vocabulary(words)

    def tokens(self, expression: str) -> list[str]:
        return self.split(expression)[: self.max_words]

    def words(self, expression: str) -> list[TokenizedWord]:
        return [
            TokenizedWord(word, self.is_known(word), slice(slot, slot + 1))
            for slot, word in enumerate(self.tokens(expression))
        ]

    def is_known(self, token: str) -> bool:
        return token in self.vocabulary.ids

    def encode(self, expression: str) -> dict[str, np.ndarray]:
        ids = self.vocabulary.ids
        tokens = [*self.split(expression), *self.ending][: self.max_words]
        token_ids = [ids.get(token, ids[UNKNOWN]) for token in tokens]
        return {"token_ids": np.array(token_ids + [PAD_ID] * (self.max_words - len(token_ids)), np.int32)}

    @staticmethod
    def random_inputs(config, lengths: list[int], rng: np.random.Generator) -> dict[str, np.ndarray]:
        token_ids = rng.integers(1, config.vocabulary_size, size=(len(lengths), config.max_words), dtype=np.int32)
        return {"token_ids": token_ids * (np.arange(config.max_words) < np.array(lengths)[:, None])}
