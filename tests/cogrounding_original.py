"""Sizes, weights and numbers of the Co-Grounding goldens, as `tests/golden/README.md` describes."""

import contextlib
import functools
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from cmpc_tf2.backbones.config import DarkNet53Config
from cmpc_tf2.conversion.torch_names import TorchPair
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cogrounding_tf2.config import GRIDS, CoGroundingConfig, GroundingConfig
from cogrounding_tf2.models.grounding_model import GroundingModel

GOLDEN = Path(os.environ.get("GOLDEN_ROOT") or Path(__file__).parent / "golden").resolve() / "cogrounding"

_SIZES = {"vocabulary_size": 37, "feature_dim": 20, "darknet": DarkNet53Config((6, 8, 10, 14, 18, 22))}
TINY = GroundingConfig(**_SIZES)
TINY_CLIPS = CoGroundingConfig(**_SIZES)
NORMS = ("bn", "loc_embedding.1", "loc_text_embedding.1", "mapping_lang.1", "mapping_lang.5")
AXES = {"linear": (1, 0), "conv": (2, 3, 1, 0)}


def picture_by_rule(seed: int, shift: int = 0) -> np.ndarray:
    """The picture of a seed, as the goldens of full size have them: uint8 `(256, 256, 3)`."""
    tiles = np.random.RandomState(seed).randint(0, 256, (16, 16, 3)).repeat(16, axis=0).repeat(16, axis=1)
    noise = np.random.RandomState(1000 + seed + shift).randint(-12, 13, (256, 256, 3))
    return np.clip(np.roll(tiles, shift, axis=1) + noise, 0, 255).astype(np.uint8)


def read_golden(name: str) -> dict[str, np.ndarray]:
    """`image_tiny`, `video_tiny` or `full`."""
    return dict(np.load(GOLDEN / f"cogrounding_{name}.npz"))


@functools.cache
def read_manifest(name: str) -> dict[str, tuple[int, ...]]:
    """Shape per parameter or buffer, of `image_tiny`, `video_full`, ..., without `num_batches_tracked`."""
    entries = json.loads((GOLDEN / f"cogrounding_{name}_manifest.json").read_text())
    shapes = {entry["name"]: tuple(entry["shape"]) for entry in entries}
    return {name: shape for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}


@functools.cache
def read_salt() -> int:
    return json.loads((GOLDEN / "rule.json").read_text())["salt"]


def weight_by_rule(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value that follows from a parameter's name, with the axes of PyTorch."""
    noise = np.random.RandomState((zlib.crc32(name.encode()) + read_salt()) % 2**32).standard_normal(shape)
    module, _, last = name.rpartition(".")
    fan_in = np.prod(shape[1:]) if len(shape) > 1 else 1
    if last == "running_var":
        value = 1 + 0.2 * np.abs(noise)
    elif last == "weight" and (module.endswith(NORMS) or ".batch_norm_" in module):
        value = 1 + 0.1 * noise
    elif last == "running_mean" or last.startswith("bias"):
        value = 0.1 * noise
    elif name in ("textmodel.embedding.weight", "loc_text_embedding.0.weight"):
        value = noise
    elif module in ("sub_attn.fc", "loc_attn.fc"):
        value = 4 * noise / np.sqrt(fan_in)
    elif module.startswith("fcn_out.") and len(module.split(".")) == 3 and module.endswith(".1"):
        value = 0.5 * noise / np.sqrt(fan_in)
    elif module.startswith(("visumodel", "textmodel")):
        value = noise / np.sqrt(fan_in)
    else:
        value = 2 * noise / np.sqrt(fan_in)
    return value.astype(np.float32)


def assign_by_rule(variables, pairs: list[TorchPair], shapes: dict[str, tuple[int, ...]]):
    """Gives every variable the value that follows from its parameter's name; all must have one.

    Args:
        variables: Variables of a model.
        pairs: The parameters and their places.
        shapes: Shape per parameter.
    """
    by_path = {variable.path: variable for variable in variables}
    assert by_path.keys() == {pair.keras for pair in pairs}
    for pair in pairs:
        value = weight_by_rule(pair.torch, shapes[pair.torch])
        value = value[:, slice(*pair.inputs)] if pair.inputs else value
        by_path[pair.keras].assign(value.transpose(AXES[pair.transform]) if pair.transform in AXES else value)


def normalize(pictures: np.ndarray) -> np.ndarray:
    """uint8 pictures of 256 x 256 pixels as the models see them."""
    return Preprocessing(TINY.image_size, **GroundingModel.preprocessing_options).normalize(pictures)


def as_original(box_logits) -> list[np.ndarray]:
    """`box_logits`, `(B, 4032, 5)`, as the original's three maps: `(B, 15, n, n)`."""
    maps, start = [], 0
    for side in GRIDS:
        end = start + 3 * side**2
        boxes = np.asarray(box_logits)[:, start:end].reshape(-1, 3, side, side, 5)
        maps.append(boxes.transpose(0, 1, 4, 2, 3).reshape(-1, 15, side, side))
        start = end
    return maps


def scales_of(places) -> list[np.ndarray]:
    """Values of all places, `(B, P, ...)`, as maps: `(B, ..., n, n)`."""
    places, maps, start = np.asarray(places), [], 0
    for side in GRIDS:
        end = start + side**2
        scale = places[:, start:end].reshape(len(places), side, side, *places.shape[2:])
        maps.append(np.moveaxis(scale, -1, 1) if scale.ndim == 4 else scale)
        start = end
    return maps


@contextlib.contextmanager
def recording() -> Iterator[dict]:
    """The last output of each layer by its path, within the block."""
    outputs, run_layer = {}, keras.layers.Layer.__call__

    def record_layer(layer, *args, **kwargs):
        outputs[layer.path or layer.name] = result = run_layer(layer, *args, **kwargs)
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.layers.Layer, "__call__", record_layer)
        yield outputs


