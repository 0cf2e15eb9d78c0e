"""Model files: one `.keras` file holds weights, sizes, preprocessing, tokenizer name and, if known, vocabulary."""

import os
from collections.abc import Collection
from pathlib import Path

import keras

from cmpc_tf2.errors import InputError, UsageError, first_line
from cmpc_tf2.fields import FieldError
from cmpc_tf2.files import replacing, require_writable
from cmpc_tf2.keras_files import holds_object, read_config
from cmpc_tf2.layers.given_weights import giving_weights
from cmpc_tf2.models.referring_model import ReferringModel
from cmpc_tf2.precision import computing_in
from cmpc_tf2.systems import SYSTEMS, System, find_system, import_object, systems_of
from cmpc_tf2.weights_file import load_weights


def load_model(path: str | os.PathLike, *model_types: type) -> keras.Model:
    """Loads a model of any system of this project, or a bare backbone.

    Args:
        path: A `.keras` file made by `convert`, by training or by `save_model`.
        model_types: The classes that are expected; without any, all.

    Returns:
        The model, not compiled.

    Raises:
        InputError: The file is missing, damaged or something else.
        ValueError: None of the classes is one of this project.
    """
    systems = SYSTEMS.values()
    if model_types:
        systems = [system for system in systems if system.model_type in model_types]
    if not systems:
        names = ", ".join(model_type.__name__ for model_type in model_types)
        raise ValueError(f"model_types: expected classes of models of this project, received {names}")
    return _load(path, systems)


def _load(path: str | os.PathLike, systems: Collection[System]) -> keras.Model:
    """As `load_model`, of systems. Classes of models are imported where they are needed, which takes time."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; expected a .keras file")
    if not path.is_file():
        raise InputError(
            f"{path}: no such model file; "
            "make one with `python -m cmpc_tf2 convert --checkpoint FILE --output FILE.keras`"
        )
    if path.suffix != ".keras":
        raise InputError(f"{path}: expected a .keras file; `python -m cmpc_tf2 convert` makes one of a checkpoint")
    described = read_config(path)
    name, found = str(described.get("class_name")), str(described.get("registered_name"))
    if not found.endswith(f">{name}"):  # Keras resolves some class names itself, even if another class is registered.
        found = name
    system = find_system(found)
    if system not in systems:
        found = f"a {name}" if name.isidentifier() else "no class"
        if system is not None:
            found = f"{system.model_type.title}, which goes with {system.usage}"
        raise InputError(f"{path}: expected {_titles(systems)}, found {found}")
    # Our files hold plain data only: nothing in a file may load another class or run code.
    if any(holds_object(described.get(part)) for part in ("config", "build_config")):
        raise InputError(
            f"{path}: expected {_titles(systems)}, found one with objects of other classes in its config.json"
        )
    import_object(system.model)  # It registers the class with Keras.
    try:
        return read_model(path, described)
    except (ValueError, TypeError, KeyError, OSError, RuntimeError) as error:  # The last two are of h5py.
        raise InputError(f"{path}: expected {_titles(systems)}, could not load it: {first_line(error)}") from error


def _titles(systems: Collection[System]) -> str:
    *others, last = (system.model_type.title for system in systems)
    return f"{', '.join(others)} or {last}" if others else last


def read_model(path: Path, described: dict) -> keras.Model:
    """Builds the model that a file describes, with the weights in the file.

    Args:
        path: A `.keras` file.
        described: From `read_config`.

    Raises:
        ValueError: A weight is missing. As `load_weights`, and what building the model raises.
    """
    with giving_weights():
        model = keras.saving.deserialize_keras_object({**described, "compile_config": None})
        load_weights(model, path)
    return model


def load_for_inference(
    path: str | os.PathLike, precision: str = "float32", image_size: int | None = None, medium: str = "pictures"
) -> ReferringModel:
    """Loads a model in a precision and for a size of pictures.

    Args:
        path: A `.keras` file.
        precision: Type that layers compute in and weights are stored in.
        image_size: Side of the pictures; None for that of the model's training.
        medium: `pictures` or `clips`.

    Raises:
        InputError: As `load_model`.
        UsageError: The model cannot have this size.
    """
    with computing_in(precision, weights=precision):
        model = _load(path, systems_of(medium).values())
        try:
            return model if image_size in (None, model.config.image_size) else model.at_size(image_size)
        except FieldError as error:
            raise UsageError(f"--image-size: {error.reason}") from None


def save_model(model: keras.Model, path: str | os.PathLike):
    """Writes a model to a `.keras` file: whole or not at all.

    Raises:
        InputError: `path` does not end in `.keras`, or its folder does not exist.
    """
    require_model_path(path)
    with replacing(path) as partial:
        model.save(partial)


def require_model_path(path: str | os.PathLike):
    """Checks that a model can be written to `path`, before any work is done for it.

    Raises:
        InputError: It does not end in `.keras`, or its folder does not exist.
    """
    if Path(path).suffix != ".keras":
        raise InputError(f"{path}: expected a name that ends in .keras")
    require_writable(path)
