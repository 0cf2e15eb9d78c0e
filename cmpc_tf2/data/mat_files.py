"""Numeric arrays of MATLAB's `.mat` files, versions 5 to 7.

SciPy's reader is not used: a damaged file ends the process that reads it.

Source: "MAT-File Format", The MathWorks.
"""

import math
import struct
import zlib
from pathlib import Path

import numpy as np

from cmpc_tf2.errors import InputError

# Version and byte order at the end of a file's header.
_HEADER_BYTES = 128
_ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
# Types of elements, and those classes of arrays that are numbers: double, single and the integers.
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC_CLASSES = range(6, 16)
_IS_COMPLEX = 0x800

# The first bytes of an array hold its name and shape.
_HEAD_BYTES = 1024
# Bytes of an array that is unpacked: 300 frames of 1280 x 720 pixels have fewer.
_LARGEST_ARRAY = 2**29


def mat_shape(path: Path, name: str) -> tuple[int, ...]:
    """The shape of an array; its values are not read.

    Raises:
        InputError: The file is damaged, has no such array, or the array is not numeric.
    """
    shape, _ = _find_array(path, name, with_values=False)
    return shape


def read_mat(path: Path, name: str) -> np.ndarray:
    """Reads an array, in the type in which its numbers are stored.

    Raises:
        InputError: As `mat_shape`.
    """
    shape, values = _find_array(path, name, with_values=True)
    return values.reshape(shape, order="F")


class _DamagedError(Exception):
    """The file is not as the format says."""


def _find_array(path: Path, name: str, with_values: bool) -> tuple[tuple[int, ...], np.ndarray | None]:
    content = memoryview(path.read_bytes())
    order = _ORDERS.get(bytes(content[_HEADER_BYTES - 4 : _HEADER_BYTES]))
    rest = content[_HEADER_BYTES:]
    try:
        if order is None:
            raise _DamagedError
        while rest:
            kind, element, after = _split(rest, order)
            matrix = rest
            if kind == _COMPRESSED:
                after = rest[8 + len(element) :]  # These alone are not padded.
                matrix = _unpack(element, _HEAD_BYTES)
            found, flags, shape, _ = _parse_matrix(matrix, order)
            if found == name.encode():
                if flags & 0xFF not in _NUMERIC_CLASSES or flags & _IS_COMPLEX:
                    raise InputError(f"{path}: {name}: expected an array of numbers, found another kind")
                if with_values and kind == _COMPRESSED:
                    matrix = _unpack(element, _LARGEST_ARRAY)
                return shape, _read_values(matrix, order) if with_values else None
            rest = after
    except (_DamagedError, struct.error, zlib.error) as error:
        raise InputError(f"{path}: not a readable .mat file: damaged, or not of version 5 to 7") from error
    raise InputError(f"{path}: has no {name}")


def _unpack(element: memoryview, most: int) -> memoryview:
    return memoryview(zlib.decompressobj().decompress(element, most))


def _split(content: memoryview, order: str) -> tuple[int, memoryview, memoryview]:
    """Type and content of the first element, and what follows."""
    (kind,) = struct.unpack_from(order + "I", content)
    if kind >> 16:  # At most four bytes, which stand in the tag itself.
        return kind & 0xFFFF, content[4 : 4 + min(kind >> 16, 4)], content[8:]
    (size,) = struct.unpack_from(order + "I", content, 4)
    return kind, content[8 : 8 + size], content[8 + size + -size % 8 :]


def _parse_matrix(content: memoryview, order: str) -> tuple[bytes, int, tuple[int, ...], memoryview]:
    """Name, flags and shape of an array, and its values, if they are there, as an element."""
    kind, matrix, _ = _split(content, order)
    if kind != _MATRIX:
        raise _DamagedError
    _, flags, rest = _split(matrix, order)
    _, sizes, rest = _split(rest, order)
    _, name, rest = _split(rest, order)
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes[: len(sizes) // 4 * 4])
    if not 2 <= len(shape) <= 8 or min(shape) < 0:
        raise _DamagedError
    return bytes(name), struct.unpack_from(order + "I", flags)[0], shape, rest


def _read_values(content: memoryview, order: str) -> np.ndarray:
    _, _, shape, rest = _parse_matrix(content, order)
    kind, values, _ = _split(rest, order)
    dtype = np.dtype(order + _NUMBERS.get(kind, "V1"))
    if kind not in _NUMBERS or len(values) != math.prod(shape) * dtype.itemsize:
        raise _DamagedError
    return np.frombuffer(values, dtype)
