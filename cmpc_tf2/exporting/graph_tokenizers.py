"""Tokenizers inside a TensorFlow graph, for models that run without this project. Their tables are constants of it."""

import functools
import re
import sys
from collections.abc import Iterable

import tensorflow as tf

from cmpc_tf2.text.grounding import END as END_OF_SENTENCE
from cmpc_tf2.text.grounding import GroundingTokenizer
from cmpc_tf2.text.tokenizers import WordTokenizer
from cmpc_tf2.text.vocabulary import UNKNOWN, Vocabulary
from cmpc_tf2.text.wordpiece import (
    CONTINUATION,
    END,
    MAX_CHARACTERS,
    SPECIAL_TOKENS,
    START,
    WordPieceTokenizer,
    normalize_character,
)
from cmpc_tf2.text.wordpiece import UNKNOWN as UNKNOWN_PIECE

# Separator of tokens. A sentence cannot contain it, because it is replaced first.
_CUT = "\x00"
_SPECIAL = "|".join(map(re.escape, SPECIAL_TOKENS))
# White space, as in Python's str.strip.
_WHITE = r"[\x09-\x0d\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]"


class _WholeWords(tf.Module):
    """Whole words by their number in a vocabulary.

    Args:
        words: The words by token id.
        max_words: Slots of an expression.
    """

    def __init__(self, words: list[str], max_words: int):
        super().__init__(name="tokenizer")
        vocabulary = Vocabulary(words)
        self._max_words = max_words
        self._ids = _table(vocabulary.ids.keys(), vocabulary.ids.values(), vocabulary.ids[UNKNOWN])


class GraphWordTokenizer(_WholeWords):
    """`WordTokenizer`. Any character may be part of a word, tabs and line breaks too."""

    def __call__(self, expression: tf.Tensor) -> dict[str, tf.Tensor]:
        """`WordTokenizer.encode`.

        Raises:
            tf.errors.InvalidArgumentError: When it runs, for a sentence without words.
        """
        text = tf.strings.regex_replace(expression, _CUT, "\x01")
        text = tf.strings.regex_replace(text, f"^{_WHITE}+|{_WHITE}+$", "")
        text = tf.strings.regex_replace(text, r"([^0-9A-Za-z_]+)", rf"{_CUT}\1{_CUT}")
        pieces = tf.strings.split(text, _CUT)
        pieces = tf.boolean_mask(pieces, ~tf.strings.regex_full_match(pieces, f"{_WHITE}*"))
        pieces = tf.strings.lower(pieces, encoding="utf-8")
        is_closed = tf.reduce_any(pieces[-1:] == ".")
        pieces = tf.cond(is_closed, lambda: pieces[:-1], lambda: pieces)
        with _requiring_words(pieces):
            ids = self._ids.lookup(pieces[: self._max_words])
        ids = tf.pad(ids, [[self._max_words - tf.size(ids), 0]])
        return {"token_ids": tf.ensure_shape(ids, (self._max_words,))}


class GraphGroundingTokenizer(_WholeWords):
    """`GroundingTokenizer`. Letters are those of the Unicode version of the Python that exports the model."""

    def __init__(self, words: list[str], max_words: int):
        super().__init__(words, max_words)
        self._end = GroundingTokenizer(words, max_words).vocabulary.ids[END_OF_SENTENCE]

    def __call__(self, expression: tf.Tensor) -> dict[str, tf.Tensor]:
        """`GroundingTokenizer.encode`.

        Raises:
            tf.errors.InvalidArgumentError: When it runs, for a sentence without words.
        """
        text = tf.strings.regex_replace(expression, _CUT, "\x01")
        text = tf.strings.lower(text, encoding="utf-8")
        text = tf.strings.regex_replace(text, f"^{_WHITE}+|{_WHITE}+$", "")
        text = tf.strings.regex_replace(text, f"([^{_letters()}]+)", rf"{_CUT}\1{_CUT}")
        pieces = tf.strings.split(text, _CUT)
        pieces = tf.boolean_mask(pieces, ~tf.strings.regex_full_match(pieces, " ?"))
        is_closed = tf.reduce_any(pieces[-1:] == ".")
        pieces = tf.cond(is_closed, lambda: pieces[:-1], lambda: pieces)
        words = tf.boolean_mask(pieces, tf.strings.regex_full_match(pieces, f"[{_letters()}]+"))
        with _requiring_words(words):
            ids = tf.concat([self._ids.lookup(pieces), [self._end]], axis=0)[: self._max_words]
        ids = tf.pad(ids, [[0, self._max_words - tf.size(ids)]])
        return {"token_ids": tf.ensure_shape(ids, (self._max_words,))}


