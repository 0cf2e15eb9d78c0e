"""The mapping of PyTorch checkpoints to Keras models, and back."""

import dataclasses

import keras
import numpy as np

from cmpc_tf2.conversion.core import complete_sizes, make_report, new_model, require_match
from cmpc_tf2.conversion.families import TORCH, Family, load_families, recognize
from cmpc_tf2.conversion.torch_checkpoint import MOMENTS, STEP, TorchCheckpoint
from cmpc_tf2.conversion.torch_layout import to_keras, torch_shape, torch_weights
from cmpc_tf2.conversion.torch_names import TorchPair
from cmpc_tf2.conversion.torch_writer import write_torch_file
from cmpc_tf2.errors import InputError
from cmpc_tf2.fields import FieldError, from_dict
from cmpc_tf2.files import require_writable
from cmpc_tf2.model_files import load_model, require_model_path, save_model
from cmpc_tf2.recipes.optimizers import slot_paths
from cmpc_tf2.training.checkpoints import OptimizerState

# Name of the optimizer that continues from a state of PyTorch's AdamW.
_OPTIMIZER = "adamw"


def convert(
    path: str,
    output: str,
    vocabulary_file: str | None = None,
    optimizer_file: str | None = None,
    backbone_file: str | None = None,
    sizes_file: str | None = None,
) -> dict:
    """Converts a PyTorch checkpoint to a `.keras` file.

    Args:
        path: A file of a whole model (MaskRIS, CARIS, MAttNet, CAC, SL-Att., CG-SL-Att.), of a part that training
            starts from (Swin Transformer, BERT) or of a detector (Mask R-CNN C4): of `torch.save` or, for BERT,
            safetensors.
        output: The `.keras` file to write.
        vocabulary_file: The vocabulary to put into it, as `Tokenizer.read_words` of the model reads it.
        optimizer_file: Where to write the state of AdamW (`.npz`), to resume by `train --model ... --optimizer ...`.
        backbone_file: The part of the model that has a file of its own (`.keras`): of MAttNet the detector.
        sizes_file: Sizes that the checkpoint does not tell (JSON), as `core.complete_sizes` reads them.

    Returns:
        The report, as `tf1.convert` returns it. Variables have the names by which they were looked for: without
        `module.`, and with `weight` and `bias` where old files have `gamma` and `beta`.

    Raises:
        InputError: With the complete list of what does not fit. Nothing is written.
    """
    require_model_path(output)
    checkpoint = TorchCheckpoint(path)
    family = recognize(checkpoint.path, checkpoint.tensors, TORCH)
    checkpoint.rename(family.renames)
    backbone = _load_backbone(path, family, backbone_file)
    config, assumed = _read_config(family, checkpoint, sizes_file)
    if backbone is not None:
        config = dataclasses.replace(config, detector=backbone.config)
    try:
        model = new_model(family, config, vocabulary_file)
    except FieldError as error:
        if backbone is None:
            raise
        raise InputError(f"{path}: was trained with another detector than {backbone_file}: {error}") from None
    if backbone is not None:
        model.get_backbone().set_weights(backbone.get_weights())
    pairs = family.pairs(model.config)
    variables = {variable.path: variable for variable in model.variables}
    reasons = _require_match(checkpoint, pairs, variables, family.ignored)

    state, step, used = None, None, set()
    if optimizer_file:
        state, step = read_optimizer(checkpoint, family, pairs)
        used = {pair.torch for pair in pairs}
    for pair in pairs:
        variables[pair.keras].assign(to_keras(checkpoint.tensors[pair.torch], pair))
    save_model(model, output)
    if state:
        state.save(optimizer_file)

    places = [(pair.torch, pair.keras) for pair in pairs]
    return make_report(family, model.config, places, checkpoint.shapes, reasons, step, used, assumed)


def _load_backbone(path: str, family: Family, backbone_file: str | None) -> keras.Model | None:
    """The part of a model that its checkpoint does not hold; None if it holds all."""
    model_type = family.system.model_type
    title = model_type.title
    if not getattr(model_type, "has_fixed_detector", False):
        if backbone_file:
            raise InputError(f"--backbone: the checkpoint of {title} holds all of it; leave the option out")
        return None
    if not backbone_file:
        raise InputError(
            f"{path}: {title} without its detector, which has a checkpoint of its own; convert that "
            "first, and give the result with --backbone FILE.keras"
        )
    return load_model(backbone_file, model_type.detector_type)


