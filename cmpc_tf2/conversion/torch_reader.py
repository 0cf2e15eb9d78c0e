"""PyTorch and safetensors files, read and written without PyTorch.

`torch.save` writes a ZIP archive: a pickle, and one uncompressed member per storage. Before PyTorch 1.6 it wrote a
sequence of pickles, followed by the storages. A safetensors file is a header in JSON, followed by the tensors.
"""

import functools
import json
import math
import mmap
import os
import struct
import textwrap
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import numpy as np

from cmpc_tf2.conversion.torch_pickle import TorchUnpickler
from cmpc_tf2.errors import InputError

_DAMAGED = "is damaged or cut off; download or copy it again"
# Data types that are not called as in NumPy.
_BFLOAT16 = "bfloat16"
_SAFETENSORS_TYPES = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": _BFLOAT16, "BOOL": "bool"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8"},
    **{"U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8"},
}
_ZIP_SIGNATURE = b"PK\x03\x04"
# The first pickle of a file before PyTorch 1.6 is a magic number. Its bytes follow those for the protocol.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_START = b"\x8a\x0a" + _LEGACY_MAGIC.to_bytes(10, "little")
_LEGACY_PROTOCOL = 1001
# Bytes of the header of a safetensors file, at most, as in its specification.
_LONGEST_HEADER = 100_000_000


