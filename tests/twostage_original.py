"""Weights and numbers of the goldens of Mask R-CNN C4, MAttNet and CAC; `golden/twostage/README.md` describes them."""

import functools
import json
import os
import re
import zlib
from pathlib import Path

import numpy as np

from cmpc_tf2.backbones.config import ResNetC4Config
from cmpc_tf2.conversion.torch_layout import to_keras
from cmpc_tf2.conversion.torch_names import TorchPair
from cmpc_tf2.models.mask_rcnn_c4.config import MaskRCNNC4Config

GOLDEN = Path(os.environ.get("GOLDEN_ROOT") or Path(__file__).parent / "golden").resolve() / "twostage"

# Sizes of the detector in all tiny goldens; only CAC trains it.
TINY_DETECTOR = MaskRCNNC4Config(
    backbone=ResNetC4Config(width=8, depths=(3, 4, 6, 3)),
    rpn_dim=64,
    mask_dim=32,
    shorter_side=128,
    longer_side=200,
    candidates=600,
    proposals=40,
    training_candidates=1200,
    training_proposals=100,
)

# Weights whose mean over an axis is subtracted.
_CENTERED = {
    "cls_score_net.weight": 1,
    "bbox_pred_net.weight": 1,
    "mask_pred_net.weight": 1,
    "rpn_cls_score_net.weight": 1,
    "mask_up_sampling.weight": 0,
}
# Factors by the end of the name; the first that fits.
_FACTORS = {
    "resnet.conv1.weight": 0.02,
    "rpn_cls_score_net.weight": 0.5,
    "rpn_bbox_pred_net.weight": 0.2,
    "cls_score_net.weight": 5,
    "mask_pred_net.weight": 1.5,
    "bn3.weight": 0.25,
}
# Weights of CAC that are made smaller.
_SMALLER = r"(dynamic_fc.*|response_fc)\.weight"


def read_golden(name: str) -> dict[str, np.ndarray]:
    """`maskrcnn_tiny`, `mattnet_full`, ..."""
    return dict(np.load(GOLDEN / f"{name}.npz"))


@functools.cache
def _read_manifest(name: str) -> dict:
    return json.loads((GOLDEN / f"{name}_manifest.json").read_text())


def read_manifest(name: str) -> dict[str, tuple[int, ...]]:
    """Shape per parameter or buffer, of `maskrcnn_tiny`, `mattnet_full`, ..."""
    return {entry["name"]: tuple(entry["shape"]) for entry in _read_manifest(name)["parameters"]}


def read_options(name: str) -> dict:
    """Options of the original by name."""
    return _read_manifest(name)["options"]


@functools.cache
def _read_rule() -> dict:
    return json.loads((GOLDEN / "rule.json").read_text())


def weight_by_rule(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value that follows from a parameter's name, with the axes of PyTorch; without the exceptions."""
    noise = np.random.RandomState((zlib.crc32(name.encode()) + _read_rule()["salt"]) % 2**32).standard_normal(shape)
    last = name.rpartition(".")[2]
    if last == "running_var":
        value = 1 + 0.2 * np.abs(noise)
    elif last == "running_mean" or last.startswith("bias"):
        value = 0.1 * noise
    elif len(shape) == 1:
        value = 1 + 0.1 * noise
    elif "_normalizer." in name:
        value = 20 * (1 + 0.1 * noise)
    elif name.endswith(("embedding.weight", ".embed.0.weight")):
        value = 0.4 * noise
    elif name.startswith("mask_up_sampling"):
        value = noise / np.sqrt(shape[0])
    elif len(shape) == 4:
        value = noise * np.sqrt(2 / np.prod(shape[1:]))
    else:
        value = noise / np.sqrt(shape[1])
    if name in _CENTERED:
        value -= value.mean(axis=_CENTERED[name], keepdims=True)
    value *= next((factor for end, factor in _FACTORS.items() if name.endswith(end)), 1)
    value = value.astype(np.float32)
    return value * np.float32(0.3) if re.fullmatch(_SMALLER, name) else value


def state_by_rule(manifest: str) -> dict[str, np.ndarray]:
    """All parameters and buffers of a golden, with its exceptions, by name: a state dict of the original."""
    state = {name: weight_by_rule(name, shape) for name, shape in read_manifest(manifest).items()}
    for name, elements in _read_rule()["exceptions"].get(manifest, {}).items():
        for index, value in elements.items():
            state[name].reshape(-1)[int(index)] = value
    return state


def assign_by_rule(variables, pairs: list[TorchPair], manifest: str):
    """Gives every variable the value that follows from its parameter's name; all must have one.

    Args:
        variables: Variables of a model.
        pairs: The parameters and their places.
        manifest: Name of the golden.
    """
    by_path, state = {variable.path: variable for variable in variables}, state_by_rule(manifest)
    assert by_path.keys() == {pair.keras for pair in pairs}
    for pair in pairs:
        by_path[pair.keras].assign(to_keras(state[pair.torch], pair))
