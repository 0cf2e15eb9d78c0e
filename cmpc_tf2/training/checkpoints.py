"""Checkpoints of a training run: the model and the state of its optimizer."""

import contextlib
import dataclasses
import logging
import os
import re
import shutil
from pathlib import Path

import keras
import numpy as np

from cmpc_tf2.errors import InputError
from cmpc_tf2.files import replacing
from cmpc_tf2.model_files import load_model
from cmpc_tf2.npz import load_stored

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class OptimizerState:
    """The variables of an optimizer by path, as they were when a checkpoint was written."""

    values: dict[str, np.ndarray]

    @classmethod
    def of(cls, optimizer: keras.optimizers.Optimizer) -> "OptimizerState":
        """Takes them from an optimizer."""
        return cls({variable.path: keras.ops.convert_to_numpy(variable) for variable in optimizer.variables})

    @classmethod
    def from_file(cls, path: str | os.PathLike) -> "OptimizerState":
        """Reads an `.npz` file that `save` wrote.

        Raises:
            InputError: It is missing, damaged, or of another form.
        """
        try:
            values = load_stored(Path(path).read_bytes())
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file; expected the state of an optimizer") from error
        except ValueError:
            values = None
        if not values or any(value.dtype.kind not in "fiu" for value in values.values()):
            raise InputError(f"{path}: not the state of an optimizer, or damaged")
        return cls(values)

    def save(self, path: str | os.PathLike):
        """Writes an `.npz` file, whole or not at all."""
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, **self.values)

    def restore(self, optimizer: keras.optimizers.Optimizer):
        """Puts them into an optimizer that is built for the same variables.

        Raises:
            InputError: It is built for other variables.
        """
        expected = {variable.path: (str(variable.dtype), tuple(variable.shape)) for variable in optimizer.variables}
        found = {path: (str(value.dtype), value.shape) for path, value in self.values.items()}
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

    An older checkpoint is removed only after this one is complete; the newest of the older ones is kept, to fall back
    on.
    """
    os.makedirs(folder, exist_ok=True)
    _clear_leftovers(folder)
    target = folder / f"step-{step:09d}"
    partial, replaced = folder / f".{target.name}.partial", folder / f".{target.name}.replaced"
    os.mkdir(partial)
    try:
        model.save(partial / "model.keras")
        OptimizerState.of(optimizer).save(partial / "optimizer.npz")
        if target.exists():
            os.replace(target, replaced)
        os.replace(partial, target)
    finally:
        _clear_leftovers(folder)
    for outdated in list(find_checkpoints(folder).values())[:-2]:
        shutil.rmtree(outdated)


def find_checkpoints(folder: Path) -> dict[int, Path]:
    """The folders of a run's checkpoints by step, the oldest first; other names are ignored."""
    steps = ((re.fullmatch(r"step-([0-9]{9,10})", path.name), path) for path in folder.glob("step-*"))
    return dict(sorted((int(match[1]), path) for match, path in steps if match and path.is_dir()))


def load_training(folder: Path, *model_types: type) -> tuple[int, keras.Model, OptimizerState]:
    """Reads the newest checkpoint of a run; if it is damaged, the one before it, with a warning.

    Args:
        folder: The run's checkpoints.
        model_types: The classes that are expected.

    Returns:
        The step it was written after, the model, and the optimizer's state.

    Raises:
        InputError: There is none that can be read.
    """
    _clear_leftovers(folder)
    for step, checkpoint in reversed(find_checkpoints(folder).items()):
        try:
            model = load_model(checkpoint / "model.keras", *model_types)
            return step, model, OptimizerState.from_file(checkpoint / "optimizer.npz")
        except InputError as error:
            logger.warning("%s: damaged, trying the one before: %s", checkpoint, error)
    raise InputError(f"{folder}: no checkpoint that can be read")


def _clear_leftovers(folder: Path):
    """Removes what a killed process left half-written, and puts back what it was about to replace."""
    for replaced in folder.glob(".step-*.replaced"):
        target = folder / replaced.name[1:].removesuffix(".replaced")
        if not target.exists():
            with contextlib.suppress(FileNotFoundError):  # Another machine of the run was faster.
                os.replace(replaced, target)
    for leftover in (*folder.glob(".step-*.partial"), *folder.glob(".step-*.replaced")):
        shutil.rmtree(leftover, ignore_errors=True)
