"""Model files: one `.keras` file holds the sizes, the weights and, if known, the vocabulary."""

import dataclasses
import json
import logging
import os
import re
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np

from cmpc_tf2.data.npz import DAMAGED
from cmpc_tf2.errors import InputError
from cmpc_tf2.files import replacing, require_writable
from cmpc_tf2.models.backbone import DeepLabResNet
from cmpc_tf2.models.family import IMAGE_MODELS
from cmpc_tf2.models.referring_model import ReferringModel
from cmpc_tf2.precision import computing_in

logger = logging.getLogger(__name__)

# By the name of a class: what to call it, and which commands take it.
_KNOWN = {
    **{
        kind.__name__: (kind.title, f"`python -m cmpc_tf2` (to train it: --model-name {name})")
        for name, kind in IMAGE_MODELS.items()
    },
    "CMPCVideo": ("a CMPC-V (video) model", "`python -m cmpc_video_tf2`"),
    DeepLabResNet.__name__: (DeepLabResNet.title, "`python -m cmpc_tf2 train --backbone`"),
}


def load_model(path: str | os.PathLike) -> ReferringModel:
    """Loads a model of pictures: CMPC, RRN, RMI or the LSTM baseline, as the file says.

    Args:
        path: A `.keras` file made by `tools/convert_tf1_ckpt.py` or by `save_model`.

    Returns:
        The model, not compiled.

    Raises:
        InputError: The file is missing, damaged or something else.
    """
    return load_kind(path, *IMAGE_MODELS.values())


def load_for_inference(
    path: str | os.PathLike, precision: str = "float32", image_size: int | None = None, *kinds: type
) -> ReferringModel:
    """As `load_model`, in the precision and for the size of picture that are asked for.

    Args:
        path: A `.keras` file.
        precision: What layers compute in and weights are kept in.
        image_size: Side of the pictures; None for that of the model's training.
        kinds: The classes that are expected; without any, those of pictures.
    """
    with computing_in(precision, weights=precision):
        model = load_kind(path, *(kinds or IMAGE_MODELS.values()))
        return model if image_size in (None, model.config.image_size) else model.at_size(image_size)


def load_backbone(path: str | os.PathLike) -> DeepLabResNet:
    """Loads a bare backbone; as `load_model`."""
    return load_kind(path, DeepLabResNet)


def load_kind(path: str | os.PathLike, *kinds: type) -> keras.Model:
    """Loads a model of one of some kinds.

    Args:
        path: A `.keras` file.
        kinds: The classes that are expected.

    Raises:
        InputError: The file is missing, damaged or something else.
    """
    path = Path(path)
    *others, last = (kind.title for kind in kinds)
    expectation = f"{', '.join(others)} or {last}" if others else last
    if path.is_dir():
        raise InputError(f"{path}: is a folder; expected a .keras file")
    if not path.is_file():
        raise InputError(
            f"{path}: no such model file; "
            "make one with `python tools/convert_tf1_ckpt.py --checkpoint PREFIX --output FILE.keras`"
        )
    if path.suffix != ".keras":
        raise InputError(
            f"{path}: expected a .keras file; TensorFlow 1 checkpoints are converted with tools/convert_tf1_ckpt.py"
        )
    with path.open("rb") as file:
        is_archive = zipfile.is_zipfile(file)
    if not is_archive:
        raise InputError(f"{path}: not a .keras file, or cut off; convert or copy it again")
    found = _class_name(path)
    if found in _KNOWN and found not in [kind.__name__ for kind in kinds]:
        title, command = _KNOWN[found]
        raise InputError(f"{path}: expected {expectation}, found {title}, which goes with {command}")
    try:
        model = keras.models.load_model(path, compile=False)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if "safe_mode" in str(error):
            reason = "it holds code, which is never loaded"
        raise InputError(f"{path}: expected {expectation}, could not load it: {reason}") from error
    if not isinstance(model, kinds):
        raise InputError(f"{path}: expected {expectation}, found a {type(model).__name__}")
    return model


