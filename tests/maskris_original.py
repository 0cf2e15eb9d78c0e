"""Sizes and weights of the MaskRIS goldens, as `tests/golden/maskris/README.md` describes."""

import functools
import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest

from cmpc_tf2.backbones.config import SwinConfig
from cmpc_tf2.conversion.torch_names import TorchPair
from cmpc_tf2.models.maskris.config import MaskRISConfig
from cmpc_tf2.text.config import BertConfig

TESTS = Path(__file__).parent
GOLDEN = Path(os.environ.get("GOLDEN_ROOT", TESTS / "golden")) / "maskris"
# The golden of full size is too large for the repository.
SHARED_GOLDEN = Path(os.environ.get("GOLDEN_ROOT", TESTS.parents[1] / "shared" / "golden")) / "maskris"

TINY = MaskRISConfig(
    image_size=96,
    vocabulary_size=120,
    swin=SwinConfig(width=24, depths=(2, 2, 3, 2), heads=(2, 3, 4, 6)),
    bert=BertConfig(width=40, layers=3, heads=4, intermediate=56, vocabulary_size=120, positions=24),
    feature_dim=48,
    output_dim=40,
    decoder_layers=2,
    decoder_heads=4,
    head_dim=48,
    points=3,
    mlp_dim=144,
    groups=6,
    prompts=4,
)
TABLES = (
    "word_embeddings",
    "position_embeddings",
    "token_type_embeddings",
    "lang_prompts",
    "vis_prompts",
    "level_encoding",
)
AXES = {"linear": (1, 0), "conv": (2, 3, 1, 0)}


def read_golden(name: str) -> dict[str, np.ndarray]:
    """`tiny`, `extras` or `full`; the last one may be absent, which skips the test."""
    path = (SHARED_GOLDEN if name == "full" else GOLDEN) / f"maskris_{name}.npz"
    if name == "full" and not path.is_file():
        pytest.skip("the golden of full size is not here (GOLDEN_ROOT)")
    return dict(np.load(path))


@functools.cache
def read_manifest(name: str) -> dict[str, tuple[int, ...]]:
    """Shape per parameter, of `tiny` or `full`."""
    entries = json.loads((GOLDEN / f"maskris_{name}_manifest.json").read_text())["parameters"]
    return {entry["name"]: tuple(entry["shape"]) for entry in entries if entry["kind"] == "parameter"}


@functools.cache
def read_rule() -> dict:
    return json.loads((GOLDEN / "rule.json").read_text())


def weight_by_rule(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value that follows from a parameter's name, with the axes of PyTorch."""
    rule = read_rule()
    if name in rule["exceptions"]:
        return np.full(shape, rule["exceptions"][name], np.float32)
    noise = np.random.RandomState((zlib.crc32(name.encode()) + rule["salt"]) % 2**32).standard_normal(shape)
    *_, module, last = name.split(".")
    is_norm = last == "weight" and ("norm" in module.lower() or module == "gn")
    if is_norm or last in ("gamma_v2l", "gamma_l2v"):
        value = 1 + 0.1 * noise
    elif last == "bias":
        value = 0.1 * noise
    elif last == "relative_position_bias_table":
        value = 0.5 * noise
    elif last == "mask_token" or module in TABLES:
        value = 0.4 * noise
    else:
        value = noise * np.sqrt(1 / np.prod(shape[1:]))
    return value.astype(np.float32)


def assign_by_rule(variables, pairs: list[TorchPair], shapes: dict[str, tuple[int, ...]]):
    """Gives every variable the value that follows from its parameter's name; all must have one.

    Args:
        variables: Variables of a model.
        pairs: The parameters and their places; others than those of `variables` are left out.
        shapes: Shape per parameter.
    """
    by_path = {variable.path: variable for variable in variables}
    assert by_path.keys() <= {pair.keras for pair in pairs}
    for pair in pairs:
        if pair.keras in by_path:
            value = weight_by_rule(pair.torch, shapes[pair.torch])
            by_path[pair.keras].assign(value.transpose(AXES[pair.transform]) if pair.transform in AXES else value)
