"""The mapping of TensorFlow 1 checkpoints to Keras models, and back."""

import collections
import math
import os
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cmpc_tf2.conversion.core import complete_sizes, make_report, new_model, require_match
from cmpc_tf2.conversion.families import TF1, find_family, load_families
from cmpc_tf2.conversion.tf1_names import BETA_1_POWER, BETA_2_POWER, Pair, slot_names
from cmpc_tf2.conversion.tf1_reader import TF1Checkpoint
from cmpc_tf2.errors import InputError, first_line
from cmpc_tf2.files import require_writable
from cmpc_tf2.model_files import load_model, require_model_path, save_model
from cmpc_tf2.recipes.optimizers import BETA_1, BETA_2, ITERATION, slot_paths
from cmpc_tf2.training.checkpoints import OptimizerState


def convert(
    prefix: str,
    output: str,
    vocabulary_file: str | None = None,
    optimizer_file: str | None = None,
    sizes_file: str | None = None,
) -> dict:
    """Converts a TensorFlow 1 checkpoint to a `.keras` file.

    Args:
        prefix: The checkpoint's path, without `.index`: of a model (CMPC-I, CMPC-V, RRN, RMI, LSTM baseline) after
            training or for evaluation, or of a bare backbone (`deeplab_resnet_init.ckpt`, or TF-deeplab's).
        output: The `.keras` file to write.
        vocabulary_file: The vocabulary to put into it, one word per line.
        optimizer_file: Where to write the state of Adam (`.npz`), to resume by `train --model ... --optimizer ...`.
        sizes_file: Sizes that the checkpoint does not tell (JSON), as `core.complete_sizes` reads them.

    Returns:
        The report, ready for JSON: `model`, `config`, `assumed` (sizes that nothing tells), `converted`,
        `ignored` with reasons, `missing` and `unexpected` (empty, or there would be no report), `step`; `optimizer`
        lists the variables that became the optimizer's state, `released` names the published checkpoint that this is,
        if its checksums are known.

    Raises:
        InputError: With the complete list of what does not fit. Nothing is written.
    """
    require_model_path(output)
    checkpoint = TF1Checkpoint(prefix)
    family = find_family(checkpoint)
    checkpoint.rename(family.renames)
    config, assumed = complete_sizes(family, family.infer_config(checkpoint.shapes), sizes_file)
    model = new_model(family, config, vocabulary_file)
    pairs = family.pairs(model.config)
    variables = {variable.path: variable for variable in model.variables}
    step = checkpoint.read_step(family.step) if family.step in checkpoint.shapes else None
    reasons = _require_match(checkpoint, pairs, variables, family.ignored)

    used = set()
    if optimizer_file:
        state, used = read_optimizer(checkpoint, pairs, variables, family.step, step)
    _assign_weights(checkpoint, pairs, variables)
    save_model(model, output)
    if optimizer_file:
        state.save(optimizer_file)

    places = [(pair.tf1, pair.keras) for pair in pairs]
    places += [(pair.factor, pair.keras) for pair in pairs if pair.factor]
    facts = (checkpoint.shapes, reasons, step, used, assumed, checkpoint.stored_names)
    report = make_report(family, model.config, places, *facts)
    return {**report, "released": family.released.get(checkpoint.fingerprint()) if family.released else None}


def _require_match(checkpoint: TF1Checkpoint, pairs: list[Pair], variables: dict, ignorable: tuple) -> dict[str, str]:
    """As `core.require_match`, for the variables of a checkpoint and of a model by name and path."""
    expected = {pair.tf1: tf1_shape(pair, variables[pair.keras].shape) for pair in pairs}
    expected |= {pair.factor: (1,) for pair in pairs if pair.factor}
    found = dict(checkpoint.shapes)
    for pair in (pair for pair in pairs if pair.may_have_leading_ones and pair.tf1 in found):
        shape, rank = found[pair.tf1], len(expected[pair.tf1])
        if set(shape[:-rank]) == {1}:
            found[pair.tf1] = shape[-rank:]
    not_float = sorted(name for name in expected.keys() & found.keys() if checkpoint.dtypes[name] is not np.float32)
    problems = [f"wrong type: {name} is not float32" for name in not_float]
    return require_match(checkpoint.prefix, found, expected, ignorable, problems, checkpoint.stored_names)


def _assign_weights(checkpoint: TF1Checkpoint, pairs: list[Pair], variables: dict):
    """Reads the checkpoint into the model's variables."""
    for path, group in _by_weight(pairs).items():
        value = _read_weight(checkpoint, [pair.tf1 for pair in group], variables[path].shape)
        if factor := group[0].factor:
            divisor = checkpoint.read(factor)
            if not 0 < divisor < np.inf:
                raise InputError(f"{checkpoint.prefix}: {factor} is {divisor[0]:g}; expected a finite number above 0")
            value = value / divisor
        if not np.isfinite(value).all():
            raise InputError(
                f"{checkpoint.prefix}: {group[0].tf1} holds values that are not finite; nothing was written"
            )
        variables[path].assign(value)


