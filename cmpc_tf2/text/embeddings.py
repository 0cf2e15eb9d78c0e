"""Word vectors for a vocabulary: GloVe text to a table, and tables as files."""

import codecs
import gzip
import itertools
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cmpc_tf2.errors import InputError, named
from cmpc_tf2.files import replacing
from cmpc_tf2.npz import read_npy
from cmpc_tf2.text.vocabulary import PAD, Vocabulary

# Limits of a vector and of its line; vectors of GloVe have 300 numbers.
MOST_NUMBERS = 4096
LONGEST_LINE = 2**17

# Words without a vector get small random ones, always the same.
UNKNOWN_SCALE = 0.1
SEED = 0


def build_embeddings(glove: str | os.PathLike, vocabulary: Vocabulary) -> tuple[np.ndarray, int]:
    """Looks up the vectors of a vocabulary.

    Args:
        glove: GloVe text, for example `glove.6B.300d.txt` or `glove.840B.300d.txt`, gzipped or not: a word and its
            numbers per line, after word2vec's head line or none. Words with spaces in them, as glove.840B has some,
            are skipped.
        vocabulary: The words by token id.

    Returns:
        float32 `(words, width)`: `<pad>` is zero, words that GloVe does not have are small random vectors that depend
        on their id alone. And how many words have a vector.

    Raises:
        InputError: The file is missing, is not such text, or has none of the words.
    """
    glove = Path(glove)
    if not glove.is_file():
        raise InputError(f"{glove}: no such file; GloVe vectors are at https://nlp.stanford.edu/projects/glove/")
    wanted = set(vocabulary.words) - {""}
    try:
        width, vectors = _read_vectors(glove, wanted)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{glove}: not GloVe text: its compression is damaged; get it again") from error
    if not vectors:
        raise InputError(f"{glove}: has no vector for any of the {len(wanted)} words; expected GloVe text")
    table = np.random.default_rng(SEED).normal(scale=UNKNOWN_SCALE, size=(len(vocabulary), width))
    known = 0
    for token_id, word in enumerate(vocabulary.words):
        if word == PAD:
            table[token_id] = 0
        elif word in vectors:
            table[token_id] = vectors[word]
            known += 1
    return table.astype(np.float32), known


def _read_vectors(glove: Path, wanted: set[str]) -> tuple[int | None, dict[str, np.ndarray]]:
    """The width of the vectors, and those of wanted words. Of millions of lines only those are kept in memory."""
    where = f"{glove}: not GloVe text: line"
    width, vectors = None, {}
    wanted_bytes = {word.encode() for word in wanted}
    for number, line in _numbered_lines(glove):
        if number == 1 and re.fullmatch(rb"\d+ \d+", line):
            continue  # How many words and numbers there are, as word2vec writes it.
        word, _, numbers = line.partition(b" ")
        if width is None:
            width = len(numbers.split())
            if not 0 < width <= MOST_NUMBERS:
                raise InputError(f"{where} {number}: expected a word and its numbers, found {width} numbers")
        if word in wanted_bytes and numbers.count(b" ") == width - 1:
            vectors.setdefault(word.decode(), _parse_vector(numbers, f"{where} {number}"))
    return width, vectors


def _numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    with (gzip.open if is_gzip else open)(path, "rb") as file:
        for number in itertools.count(1):
            line = file.readline(LONGEST_LINE)
            if not line:
                return
            if len(line) == LONGEST_LINE:
                raise InputError(f"{path}: not GloVe text: line {number} has more than {LONGEST_LINE} bytes")
            yield number, line.removeprefix(codecs.BOM_UTF8 if number == 1 else b"").rstrip()


def _parse_vector(numbers: bytes, where: str) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):
            vector = np.array(list(map(float, numbers.split(b" "))), np.float32)
    except ValueError:
        raise InputError(f"{where}: expected a word and its numbers, found something else") from None
    if not np.isfinite(vector).all():
        raise InputError(f"{where}: expected finite numbers, found an infinite one or none (nan)")
    return vector


def save_embeddings(path: str | os.PathLike, table: np.ndarray):
    """Writes a table, whole or not at all."""
    with replacing(path) as partial:
        np.save(partial, table)


def load_embeddings(path: str | os.PathLike, shape: tuple[int, int]) -> np.ndarray:
    """Reads a table of word vectors: one of `tools/build_embeddings.py`, or the authors' `Gref_emb.npy` as it is.

    Args:
        path: The file.
        shape: Words in the vocabulary, and width of a vector.

    Returns:
        float32 of that shape.

    Raises:
        InputError: The file is missing, damaged, a table of another shape, or has numbers that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such word vectors; make them with `python tools/build_embeddings.py`")
    with named(f"{path}: not a readable .npy file"):
        table = read_npy(path.read_bytes())
    if table.shape != tuple(shape) or table.dtype.kind != "f":
        found = f"{table.dtype} {table.shape}"
        raise InputError(f"{path}: expected floats of shape {tuple(shape)}, found {found}; it is for other words")
    with np.errstate(over="ignore"):
        table = table.astype(np.float32)
    if not np.isfinite(table).all():
        row = int(np.flatnonzero(~np.isfinite(table).all(axis=1))[0])
        raise InputError(f"{path}: expected finite numbers, found others in row {row}; make the table again")
    return table
