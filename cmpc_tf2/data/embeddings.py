"""Word vectors for a vocabulary: GloVe text to a table, and tables as files."""

import gzip
import os
import tempfile
from pathlib import Path

import numpy as np

from cmpc_tf2.data.text import PAD, Vocabulary
from cmpc_tf2.errors import InputError
from cmpc_tf2.files import replacing

# Words without a vector get small random ones, always the same.
UNKNOWN_SCALE = 0.1
SEED = 0


def build_embeddings(glove: str | os.PathLike, vocabulary: Vocabulary) -> tuple[np.ndarray, int]:
    """Looks up the vectors of a vocabulary.

    Args:
        glove: GloVe text, for example `glove.6B.300d.txt` or `glove.840B.300d.txt`, gzipped or not: a word and its
            numbers per line. Words with spaces in them, as glove.840B has some, are read past.
        vocabulary: The words by token id.

    Returns:
        float32 `(words, width)`: `<pad>` is zero, words that GloVe does not have are small random vectors that depend
        on their id alone. And how many words have a vector.

    Raises:
        InputError: The file is missing, is not such text, or has none of the words.
    """
    from gensim.models import KeyedVectors

    glove = Path(glove)
    if not glove.is_file():
        raise InputError(f"{glove}: no such file; GloVe vectors are at https://nlp.stanford.edu/projects/glove/")
    wanted = set(vocabulary.words) - {""}
    # Millions of lines, thousands of which are wanted: only those are kept in memory.
    with (
        tempfile.TemporaryDirectory() as folder,
        open(Path(folder, "lines.txt"), "w", encoding="utf-8", newline="\n") as selected,
    ):
        try:
            count = _select_lines(glove, wanted, selected)
            selected.close()  # Windows opens no file twice.
            if not count:
                raise InputError(f"{glove}: has no vector for any of the {len(wanted)} words; expected GloVe text")
            vectors = KeyedVectors.load_word2vec_format(selected.name, binary=False, no_header=True)
        except (ValueError, EOFError, OSError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{glove}: not GloVe text, a word and its numbers per line: {error}") from error

    table = np.random.default_rng(SEED).normal(scale=UNKNOWN_SCALE, size=(len(vocabulary), vectors.vector_size))
    known = 0
    for token_id, word in enumerate(vocabulary.words):
        if word == PAD:
            table[token_id] = 0
        elif word in vectors:
            table[token_id] = vectors[word]
            known += 1
    return table.astype(np.float32), known


def _select_lines(glove: Path, wanted: set[str], selected) -> int:
    """Copies the lines of wanted words; returns how many."""
    with glove.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    count, width = 0, None
    with (gzip.open if is_gzip else open)(glove, "rt", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            parts = line.rstrip().split(" ")
            if width is None:
                width = len(parts) - 1
            if len(parts) - 1 == width and parts[0] in wanted:
                selected.write(line if line.endswith("\n") else line + "\n")
                count += 1
    return count


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
        InputError: The file is missing, damaged, or a table of another shape.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such word vectors; make them with `python tools/build_embeddings.py`")
    try:
        table = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: not a readable .npy file: {error}") from error
    if not isinstance(table, np.ndarray) or table.shape != tuple(shape) or table.dtype.kind != "f":
        found = f"{table.dtype} {table.shape}" if isinstance(table, np.ndarray) else "an archive"
        raise InputError(f"{path}: expected floats of shape {tuple(shape)}, found {found}; it is for other words")
    return table.astype(np.float32)