def _class_name(path: Path) -> str | None:
    """What a `.keras` file says it holds, without loading it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))["class_name"]
    except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile):
        return None


def save_model(model: keras.Model, path: str | os.PathLike):
    """Writes a model to a `.keras` file: whole or not at all.

    Raises:
        InputError: `path` does not end in `.keras`, or its folder does not exist.
    """
    require_model_path(path)
    with replacing(path) as partial:
        model.save(partial)


@dataclasses.dataclass(frozen=True)
class OptimizerState:
    """The variables of an optimizer by path: what it was doing when a checkpoint was written."""

    values: dict[str, np.ndarray]

    @classmethod
    def from_file(cls, path: str | os.PathLike) -> "OptimizerState":
        """Reads an `.npz` file.

        Raises:
            InputError: It is missing, or of another form.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                values = {name: arrays[name] for name in arrays.files}
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file; expected the state of an optimizer") from error
        except DAMAGED as error:
            raise InputError(f"{path}: not the state of an optimizer, or damaged") from error
        if any(value.dtype.kind not in "fiu" for value in values.values()):
            raise InputError(f"{path}: not the state of an optimizer: it holds something else than numbers")
        return cls(values)

    def save(self, path: str | os.PathLike):
        """Writes an `.npz` file, whole or not at all."""
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, **self.values)

    def restore(self, optimizer: keras.optimizers.Optimizer):
        """Puts them into an optimizer that is built for the same variables.

        Raises:
            InputError: It is built for others.
        """
        expected = {variable.path: tuple(variable.shape) for variable in optimizer.variables}
        found = {path: value.shape for path, value in self.values.items()}
        differing = sorted(path for path in {*expected, *found} if expected.get(path) != found.get(path))
        if differing:
            raise InputError(
                f"the state of the optimizer belongs to other weights or settings: {differing[0]} is "
                f"{found.get(differing[0], 'missing')}, expected {expected.get(differing[0], 'none')} "
                "(is --finetune-backbone as it was?)"
            )
        for variable in optimizer.variables:
            variable.assign(self.values[variable.path])


def save_training(folder: Path, step: int, model: keras.Model, optimizer: keras.optimizers.Optimizer):
    """Writes a checkpoint of a run: `step-<n>/model.keras` and `step-<n>/optimizer.npz`, whole or not at all.

    Of the older ones the newest is kept, to fall back on.
    """
    target = folder / f"step-{step:09d}"
    partial = folder / f".{target.name}.{os.getpid()}.partial"
    os.makedirs(partial)
    try:
        model.save(partial / "model.keras")
        OptimizerState({v.path: np.asarray(v) for v in optimizer.variables}).save(partial / "optimizer.npz")
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for outdated in list(find_checkpoints(folder).values())[:-2]:
        shutil.rmtree(outdated)


def find_checkpoints(folder: Path) -> dict[int, Path]:
    """The folders of a run's checkpoints by step, the oldest first; what has another name is none."""
    steps = ((re.fullmatch(r"step-([0-9]{9,10})", path.name), path) for path in folder.glob("step-*"))
    return dict(sorted((int(match[1]), path) for match, path in steps if match and path.is_dir()))


def load_training(folder: Path, *kinds: type) -> tuple[int, keras.Model, OptimizerState]:
    """Reads the newest checkpoint of a run; if it is damaged, the one before it, with a warning.

    Args:
        folder: The run's checkpoints.
        kinds: The classes that are expected.

    Returns:
        The step it was written after, the model, and the optimizer's state.

    Raises:
        InputError: There is none that can be read.
    """
    for leftover in folder.glob(".step-*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    for step, checkpoint in reversed(find_checkpoints(folder).items()):
        try:
            model = load_kind(checkpoint / "model.keras", *kinds)
            return step, model, OptimizerState.from_file(checkpoint / "optimizer.npz")
        except InputError as error:
            logger.warning("%s: damaged, trying the one before: %s", checkpoint, error)
    raise InputError(f"{folder}: no checkpoint that can be read")


def require_model_path(path: str | os.PathLike):
    """Checks that a model can be written to `path`, before any work is done for it.

    Raises:
        InputError: It does not end in `.keras`, or its folder does not exist.
    """
    if Path(path).suffix != ".keras":
        raise InputError(f"{path}: expected a name that ends in .keras")
    require_writable(path)