def stage(name: str, recorded: dict) -> np.ndarray:
    """What a stage of the golden behind the backbone is called here, in the golden's layout."""
    if name.startswith("textmodel."):
        found = recorded["textmodel"][("sentence", "context", "embedded")[int(name[-1])]]
        return np.asarray(found)
    if name.startswith(("sub_attn.", "loc_attn.")):
        return np.asarray(recorded[name[:8]][1 if name.endswith("0") else 0])
    if name == "loc_embedding":
        return np.maximum(recorded["location_scores/loc_embedding.1"], 0)
    if name == "loc_text_embedding":
        return np.maximum(recorded["location_scores/loc_text_embedding.1"], 0)[0]
    if name == "mapping_lang":
        return np.maximum(recorded["mapping_lang.5"], 0)
    part, _, scale = name.rpartition("_")
    end = {"mapping_visu": "", "fcn_emb": ".2", "fcn_out": ".1"}[part]
    return np.moveaxis(np.asarray(recorded[f"{part}.{scale}{end}"]), -1, 1)


def assert_stages(parity, what: str, recorded: dict, golden: dict, prefix: str, others: tuple[str, ...] = ()) -> int:
    """Compares the stages behind the backbone, as far as the golden has them; returns their number.

    Args:
        parity: The fixture.
        what: What is compared.
        recorded: Outputs of layers by path.
        golden: Arrays by name.
        prefix: Beginning of the names.
        others: Beginnings of stages that are compared elsewhere.
    """
    names = [name.removeprefix(prefix) for name in golden if name.startswith(prefix)]
    names = [name for name in names if not name.startswith(others)]
    for name in names:
        found, expected = stage(name, recorded), golden[prefix + name]
        if name.startswith(("textmodel", "sub_attn", "loc_attn")):
            found = found[:, : expected.shape[1]]  # The original leaves out slots that no sentence of a batch needs.
        if name.endswith("attn.1"):  # There before it is scaled to unit length.
            expected = expected / np.linalg.norm(expected, axis=-1, keepdims=True)
        parity.within(what, found, expected, 1e-5, np.abs(expected).max(), name)
    return len(names)


OUTPUTS = {
    "pred": ("box_logits", as_original),
    "sim": ("similarity", scales_of),
    "loc": ("location", scales_of),
    "objectness": ("objectness", scales_of),
}


def assert_outputs(parity, what: str, outputs: dict, golden: dict, prefix: str, tolerance: float, row=0):
    """Compares outputs of a model with all maps of a golden: those of one sample, or of a slice of samples."""
    for name, (output, convert) in OUTPUTS.items():
        for scale, found in enumerate(convert(outputs[output])):
            key = f"{prefix}/{name}_{scale}"
            if key in golden:
                parity.within(f"{what}: {name}", found[row], golden[key], tolerance, name=key)
            else:
                assert name == "objectness"
