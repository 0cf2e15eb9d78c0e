"""Sizes and features of the goldens of MAttNet's matching network, which `golden/README.md` describes."""

import functools

import numpy as np

import twostage_original
from cmpc_tf2.conversion.names.mattnet import mattnet_pairs
from cmpc_tf2.data.mattnet_data import PreparedData
from cmpc_tf2.data.mattnet_files import read_prepared
from cmpc_tf2.models.mattnet.config import MAttNetConfig
from cmpc_tf2.models.mattnet.matching_network import MatchingNetwork
from cmpc_tf2.preprocessing.box_geometry import (
    context_features,
    contexts,
    location_features,
    neighbour_features,
    relative_features,
)

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
DATA = twostage_original.GOLDEN / "mattnet_data.json"


@functools.cache
def read_golden() -> dict[str, np.ndarray]:
    return twostage_original.read_golden("mattnet_tiny")


def assign_by_rule(network: MatchingNetwork):
    """Gives every variable the value that follows from its parameter's name; all must have one."""
    twostage_original.assign_by_rule(network.weights, mattnet_pairs(network.config), "mattnet_tiny")


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
    """The inputs of some boxes of any pictures, each as a picture of one, `(R, 1, ...)`, and the rows of pairs."""
    data, rows = read_data(), []
    for number in annotation_ids:
        image_id = data.boxes[number].image_id
        place = data.pictures[image_id].annotation_ids.index(number)
        rows.append({name: value[0, place] for name, value in network_inputs(image_id).items()})
    inputs = {name: np.stack([row[name] for row in rows])[:, None] for name in rows[0]}
    return {**inputs, "rows": np.arange(len(rows), dtype=np.int32)}
