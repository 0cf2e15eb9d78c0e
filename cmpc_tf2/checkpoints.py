"""Model files: one `.keras` file holds the sizes, the weights and, if known, the vocabulary."""

import contextlib
import dataclasses
import logging
import os
import re
import shutil
from pathlib import Path

import keras
import numpy as np

from cmpc_tf2.data.npz import load_stored
from cmpc_tf2.errors import InputError
from cmpc_tf2.files import replacing, require_writable
from cmpc_tf2.model_files import holds_object, read_config
from cmpc_tf2.models.backbone import DeepLabResNet
from cmpc_tf2.models.referring_model import ReferringModel
from cmpc_tf2.precision import computing_in
from cmpc_tf2.systems import SYSTEMS, find_system, systems_of

logger = logging.getLogger(__name__)


def load_model(path: str | os.PathLike) -> keras.Model:
    """Loads any model of this project: of pictures (CMPC, RRN, RMI, the LSTM baseline), of clips, or a bare backbone.

    Args:
        path: A `.keras` file made by `convert`, by training or by `save_model`.

    Returns:
        The model, not compiled.

    Raises:
        InputError: The file is missing, damaged or something else.
    """
    return load_kind(path, *(system.model_type for system in SYSTEMS.values()))


def load_for_inference(
    path: str | os.PathLike, precision: str = "float32", image_size: int | None = None, *kinds: type
) -> ReferringModel:
    """Loads a model in the precision and for the size of picture that are asked for.

    Args:
        path: A `.keras` file.
        precision: What layers compute in and weights are kept in.
        image_size: Side of the pictures; None for that of the model's training.
        kinds: The classes that are expected; without any, those of pictures.
    """
    with computing_in(precision, weights=precision):
        model = load_kind(path, *(kinds or (system.model_type for system in systems_of("image").values())))
        return model if image_size in (None, model.config.image_size) else model.at_size(image_size)


def load_backbone(path: str | os.PathLike) -> DeepLabResNet:
    """Loads a bare backbone."""
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
            "make one with `python -m cmpc_tf2 convert --checkpoint PREFIX --output FILE.keras`"
        )
    if path.suffix != ".keras":
        raise InputError(
            f"{path}: expected a .keras file; `python -m cmpc_tf2 convert` makes one of a TensorFlow 1 checkpoint"
        )
    described = read_config(path)
    name, found = str(described.get("class_name")), str(described.get("registered_name"))
    if not found.endswith(f">{name}"):  # Keras takes some class names for its own, whatever is registered.
        found = name
    system = find_system(found)
    if system is None or system.model_type not in kinds:
        found = f"a {name}" if name.isidentifier() else "no class"
        if system is not None:
            found = f"{system.model_type.title}, which goes with {system.usage}"
        raise InputError(f"{path}: expected {expectation}, found {found}")
    # Ours consist of sizes and words: nothing in a file gets another class, or code, to run.
    if any(holds_object(described.get(part)) for part in ("config", "build_config")):
        raise InputError(f"{path}: expected {expectation}, found one with objects of other classes in its config.json")
    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, TypeError, KeyError, OSError, RuntimeError) as error:  # The last two are of h5py.
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"{path}: expected {expectation}, could not load it: {reason}") from error


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
            InputError: It is built for others.
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
    _clear_leftovers(folder)
    for step, checkpoint in reversed(find_checkpoints(folder).items()):
        try:
            model = load_kind(checkpoint / "model.keras", *kinds)
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


def require_model_path(path: str | os.PathLike):
    """Checks that a model can be written to `path`, before any work is done for it.

    Raises:
        InputError: It does not end in `.keras`, or its folder does not exist.
    """
    if Path(path).suffix != ".keras":
        raise InputError(f"{path}: expected a name that ends in .keras")
    require_writable(path)
