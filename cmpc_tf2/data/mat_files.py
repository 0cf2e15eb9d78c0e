"""Numeric arrays of MATLAB's `.mat` files."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cmpc_tf2.errors import InputError

_NUMERIC = {
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("single", "double", "logical"),
}
# Values of an array: 300 frames of 1280 x 720 pixels have fewer.
_LARGEST = 2**28


def mat_shape(path: Path, name: str) -> tuple[int, ...]:
    """The shape of an array; its values are not read.

    Raises:
        InputError: The file is damaged, has no such array, or the array is not numeric.
    """
    import scipy.io

    variables = {found: (shape, kind) for found, shape, kind in _read(scipy.io.whosmat, path)}
    if name not in variables:
        raise InputError(f"{path}: has no {name}")
    shape, kind = variables[name]
    if kind not in _NUMERIC or not 0 <= math.prod(shape) <= _LARGEST:
        raise InputError(f"{path}: {name}: expected an array of numbers, found {kind} of shape {shape}")
    return tuple(shape)


def read_mat(path: Path, name: str) -> np.ndarray:
    """Reads an array.

    Raises:
        InputError: As `mat_shape`.
    """
    import scipy.io

    shape = mat_shape(path, name)
    array = _read(scipy.io.loadmat, path, variable_names=[name]).get(name)
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.kind not in "biuf":
        raise InputError(f"{path}: {name}: expected an array of numbers; the file is damaged, get it again")
    return array


def _read(read: Callable, path: Path, **arguments):
    with path.open("rb") as file:
        try:
            return read(file, **arguments)
        except Exception as error:  # SciPy raises nearly anything for a damaged file.
            raise InputError(f"{path}: not a readable .mat file: damaged, or of version 7.3; get it again") from error
