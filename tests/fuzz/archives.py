"""Model files, states of optimizers, and TensorFlow 1 checkpoints."""

import io
import zipfile
from pathlib import Path

import numpy as np

from fuzz.targets import Target

# A bare backbone, the smallest model that there is.
SIZES = {"width": 1, "depths": (1, 1, 1, 1)}
VARIABLES = {
    "conv1/weights": np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4),
    "conv1/biases": np.float32([1, 2, 3]),
    "text_objseg/Variable_1": np.float32(3),
    "global_step": np.int32(4),
}


def keras_file(folder: Path) -> Target:
    """A whole `.keras` file."""
    return Target([_model_file(folder).read_bytes()], lambda data: _load_model(folder, data))


def keras_config(folder: Path) -> Target:
    """`config.json` in a `.keras` file whose checksums are right."""
    with zipfile.ZipFile(_model_file(folder)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    def read(data: bytes):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, content in {**members, "config.json": data}.items():
                archive.writestr(name, content)
        _load_model(folder, packed.getvalue())

    return Target([members["config.json"]], read)


def _model_file(folder: Path) -> Path:
    from cmpc_tf2.backbones.config import DeepLabResNetConfig
    from cmpc_tf2.backbones.deeplab_resnet import DeepLabResNet
    from cmpc_tf2.model_files import save_model

    path = folder / "model.keras"
    save_model(DeepLabResNet(DeepLabResNetConfig(**SIZES), name="backbone"), path)
    return path


def _load_model(folder: Path, data: bytes):
    from cmpc_tf2.backbones.deeplab_resnet import DeepLabResNet
    from cmpc_tf2.model_files import load_model

    path = folder / "read.keras"
    path.write_bytes(data)
    load_model(path, DeepLabResNet)


def optimizer_npz(folder: Path) -> Target:
    """The state of an optimizer."""
    from cmpc_tf2.training.checkpoints import OptimizerState

    path = folder / "optimizer.npz"
    values = {"adam/iteration": np.int64(3), "adam/kernel_momentum": np.ones((2, 3), np.float32)}
    OptimizerState(values).save(path)

    def read(data: bytes):
        path.write_bytes(data)
        OptimizerState.from_file(path)

    return Target([path.read_bytes()], read)


def tf1_index(folder: Path) -> Target:
    """`.index` of a TensorFlow 1 checkpoint."""
    from original import write_checkpoint

    write_checkpoint(folder / "v2", VARIABLES)
    return _checkpoint(folder / "v2", folder / "v2.index")


def tf1_v1(folder: Path) -> Target:
    """A TensorFlow 1 checkpoint of format V1."""
    from original import write_v1_checkpoint

    write_v1_checkpoint(folder / "v1", VARIABLES)
    return _checkpoint(folder / "v1", folder / "v1")


def _checkpoint(prefix: Path, file: Path) -> Target:
    from cmpc_tf2.conversion.tf1_reader import TF1Checkpoint

    def read(data: bytes):
        file.write_bytes(data)
        checkpoint = TF1Checkpoint(str(prefix))
        for name in checkpoint.shapes:
            checkpoint.read(name)

    return Target([file.read_bytes()], read)
