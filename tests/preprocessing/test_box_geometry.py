"""Places of boxes, as MAttNet reads them."""

import numpy as np
import pytest

from cmpc_tf2.preprocessing.box_geometry import (
    context_features,
    contexts,
    location_features,
    neighbour_features,
    neighbours,
    relative_features,
)
from mattnet_original import picture_features, read_data, read_golden

# Five boxes around the first: at distances 2, 2, 1 (of another category), 2 and 3.
BOXES = np.array([[10, 10, 4, 4], [12, 10, 4, 4], [8, 10, 4, 4], [10, 11, 4, 4], [10, 8, 4, 4], [10, 13, 4, 4]])
CATEGORIES = np.array([1, 1, 1, 2, 1, 2])


@pytest.mark.parametrize("sample", [0, 1, 2])
@pytest.mark.parametrize("name", ["lfeats", "dif_lfeats", "cxt_lfeats", "cxt_fc7"])
def test_features_are_the_originals(sample, name, parity):
    golden = read_golden()
    found = picture_features(int(golden[f"{sample}/image_id"]))[name]
    parity.within("MAttNet: geometry", found, golden[f"{sample}/{name}"], 5e-7, name=name)


@pytest.mark.parametrize("sample", [0, 1, 2])
def test_contexts_are_the_originals(sample):
    golden = read_golden()
    others = picture_features(int(golden[f"{sample}/image_id"]))["others"]
    ids = np.array([*read_data().pictures[int(golden[f"{sample}/image_id"])].annotation_ids, -1])
    np.testing.assert_array_equal(ids[others], golden[f"{sample}/cxt_ann_ids"])


def test_of_boxes_at_equal_distances_the_last_comes_first():
    assert neighbours(BOXES, CATEGORIES)[0].tolist() == [4, 2, 1, -1, -1]
    assert neighbours(BOXES, CATEGORIES, 2)[0].tolist() == [4, 2]


def test_contexts_are_of_other_categories_first():
    assert contexts(BOXES, CATEGORIES, 5)[0].tolist() == [3, 5, 4, 2, 1]
    assert contexts(BOXES, CATEGORIES, 3)[0].tolist() == [3, 5, 4]
    assert contexts(BOXES, CATEGORIES, 5)[3].tolist()[:2] == [0, 2]
    assert contexts(BOXES, CATEGORIES, 7)[0].tolist() == [3, 5, 4, 2, 1, -1, -1]


def test_a_box_alone():
    box, category = BOXES[:1], CATEGORIES[:1]
    assert (neighbours(box, category) == -1).all() and (contexts(box, category, 3) == -1).all()
    assert (neighbour_features(box, category) == 0).all() and neighbour_features(box, category).shape == (1, 25)
    assert (context_features(np.ones((1, 4)), contexts(box, category, 3)) == np.zeros((1, 3, 4))).all()
    assert neighbours(BOXES[:0], CATEGORIES[:0]).shape == (0, 5)


def test_places_in_numbers():
    boxes = np.array([[2.0, 3.0, 4.0, 8.0], [6.0, 3.0, 2.0, 4.0]])
    np.testing.assert_allclose(location_features(boxes, 20, 10)[0], [0.2, 0.15, 0.5, 0.5, 0.16])
    found = relative_features(boxes, np.array([[1, -1], [0, -1]]))
    np.testing.assert_allclose(found[0, 0], [0.5, -0.5, 1, 0, 0.25])
    np.testing.assert_allclose(found[1, 0], [-2.5, -0.5, -0.5, 1.5, 4])
    assert (found[:, 1] == 0).all() and found.dtype == np.float32