class GraphWordPieceTokenizer(tf.Module):
    """`WordPieceTokenizer`: the same ids for every sentence that is valid UTF-8.

    A character that is no valid UTF-8 counts as U+FFFD. Case, accents and punctuation are those of the Unicode version
    of the Python that exports the model.

    Args:
        words: The pieces by token id.
        max_words: Slots of an expression.
    """

    def __init__(self, words: list[str], max_words: int):
        super().__init__(name="tokenizer")
        WordPieceTokenizer.require_special_tokens(words)
        ids = {word: number for number, word in enumerate(words)}
        self._max_words = max_words
        self._start, self._end, self._unknown = ids[START], ids[END], ids[UNKNOWN_PIECE]
        self._ids = _table(ids.keys(), ids.values(), -1)
        self._normalized = _table(*zip(*_changed_characters(), strict=True), _CUT)

    def __call__(self, expression: tf.Tensor) -> dict[str, tf.Tensor]:
        """`WordPieceTokenizer.encode`.

        Raises:
            tf.errors.InvalidArgumentError: When it runs, for a sentence without words.
        """
        words = self._split(expression)
        with _requiring_words(words):
            words = words[: self._max_words]  # Each has a piece at least.
        spec = tf.RaggedTensorSpec((None,), tf.int32, ragged_rank=0)
        ids = tf.map_fn(self._piece_ids, words, fn_output_signature=spec).flat_values
        ids = tf.concat([[self._start], ids, [self._end]], axis=0)[: self._max_words]
        padding = [[0, self._max_words - tf.size(ids)]]
        inputs = {"token_ids": tf.pad(ids, padding), "token_mask": tf.pad(tf.ones_like(ids), padding)}
        return {name: tf.ensure_shape(value, (self._max_words,)) for name, value in inputs.items()}

    def _split(self, expression: tf.Tensor) -> tf.Tensor:
        """The words of an expression, not yet in pieces: string `(N,)`."""
        text = tf.strings.regex_replace(expression, _CUT, "\x01")
        parts = tf.strings.split(tf.strings.regex_replace(text, f"({_SPECIAL})", rf"{_CUT}\1{_CUT}"), _CUT)
        characters = tf.strings.unicode_split(parts, "UTF-8")
        normalized = self._normalized.lookup(characters.flat_values)
        normalized = tf.where(normalized == _CUT, characters.flat_values, normalized)
        normalized = tf.strings.reduce_join(characters.with_flat_values(normalized), axis=1)
        parts = tf.where(tf.strings.regex_full_match(parts, _SPECIAL), parts, normalized)
        return tf.strings.split(tf.strings.reduce_join(parts, separator=" "))

    def _piece_ids(self, word: tf.Tensor) -> tf.Tensor:
        """The ids of the longest pieces of a word, from its beginning: int32 `(n,)`."""
        length = tf.strings.length(word, unit="UTF8_CHAR")
        is_long = length > MAX_CHARACTERS

        def match(start, ids):
            lengths = tf.range(1, length - start + 1)
            pieces = tf.strings.substr(word, tf.fill(tf.shape(lengths), start), lengths, unit="UTF8_CHAR")
            found = self._ids.lookup(tf.where(start > 0, CONTINUATION, "") + pieces)
            longest = tf.reduce_max(tf.where(found >= 0, lengths, 0))
            return tf.cond(
                longest > 0,
                lambda: (start + longest, tf.concat([ids, found[longest - 1 : longest]], axis=0)),
                lambda: (length, tf.constant([self._unknown])),
            )

        start = tf.where(is_long, length, 0)
        ids = tf.cond(is_long, lambda: tf.constant([self._unknown]), lambda: tf.constant([], tf.int32))
        shapes = tf.TensorShape(()), tf.TensorShape((None,))
        return tf.while_loop(lambda start, _: start < length, match, (start, ids), shape_invariants=shapes)[1]


GRAPH_TOKENIZERS = {
    WordTokenizer.name: GraphWordTokenizer,
    WordPieceTokenizer.name: GraphWordPieceTokenizer,
    GroundingTokenizer.name: GraphGroundingTokenizer,
}


def _requiring_words(words: tf.Tensor):
    """A context whose operations run only if there are words."""
    return tf.control_dependencies([tf.debugging.assert_positive(tf.size(words), "the expression has no words")])


def _table(keys: Iterable[str], values: Iterable, default) -> tf.lookup.StaticHashTable:
    """Values of strings, strings or int32, as constants of the graph."""
    dtype = tf.string if isinstance(default, str) else tf.int32
    entries = tf.lookup.KeyValueTensorInitializer(list(keys), list(values), tf.string, dtype)
    return tf.lookup.StaticHashTable(entries, default)


@functools.cache
def _letters() -> str:
    """What Python's `\\w` matches, as ranges within brackets of a regular expression."""
    codes = [code for code in range(sys.maxunicode + 1) if chr(code).isalnum() or chr(code) == "_"]
    starts = [code for before, code in zip([-2, *codes], codes, strict=False) if code != before + 1]
    ends = [code for code, after in zip(codes, [*codes[1:], -2], strict=True) if after != code + 1]
    return "".join(f"\\x{{{start:x}}}-\\x{{{end:x}}}" for start, end in zip(starts, ends, strict=True))


@functools.cache
def _changed_characters() -> list[tuple[str, str]]:
    """All characters that `normalize_character` changes, and what it makes of them."""
    codes = (code for code in range(1, sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF)  # No halves of characters.
    return [(character, new) for character in map(chr, codes) if (new := normalize_character(character)) != character]
