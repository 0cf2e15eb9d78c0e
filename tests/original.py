"""Weights by rule and TensorFlow 1 checkpoints made of them, as `tests/golden/README.md` describes."""

import functools
import json
import zlib
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / "golden"

TINY_SCORE_BIAS = -0.6
FULL_SCORE_BIAS = -0.33
SCORE_BIAS = "text_objseg/score/biases"


def weight_by_rule(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value that follows from a variable's name."""
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    last = name.rsplit("/", 1)[-1]
    if last == "gamma":
        value = 1 + 0.1 * noise
    elif last in ("moving_variance", "variance", "factor"):
        value = 1 + 0.2 * np.abs(noise)
    elif last in ("beta", "moving_mean", "mean", "biases", "bias", "W_ci", "W_cf", "W_co"):
        value = 0.1 * noise
    elif last == "Variable":
        value = 0.4 * noise
    else:
        gain = 2 if last == "weights" else 1
        value = noise * np.sqrt(gain / np.prod(shape[:-1]))
    return value.astype(np.float32)


@functools.cache
def read_manifest(name: str) -> dict[str, tuple[int, ...]]:
    """Shape per variable of a golden manifest."""
    return {v["name"]: tuple(v["shape"]) for v in json.loads((GOLDEN / f"{name}_manifest.json").read_text())}


def checkpoint_values(manifest: str, score_bias: float | None = None) -> dict[str, np.ndarray]:
    """All variables of a checkpoint: weights by rule, optimizer state as TensorFlow 1 starts it."""
    values = {}
    for name, shape in read_manifest(manifest).items():
        if name == SCORE_BIAS and score_bias is not None:
            values[name] = np.full(shape, score_bias, np.float32)
        elif name == "text_objseg/beta1_power":
            values[name] = np.float32(0.9)
        elif name == "text_objseg/beta2_power":
            values[name] = np.float32(0.999)
        elif name == "text_objseg/Variable_1" or shape == () or "/Adam" in name:
            values[name] = np.zeros(shape, np.float32)
        else:
            values[name] = weight_by_rule(name, shape)
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


def write_v1_checkpoint(path, values: dict[str, np.ndarray]):
    """Writes a file as TensorFlow before 0.12 did: format V1."""
    import tensorflow as tf

    tf.raw_ops.Save(filename=str(path), tensor_names=list(values), data=list(map(tf.constant, values.values())))
