"""Words as the models of boxes read them: whole words and the end of the sentence, padded on the right."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from cmpc_tf2.errors import InputError
from cmpc_tf2.text.right_padded import RightPaddedTokenizer
from cmpc_tf2.text.vocabulary import PAD, UNKNOWN, NoWordsError, Vocabulary, require_size

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


class GroundingTokenizer(RightPaddedTokenizer):
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
    inputs = "token ids of the words and <eos> with 0 for padding on the right"
    ending = (END,)

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
