"""Words as MAttNet reads them: what is between white space."""

import numpy as np

from cmpc_tf2.errors import InputError
from cmpc_tf2.text.tokenizer import TokenizedWord, Tokenizer
from cmpc_tf2.text.vocabulary import PAD_ID, NoWordsError

PAD, UNKNOWN = "<PAD>", "<UNK>"


class WhiteSpaceTokenizer(Tokenizer):
    """Lower-case words between white space by their number in a vocabulary, padded on the right with 0.

    Punctuation is part of the words.

    Source: `Loader.encode_labels` in `lib/loaders/loader.py` of lichengunc/MAttNet (commit 3204d07).

    Differs from the original: a sentence without words is an error.

    Args:
        words: The words by token id.
        max_words: Slots of an expression.

    Raises:
        InputError: `<PAD>` is not the first word, or there is no `<UNK>`.
    """

    name = "white_space"
    reads_stored_ids = False
    inputs = "token ids with 0 for padding on the right"
    unit = "words"

    def __init__(self, words: list[str], max_words: int):
        self.require_special_tokens(words)
        self.ids = {word: number for number, word in enumerate(words)}
        self.max_words = max_words

    @staticmethod
    def require_special_tokens(words: list[str]):
        if words[:1] != [PAD] or UNKNOWN not in words:
            raise InputError(f"vocabulary: expected {PAD!r} as the first word and {UNKNOWN!r} as another")

    def split(self, expression: str) -> list[str]:
        words = expression.lower().split()
        if not words:
            raise NoWordsError(expression)
        return words

    def tokens(self, expression: str) -> list[str]:
        return self.split(expression)[: self.max_words]

    def words(self, expression: str) -> list[TokenizedWord]:
        return [
            TokenizedWord(word, self.is_known(word), slice(slot, slot + 1))
            for slot, word in enumerate(self.tokens(expression))
        ]

    def is_known(self, token: str) -> bool:
        return token in self.ids

    def encode(self, expression: str) -> dict[str, np.ndarray]:
        token_ids = [self.ids.get(token, self.ids[UNKNOWN]) for token in self.tokens(expression)]
        return {"token_ids": np.array(token_ids + [PAD_ID] * (self.max_words - len(token_ids)), np.int32)}

    @staticmethod
    def random_inputs(config, lengths: list[int], rng: np.random.Generator) -> dict[str, np.ndarray]:
        token_ids = rng.integers(1, config.vocabulary_size, size=(len(lengths), config.max_words), dtype=np.int32)
        return {"token_ids": token_ids * (np.arange(config.max_words) < np.array(lengths)[:, None])}
