"""Sizes, weights and features of the MAttNet goldens, as `tests/golden/README.md` describes."""

import functools
import json
import os
import zlib
from pathlib import Path

import numpy as np

from cmpc_tf2.conversion.names.mattnet import mattnet_pairs
from cmpc_tf2.data.mattnet_data import PreparedData
from cmpc_tf2.data.mattnet_files import read_prepared
from cmpc_tf2.models.mattnet.config import MAttNetConfig
from cmpc_tf2.models.mattnet.model import MatchingNetwork
from cmpc_tf2.preprocessing.box_geometry import (
    context_features,
    contexts,
    location_features,
    neighbour_features,
    relative_features,
)

GOLDEN = Path(os.environ.get("GOLDEN_ROOT") or Path(__file__).parent / "golden").resolve() / "twostage"
TINY = MAttNetConfig(
    vocabulary_size=50,
    attributes=7,
    embedding_dim=24,
    word_dim=20,
    lstm_units=16,
    joint_dim=28,
    pool5_dim=12,
    fc7_dim=18,
)
DATA = GOLDEN / "mattnet_data.json"


@functools.cache
def read_golden() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "mattnet_tiny.npz"))


@functools.cache
def read_manifest(name: str) -> dict[str, tuple[int, ...]]:
    """Shape per parameter or buffer, of `tiny` or `full`."""
    entries = json.loads((GOLDEN / f"mattnet_{name}_manifest.json").read_text())["parameters"]
    return {entry["name"]: tuple(entry["shape"]) for entry in entries}


@functools.cache
def read_salt() -> int:
    return json.loads((GOLDEN / "rule.json").read_text())["salt"]


def weight_by_rule(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value that follows from a parameter's name, with the axes of PyTorch."""
    noise = np.random.RandomState((zlib.crc32(name.encode()) + read_salt()) % 2**32).standard_normal(shape)
    last = name.rpartition(".")[2]
    if last == "running_var":
        value = 1 + 0.2 * np.abs(noise)
    elif last == "running_mean" or last.startswith("bias"):
        value = 0.1 * noise
    elif len(shape) == 1:
        value = 1 + 0.1 * noise
    elif "_normalizer." in name:
        value = 20 * (1 + 0.1 * noise)
    elif name.endswith("embedding.weight"):
        value = 0.4 * noise
    else:
        value = noise * np.sqrt(1 / shape[1])
    return value.astype(np.float32)


def state_by_rule() -> dict[str, np.ndarray]:
    """The state dict of the small network, with the axes of PyTorch."""
    return {name: weight_by_rule(name, shape) for name, shape in read_manifest("tiny").items()}


def assign_by_rule(network: MatchingNetwork):
    """Gives every variable the value that follows from its parameter's name; all must have one."""
    by_path = {variable.path: variable for variable in network.weights}
    pairs, state = mattnet_pairs(network.config), state_by_rule()
    assert by_path.keys() == {pair.keras for pair in pairs}
    assert state.keys() == {pair.torch for pair in pairs}
    for pair in pairs:
        value = state[pair.torch]
        value = value[:, slice(*pair.inputs)] if pair.inputs else value
        by_path[pair.keras].assign(value.T if pair.transform == "linear" else value)


def make_network(config: MAttNetConfig = TINY) -> MatchingNetwork:
    network = MatchingNetwork(config, name="mattnet")
    assign_by_rule(network)
    return network


@functools.cache
def read_data() -> PreparedData:
    return read_prepared(DATA)


def as_cells(maps: np.ndarray) -> np.ndarray:
    """Maps of boxes as the network takes them: `(n, C, 7, 7)` to `(n, 49, C)`."""
    return maps.reshape(*maps.shape[:2], -1).swapaxes(1, 2)


@functools.cache
def picture_features(image_id: int) -> dict[str, np.ndarray]:
    """The inputs of the boxes of a picture by our own geometry, without the axis of pictures, and `others`."""
    golden, data = read_golden(), read_data()
    picture = data.pictures[image_id]
    rows = [golden["ann_ids"].tolist().index(number) for number in picture.annotation_ids]
    boxes = np.array([data.boxes[number].box for number in picture.annotation_ids])
    categories = np.array([data.boxes[number].category_id for number in picture.annotation_ids])
    others = contexts(boxes, categories, TINY.contexts)
    fc7 = as_cells(golden["fc7"][rows])
    return {
        "pool5": as_cells(golden["pool5"][rows]),
        "fc7": fc7,
        "lfeats": location_features(boxes, picture.height, picture.width),
        "dif_lfeats": neighbour_features(boxes, categories),
        "cxt_fc7": context_features(fc7.mean(axis=1), others),
        "cxt_lfeats": relative_features(boxes, others),
        "others": others,
    }


def network_inputs(image_id: int) -> dict[str, np.ndarray]:
    """The inputs of a picture, `(1, n, ...)`."""
    return {name: value[None] for name, value in picture_features(image_id).items() if name != "others"}


def rows_of(annotation_ids) -> dict[str, np.ndarray]:
    """The inputs of some boxes of any pictures, each as a picture of one: `(R, 1, ...)`."""
    data, rows = read_data(), []
    for number in annotation_ids:
        image_id = data.boxes[number].image_id
        place = data.pictures[image_id].annotation_ids.index(number)
        rows.append({name: value[0, place] for name, value in network_inputs(image_id).items()})
    return {name: np.stack([row[name] for row in rows])[:, None] for name in rows[0]}