def find_format(path: str | os.PathLike) -> str | None:
    """Tells the format of a file by its first bytes.

    Returns:
        `torch`, `safetensors`, or None for anything else and for files that do not exist.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(16)
    except OSError:
        return None
    if start.startswith(_ZIP_SIGNATURE) or start[2:].startswith(_LEGACY_START):
        return "torch"
    is_header = start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _LONGEST_HEADER
    return "safetensors" if is_header else None


def read_torch_file(path: str | os.PathLike, modules: tuple[str, ...] = ()) -> dict:
    """Reads a checkpoint that `torch.save` wrote, in either format.

    Args:
        path: The file.
        modules: As in `read_torch_object`.

    Returns:
        Its dict, as `read_torch_object` returns it.

    Raises:
        InputError: As `read_torch_object`, or the file holds something else than a dict.
    """
    found = read_torch_object(path, modules=modules)
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a dict of tensors, found a {type(found).__name__}; save the state dict")
    return found


def read_torch_object(path: str | os.PathLike, classes: Collection[str] = (), modules: tuple[str, ...] = ()):
    """Reads a file that `torch.save` wrote, in either format.

    Args:
        path: The file.
        classes: Names of classes whose objects are read as an `argparse.Namespace` of their attributes.
        modules: Beginnings of names of classes whose objects are read as a `torch_pickle.Module`.

    Returns:
        Its content. Tensors and parameters are arrays of the same data type, bfloat16 as float32. Arrays are read-only
        views of the file, which is read when they are used.

    Raises:
        InputError: The file is missing or damaged, or holds anything but tensors, plain data and objects of `classes`
            and `modules`: sparse and quantized tensors, objects of other classes, tensors larger than the file, objects
            that contain themselves.
    """
    content = _map(path)
    unpickler = functools.partial(TorchUnpickler, classes=classes, modules=modules)
    try:
        if content[:4] == _ZIP_SIGNATURE:
            return _read_zip(content, path, unpickler)
        return _read_legacy(content, unpickler)
    except InputError as error:
        raise InputError(f"{path}: {_one_line(str(error))}") from None
    except Exception as error:  # Damaged pickles and archives raise nearly anything.
        raise InputError(f"{path}: {_DAMAGED}") from error


def read_safetensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads a safetensors file.

    Returns:
        Its tensors by name, as `read_torch_file` returns them.

    Raises:
        InputError: The file is missing or damaged, or has a data type that NumPy lacks.
    """
    content = _map(path)
    length = int.from_bytes(content[:8], "little")
    start = 8 + length
    try:
        if start > min(len(content), _LONGEST_HEADER):
            raise ValueError
        header = json.loads(content[8:start])
        header.pop("__metadata__", None)
        tensors = {name: _safetensors_form(form) for name, form in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: not a readable safetensors file: its header {_DAMAGED}") from error
    end = 0
    for name, (dtype, shape, span) in sorted(tensors.items(), key=lambda item: item[1][2]):
        if dtype not in _SAFETENSORS_TYPES:
            problem = f"{name} is of type {dtype}; expected {', '.join(_SAFETENSORS_TYPES)}"
            raise InputError(f"{path}: {_one_line(problem)}")
        expected = end, end + math.prod(shape) * _item_size(_SAFETENSORS_TYPES[dtype])
        if span != expected:
            found = f"{name}, {dtype} {shape}, is at bytes {span[0]} to {span[1]}"
            problem = f"{found}, expected {expected[0]} to {expected[1]}: its header {_DAMAGED}"
            raise InputError(f"{path}: {_one_line(problem)}")
        end = span[1]
    if start + end != len(content):
        raise InputError(f"{path}: has {len(content)} bytes, expected {start + end}: it {_DAMAGED}")
    return {
        name: _take(content, start + span[0], _SAFETENSORS_TYPES[dtype], math.prod(shape)).reshape(shape)
        for name, (dtype, shape, span) in tensors.items()
    }


def _one_line(message: str) -> str:
    """A message that quotes names of a file, which may be of any length and have line breaks."""
    return textwrap.shorten(message, 400)


def _safetensors_form(form: dict) -> tuple[str, list[int], tuple[int, int]]:
    """Type, shape and place of a tensor.

    Raises:
        ValueError: They are not of the right form.
    """
    dtype, shape, (start, end) = form["dtype"], form["shape"], form["data_offsets"]
    numbers = (*shape, start, end)
    if not isinstance(dtype, str) or len(shape) > 32 or any(type(n) is not int or not 0 <= n < 2**63 for n in numbers):
        raise ValueError
    return dtype, shape, (start, end)


def _map(path: str | os.PathLike) -> mmap.mmap:
    """The content of a file, which takes no memory until it is used."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a checkpoint of PyTorch or a safetensors file")
    if not path.stat().st_size:
        raise InputError(f"{path}: is empty; download or copy it again")
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _item_size(dtype: str) -> int:
    return 2 if dtype == _BFLOAT16 else np.dtype(dtype).itemsize


def _take(content: mmap.mmap, at: int, dtype: str, count: int) -> np.ndarray:
    """Values at a place in a file, which has been checked: a read-only view `(count,)`; of bfloat16 a float32 copy."""
    stored = np.dtype(np.uint16 if dtype == _BFLOAT16 else dtype).newbyteorder("<")
    values = np.frombuffer(content, stored, count, at) if count else np.empty(0, stored)
    return (values.astype(np.uint32) << 16).view(np.float32) if dtype == _BFLOAT16 else values


def _read_zip(content: mmap.mmap, path: str | os.PathLike, unpickler: Callable[..., TorchUnpickler]):
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
    if sum(member.file_size for member in members.values()) > len(content):
        raise InputError("its members claim more bytes than the file has; expected them uncompressed")
    roots = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise InputError("is a ZIP archive without data.pkl; expected a file that torch.save wrote")
    (root,) = roots

    def find(name: str) -> tuple[int, int]:
        """Start and end of a member's content."""
        member = members.get(f"{root}{name}")
        if member is None:
            raise InputError(f"lacks its member {name}; download or copy it again")
        *_, name_length, extra_length = struct.unpack_from("<4s5H3I2H", content, member.header_offset)
        start = member.header_offset + struct.calcsize("<4s5H3I2H") + name_length + extra_length
        end = start + member.file_size
        if member.compress_type or member.flag_bits & 1 or end > len(content):
            raise InputError(f"has the member {name} compressed or cut off; expected it as torch.save writes it")
        with memoryview(content) as view, view[start:end] as part:
            if zlib.crc32(part) != member.CRC:
                raise InputError(f"has a damaged member {name}; download or copy it again")
        return start, end

    @functools.cache
    def load_storage(dtype: str, key: str, count: int) -> np.ndarray:
        start, end = find(f"data/{key}")
        if end - start != count * _item_size(dtype):
            raise InputError(
                f"has storage {key} with {end - start} bytes; expected {count} values of {dtype}: it {_DAMAGED}"
            )
        return _take(content, start, dtype, count)

    if f"{root}byteorder" in members:
        start, end = find("byteorder")
        if content[start:end] != b"little":
            raise InputError("was written on a big-endian machine; save it on a little-endian one")
    start, end = find("data.pkl")
    content.seek(start)
    return unpickler(content, load_storage).load()


def _read_legacy(content: mmap.mmap, unpickler: Callable[..., TorchUnpickler]):
    def read_plain():
        return TorchUnpickler(content, _refuse_storage).load()

    if content[2 : 2 + len(_LEGACY_START)] != _LEGACY_START:
        raise InputError("is not a PyTorch file; expected one that torch.save wrote")
    magic, protocol, system = read_plain(), read_plain(), read_plain()
    if (magic, protocol) != (_LEGACY_MAGIC, _LEGACY_PROTOCOL):
        raise InputError(f"is of protocol {protocol!r:.40}, expected {_LEGACY_PROTOCOL}; save it again with PyTorch")
    if not system["little_endian"]:
        raise InputError("was written on a big-endian machine; save it on a little-endian one")
    start = content.tell()
    storages: dict[str, tuple[str, int]] = {}

    def note_storage(dtype: str, key: str, count: int):
        if count * _item_size(dtype) > len(content) or storages.setdefault(key, (dtype, count)) != (dtype, count):
            raise InputError(f"has a storage {key} of {count} values of {dtype}, which the file is too small for")

    # The storages follow the pickle, but only the pickle tells their types: it is read twice.
    unpickler(content, note_storage).load()
    values = _read_storages(content, storages, read_plain())
    content.seek(start)
    return unpickler(content, lambda dtype, key, count: values[key]).load()


def _read_storages(content: mmap.mmap, storages: dict, keys: Iterable[str]) -> dict[str, np.ndarray]:
    """The storages of a legacy file: in the order of `keys`, each after its number of values."""
    at, values = content.tell(), {}
    for key in keys:
        dtype, count = storages[key]
        end = at + 8 + count * _item_size(dtype)
        if end > len(content):
            raise InputError(f"ends within storage {key}: it {_DAMAGED}")
        if int.from_bytes(content[at : at + 8], "little") != count:
            raise InputError(f"has another size for storage {key} than its pickle: it {_DAMAGED}")
        values[key] = _take(content, at + 8, dtype, count)
        at = end
    if missing := storages.keys() - values.keys():
        raise InputError(f"lacks storage {min(missing)}: it {_DAMAGED}")
    return values


def _refuse_storage(dtype: str, key: str, count: int):
    raise InputError(f"has a storage of {count} values in its header; expected a file that torch.save wrote")
