"""Reads the weights in a `.keras` file straight into a model."""

import io
import math
import mmap
import re
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np

from cmpc_tf2.tensors import copied

# The member of a file that holds the weights, and the bytes before the name of a member in a ZIP archive.
_MEMBER, _HEADER = "model.weights.h5", 30


def load_weights(model: keras.Model, path: Path):
    """Sets the weights of a model to those in a file; weights that the file does not hold stay as they are.

    `keras.Model.load_weights` reads the same files. It takes longer than segmenting a picture at full size, because it
    copies the file and looks for weights in every attribute of every layer.

    Args:
        model: The model.
        path: A `.keras` file without compression, whose checksums were verified.

    Raises:
        ValueError: The weights do not fit a layer, or are not stored as Keras stores them. h5py raises this and others:
            `KeyError`, `OSError`, `RuntimeError`, `TypeError`.
    """
    with open(path, "rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    member = _member(path, memoryview(content))
    with h5py.File(_ReadOnly(member), "r") as stored:
        known = {(): model}
        for names, datasets in _stored_layers(stored).items():
            layer = _find(names, known)
            if isinstance(layer, keras.Layer):
                layer.load_own_variables({key: _value(dataset, member) for key, dataset in datasets.items()})


def _member(path: Path, content: memoryview) -> memoryview:
    """The bytes of the member with the weights."""
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(_MEMBER)
    header = content[member.header_offset : member.header_offset + _HEADER]
    lengths = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))  # Of the name and of what follows it.
    start = member.header_offset + _HEADER + sum(lengths)
    return content[start : start + member.file_size]


class _ReadOnly(io.RawIOBase):
    """Bytes as a file, without copying all of them.

    Args:
        content: The bytes.
    """

    def __init__(self, content: memoryview):
        super().__init__()
        self._content, self._position = content, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._content)}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer) -> int:
        read = self._content[self._position : self._position + len(buffer)]
        buffer[: len(read)] = read
        self._position += len(read)
        return len(read)


def _stored_layers(stored: h5py.File) -> dict[tuple[str, ...], dict[str, h5py.Dataset]]:
    """The weights of each layer by their number, by the names that lead to the layer."""
    found = {}

    def visit(path: str, item):  # Is not called with links, so that nothing outside of the file is read.
        *names, group, key = ["", *path.split("/")]
        if isinstance(item, h5py.Dataset) and group == "vars":
            found.setdefault(tuple(names[1:]), {})[key] = item

    stored.visititems(visit)
    return found


def _value(dataset: h5py.Dataset, member: memoryview):
    """A weight as a tensor.

    Raises:
        ValueError: It is compressed, in pieces, or in another file.
    """
    offset = dataset.id.get_offset()
    if offset is None:
        raise ValueError(f"{dataset.name}: expected one block of numbers, as Keras writes it")
    # HDF5 has no bfloat16: Keras stores its bytes, and names it in an attribute, which takes long to look up.
    is_bfloat16 = dataset.dtype.kind == "V" and dataset.attrs.get("dtype") == "bfloat16"
    dtype = np.dtype("bfloat16") if is_bfloat16 else dataset.dtype
    return copied(np.frombuffer(member, dtype, math.prod(dataset.shape), offset).reshape(dataset.shape))


def _find(names: tuple[str, ...], known: dict[tuple[str, ...], object]):
    """What attributes and places in lists lead to, from the model, `known[()]`; lists as `_items_by_name`."""
    if names not in known:
        *before, name = names
        parent, found = _find(tuple(before), known), None
        if isinstance(parent, dict):
            found = parent.get(name)
        elif isinstance(parent, keras.Layer) and not name.startswith("__"):
            found = getattr(parent, name, None)
        known[names] = _items_by_name(found) if isinstance(found, (dict, list, tuple)) else found
    return known[names]


def _items_by_name(items: dict | list | tuple) -> dict[str, object]:
    """Items by their names in files: the class in snake case, and from the second on its number."""
    named, counts = {}, {}
    for item in items.values() if isinstance(items, dict) else items:
        name = "container" if isinstance(item, (list, tuple, dict)) else _snake_case(type(item).__name__)
        count = counts[name] = counts.get(name, -1) + 1
        named[f"{name}_{count}" if count else name] = item
    return named


def _snake_case(name: str) -> str:
    """`conv2d` for `Conv2D`, `text_guided_exchange` for `TextGuidedExchange`."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W", "", name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
