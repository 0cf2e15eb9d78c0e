"""The numbers of the originals, weights by rule, and TensorFlow 1 checkpoints made of them.

`tests/golden/README.md` describes both. The environment variable `GOLDEN_ROOT` names another folder of the same layout,
so that the same tests run on numbers that were made with another salt.
"""

import contextlib
import dataclasses
import functools
import io
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

GOLDEN = Path(os.environ.get("GOLDEN_ROOT") or Path(__file__).parent / "golden").resolve()

_TINY_SCORE_BIAS = {"text_objseg/score/biases": -0.6}
_FULL_SCORE_BIAS = {"text_objseg/score/biases": -0.33}


@dataclasses.dataclass(frozen=True)
class Rule:
    """How the weights behind the numbers of one folder were made.

    Attributes:
        salt: Added to the checksum of a weight's name.
        exceptions: By file, without `_manifest`, and by name of a weight: a number for all elements, or numbers by the
            index of an element in the flattened weight.
    """

    salt: int = 0
    exceptions: Mapping[str, Mapping[str, float | Mapping[str, float]]] = dataclasses.field(default_factory=dict)


# The rule of a folder without `rule.json`.
DEFAULT_RULE = Rule(
    exceptions={
        "image_tiny_train": _TINY_SCORE_BIAS,
        "image_full_train": _FULL_SCORE_BIAS,
        "image_full_eval": _FULL_SCORE_BIAS,
        "video_tiny_train": _TINY_SCORE_BIAS,
        "video_full_train": _FULL_SCORE_BIAS,
    }
)


@functools.cache
def read_rule(folder: Path) -> Rule:
    """Reads the `rule.json` of a folder of numbers; a folder without one follows `DEFAULT_RULE`."""
    path = folder / "rule.json"
    return Rule(**json.loads(path.read_text())) if path.is_file() else DEFAULT_RULE


def weight_by_rule(name: str, shape: tuple[int, ...], salt: int = 0, exceptions: Mapping | None = None) -> np.ndarray:
    """Makes a weight.

    Args:
        name: Its name in the checkpoint of the original.
        shape: Its shape there.
        salt: As of `Rule`.
        exceptions: Of one file, as in `Rule.exceptions`.

    Returns:
        float32 of that shape.
    """
    seed = (zlib.crc32(name.encode()) + salt) % 2**32
    value = _tf1_value(name, np.random.RandomState(seed).standard_normal(shape)).astype(np.float32)
    exception = (exceptions or {}).get(name, {})
    if not isinstance(exception, Mapping):
        return np.full(shape, exception, np.float32)
    for element, number in exception.items():
        value.flat[int(element)] = number
    return value


def _tf1_value(name: str, noise: np.ndarray) -> np.ndarray:
    """Scales and shifts normal noise by what the last part of a TensorFlow 1 name says."""
    last = name.rsplit("/", 1)[-1]
    if last == "gamma":
        return 1 + 0.1 * noise
    if last in ("moving_variance", "running_var", "variance", "factor"):
        return 1 + 0.2 * np.abs(noise)
    if last in ("beta", "moving_mean", "running_mean", "mean", "biases", "bias", "b", "W_ci", "W_cf", "W_co"):
        return 0.1 * noise
    if last == "Variable":
        return 0.4 * noise
    gain = 2 if last in ("weights", "w") else 1
    return noise * np.sqrt(gain / np.prod(noise.shape[:-1]))


@functools.cache
def read_manifest(name: str) -> dict[str, tuple[int, ...]]:
    """Reads the shapes of the variables in a manifest of `GOLDEN`, by name."""
    return {v["name"]: tuple(v["shape"]) for v in json.loads((GOLDEN / f"{name}_manifest.json").read_text())}


def checkpoint_values(manifest: str) -> dict[str, np.ndarray]:
    """Makes all variables of a checkpoint: weights by rule, optimizer state as TensorFlow 1 starts it."""
    rule, file = read_rule((GOLDEN / manifest).parent), Path(manifest).name
    values = {}
    for name, shape in read_manifest(manifest).items():
        if name == "text_objseg/beta1_power":
            values[name] = np.float32(0.9)
        elif name == "text_objseg/beta2_power":
            values[name] = np.float32(0.999)
        elif name == "text_objseg/Variable_1" or shape == () or "/Adam" in name:
            values[name] = np.zeros(shape, np.float32)
        else:
            values[name] = weight_by_rule(name, shape, rule.salt, rule.exceptions.get(file))
    return values


def write_checkpoint(prefix, values: dict[str, np.ndarray]):
    """Writes `prefix.index` and `prefix.data-00000-of-00001`."""
    import tensorflow as tf

    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(values),
        shape_and_slices=[""] * len(values),
        tensors=list(values.values()),
    )


def convert_by_command(prefix: str, path: Path) -> tuple[dict, str]:
    """Converts a checkpoint to a model file; returns the report, and what the command printed."""
    from convert_tf1_ckpt import main

    report = path.with_name("report.json")
    with contextlib.redirect_stdout(io.StringIO()) as output:
        assert main(["--checkpoint", prefix, "--output", str(path), "--report", str(report)]) == 0
    return json.loads(report.read_text()), output.getvalue()


def write_v1_checkpoint(path, values: dict[str, np.ndarray]):
    """Writes a file in format V1, as TensorFlow before 0.12 did."""
    import tensorflow as tf

    tf.raw_ops.Save(filename=str(path), tensor_names=list(values), data=list(map(tf.constant, values.values())))
