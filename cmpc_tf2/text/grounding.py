"""Words as the models of boxes read them: whole words and the end of the sentence, padded on the right."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cmpc_tf2.errors import InputError
from cmpc_tf2.text.tokenizer import TokenizedWord, Tokenizer
from cmpc_tf2.text.vocabulary import PAD, PAD_ID, UNKNOWN, NoWordsError, Vocabulary, require_size

# Token after the last word of a sentence.
END = "<eos>"
_SEPARATOR = re.compile(r"(\W+)")


def split_words(expression: str) -> list[str]:
    """Splits an expression into lower-case words.

    Separators are kept unchanged, except single blanks: in `man, left` the middle word is `, `. One final `.` is
    dropped, if it is a word of its own.

    Source: `utils/word_utils.py` of CVPR21-Cogrounding_semantic_attention (commit 7b0630a).

    Returns:
        The words; none if the expression has none.
    """
    words = [piece for piece in _SEPARATOR.split(expression.lower().strip()) if piece not in ("", " ")]
    return words[:-1] if words[-1:] == ["."] else words


def corpus_words(lines: Iterable[str]) -> list[str]:
    """The words by token id that the original makes of the lines of a vocabulary file.

    Lines are lower-cased and split at white space, and a word counts where it occurs first. Hence token ids are not
    line numbers from the first repetition on: the 12,112 lines of `vocabulary_Gref.txt` give 12,099 words. A list of
    different lower-case words is returned as it is.
    """
    words = [word for line in lines for word in line.lower().split()]
    return list(dict.fromkeys([*words, UNKNOWN, PAD]))


class GroundingTokenizer(Tokenizer):
    """Whole words by their number in a vocabulary, then `<eos>` if there is room for it, padded on the right with 0.

    Differs from the original: a sentence without words is an error, also one of separators alone. Tested by
    `tests/cogrounding/test_tokens.py`.

    Args:
        words: The words by token id.
        max_words: Slots of an expression.

    Attributes:
        vocabulary: The words.

    Raises:
        InputError: `<pad>` is not the first word, or there is no `<unk>` or `<eos>`.
    """

    name = "grounding"
    reads_stored_ids = False  # Augmentation changes sentences.
    inputs = "token ids of the words and <eos> with 0 for padding on the right"
    unit = "words"

    def __init__(self, words: list[str], max_words: int):
        self.require_special_tokens(words)
        self.vocabulary = Vocabulary(words)
        self.max_words = max_words

    @classmethod
    def read_words(cls, path: str | os.PathLike, size: int | None = None) -> list[str]:
        """As `Tokenizer.read_words`; the lines of a text file become words by `corpus_words`."""
        words = super().read_words(path)
        words = words if Path(path).suffix == ".keras" else corpus_words(words)
        require_size(path, words, size)
        return words

    @staticmethod
    def require_special_tokens(words: list[str]):
        Vocabulary(words)
        if END not in words:
            raise InputError(f"vocabulary: expected a line {END!r}, the token after the last word of a sentence")

    def split(self, expression: str) -> list[str]:
        words = split_words(expression)
        if all(map(_SEPARATOR.fullmatch, words)):
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
        return token in self.vocabulary.ids

    def encode(self, expression: str) -> dict[str, np.ndarray]:
        ids = self.vocabulary.ids
        token_ids = [ids.get(token, ids[UNKNOWN]) for token in [*self.split(expression), END][: self.max_words]]
        return {"token_ids": np.array(token_ids + [PAD_ID] * (self.max_words - len(token_ids)), np.int32)}

    @staticmethod
    def random_inputs(config, lengths: list[int], rng: np.random.Generator) -> dict[str, np.ndarray]:
        token_ids = rng.integers(1, config.vocabulary_size, size=(len(lengths), config.max_words), dtype=np.int32)
        return {"token_ids": token_ids * (np.arange(config.max_words) < np.array(lengths)[:, None])}