def read_optimizer(
    checkpoint: TF1Checkpoint, pairs: list[Pair], variables: dict, step_name: str | None, step: int | None
) -> tuple[OptimizerState, set[str]]:
    """Reads the state of Adam from a training checkpoint.

    Args:
        checkpoint: The checkpoint.
        pairs: Its variables and their places in the Keras model.
        variables: The model's variables by path.
        step_name: The variable that counts steps.
        step: The step it was written after.

    Returns:
        The state, and the names of the variables that it was made of.

    Raises:
        InputError: It is not a training checkpoint, or its powers of beta belong to another step.
    """
    names = {pair.tf1: slot_names(pair.tf1) for pair in pairs}
    groups = {path: group for path, group in _by_weight(pairs).items() if names[group[0].tf1][0] in checkpoint.shapes}
    if not groups:
        raise _not_of_training(checkpoint, "it holds no slots of Adam")
    used = {step_name, BETA_1_POWER, BETA_2_POWER}
    used |= {slot for group in groups.values() for pair in group for slot in names[pair.tf1]}
    if missing := sorted(used - set(checkpoint.shapes)):
        raise _not_of_training(checkpoint, f"{missing[0]} is missing")
    for name, beta in ((BETA_1_POWER, BETA_1), (BETA_2_POWER, BETA_2)):
        power = float(checkpoint.read(name))
        if not np.isclose(power, beta ** (step + 1), rtol=0.05, atol=1e-30):
            raise InputError(f"{checkpoint.prefix}: {name} is {power:g}, which does not belong to step {step}")
    values = {ITERATION: np.int64(step)}
    for path, group in groups.items():
        for slot, slot_path in enumerate(slot_paths(path)):
            value = _read_weight(checkpoint, [names[pair.tf1][slot] for pair in group], variables[path].shape)
            if not np.isfinite(value).all():
                raise InputError(f"{checkpoint.prefix}: a slot of {group[0].tf1} holds values that are not finite")
            values[slot_path] = value
    return OptimizerState(values), used


def _not_of_training(checkpoint: TF1Checkpoint, reason: str) -> InputError:
    return InputError(f"{checkpoint.prefix}: not a training checkpoint: {reason}; convert it without --optimizer")


def _read_weight(checkpoint: TF1Checkpoint, names: list[str], shape: tuple) -> np.ndarray:
    """A weight of the Keras model; of several variables, side by side."""
    blocks = [checkpoint.read(name) for name in names]
    if any(block.size * len(blocks) != math.prod(shape) for block in blocks):
        raise InputError(f"{checkpoint.prefix}: {names[0]} is {list(blocks[0].shape)}, which does not fit its weight")
    return np.concatenate(blocks, axis=-1).reshape(shape)


def _by_weight(pairs: list[Pair]) -> dict[str, list[Pair]]:
    groups = collections.defaultdict(list)
    for pair in pairs:
        groups[pair.keras].append(pair)
    return groups


def tf1_shape(pair: Pair, keras_shape: tuple) -> tuple:
    """The shape that a Keras weight, or one block of it, has in TensorFlow 1.

    There every layer is a convolution; here the 1x1 ones are dense, without the two leading ones.
    """
    shape = tuple(keras_shape)
    if pair.block is not None:
        shape = (*shape[:-1], shape[-1] // pair.block[1])
    is_convolution = pair.tf1.endswith("/DW") or pair.tf1.endswith("conv_lstm_cell/kernel")
    return (1, 1, *shape) if is_convolution and len(shape) == 2 else shape


def convert_back(model_file: str, prefix: str) -> int:
    """Writes the weights of a `.keras` file as a TensorFlow 1 checkpoint that the original's evaluation restores.

    Args:
        model_file: Any model, or a bare backbone (written by CMPC's names).
        prefix: Where to write `<prefix>.index` and `<prefix>.data-00000-of-00001`.

    Returns:
        The number of variables written.

    Raises:
        InputError: The model cannot be loaded, or the folder of `prefix` does not exist.
    """
    target = Path(prefix)
    if not target.name or target.is_dir():
        raise InputError(f"{prefix}: expected a prefix, the path of the checkpoint's files without .index")
    for suffix in (".index", ".data-00000-of-00001"):
        require_writable(f"{prefix}{suffix}", others=[model_file])
    families = load_families(TF1).values()
    model = load_model(model_file, *dict.fromkeys(family.system.model_type for family in families))
    if getattr(model.config, "without", ()):
        raise InputError(f"{model_file}: the original has no model without {' and '.join(model.config.without)}")
    family = next(family for family in families if family.system.model_type is type(model))
    tensors = family.unused_variables(model.config)
    variables = {variable.path: variable for variable in model.variables}
    for pair in family.pairs(model.config):
        value = keras.ops.convert_to_numpy(variables[pair.keras])
        if pair.block is not None:
            index, count = pair.block
            value = np.split(value, count, axis=-1)[index]
        tensors[pair.tf1] = np.ascontiguousarray(value).reshape(tf1_shape(pair, variables[pair.keras].shape))
    _write_checkpoint(prefix, tensors)
    return len(tensors)


def _write_checkpoint(prefix: str, tensors: dict[str, np.ndarray]):
    """Writes a checkpoint of format V2, whole or not at all."""
    place = {"prefix": ".", "suffix": ".partial", "dir": Path(prefix).parent}
    with tempfile.TemporaryDirectory(**place, ignore_cleanup_errors=True) as folder:
        written = f"{folder}/checkpoint"  # TensorFlow lengthens the name while it writes.
        try:
            tf.raw_ops.SaveV2(
                prefix=written,
                tensor_names=list(tensors),
                shape_and_slices=[""] * len(tensors),
                tensors=list(tensors.values()),
            )
        except tf.errors.OpError as error:
            raise InputError(f"{prefix}: cannot be written: {first_line(error)}") from error
        for suffix in (".data-00000-of-00001", ".index"):  # The index last: without it there is no checkpoint.
            os.replace(f"{written}{suffix}", f"{prefix}{suffix}")
