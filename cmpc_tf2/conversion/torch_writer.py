"""PyTorch files, written without PyTorch: what `torch.load` reads with `weights_only=True`."""

import os
import struct
import zipfile

import numpy as np

from cmpc_tf2.conversion.torch_pickle import ORDERED_DICT, STORAGES, TENSOR
from cmpc_tf2.files import replacing

# Name of the folder in the archive; readers accept any.
_ROOT = "archive"
_STORAGE_TYPES = {np.dtype(dtype): name for name, dtype in STORAGES.items() if dtype != "bfloat16"}


def write_torch_file(path: str | os.PathLike, state: dict):
    """Writes a file in the format of `torch.save`, whole or not at all. The same state gives the same bytes.

    Args:
        path: The file.
        state: Arrays, numbers, strings and None, in dicts with strings as keys, lists and tuples. An array becomes a
            tensor with a storage of its own.

    Raises:
        TypeError: It holds anything else, or an array of a type that PyTorch 1 lacks.
    """
    arrays: list[np.ndarray] = []
    pickled = b"\x80\x02" + _pickle(state, arrays) + b"."
    with replacing(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        _write_member(archive, "data.pkl", pickled)
        _write_member(archive, "byteorder", b"little")
        for key, array in enumerate(arrays):
            little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            _write_member(archive, f"data/{key}", little.reshape(-1).view(np.uint8).data)
        _write_member(archive, "version", b"3\n")


def _write_member(archive: zipfile.ZipFile, name: str, content: bytes | memoryview):
    member = zipfile.ZipInfo(f"{_ROOT}/{name}")  # Without a date: 1980.
    member.create_system = 3  # Otherwise the bytes depend on the platform.
    archive.writestr(member, content)


def _pickle(value, arrays: list[np.ndarray]) -> bytes:
    """A value as opcodes of protocol 2. Arrays are added to `arrays`; their index is the key of their storage."""
    if isinstance(value, np.ndarray):
        return _pickle_tensor(value, arrays)
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("expected strings as keys")
        items = [_pickle(item, arrays) for pair in value.items() for item in pair]
        return b"}(" + b"".join(items) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(_pickle(item, arrays) for item in value) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(_pickle(item, arrays) for item in value) + b"t"
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, str):
        text = value.encode()
        return b"X" + struct.pack("<I", len(text)) + text
    if isinstance(value, int):
        content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + struct.pack("<B", len(content)) + content
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    raise TypeError(f"expected arrays and plain data, received {type(value).__name__}")


def _pickle_tensor(array: np.ndarray, arrays: list[np.ndarray]) -> bytes:
    if array.dtype not in _STORAGE_TYPES:
        raise TypeError(f"expected one of {', '.join(map(str, _STORAGE_TYPES))}, received {array.dtype}")
    key = str(len(arrays))
    arrays.append(array)
    strides = tuple(int(np.prod(array.shape[axis + 1 :], dtype=np.int64)) for axis in range(array.ndim))
    storage = [_pickle("storage", arrays), _global(f"torch.{_STORAGE_TYPES[array.dtype]}")]
    storage += [_pickle(item, arrays) for item in (key, "cpu", array.size)]
    arguments = [b"(" + b"".join(storage) + b"tQ"]
    arguments += [_pickle(item, arrays) for item in (0, array.shape, strides, False)]  # No gradient is required.
    no_hooks = _global(ORDERED_DICT) + b")R"
    return _global(TENSOR) + b"(" + b"".join(arguments) + no_hooks + b"tR"


def _global(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()
