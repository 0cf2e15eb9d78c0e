"""The `.index` file of a TensorFlow checkpoint of format V2: a sorted table of variables, with a checksum of each.

TensorFlow compares the checksums when it reads a variable, but does not show them.

Source: `tensorflow/core/util/tensor_bundle` and `tensorflow/core/lib/io/table` of TensorFlow.
"""

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path

_FOOTER = 48  # Bytes: the places of two blocks, padded, and the magic number.
_RESTARTS = 4  # Bytes of a number at the end of a block.


def read_checksums(path: Path) -> dict[str, int]:
    """The masked CRC-32C of each variable's bytes, by name.

    Args:
        path: An `.index` file that TensorFlow can read.
    """
    from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto

    content = path.read_bytes()
    position = len(content) - _FOOTER
    for _ in range(2):  # The place of the block of statistics comes first.
        _, position = _varint(content, position)
    checksums = {}
    for _, handle in _entries(_block(content, content, position)):
        for key, value in _entries(_block(content, handle, 0)):
            if key:  # The entry without a name describes the whole checkpoint.
                checksums[key.decode("utf-8", "replace")] = BundleEntryProto.FromString(value).crc32c
    return checksums


def fingerprint(checksums: dict[str, int]) -> str:
    """SHA-256 of the names and checksums of all variables, which identifies a checkpoint."""
    lines = (f"{name} {checksum}\n" for name, checksum in sorted(checksums.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _block(content: bytes, handle: bytes, position: int) -> bytes:
    """The entries of a block, whose offset and size stand at a position in `handle`."""
    offset, position = _varint(handle, position)
    size, _ = _varint(handle, position)
    end = offset + size
    (restarts,) = struct.unpack_from("<I", content, end - _RESTARTS)
    return content[offset : end - _RESTARTS * (restarts + 1)]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values. Of a key only what differs from the one before is stored."""
    key, position = b"", 0
    while position < len(block):
        shared, position = _varint(block, position)
        own, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + own]
        position += own + length
        yield key, block[position - length : position]


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """A number of seven bits a byte, and the position behind it."""
    value = shift = 0
    while True:
        byte = content[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
