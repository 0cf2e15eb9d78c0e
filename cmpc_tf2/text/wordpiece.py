"""WordPiece: words in pieces of a fixed vocabulary, as BERT reads them."""

import functools
import hashlib
import logging
import os
import re
import unicodedata

import numpy as np

from cmpc_tf2.errors import InputError
from cmpc_tf2.text.tokenizer import TokenizedWord, Tokenizer
from cmpc_tf2.text.vocabulary import NoWordsError

logger = logging.getLogger(__name__)

PAD, UNKNOWN, START, END, MASK = SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Words of bert-base-uncased, and the SHA-256 of the file with one of them per line.
BERT_WORDS, BERT_SHA256 = 30_522, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
# Marks a piece that continues a word.
CONTINUATION = "##"
# Longer words are unknown.
MAX_CHARACTERS = 100
# First and last code points of the ideographs, each of which is a word of its own.
IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
_SPECIAL = re.compile("(" + "|".join(map(re.escape, SPECIAL_TOKENS)) + ")")


class WordPieceTokenizer(Tokenizer):
    """Pieces of words between `[CLS]` and `[SEP]`, padded on the right with 0.

    Letters are lowered one by one and lose their accents, punctuation characters and ideographs are words of their own,
    and each word becomes the longest pieces of the vocabulary, from its beginning. A word without a match is `[UNK]`.
    Special tokens in the sentence, written exactly, keep their meaning. Control characters and characters without width
    are kept, so that their word is unknown. A long sentence is cut after `max_words` slots, and loses its `[SEP]`.

    The first of the `words` is `[CLS]`, which stands for the whole sentence; `[SEP]` is none of them.

    Source: the bundled BERT tokenizer of HuggingFace and `data/dataset_refer_bert.py` of naver-ai/maskris (commit
    01b54d5).

    Differs from the original: a sentence without any piece is an error. Tested by `tests/text/test_wordpiece.py`.

    Args:
        words: The pieces by token id.
        max_words: Slots of an expression.

    Raises:
        InputError: A special token is missing, or `[PAD]` is not the first piece.
    """

    name = "wordpiece"
    reads_stored_ids = False
    inputs = "token ids of [CLS], pieces and [SEP] with 0 for padding on the right, and a mask with 1 for each of them"
    unit = "word pieces"

    def __init__(self, words: list[str], max_words: int):
        self.require_special_tokens(words)
        self.ids = {word: number for number, word in enumerate(words)}
        self.max_words = max_words

    @classmethod
    def read_words(cls, path: str | os.PathLike, size: int | None = None) -> list[str]:
        """As `Tokenizer.read_words`; warns of a file with as many words as BERT's vocabulary, but other ones."""
        words = super().read_words(path, size)
        digest = hashlib.sha256("".join(f"{word}\n" for word in words).encode()).hexdigest()
        if len(words) == BERT_WORDS and digest != BERT_SHA256:
            logger.warning(
                "%s: not the vocabulary of bert-base-uncased: its SHA-256 is %s, expected %s; "
                "published models need that one (`python tools/fetch_assets.py`)",
                *(path, digest, BERT_SHA256),
            )
        return words

    @staticmethod
    def require_special_tokens(words: list[str]):
        missing = [token for token in SPECIAL_TOKENS if token not in words]
        if missing or words[0] != PAD:
            found = f"missing: {', '.join(missing)}" if missing else f"found {words[0]!r:.40} there"
            raise InputError(
                f"vocabulary: expected {', '.join(SPECIAL_TOKENS)} as in BERT's, the first on the first line; {found}"
            )

    def split(self, expression: str) -> list[str]:
        return [piece for _, pieces in self._pieces_by_word(expression) for piece in pieces]

    def tokens(self, expression: str) -> list[str]:
        return self.split(expression)[: self.max_words - 1]

    def words(self, expression: str) -> list[TokenizedWord]:
        words = [TokenizedWord(START, True, slice(0, 1))]
        for text, pieces in self._pieces_by_word(expression):
            start = words[-1].slots.stop
            stop = min(start + len(pieces), self.max_words)
            if start < stop:
                words.append(TokenizedWord(text, UNKNOWN not in pieces, slice(start, stop)))
        return words

    def is_known(self, token: str) -> bool:
        return token in self.ids and token != UNKNOWN

    def encode(self, expression: str) -> dict[str, np.ndarray]:
        tokens = [START, *self.split(expression), END][: self.max_words]
        padding = self.max_words - len(tokens)
        token_ids = [self.ids[token] for token in tokens]
        return {
            "token_ids": np.array(token_ids + [self.ids[PAD]] * padding, np.int32),
            "token_mask": np.array([1] * len(tokens) + [0] * padding, np.int32),
        }

    @staticmethod
    def random_inputs(config, lengths: list[int], rng: np.random.Generator) -> dict[str, np.ndarray]:
        token_ids = rng.integers(1, config.vocabulary_size, size=(len(lengths), config.max_words), dtype=np.int32)
        token_mask = (np.arange(config.max_words) < np.array(lengths)[:, None]).astype(np.int32)
        return {"token_ids": token_ids * token_mask, "token_mask": token_mask}

    def _pieces_by_word(self, expression: str) -> list[tuple[str, list[str]]]:
        """All words of an expression in order, each with its pieces; as `split`."""
        words = []
        for part in _SPECIAL.split(expression):
            if part in SPECIAL_TOKENS:
                words.append((part, [part]))
                continue
            words += [(word, self._pieces(word)) for word in "".join(map(normalize_character, part)).split()]
        if not words:
            raise NoWordsError(expression)
        return words

    def _pieces(self, word: str) -> list[str]:
        """The longest pieces of a word, from its beginning."""
        if len(word) > MAX_CHARACTERS:
            return [UNKNOWN]
        pieces, start = [], 0
        while start < len(word):
            prefix = CONTINUATION if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if prefix + word[start:end] in self.ids), None)
            if end is None:
                return [UNKNOWN]
            pieces.append(prefix + word[start:end])
            start = end
        return pieces


@functools.lru_cache(maxsize=4096)
def normalize_character(character: str) -> str:
    """A character of a sentence in lower case without accents, blanks around it if it is a word of its own.

    The original decomposes whole words. Their order of accents can differ, which no piece of the vocabulary has.
    """
    if is_ideograph(character):
        return f" {unicodedata.normalize('NFD', character)} "
    decomposed = unicodedata.normalize("NFD", character.lower())
    kept = (mark for mark in decomposed if unicodedata.category(mark) != "Mn")
    return "".join(" " if mark.isspace() else f" {mark} " if _is_punctuation(mark) else mark for mark in kept)


def is_ideograph(character: str) -> bool:
    """Whether a character is one of the ideographs that are words of their own."""
    return any(first <= ord(character) <= last for first, last in IDEOGRAPHS)


def _is_punctuation(character: str) -> bool:
    """Whether a character is of a Unicode category of punctuation, or a symbol of ASCII."""
    is_symbol = character.isascii() and character.isprintable() and not character.isalnum() and character != " "
    return is_symbol or unicodedata.category(character).startswith("P")
