"""Files of darknet, such as `yolov3.weights`, to DarkNet-53 and back.

A file is a header of five 32-bit integers (three of the version, two of the number of pictures seen), then float32
numbers to its end: the parameters of all convolutions in order, without names or shapes. All is little-endian.
"""

import os
from pathlib import Path

import numpy as np

from cmpc_tf2.backbones.config import DarkNet53Config
from cmpc_tf2.backbones.darknet53 import DarkNet53
from cmpc_tf2.conversion.core import make_report, new_model
from cmpc_tf2.conversion.families import DARKNET, load_families
from cmpc_tf2.conversion.names.darknet import HEADER
from cmpc_tf2.conversion.torch_layout import to_keras, torch_shape, torch_weights
from cmpc_tf2.errors import InputError
from cmpc_tf2.files import replacing, require_writable
from cmpc_tf2.model_files import load_model, require_model_path, save_model


def convert(
    path: str,
    output: str,
    vocabulary_file: str | None = None,
    optimizer_file: str | None = None,
    config: DarkNet53Config | None = None,
) -> dict:
    """Converts a file of darknet to a `.keras` file.

    Args:
        path: The file.
        output: The `.keras` file to write.
        vocabulary_file: None: a backbone has no vocabulary.
        optimizer_file: None: the file holds no state of an optimizer.
        config: Sizes of the backbone, which the file does not tell; None for those of `yolov3.weights`.

    Returns:
        The report, as `pytorch.convert` returns it. Variables have the names of PyTorch checkpoints.

    Raises:
        InputError: The file does not fit. Nothing is written.
    """
    require_model_path(output)
    (family,) = load_families(DARKNET).values()
    if optimizer_file:
        raise InputError(f"{path}: holds no state of an optimizer; leave out --optimizer")
    model = new_model(family, config or DarkNet53Config(), vocabulary_file)
    variables = {variable.path: variable for variable in model.variables}
    pairs = family.pairs(model.config)
    shapes = {pair.torch: torch_shape(variables[pair.keras].shape, pair) for pair in pairs}
    values = _read(path, shapes)
    for pair in pairs:
        variables[pair.keras].assign(to_keras(values[pair.torch], pair))
    save_model(model, output)
    places = [(pair.torch, pair.keras) for pair in pairs]
    return make_report(family, model.config, places, shapes, reasons={}, step=None, used=set())


def _read(path: str | os.PathLike, shapes: dict[str, tuple]) -> dict[str, np.ndarray]:
    """The parameters in a file.

    Args:
        path: The file.
        shapes: Shape per name, in the order of the file.

    Raises:
        InputError: The file is missing, of another length, or holds numbers that are not finite.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; expected the weights of YOLOv3, such as yolov3.weights")
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    found, expected = Path(path).stat().st_size, len(HEADER) + 4 * sum(sizes)
    if found < expected:
        raise InputError(
            f"{path}: has {found} bytes, expected the {expected} of YOLOv3: it is cut off or of another network; "
            "download yolov3.weights again"
        )
    if found > expected:
        raise InputError(
            f"{path}: has {found - expected} bytes more than the {expected} of YOLOv3: it is of another network, such "
            "as YOLOv4, or not a plain copy; download yolov3.weights"
        )
    numbers = np.fromfile(path, "<f4", offset=len(HEADER))
    if not np.isfinite(numbers).all():
        raise InputError(f"{path}: holds infinities or NaN: it is damaged; download yolov3.weights again")
    parts = np.split(numbers, np.cumsum(sizes)[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def convert_back(model_file: str, path: str) -> int:
    """Writes the weights of a DarkNet-53 as a file of darknet, with the header of `yolov3.weights`.

    Args:
        model_file: A `.keras` file with a DarkNet-53.
        path: The file to write.

    Returns:
        The number of parameters, as in the report of `convert`.

    Raises:
        InputError: The model cannot be loaded, or the file cannot be written.
    """
    require_writable(path, others=[model_file])
    (family,) = load_families(DARKNET).values()
    model = load_model(model_file, DarkNet53)
    if model.folded:
        raise InputError(f"{model_file}: has folded batch norms; give the backbone it was made of")
    weights = torch_weights(family.pairs(model.config), {variable.path: variable for variable in model.variables})
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(HEADER)
        for value in weights.values():
            file.write(value.astype("<f4").tobytes())
    return len(weights)
