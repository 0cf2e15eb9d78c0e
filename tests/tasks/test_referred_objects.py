"""Scores of answers with a box and a mask."""

import numpy as np
import pytest
from PIL import Image

from cmpc_tf2.tasks.nearest import resize_nearest
from cmpc_tf2.tasks.referred_objects import compare


@pytest.mark.parametrize(
    "box, target, expected",
    [
        ([0, 0, 9, 9], [0, 0, 9, 9], 1.0),
        ([0, 0, 9, 9], [5, 0, 14, 9], 50 / 150),
        ([0, 0, 9, 9], [9, 0, 18, 9], 0.0),  # One column in common.
        ([0, 0, 9, 9], [8, 0, 17, 9], 20 / 180),
        ([0, 0, 9, 9], [20, 20, 29, 29], 0.0),
        ([9, 0, 0, 9], [0, 0, 9, 9], 0.0),
    ],
)
def test_overlaps_of_boxes(box, target, expected):
    """Those of a single column in common do not count, as of MAttNet's."""
    x1, y1, x2, y2 = target
    mask = np.ones((3, 3), bool)
    found = compare(np.float32(box), mask, [x1, y1, x2 - x1 + 1, y2 - y1 + 1], mask)
    assert found.box_iou == pytest.approx(expected)


def test_the_annotation_itself():
    mask, target = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    mask[:, :6], target[:, 4:] = True, True
    found = compare(np.float32([0, 0, 5, 9]), mask, [4, 0, 6, 10], target)
    assert (found.intersection, found.union) == (20, 100)
    assert found.box_iou == pytest.approx(0.2) and not found.has_right_box


def test_a_box_with_half_of_the_object_is_right():
    """At least one half, not above."""
    mask = np.ones((10, 10), bool)
    found = compare(np.float32([0, 0, 4, 9]), mask, [0, 0, 10, 10], mask)
    assert found.box_iou == 0.5 and found.has_right_box
    assert not compare(np.float32([0, 0, 3, 9]), mask, [0, 0, 10, 10], mask).has_right_box


def test_the_mask_of_the_original_is_resized_twice(rng):
    """To the scaled picture and back: of a picture that is made smaller, that changes pixels."""
    mask = rng.random((83, 117)) < 0.5
    scaled = (50, 70)
    twice = Image.fromarray(mask.astype(np.uint8)).resize(scaled[::-1], Image.Resampling.NEAREST)
    twice = np.asarray(twice.resize((117, 83), Image.Resampling.NEAREST)) > 0
    assert 0 < np.count_nonzero(twice != mask) < mask.size / 2
    box = np.float32([0, 0, 9, 9])
    found, exact = compare(box, mask, [0, 0, 9, 9], mask, scaled), compare(box, mask, [0, 0, 9, 9], mask)
    assert (found.intersection, found.union) == (np.sum(twice & mask), np.sum(twice | mask))
    assert exact.intersection == exact.union == mask.sum()


@pytest.mark.parametrize("size, scaled", [((50, 70), (83, 117)), ((480, 640), (600, 800)), ((427, 640), (600, 899))])
def test_of_an_enlarged_picture_it_is_the_annotation(size, scaled, rng):
    mask = rng.random(size) < 0.5
    found = compare(np.float32([0, 0, 9, 9]), mask, [0, 0, 9, 9], mask, scaled)
    assert found.intersection == found.union == mask.sum()


def test_nearest_neighbours():
    mask = np.array([[1, 0], [0, 1]], bool)
    np.testing.assert_array_equal(resize_nearest(mask, 4, 2), np.repeat(mask, 2, axis=0))
    np.testing.assert_array_equal(resize_nearest(np.arange(9, dtype=np.uint8).reshape(3, 3), 1, 1), [[4]])
    assert resize_nearest(mask, 4, 6).dtype == np.uint8
