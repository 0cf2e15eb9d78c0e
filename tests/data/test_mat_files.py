"""MATLAB files as SciPy writes them, and damaged ones."""

import re
import struct

import numpy as np
import pytest
import scipy.io

from cmpc_tf2.data.mat_files import mat_shape, read_mat
from cmpc_tf2.errors import InputError


@pytest.mark.parametrize("do_compression", [False, True])
@pytest.mark.parametrize("dtype", ["f8", "f4", "u1", "i2", "i8", "?"])
def test_numbers_as_scipy_reads_them(dtype, do_compression, rng, tmp_path):
    path = tmp_path / "a.mat"
    arrays = {f"a{axes}": (rng.random((3, 4, 5)[-axes:]) * 200).astype(dtype) for axes in (1, 2, 3)}
    others = {"text": "a text", "cells": np.array([{}, 3], object), "large": rng.random((300, 300))}
    scipy.io.savemat(path, {**others, **arrays, "empty": np.zeros((0, 3))}, do_compression=do_compression)
    expected = scipy.io.loadmat(path)
    for name in [*arrays, "large", "empty"]:
        assert mat_shape(path, name) == expected[name].shape
        np.testing.assert_array_equal(read_mat(path, name), expected[name])


def test_arrays_of_other_types_are_reported(tmp_path):
    path = tmp_path / "a.mat"
    others = {"text": "a text", "cell": np.array([{}, 3], object), "complex": np.ones(3) * 1j, "struct": {"a": 1}}
    scipy.io.savemat(path, others)
    for name in others:
        with pytest.raises(InputError, match=rf"a\.mat: {name}: expected an array of numbers"):
            mat_shape(path, name)
    with pytest.raises(InputError, match=r"a\.mat: has no mask"):
        mat_shape(path, "mask")


def test_damaged_files(tmp_path):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"a": np.arange(12, dtype=np.uint8).reshape(3, 4)})
    whole = path.read_bytes()
    shape, values = whole.index(struct.pack("<2i", 3, 4)), whole.index(struct.pack("<2I", 2, 12))
    damaged = [whole[:length] for length in (0, 60, 130, values, len(whole) - 8)]
    damaged += [whole[:shape] + struct.pack("<2i", *sizes) + whole[shape + 8 :] for sizes in ((-3, -4), (2**31 - 1, 2))]
    # SciPy ended the process for a type of 0.
    damaged += [whole[:values] + struct.pack("<I", kind) + whole[values + 4 :] for kind in (0, 8, 14, 99, 2**31)]
    damaged += [whole[:values] + struct.pack("<2I", 2, 2**32 - 1) + whole[values + 8 :]]
    scipy.io.savemat(path, {"a": np.zeros((3, 4))}, do_compression=True)
    packed = path.read_bytes()
    damaged += [packed[:length] for length in (140, len(packed) - 20)]
    damaged += [
        packed[:140] + b"\xff" * 8 + packed[148:],
        b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + whole[128:],
    ]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(InputError, match=re.escape(f"{path}: not a readable .mat file: damaged, or not of")):
            read_mat(path, "a")
