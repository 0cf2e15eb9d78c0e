"""Referring expressions to token ids, exactly as the original does it."""

import collections
import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cmpc_tf2.errors import InputError, named
from cmpc_tf2.files import read_text
from cmpc_tf2.keras_files import read_config

PAD = "<pad>"
# Token id of padding, in front of the first word.
PAD_ID = 0
UNKNOWN = "<unk>"
MAX_WORDS = 20

# The original is Python 2, whose \W means "not an ASCII letter, digit or underscore". The separators are tokens too.
_SEPARATOR = re.compile(r"(\W+)", re.ASCII)


class NoWordsError(InputError):
    """An expression has no words."""

    def __init__(self, expression: str):
        super().__init__(f"expression {expression!r}: has no words")


def tokenize(expression: str) -> list[str]:
    """Splits an expression into lower-case tokens.

    Separators are kept unchanged, including spaces: in `man, left` the middle token is `, `, in `man,left` it is `,`.
    Pieces of white space alone are dropped, and so is one final `.`.

    Source: `sentence2vocab_indices` in `util/text_processing.py` of CMPC-Refseg.

    Raises:
        NoWordsError: The expression has no token at all.
    """
    tokens = [piece.lower() for piece in _SEPARATOR.split(expression.strip()) if piece.strip()]
    if not tokens:
        raise NoWordsError(expression)
    return tokens[:-1] if tokens[-1] == "." else tokens


def count_words(expression: str) -> int:
    """The number of tokens of an expression; 0 if it has no words."""
    try:
        return len(tokenize(expression))
    except NoWordsError:
        return 0


def read_words(path: str | os.PathLike, size: int | None = None) -> list[str]:
    """Reads a vocabulary: that of a model file (`.keras`), or a text file.

    A text file has one word per line; the line number from 0 is the id. A byte-order mark is skipped.

    Args:
        path: The file.
        size: How many words it must have.

    Raises:
        InputError: The file is missing, is not text or a model with a vocabulary, or has another number of words.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path}: no such vocabulary; data/README.md says where to get it; `python tools/build_embeddings.py "
            "--annotations FILE --vocabulary FILE` makes one from your own sentences"
        )
    words = _words_of_model(path) if path.suffix == ".keras" else _words_of_text(path)
    require_size(path, words, size)
    return words


def require_size(path: str | os.PathLike, words: list[str], size: int | None):
    """Checks that a vocabulary has as many words as a model; None for any number.

    Raises:
        InputError: It has not.
    """
    if size is not None and len(words) != size:
        raise InputError(f"{path}: {len(words)} words, but the model has {size}; give the file it was trained with")


def _words_of_text(path: Path) -> list[str]:
    lines = read_text(path).split("\n")
    if lines[-1] == "":
        lines.pop()
    return list(map(str.strip, lines))


def _words_of_model(path: Path) -> list[str]:
    words = read_config(path)["config"].get("vocabulary")
    if not (isinstance(words, list) and set(map(type, words)) == {str}):
        raise InputError(f"{path}: holds no vocabulary; give the vocabulary file that the model was trained with")
    return words


def build_vocabulary(expressions: Iterable[str]) -> list[str]:
    """The vocabulary of some expressions: the special tokens, then every token, the most frequent first.

    Tokens with white space, such as `, `, are left out: a vocabulary file cannot hold them.
    """
    special = [PAD, "<go>", "<eos>", UNKNOWN]
    counts = collections.Counter()
    for expression in expressions:
        with contextlib.suppress(NoWordsError):
            counts.update(tokenize(expression))
    tokens = (token for token in counts if token not in special and not any(map(str.isspace, token)))
    return special + sorted(tokens, key=lambda token: (-counts[token], token))


class Vocabulary:
    """The words a model knows.

    Args:
        words: One word per token id. If a word occurs more than once, the last id counts.

    Raises:
        InputError: `<pad>` is not at id 0, or there is no `<unk>`.
    """

    def __init__(self, words: list[str]):
        self.words = list(words)
        self.ids = dict(zip(self.words, range(len(self.words)), strict=True))
        if self.words[:1] != [PAD] or UNKNOWN not in self.ids:
            raise InputError(f"vocabulary: expected {PAD!r} on the first line and {UNKNOWN!r} on another")

    def __len__(self):
        return len(self.words)

    @classmethod
    def from_file(cls, path: str | os.PathLike, size: int | None = None) -> "Vocabulary":
        """Reads a vocabulary file, as `read_words`.

        Raises:
            InputError: As `read_words`, or the file lacks `<pad>` or `<unk>`.
        """
        words = read_words(path, size)
        with named(path):
            return cls(words)

    def encode(self, expression: str, max_words: int = MAX_WORDS) -> np.ndarray:
        """Token ids of an expression: cut to `max_words`, padded on the left with 0.

        Returns:
            int64 `(max_words,)`. All 0 if the expression is a lone `.`, which leaves no word.

        Raises:
            NoWordsError: The expression has no token at all.
        """
        unknown = self.ids[UNKNOWN]
        ids = [self.ids.get(token, unknown) for token in tokenize(expression)][:max_words]
        return np.array([PAD_ID] * (max_words - len(ids)) + ids, dtype=np.int64)

    def encode_words(self, expression: str) -> np.ndarray | None:
        """As `encode`, but None for an expression that has no words."""
        try:
            token_ids = self.encode(expression)
        except NoWordsError:
            return None
        return token_ids if token_ids.any() else None
