"""Converts TensorFlow 1 checkpoints of CMPC and its ancestors to Keras models, and back.

Every variable of the checkpoint must have a place in the model and the other way round: a name too many, too few or
of another shape stops the conversion before anything is written.
"""

import argparse
import collections
import dataclasses
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
for folder in map(str, (TOOLS, TOOLS.parent)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

from cmpc_tf2.cli import run_command  # noqa: E402
from cmpc_tf2.config import MUTAN_HEADS  # noqa: E402
from cmpc_tf2.errors import InputError  # noqa: E402
from cmpc_tf2.files import require_writable, write_json  # noqa: E402
from tf1_checkpoint import BACKBONES, TF1Checkpoint, find_files, first_line, infer_config, infer_kind  # noqa: E402


@dataclasses.dataclass(frozen=True)
class ModelKind:
    """What the converter knows of a kind of model.

    Attributes:
        model_type: Its class.
        pairs: Lists the variables of a configuration.
        ignored: Which others may be there, and why.
        step: The variable that counts training steps.
    """

    model_type: type
    pairs: Callable
    ignored: tuple
    step: str


def model_kinds() -> dict[str, ModelKind]:
    """All kinds of models, by their names in reports."""
    import tf1_name_map as names
    from cmpc_tf2.models.backbone import DeepLabResNet
    from cmpc_tf2.models.cmpc import CMPC
    from cmpc_tf2.models.lstm_baseline import LSTMBaseline
    from cmpc_tf2.models.rmi import RMI
    from cmpc_tf2.models.rrn import RRN
    from cmpc_video_tf2.models.cmpc_video import CMPCVideo

    ancestor = names.IGNORED_IN_ANCESTORS, names.ANCESTOR_STEP
    return {
        "cmpc": ModelKind(CMPC, names.cmpc_pairs, names.IGNORED_IN_CMPC, names.STEP),
        "cmpc_video": ModelKind(CMPCVideo, names.video_pairs, names.IGNORED_IN_CMPC, names.STEP),
        "rrn": ModelKind(RRN, names.rrn_pairs, *ancestor),
        "rmi": ModelKind(RMI, names.rmi_pairs, *ancestor),
        "lstm": ModelKind(LSTMBaseline, names.lstm_pairs, *ancestor),
        "backbone": ModelKind(DeepLabResNet, names.backbone_pairs, names.IGNORED_IN_BACKBONE, names.STEP),
        "deeplab": ModelKind(DeepLabResNet, names.deeplab_pairs, names.IGNORED_IN_DEEPLAB, names.STEP),
    }


def convert(prefix: str, output: str, vocabulary_file: str | None = None, optimizer_file: str | None = None) -> dict:
    """Converts a TensorFlow 1 checkpoint to a `.keras` file.

    Args:
        prefix: The checkpoint's path, without `.index`: of a model (CMPC-I, CMPC-V, RRN, RMI, LSTM baseline) after
            training or for evaluation, or of a bare backbone (`deeplab_resnet_init.ckpt`, or TF-deeplab's).
        output: The `.keras` file to write.
        vocabulary_file: The vocabulary to put into it, one word per line.
        optimizer_file: Where to write what Adam was doing (`.npz`), for `train --model ... --optimizer ...` to go on.

    Returns:
        The report, ready for JSON: `model`, `config`, `converted`, `ignored` with reasons, `missing` and
        `unexpected` (empty, or there would be no report), `step`; `optimizer` lists the variables that became the
        optimizer's state.

    Raises:
        InputError: With the complete list of what does not fit. Nothing is written.
    """
    import numpy as np

    from cmpc_tf2.checkpoints import require_model_path, save_model
    from cmpc_tf2.data.text import Vocabulary

    require_model_path(output)
    checkpoint = TF1Checkpoint(prefix)
    kind_name = infer_kind(checkpoint)
    config, kind = infer_config(checkpoint, kind_name), model_kinds()[kind_name]
    options = {}
    if vocabulary_file:
        if kind_name in BACKBONES:
            raise InputError("--vocabulary: a bare backbone has no vocabulary")
        options["vocabulary"] = Vocabulary.from_file(vocabulary_file, size=config.vocabulary_size).words
    pairs, ignored_patterns = kind.pairs(config), kind.ignored
    model = kind.model_type(config, name=kind_name, **options)
    variables = {variable.path: variable for variable in model.variables}

    factors = dict.fromkeys(pair.factor for pair in pairs if pair.factor)
    known = {pair.tf1 for pair in pairs} | set(factors)
    ignored, unexpected = [], []
    for name in sorted(set(checkpoint.shapes) - known):
        reason = _why_ignored(name, known, ignored_patterns)
        (unexpected.append(name) if reason is None else ignored.append({"tf1": name, "why": reason}))
    missing = [tf1 for tf1 in [*(pair.tf1 for pair in pairs), *factors] if tf1 not in checkpoint.shapes]
    misshapen = [
        (pair.tf1, checkpoint.shapes[pair.tf1], expected)
        for pair in pairs
        if pair.tf1 in checkpoint.shapes
        and checkpoint.shapes[pair.tf1] != (expected := tf1_shape(pair, variables[pair.keras].shape))
    ]
    misshapen += [(f, checkpoint.shapes[f], (1,)) for f in factors if checkpoint.shapes.get(f, (1,)) != (1,)]
    not_float = [name for name in known & set(checkpoint.dtypes) if checkpoint.dtypes[name] is not np.float32]
    step = checkpoint.read_step(kind.step) if kind.step in checkpoint.shapes else None
    _raise_if_any(prefix, missing, unexpected, misshapen, not_float)

    used = set()
    if optimizer_file:
        state, used = read_optimizer(checkpoint, pairs, variables, kind.step, step)
        ignored = [entry for entry in ignored if entry["tf1"] not in used]
    for path, group in _by_weight(pairs).items():
        variable = variables[path]
        value = _read_weight(checkpoint, [pair.tf1 for pair in group], variable.shape)
        if factor := group[0].factor:
            divisor = checkpoint.read(factor)
            if not 0 < divisor < np.inf:
                raise InputError(f"{prefix}: {factor} is {divisor[0]:g}; expected a finite number above 0")
            value = value / divisor
        if not np.isfinite(value).all():
            raise InputError(f"{prefix}: {group[0].tf1} holds values that are not finite; nothing was written")
        variable.assign(value)

    save_model(model, output)
    if optimizer_file:
        state.save(optimizer_file)
    return {
        "model": kind_name,
        "config": config.to_dict(),
        "converted": [
            {"tf1": tf1, "keras": path, "shape": list(checkpoint.shapes[tf1])}
            for tf1, path in [
                *((pair.tf1, pair.keras) for pair in pairs),
                *((pair.factor, pair.keras) for pair in pairs if pair.factor),
            ]
        ],
        "ignored": ignored,
        "missing": [],
        "unexpected": [],
        "step": step,
        "optimizer": sorted(used),
    }


def read_optimizer(checkpoint: TF1Checkpoint, pairs: list, variables: dict, step_name: str, step: int | None):
    """What Adam was doing in a training checkpoint.

    Args:
        checkpoint: The checkpoint.
        pairs: Its variables and their places in the Keras model (`cmpc_pairs`).
        variables: The model's variables by path.
        step_name: The variable that counts steps.
        step: The step it was written after.

    Returns:
        An `OptimizerState`, and the names of the variables that it was made of.

    Raises:
        InputError: It is not a training checkpoint, or its powers of beta belong to another step.
    """
    import numpy as np

    from cmpc_tf2.checkpoints import OptimizerState
    from cmpc_tf2.optimization import BETA_1, BETA_2, ITERATION, slot_paths
    from tf1_name_map import BETA_1_POWER, BETA_2_POWER, slot_names

    names = {pair.tf1: slot_names(pair.tf1) for pair in pairs}
    groups = {path: group for path, group in _by_weight(pairs).items() if names[group[0].tf1][0] in checkpoint.shapes}
    used = {step_name, BETA_1_POWER, BETA_2_POWER}
    used |= {slot for group in groups.values() for pair in group for slot in names[pair.tf1]}
    missing = sorted(used - set(checkpoint.shapes))
    if not groups or missing:
        what = f"{missing[0]} is missing" if groups else "it holds no slots of Adam"
        raise InputError(f"{checkpoint.prefix}: not a training checkpoint: {what}; convert it without --optimizer")
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


def _read_weight(checkpoint: TF1Checkpoint, names: list[str], shape):
    """A weight of the Keras model; of several variables, side by side."""
    import numpy as np

    blocks = [checkpoint.read(name) for name in names]
    if any(block.size * len(blocks) != math.prod(shape) for block in blocks):
        raise InputError(f"{checkpoint.prefix}: {names[0]} is {list(blocks[0].shape)}, which does not fit its weight")
    return np.concatenate(blocks, axis=-1).reshape(shape)


def convert_back(model_file: str, prefix: str) -> int:
    """Writes the weights of a `.keras` file as a TensorFlow 1 checkpoint that the original's evaluation restores.

    Args:
        model_file: A model of any kind, or a bare backbone (written by CMPC's names).
        prefix: Where to write `<prefix>.index` and `<prefix>.data-00000-of-00001`.

    Returns:
        The number of variables written.

    Raises:
        InputError: The model cannot be loaded, or the folder of `prefix` does not exist.
    """
    import keras
    import numpy as np
    import tensorflow as tf

    from cmpc_tf2.checkpoints import load_kind
    from tf1_name_map import unused_variables

    target = Path(prefix)
    if not target.name or target.is_dir():
        raise InputError(f"{prefix}: expected a prefix, the path of the checkpoint's files without .index")
    for suffix in (".index", ".data-00000-of-00001"):
        require_writable(f"{prefix}{suffix}", others=[model_file])
    kinds = model_kinds().values()
    model = load_kind(model_file, *dict.fromkeys(kind.model_type for kind in kinds))
    if getattr(model.config, "without", ()):
        raise InputError(f"{model_file}: the original has no model without {' and '.join(model.config.without)}")
    pairs = next(kind for kind in kinds if kind.model_type is type(model)).pairs(model.config)
    variables = {variable.path: variable for variable in model.variables}
    tensors = unused_variables(pairs, model.config)
    for pair in pairs:
        value = keras.ops.convert_to_numpy(variables[pair.keras])
        if pair.head is not None:
            value = np.split(value, MUTAN_HEADS, axis=-1)[pair.head]
        tensors[pair.tf1] = np.ascontiguousarray(value).reshape(tf1_shape(pair, variables[pair.keras].shape))

    folder = Path(tempfile.mkdtemp(prefix=".", suffix=".partial", dir=target.parent))
    try:
        tf.raw_ops.SaveV2(
            prefix=str(folder / "checkpoint"),  # TensorFlow lengthens the name while it writes.
            tensor_names=list(tensors),
            shape_and_slices=[""] * len(tensors),
            tensors=list(tensors.values()),
        )
    except tf.errors.OpError as error:
        raise InputError(f"{prefix}: cannot be written: {first_line(error)}") from error
    else:
        for suffix in (".data-00000-of-00001", ".index"):  # The index last: without it there is no checkpoint.
            os.replace(folder / f"checkpoint{suffix}", f"{prefix}{suffix}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return len(tensors)


def tf1_shape(pair, keras_shape: tuple) -> tuple:
    """The shape that a Keras weight, or one head's block of it, has in TensorFlow 1.

    There every layer is a convolution; here the 1x1 ones are dense, without the two leading ones.
    """
    shape = tuple(keras_shape)
    if pair.head is not None:
        shape = (*shape[:-1], shape[-1] // MUTAN_HEADS)
    is_convolution = pair.tf1.endswith("/DW") or pair.tf1.endswith("conv_lstm_cell/kernel")
    return (1, 1, *shape) if is_convolution and len(shape) == 2 else shape


def _by_weight(pairs) -> dict:
    groups = collections.defaultdict(list)
    for pair in pairs:
        groups[pair.keras].append(pair)
    return groups


def _why_ignored(name: str, known: set, patterns) -> str | None:
    for pattern, reason in patterns:
        match = re.fullmatch(pattern, name)
        if match and match.groupdict().get("base", None) in (None, *known):
            return reason
    return None


def _raise_if_any(prefix: str, missing, unexpected, misshapen, not_float):
    problems = [f"missing: {name}" for name in missing]
    problems += [f"unexpected: {name}" for name in unexpected]
    problems += [
        f"wrong shape: {name} is {list(found)}, expected {list(expected)}" for name, found, expected in misshapen
    ]
    problems += [f"wrong type: {name} is not float32" for name in sorted(not_float)]
    if problems:
        counts = f"{len(missing)} missing, {len(unexpected)} unexpected, {len(misshapen)} of another shape"
        raise InputError("\n  ".join([f"{prefix}: does not fit the model ({counts}); nothing was written", *problems]))


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    direction = parser.add_mutually_exclusive_group(required=True)
    direction.add_argument("--checkpoint", metavar="PREFIX", help="TensorFlow 1 checkpoint, path without .index")
    direction.add_argument("--to-tf1", action="store_true", help="convert --model back to a TensorFlow 1 checkpoint")
    parser.add_argument("--model", metavar="FILE.keras", help="with --to-tf1: the Keras model")
    parser.add_argument("--output", required=True, help="FILE.keras to write; with --to-tf1, the PREFIX to write")
    parser.add_argument("--vocabulary", metavar="FILE", help="vocabulary to store in the model, one word per line")
    parser.add_argument(
        "--optimizer", metavar="FILE.npz", help="of a training checkpoint: write the state of Adam too, to train on"
    )
    parser.add_argument("--report", metavar="FILE.json", help="write what became of every variable")
    return parser


def main(argv: list[str] | None = None) -> int:
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.to_tf1 != bool(arguments.model):
        parser.error("--model goes with --to-tf1, and --to-tf1 needs it")
    if arguments.to_tf1 and (arguments.vocabulary or arguments.report or arguments.optimizer):
        parser.error("--vocabulary, --optimizer and --report go with --checkpoint")
    return run_command(_run, arguments)


def _run(arguments: argparse.Namespace):
    if arguments.to_tf1:
        count = convert_back(arguments.model, arguments.output)
        print(f"{arguments.output}: {count} variables")
        return
    others = find_files(arguments.checkpoint)
    if arguments.vocabulary:
        others.append(arguments.vocabulary)
    for path in filter(None, (arguments.output, arguments.report, arguments.optimizer)):
        require_writable(path, others=others)
        others.append(path)
    report = convert(arguments.checkpoint, arguments.output, arguments.vocabulary, arguments.optimizer)
    if arguments.report:
        write_json(arguments.report, report)
    step = "" if report["step"] is None else f", step {report['step']}"
    converted, ignored = len({entry["tf1"] for entry in report["converted"]}), len(report["ignored"])
    print(f"{arguments.output}: {report['model']}{step}, {converted} variables converted, {ignored} ignored")
    if report["model"] in ("rmi", "lstm"):
        size = report["config"]["image_size"]
        print(f"nothing in {arguments.checkpoint} tells the size of its pictures; {size} x {size} is taken")


if __name__ == "__main__":
    sys.exit(main())
