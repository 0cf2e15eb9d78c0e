"""Reads the data sets that MAttNet's authors prepared."""

import dataclasses
import os
from collections.abc import Callable

import numpy as np

from cmpc_tf2.data.annotation_fields import checked, describe, field, text_field
from cmpc_tf2.data.boxes import box_numbers
from cmpc_tf2.data.mattnet_data import PreparedBox, PreparedData, PreparedPicture, PreparedReference, PreparedSentence
from cmpc_tf2.errors import InputError, named
from cmpc_tf2.files import read_json
from cmpc_tf2.text.whitespace import words_of_ids

_SOURCE = "lichengunc/MAttNet's `tools/prepro.py` writes it"


def read_prepared(path: str | os.PathLike, labels_path: str | os.PathLike | None = None) -> PreparedData:
    """Reads a prepared data set.

    Args:
        path: `data.json`.
        labels_path: `data.h5`, the token ids; None to leave them out.

    Raises:
        InputError: A file is missing, damaged, or of another form.
    """
    with named(f"{path}: expected a data set that {_SOURCE}"):
        content = checked(_read(path), dict, "the file")
        words = words_of_ids(_numbers(content, "word_to_ix"))
        attributes = _numbered_attributes(content)
        counts = field(content, "att_to_cnt", dict)
        data = PreparedData(
            pictures=_entries(content, "images", "image_id", _picture),
            boxes=_entries(content, "anns", "ann_id", _box),
            references=_entries(content, "refs", "ref_id", _reference),
            sentences=_entries(content, "sentences", "sent_id", _sentence),
            words=words,
            attributes=attributes,
            attribute_counts=np.array([_count(counts, word) for word in attributes], np.int64),
            categories=_categories(content),
            max_words=_at_least(field(content, "label_length", int), 1, "label_length"),
            token_ids=None,
        )
        _require_consistent(data)
    if labels_path is None:
        return data
    return dataclasses.replace(data, token_ids=_read_labels(labels_path, data))


def _read(path: str | os.PathLike):
    """The content of a JSON file; the message of an error does not name it."""
    try:
        return read_json(path)
    except InputError as error:
        raise InputError(str(error).removeprefix(f"{path}: ")) from error


def _entries(content: dict, key: str, id_key: str, make: Callable[[dict], object]) -> dict:
    """The entries of a list by their ids."""
    found = {}
    for number, entry in enumerate(field(content, key, list)):
        with named(f"{key}, entry {number}"):
            identity = field(checked(entry, dict, "the entry"), id_key, int)
            if identity in found:
                raise InputError(f"has the {id_key} {identity} of another entry")
            found[identity] = make(entry)
    if not found:
        raise InputError(f"{key}: is empty")
    return found


def _picture(entry: dict) -> PreparedPicture:
    return PreparedPicture(
        file_name=text_field(entry, "file_name"),
        height=_at_least(field(entry, "height", int), 1, "height"),
        width=_at_least(field(entry, "width", int), 1, "width"),
        annotation_ids=_ids(entry, "ann_ids"),
        reference_ids=_ids(entry, "ref_ids"),
    )


def _box(entry: dict) -> PreparedBox:
    numbers = box_numbers(field(entry, "box", list))
    if min(numbers[2:]) <= 0:
        raise InputError("expected a box with a width and height above 0")
    row = _at_least(field(entry, "h5_id", int), 0, "h5_id")
    return PreparedBox(field(entry, "image_id", int), field(entry, "category_id", int), numbers, row)


def _reference(entry: dict) -> PreparedReference:
    return PreparedReference(
        image_id=field(entry, "image_id", int),
        annotation_id=field(entry, "ann_id", int),
        split=text_field(entry, "split"),
        sentence_ids=_ids(entry, "sent_ids"),
        attributes=tuple(checked(word, str, "att_wds") for word in field(entry, "att_wds", list)),
        segmentation=entry.get("rle"),
    )


def _sentence(entry: dict) -> PreparedSentence:
    tokens = tuple(checked(token, str, "tokens") for token in field(entry, "tokens", list))
    return PreparedSentence(tokens, _at_least(field(entry, "h5_id", int), 0, "h5_id"))


