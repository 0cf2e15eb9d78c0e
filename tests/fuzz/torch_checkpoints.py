"""PyTorch and safetensors checkpoints."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cmpc_tf2.conversion.torch_checkpoint import TorchCheckpoint
from cmpc_tf2.conversion.torch_writer import write_torch_file
from fuzz.targets import Target
from torch_files import (
    OldObject,
    OldPickle,
    legacy_file,
    mapping,
    number,
    pickled,
    safetensors_file,
    storage,
    tensor,
    text,
    zip_file,
)

VALUES = np.arange(6, dtype="<f4")
HALVES = np.arange(6, dtype="<u2")
PICKLE = pickled(
    mapping(
        model=mapping(
            a=tensor(storage("FloatStorage", "0", 6), (2, 3), (3, 1)),
            b=tensor(storage("BFloat16Storage", "1", 6), (3,), (2,), offset=1),
        ),
        args=b"cargparse\nNamespace\n)\x81" + mapping(lr=number(3)) + b"b",
        optimizer=b"ccollections\nOrderedDict\n)Rq\x00(" + text("state") + b"](Neu",
    )
)


def torch_zip(folder: Path) -> Target:
    """A file of `torch.save`."""
    path = folder / "whole.pth"
    write_torch_file(path, {"model": {"a": VALUES.reshape(2, 3), "b": np.array(3)}, "sizes": {"width": 3}})
    return Target([path.read_bytes(), zip_file(PICKLE, _storages())], _reader(folder))


def torch_pickle(folder: Path) -> Target:
    """The pickle in a file of `torch.save` whose checksums are right."""
    read = _reader(folder)
    return Target([PICKLE], lambda data: read(zip_file(data, _storages())))


def torch_legacy(folder: Path) -> Target:
    """A file of `torch.save` before PyTorch 1.6: of a state dict, and of a whole module."""
    pickle = OldPickle()
    inner = OldObject("torch.nn.modules.linear.Linear", _parameters={"weight": pickle.parameter(VALUES)})
    module = pickle.file({"model": OldObject("layers.a.A", _buffers={"mean": VALUES}, _modules={"fc": inner})})
    state = legacy_file(PICKLE, {key: (6, content) for key, content in _storages().items()})
    return Target([state, module], _reader(folder))


def safetensors(folder: Path) -> Target:
    """A safetensors file."""
    return Target([safetensors_file({"a": ("F32", VALUES), "b": ("BF16", HALVES)})], _reader(folder))


def _storages() -> dict[str, bytes]:
    return {"0": VALUES.tobytes(), "1": HALVES.tobytes()}


def _reader(folder: Path) -> Callable[[bytes], None]:
    def read(data: bytes):
        path = folder / "read.pth"
        path.write_bytes(data)
        checkpoint = TorchCheckpoint(path)
        for value in checkpoint.tensors.values():
            np.array(value)

    return read
