"""The authors' own files: lists of boxes and vocabularies, as `torch.save` wrote them. Reading one runs no code."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from cmpc_tf2.conversion.torch_reader import find_format, read_torch_object
from cmpc_tf2.data.annotation_fields import checked, describe
from cmpc_tf2.data.boxes import box_numbers
from cmpc_tf2.errors import InputError, named
from cmpc_tf2.text.grounding import GroundingTokenizer
from cmpc_tf2.text.vocabulary import require_size

# Classes that the authors' files name. They are never imported.
_CORPUS_CLASSES = ("utils.word_utils.Corpus", "utils.word_utils.Dictionary")


class ListedBox(NamedTuple):
    """An entry of an authors' list.

    Attributes:
        file_name: The picture, as the list names it.
        box: x1, y1, x2, y2 in pixels.
        sentence: What was said of it.
    """

    file_name: str
    box: tuple[float, float, float, float]
    sentence: str


def read_words(path: str | os.PathLike, size: int | None = None) -> list[str]:
    """Reads a vocabulary for the models of boxes: a `corpus.pth`, a text file or a model file.

    Args:
        path: The file.
        size: Words that the model has; None for any number.

    Returns:
        The words by token id.

    Raises:
        InputError: The file cannot be used.
    """
    if find_format(path) != "torch":
        return GroundingTokenizer.read_words(path, size)
    words = read_corpus(path)
    with named(path):
        GroundingTokenizer.require_special_tokens(words)
    require_size(path, words, size)
    return words


def read_corpus(path: str | os.PathLike) -> list[str]:
    """Reads the words of a `corpus.pth` by token id.

    Raises:
        InputError: The file is missing, damaged, or of another form.
    """
    corpus = read_torch_object(path, _CORPUS_CLASSES)
    dictionary = getattr(corpus, "dictionary", None)
    words, ids = getattr(dictionary, "idx2word", None), getattr(dictionary, "word2idx", None)
    is_list = isinstance(words, list) and all(isinstance(word, str) for word in words)
    if not is_list or ids != {word: number for number, word in enumerate(words)}:
        raise InputError(
            f"{path}: not a vocabulary of the authors: expected a Corpus whose dictionary numbers different words"
        )
    return words


def read_split(path: str | os.PathLike) -> list[ListedBox]:
    """Reads a list of pictures, such as `unc_val.pth`: file name, a mask, box (x, y, width, height), sentence, more.

    Raises:
        InputError: The file is missing, damaged, or of another form.
    """
    entries, content = [], _read_list(path)
    with named(f"{path}: expected a list of (file name, mask, box, sentence, attributes)"):
        for number, entry in enumerate(checked(content, list, "the file")):
            with named(f"entry {number}"):
                if not isinstance(entry, (list, tuple)) or len(entry) != 5:
                    raise InputError("expected five values")
                x, y, width, height = box_numbers(entry[2])
                entries.append(_listed(entry[0], (x, y, x + width, y + height), entry[3]))
    return entries


def read_videos(path: str | os.PathLike) -> list[list[ListedBox]]:
    """Reads a list of videos, such as `VID_video_level_test.pth`: of each its frames, with box (x1, y1, x2, y2).

    Raises:
        InputError: The file is missing, damaged, or of another form.
    """
    videos, content = [], _read_list(path)
    most_frames = os.path.getsize(path)  # Many videos can share one long list.
    with named(f"{path}: expected a list of videos, each a list of (path of a frame, box, sentence)"):
        for number, video in enumerate(checked(content, list, "the file")):
            with named(f"video {number}"):
                most_frames -= len(checked(video, list, "the video"))
                if most_frames < 0:
                    raise InputError("expected frames of its own, found more than the file has bytes")
                videos.append(list(_frames(video)))
    return videos


def _frames(video: list) -> Iterator[ListedBox]:
    for number, entry in enumerate(video):
        with named(f"frame {number}"):
            if not isinstance(entry, (list, tuple)) or len(entry) != 3:
                raise InputError("expected three values")
            yield _listed(entry[0], box_numbers(entry[1]), entry[2])


def _read_list(path: str | os.PathLike):
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such list; get it from the authors (--split-root says where it is)")
    return read_torch_object(path)


def _listed(file_name, box: tuple, sentence) -> ListedBox:
    name = checked(file_name, str, "the file name")
    if not name or "\0" in name:
        raise InputError(f"expected a file name, found {describe(name)}")
    return ListedBox(name, box, checked(sentence, str, "the sentence"))