def _ids(entry: dict, key: str) -> tuple[int, ...]:
    found = tuple(checked(number, int, key) for number in field(entry, key, list))
    if not found:
        raise InputError(f"{key}: is empty")
    return found


def _at_least(number: int, least: int, name: str) -> int:
    if number < least:
        raise InputError(f"expected at least {least} for {name}, found {describe(number)}")
    return number


def _numbers(content: dict, key: str) -> dict[str, int]:
    """The numbers of words."""
    numbers = field(content, key, dict)
    if not numbers:
        raise InputError(f"{key}: is empty")
    return {word: checked(number, int, f"{key} of {describe(word)}") for word, number in numbers.items()}


def _numbered_attributes(content: dict) -> list[str]:
    """The attribute words by their numbers, which have to be 0, 1, 2, ..."""
    numbers = _numbers(content, "att_to_ix")
    words = sorted(numbers, key=numbers.get)
    if [numbers[word] for word in words] != list(range(len(words))):
        raise InputError(f"att_to_ix: expected the numbers 0 to {len(words) - 1}, each once")
    return words


def _count(counts: dict, word: str) -> int:
    if word not in counts:
        raise InputError(f"att_to_cnt: expected a count for {describe(word)}")
    return _at_least(checked(counts[word], int, f"the count of {describe(word)}"), 1, f"the count of {describe(word)}")


def _categories(content: dict) -> dict[int, str]:
    names = field(content, "cat_to_ix", dict)
    return {checked(number, int, f"cat_to_ix of {describe(name)}"): name for name, number in names.items()}


def _require_consistent(data: PreparedData):
    """Checks that the entries refer to entries that exist.

    Raises:
        InputError: One does not.
    """

    def require(numbers, among, what: str):
        for number in numbers:
            if number not in among:
                raise InputError(f"{what} names the id {number}, which does not exist")

    for number, picture in data.pictures.items():
        require(picture.annotation_ids, data.boxes, f"image {number}: ann_ids")
        require(picture.reference_ids, data.references, f"image {number}: ref_ids")
    for number, box in data.boxes.items():
        require([box.image_id], data.pictures, f"ann {number}: image_id")
    for number, reference in data.references.items():
        require([reference.image_id], data.pictures, f"ref {number}: image_id")
        require([reference.annotation_id], data.pictures[reference.image_id].annotation_ids, f"ref {number}: ann_id")
        require(reference.sentence_ids, data.sentences, f"ref {number}: sent_ids")
        if unknown := sorted(set(reference.attributes) - set(data.attributes)):
            raise InputError(f"ref {number}: att_wds has {describe(unknown[0])}, which att_to_ix lacks")


def _read_labels(path: str | os.PathLike, data: PreparedData) -> np.ndarray:
    """The token ids of all sentences."""
    import h5py

    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file; {_SOURCE}")
    try:
        with h5py.File(path, "r") as file:
            found = file["labels"]
            shape, kind = found.shape, found.dtype.kind
            if kind not in "iu" or shape != (len(data.sentences), data.max_words):
                expected = f"whole numbers [{len(data.sentences)}, {data.max_words}]"
                raise InputError(f"{path}: expected {expected} as `labels`, found {found.dtype} {list(shape)}")
            labels = found[()]
    except (OSError, RuntimeError, KeyError, AttributeError) as error:  # What h5py raises for damaged files.
        raise InputError(f"{path}: expected an HDF5 file with `labels`; copy it again") from error
    with named(path):
        if labels.min() < 0 or labels.max() >= len(data.words):
            raise InputError(f"labels: expected token ids from 0 to {len(data.words) - 1}, found others")
        rows = max(sentence.row for sentence in data.sentences.values())
        if rows >= len(labels):
            raise InputError(f"labels: has {len(labels)} rows, but a sentence has the h5_id {rows}")
        is_word = labels != 0
        if not is_word[:, 0].all() or (is_word[:, 1:] > is_word[:, :-1]).any():
            raise InputError("labels: expected a word in every row, and zeros behind the words only")
    return labels.astype(np.int32)
