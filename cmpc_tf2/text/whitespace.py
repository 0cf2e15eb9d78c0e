"""Words as the two-stage models read them: split at white space, padded on the right."""

import os
from pathlib import Path

from cmpc_tf2.errors import InputError, named
from cmpc_tf2.files import read_json
from cmpc_tf2.text.right_padded import RightPaddedTokenizer
from cmpc_tf2.text.vocabulary import PAD, UNKNOWN, NoWordsError, require_size

# What the original calls the special words of `Vocabulary`.
ORIGINAL_NAMES = {"<PAD>": PAD, "<UNK>": UNKNOWN}


def words_of_ids(ids: dict[str, int]) -> list[str]:
    """The words by token id, given the original's `word_to_ix`, which leaves out `<PAD>`, number 0.

    Raises:
        InputError: The numbers are not 1 to the number of words.
    """
    words = {0: PAD} | {number: ORIGINAL_NAMES.get(word, word) for word, number in ids.items()}
    if sorted(words) != list(range(len(ids) + (0 not in ids.values()))):
        raise InputError(f"word_to_ix: expected the numbers 1 to {len(ids)}, each once")
    return [words[number] for number in range(len(words))]


class WhitespaceTokenizer(RightPaddedTokenizer):
    """Lower-case words between white space by their number in a vocabulary, padded on the right with 0.

    Punctuation stays with its word, so that `man,` is another word than `man`, and usually unknown.

    Source: `encode_labels` in `lib/loaders/loader.py` of lichengunc/MAttNet (commit 3204d07), whose demo splits
    sentences so.

    Args:
        words: The words by token id.
        max_words: Slots of an expression.

    Attributes:
        vocabulary: The words.

    Raises:
        InputError: `<pad>` is not the first word, or there is no `<unk>`.
    """

    name = "whitespace"
    inputs = "token ids with 0 for padding on the right"

    @classmethod
    def read_words(cls, path: str | os.PathLike, size: int | None = None) -> list[str]:
        """As `Tokenizer.read_words`; also from a `.json` file of the original with `word_to_ix`."""
        if Path(path).suffix != ".json":
            return super().read_words(path, size)
        content = read_json(Path(path))
        ids = content.get("word_to_ix") if isinstance(content, dict) else None
        if not isinstance(ids, dict) or {type(number) for number in ids.values()} != {int}:
            raise InputError(f"{path}: expected an object with word_to_ix, the numbers of the words")
        with named(path):
            words = words_of_ids(ids)
            cls.require_special_tokens(words)
        require_size(path, words, size)
        return words

    def split(self, expression: str) -> list[str]:
        words = expression.lower().split()
        if not words:
            raise NoWordsError(expression)
        return words
