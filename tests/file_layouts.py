"""Where model files keep the weights of each system. Files of earlier versions load only if this does not change."""

import hashlib
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np

# By system, digests of the places and paths of its weights.
LAYOUTS = {
    "cmpc": "7604bfe87069b2fb",
    "cmpc_video": "1e538b7626e12af3",
    "rrn": "63ade76f9414284d",
    "rmi": "23e421e6e4177ab1",
    "lstm": "6a83525fb51d605a",
    "maskris": "e9f35378d3ef124c",
    "sl_att": "47291c7f3d79fac8",
    "cg_sl_att": "9d9ce0be0c944fd0",
    "mattnet": "c23b99469bd71a48",
    "cac": "758f01d0fde70c07",
}


def layout_of(model: keras.Model, path: Path) -> str:
    """The digest for a model in its file. Weights are told apart by their values; equal ones count as one."""
    paths, lines = {}, []
    for variable in model.weights:
        paths.setdefault(_key(variable.numpy()), []).append(variable.path)
    with zipfile.ZipFile(path) as archive, h5py.File(archive.open("model.weights.h5"), "r") as stored:

        def add(name, entry):
            if isinstance(entry, h5py.Dataset):
                lines.append(f"{name} {sorted(paths.get(_key(entry[()]), ()))}\n")

        stored.visititems(add)
    assert len(lines) >= len(model.weights) and len(paths) > 0.9 * len(model.weights)
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()[:16]


def _key(value: np.ndarray) -> tuple:
    return value.dtype.str, value.shape, value.tobytes()