def _read_config(family: Family, checkpoint: TorchCheckpoint, sizes_file: str | None) -> tuple:
    """The sizes that the file states, otherwise those that shapes and `sizes_file` tell; and names of assumed ones."""
    try:
        if checkpoint.sizes is None:
            config = family.infer_config(checkpoint.shapes)
        else:
            config = from_dict(family.system.config_type, checkpoint.sizes, "sizes")
    except FieldError as error:
        raise InputError(f"{checkpoint.path}: not the sizes of {family.system.model_type.title}: {error}") from None
    if checkpoint.sizes is None:
        return complete_sizes(family, config, sizes_file)
    if sizes_file:
        raise InputError(f"--sizes: {checkpoint.path} states all sizes of its model; leave the option out")
    return config, ()


def _require_match(
    checkpoint: TorchCheckpoint, pairs: list[TorchPair], variables: dict, ignorable: tuple
) -> dict[str, str]:
    """As `core.require_match`, for the variables of a checkpoint and of a model by name and path."""
    # Of several parts of a parameter, the last one tells how many inputs it has.
    expected = {pair.torch: torch_shape(variables[pair.keras].shape, pair) for pair in pairs}
    problems = []
    for name in expected.keys() & checkpoint.tensors.keys():
        value = checkpoint.tensors[name]
        if value.dtype.kind != "f":
            problems.append(f"wrong type: {name} is {value.dtype}, expected floating-point numbers")
        elif not np.isfinite(value).all():
            problems.append(f"not finite: {name} holds infinities or NaN")
    return require_match(checkpoint.path, checkpoint.shapes, expected, ignorable, sorted(problems))


def read_optimizer(checkpoint: TorchCheckpoint, family: Family, pairs: list[TorchPair]) -> tuple[OptimizerState, int]:
    """Reads the state of AdamW from a training checkpoint.

    Args:
        checkpoint: The checkpoint.
        family: Its family.
        pairs: Its parameters and their places in the Keras model.

    Returns:
        The state, and the step it was written after.

    Raises:
        InputError: It is not a training checkpoint, or its state is not that of all parameters after one step.
    """
    if family.optimizer_groups is None:
        raise InputError(f"{checkpoint.path}: {family.system.model_type.title} has no optimizer; leave out --optimizer")
    entries = checkpoint.read_adamw(family.optimizer_groups(list(checkpoint.tensors)))
    if missing := [pair.torch for pair in pairs if pair.torch not in entries]:
        raise InputError(
            f"{checkpoint.path}: the state of the optimizer lacks {missing[0]} and {len(missing) - 1} more"
        )
    step = _common_step(checkpoint.path, [entries[pair.torch][STEP] for pair in pairs])
    values = {f"{_OPTIMIZER}/iteration": np.int64(step)}
    for pair in pairs:
        for moment, slot_path in zip(MOMENTS, slot_paths(pair.keras, _OPTIMIZER), strict=True):
            value, shape = entries[pair.torch][moment], checkpoint.tensors[pair.torch].shape
            if value.shape != shape or value.dtype.kind != "f" or not np.isfinite(value).all():
                raise InputError(
                    f"{checkpoint.path}: {moment} of {pair.torch} is {value.dtype} {list(value.shape)}; "
                    f"expected {list(shape)} finite floating-point numbers"
                )
            values[slot_path] = to_keras(value, pair)
    return OptimizerState(values), step


def _common_step(path: str, steps: list[np.ndarray]) -> int:
    """The number of updates of all parameters."""
    first = steps[0]
    is_valid = first.shape == () and first.dtype.kind in "fiu" and first == first // 1
    if not is_valid or any(step.shape != () or step != first for step in steps):
        raise InputError(f"{path}: expected parameters that were all updated equally often; use another checkpoint")
    return int(first)


def convert_back(model_file: str, path: str) -> int:
    """Writes the weights of a `.keras` file as a PyTorch checkpoint that the original reads.

    The file is a dict with the state dict, as the original saves and resumes it (`Family.file_content`), and with
    `sizes`, the sizes of the model, unless the original would refuse that.

    Args:
        model_file: A model or a part that has PyTorch checkpoints.
        path: The file to write.

    Returns:
        The number of tensors in the state dict.

    Raises:
        InputError: The model cannot be loaded, or the file cannot be written.
    """
    require_writable(path, others=[model_file])
    families = load_families(TORCH).values()
    model = load_model(model_file, *(family.system.model_type for family in families))
    family = next(family for family in families if family.system.model_type is type(model))
    variables = {variable.path: variable for variable in model.variables}
    weights = torch_weights(family.pairs(model.config), variables)
    weights |= family.unused_variables(model.config)
    sizes = {"sizes": model.config.to_dict()} if family.states_sizes else {}
    write_torch_file(path, {**family.file_content(weights), **sizes})
    return len(weights)
