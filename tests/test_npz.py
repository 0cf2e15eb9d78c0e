"""Array files that were made to do harm."""

import io
import zipfile
import zlib

import numpy as np
import pytest

from cmpc_tf2.errors import InputError
from cmpc_tf2.npz import read_npy, read_npz


def npy(header: bytes, content: bytes = b"", version: int = 1) -> bytes:
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + content


def described(descr: str = "'<f4'", shape: str = "(2,)", content: bytes = bytes(8)) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n"
    return npy(header.encode(), content)


def zipped(content: bytes, method: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("a.npy", content)
    return stream.getvalue()


def saved(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_as_numpy_writes_them(order, rng):
    for array in (np.array(3), np.zeros((0, 4)), np.array(["é"]), np.asarray(rng.random((3, 4, 5)), order=order)):
        content = saved(array)
        for read in (read_npy(content), *(read_npz(zipped(content, method))["a"] for method in (0, 8))):
            assert read.dtype == array.dtype
            np.testing.assert_array_equal(read, array)
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.arange(3), version=(2, 0))
    assert read_npy(stream.getvalue()).tolist() == [0, 1, 2]


BAD = {
    "nothing": b"",
    "another file": b"PK\x03\x04 and so on",
    "TokenError": npy(b"{'descr': (\n"),
    "SyntaxError": npy(b"{'descr': 'f4', )\n"),
    "IndentationError": npy(b"  {\n 7\n"),
    "RecursionError": npy(b"-" * 900 + b"1\n"),
    "MemoryError": npy(b"(" * 900 + b"\n"),
    "long header": npy(b"(" * 60_000 + b"\n"),
    "cut header": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}\n")[:30],
    "code": npy(b"__import__('os').system('true')\n"),
    "no key": npy(b"{'descr': '<f4'}\n"),
    "unknown version": npy(b"{}\n", version=7),
    "gigabytes": described(shape="(4000000000,)"),
    "more than 64 bits": described(shape=f"({2**70}, 0)", content=b""),
    "negative": described(shape="(-1, -2)"),
    "too short": described(content=bytes(7)),
    "too long": described(content=bytes(9)),
    "no bytes": described(descr="'<U0'", content=b""),
    "many axes": described(shape=str((1,) * 100), content=bytes(4)),
    "array type": described(descr="'(2,)f4'"),
    "no type": described(descr="()"),
    "pickled": saved(np.array([{}], object)),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_crafted_arrays(content):
    for read in (
        lambda: read_npy(content),
        lambda: read_npz(zipped(content, zipfile.ZIP_STORED)),
        lambda: read_npz(zipped(content, zipfile.ZIP_DEFLATED)),
    ):
        with pytest.raises(InputError) as failure:
            read()
        assert "\n" not in str(failure.value)


def test_archives_that_unpack_to_gigabytes():
    bomb = zipped(described(shape="(0,)", content=b""), zipfile.ZIP_DEFLATED)
    directory = bomb.index(b"PK\x01\x02")
    claimed = bytearray(bomb)
    claimed[directory + 24 : directory + 28] = (2**32 - 2).to_bytes(4, "little")
    with pytest.raises(InputError, match="unpacked it has more than 512 MB"):
        read_npz(bytes(claimed))
    # It claims little and has much: no more than what it claims is unpacked.
    zeros = zlib.compress(bytes(2**26), 9)[2:-4]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.npy", zeros)
    content = bytearray(stream.getvalue())
    directory = content.index(b"PK\x01\x02")
    for header, offset in ((0, 8), (directory, 10)):
        content[header + offset : header + offset + 2] = (8).to_bytes(2, "little")
    content[directory + 24 : directory + 28] = (200).to_bytes(4, "little")
    with pytest.raises(InputError, match=r"not a readable \.npz file"):
        read_npz(bytes(content))
    with pytest.raises(InputError, match="compressed by a method that NumPy does not use"):
        read_npz(zipped(saved(np.zeros(3)), zipfile.ZIP_BZIP2))
