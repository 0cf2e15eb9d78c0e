"""What is drawn for a step of training, against the original's draws and by hand."""

import numpy as np
import pytest
from keras import ops

from cac_original import ANCHORS_OF_A_CELL, COUNTS, TINY_DETECTOR, picture_of, stored_targets, truth_of
from cmpc_tf2.data.segmentations import encode_run_lengths, rasterize
from cmpc_tf2.models.mask_rcnn_c4 import boxes as detector_boxes
from cmpc_tf2.models.mask_rcnn_c4.anchors import anchors
from cmpc_tf2.recipes.cac.targets import (
    OFFSET_SCALES,
    Truth,
    box_targets,
    covered_cells,
    crop_mask,
    draw_anchors,
    draw_boxes,
    draw_targets,
    offsets_to,
    overlaps,
    response_target,
    scale_truth,
)
from cmpc_tf2.tasks.nearest import resize_nearest
from twostage_original import read_golden

STEPS = [(variant, step) for variant, steps in (("response", 6), ("cycle_response", 6), ("spatial", 1))
         for step in range(steps)]  # fmt: skip


@pytest.fixture(scope="module")
def golden():
    return read_golden("cac_tiny")


def map_size(golden, sample: int) -> tuple[int, int]:
    return tuple(int(-(-side // 16)) for side in golden[f"{sample}/im_info"][0, :2])


def all_anchors(golden, sample: int) -> np.ndarray:
    return ops.convert_to_numpy(anchors(*map_size(golden, sample)))


@pytest.mark.parametrize("sample", range(3))
def test_the_object_in_the_scaled_picture(sample, golden):
    """Box and mask of the golden, from those of the picture."""
    expected, info = truth_of(golden, sample), golden[f"{sample}/im_info"][0]
    pixels, scaling = picture_of(golden, f"{sample}/", TINY_DETECTOR)
    scale, size = float(scaling[0, 0]), pixels.shape[1:3]
    assert size == tuple(info[:2]) and scale == info[2]
    x1, y1, x2, y2 = expected.box / scale
    found = scale_truth([x1, y1, x2 - x1 + 1, y2 - y1 + 1], expected.label, golden[f"{sample}/mask"], scale, size)
    np.testing.assert_allclose(found.box, expected.box, rtol=1e-6)
    np.testing.assert_array_equal(found.mask, expected.mask)
    assert found.mask.dtype == np.uint8 and found.box.dtype == np.float32 and found.label == expected.label


def test_corners_of_the_box_are_included():
    found = scale_truth([10, 20, 5, 8], 3, np.ones((40, 50), bool), 2.0, (80, 100))
    np.testing.assert_array_equal(found.box, [20, 40, 28, 54])
    assert found.mask.shape == (80, 100) and found.mask.all()


def test_several_parts_of_a_mask():
    """A referred object may have several run-length encodings: their union counts."""
    first, second = np.zeros((2, 6, 9), bool)
    first[1:3, 2:5], second[2:6, 4:8] = True, True
    mask = rasterize([encode_run_lengths(part) for part in (first, second)], 6, 9)
    np.testing.assert_array_equal(mask, first | second)
    found = scale_truth([2, 1, 6, 5], 1, mask, 1.0, (6, 9))
    np.testing.assert_array_equal(found.mask, first | second)


@pytest.mark.parametrize("variant, step", STEPS)
def test_anchors_of_the_original(variant, step, golden):
    """All labels where the golden has no surplus; elsewhere, those that it drew are among them."""
    sample, name = step % 3, f"{variant}/train/{step}"
    truth = truth_of(golden, sample)
    stored = stored_targets(golden, name, truth, map_size(golden, sample)).anchors
    found = draw_anchors(all_anchors(golden, sample), truth, np.random.default_rng(0), 10**6)
    np.testing.assert_array_equal(np.flatnonzero(found.labels == 1), golden[f"{name}/rpn_positive"])
    np.testing.assert_allclose(found.offsets, stored.offsets, rtol=1e-5, atol=1e-6)
    labelled = np.flatnonzero(stored.labels >= 0)
    np.testing.assert_array_equal(found.labels[labelled], stored.labels[labelled])
    assert len(labelled) == min(COUNTS[0], np.count_nonzero(found.labels >= 0))
    assert golden[f"{name}/rpn_outside_weight"] == pytest.approx(1 / len(labelled))


@pytest.mark.parametrize("variant, step", STEPS)
def test_boxes_of_the_original(variant, step, golden):
    sample, name = step % 3, f"{variant}/train/{step}"
    truth = truth_of(golden, sample)
    boxes, labels = golden[f"{name}/rois"][:, 1:], golden[f"{name}/roi_labels"]
    foreground = np.count_nonzero(labels)
    np.testing.assert_array_equal(overlaps(boxes, truth.box) >= 0.5, labels > 0)
    found = box_targets(boxes, foreground, truth)
    np.testing.assert_array_equal(found.labels, labels)
    expected = golden[f"{name}/roi_bbox_targets"]
    np.testing.assert_allclose(found.offsets[:foreground], expected[:foreground], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found.masks, golden[f"{name}/roi_mask_targets"])


OBJECT = Truth(np.float32([20, 10, 59, 49]), 7, np.pad(np.ones((40, 40), np.uint8), ((10, 14), (20, 36))))


def moved(shift: float, count: int = 1) -> np.ndarray:
    """Boxes as large as the object, moved to the right."""
    return np.tile(OBJECT.box + np.float32([shift, 0, shift, 0]), (count, 1))


def test_offsets_become_the_box(rng):
    boxes = np.float32(rng.uniform(0, 40, (6, 2)))
    boxes = np.concatenate([boxes, boxes + np.float32(rng.uniform(5, 30, (6, 2)))], axis=1)
    decoded = ops.convert_to_numpy(detector_boxes.decode(boxes, offsets_to(boxes, OBJECT.box)))
    np.testing.assert_allclose(decoded, np.tile(OBJECT.box + np.float32([0, 0, 1, 1]), (6, 1)), atol=1e-4)
    np.testing.assert_array_equal(OFFSET_SCALES, detector_boxes.OFFSET_SCALES)


def test_overlaps_count_both_corners():
    boxes = np.float32([[0, 0, 9, 9], [5, 0, 14, 9], [9, 9, 18, 18], [10, 0, 19, 9]])
    np.testing.assert_allclose(overlaps(boxes, boxes[0]), [1, 50 / 150, 1 / 199, 0])


def test_anchors_that_leave_the_picture_have_no_label():
    sides = np.float32([[0, 0, 95, 63], [-1, 0, 30, 30], [0, -1, 30, 30], [0, 0, 96, 30], [0, 0, 30, 64], [0, 0, 9, 9]])
    found = draw_anchors(sides, OBJECT, np.random.default_rng(0))
    np.testing.assert_array_equal(found.labels, [1, -1, -1, -1, -1, 0])  # The first overlaps most, by 0.26.
    assert (draw_anchors(sides[1:3], OBJECT, np.random.default_rng(0)).labels == -1).all()


def test_labels_of_anchors():
    """40 wide: moved by d, the overlap is (40 - d) / (40 + d)."""
    shifts = [0, 7, 8, 21, 22, 30]  # 1, 0.702, 0.667, 0.311, 0.290, 0.14.
    boxes = np.concatenate([moved(shift) for shift in shifts])
    found = draw_anchors(boxes, OBJECT, np.random.default_rng(0))
    np.testing.assert_array_equal(found.labels, [1, 1, -1, -1, 0, 0])
    assert (found.offsets[2:] == 0).all() and found.offsets[1, 0] == pytest.approx(-7 / 40)
    # The largest overlap makes an object of it, and of all that have the same.
    found = draw_anchors(np.concatenate([moved(25), moved(22), moved(22)]), OBJECT, np.random.default_rng(0))
    np.testing.assert_array_equal(found.labels, [0, 1, 1])


def part(columns: int) -> np.ndarray:
    """The first columns of the object, of 40: the overlap is their share."""
    x1, y1, _, y2 = OBJECT.box
    return np.float32([[x1, y1, x1 + columns - 1, y2]])


def test_overlaps_at_the_limits():
    """0.3 is no background, 0.7 is an object; of boxes, 0.5 is foreground."""
    boxes = np.concatenate([part(columns) for columns in (40, 28, 27, 12, 11)])
    np.testing.assert_array_equal(overlaps(boxes, OBJECT.box), np.array([40, 28, 27, 12, 11]) / 40)
    found = draw_anchors(boxes, OBJECT, np.random.default_rng(0))
    np.testing.assert_array_equal(found.labels, [1, 1, -1, -1, 0])
    found = draw_boxes(np.concatenate([part(20), part(19)]), OBJECT, np.random.default_rng(0), 4)
    np.testing.assert_array_equal(found.boxes[0], part(20)[0])
    assert found.labels.tolist() == [7, 0, 0, 0]


def test_surplus_of_anchors():
    boxes = np.concatenate([moved(0, 30), moved(30, 50)])
    found = draw_anchors(boxes, OBJECT, np.random.default_rng(1), 20)
    assert np.count_nonzero(found.labels[:30] == 1) == 10 and np.count_nonzero(found.labels[30:] == 0) == 10
    assert np.count_nonzero(found.labels == -1) == 60
    assert (found.offsets[found.labels != 1] == 0).all()
    again, other = (draw_anchors(boxes, OBJECT, np.random.default_rng(seed), 20).labels for seed in (1, 2))
    np.testing.assert_array_equal(found.labels, again)
    assert (found.labels != other).any()
    # Few objects leave more for the background.
    found = draw_anchors(boxes[27:], OBJECT, np.random.default_rng(1), 20)
    assert np.count_nonzero(found.labels == 1) == 3 and np.count_nonzero(found.labels == 0) == 17


def test_boxes_are_drawn_without_repetition():
    proposals = np.concatenate([moved(shift) for shift in np.linspace(0, 0.9, 10)] + [
        moved(shift) for shift in np.linspace(30, 35, 30)])  # fmt: skip
    found = draw_boxes(proposals, OBJECT, np.random.default_rng(3), 24)
    assert found.boxes.shape == (24, 4) and found.masks.shape == (6, 14, 14)
    np.testing.assert_array_equal(found.labels, [7] * 6 + [0] * 18)
    assert len(np.unique(found.boxes, axis=0)) == 24
    assert (overlaps(found.boxes, OBJECT.box) >= 0.5).tolist() == [True] * 6 + [False] * 18
    again, other = (draw_boxes(proposals, OBJECT, np.random.default_rng(seed), 24).boxes for seed in (3, 4))
    np.testing.assert_array_equal(found.boxes, again)
    assert (found.boxes != other).any()


def test_few_boxes_are_drawn_repeatedly():
    found = draw_boxes(np.concatenate([moved(0), moved(30), moved(35)]), OBJECT, np.random.default_rng(3), 24)
    assert np.count_nonzero(found.labels) == 1 and len(found.boxes) == 24
    assert len(np.unique(found.boxes[1:], axis=0)) == 2
    # Each exactly once, if there are as many as wanted.
    enough = np.concatenate([moved(0), *(moved(shift) for shift in np.linspace(30, 35, 23))])
    found = draw_boxes(enough, OBJECT, np.random.default_rng(3), 24)
    assert len(np.unique(found.boxes, axis=0)) == 24


def test_without_foreground_the_object_is_it():
    found = draw_boxes(np.concatenate([moved(30), moved(35)]), OBJECT, np.random.default_rng(3), 24)
    np.testing.assert_array_equal(found.boxes[0], OBJECT.box)
    assert found.labels.tolist() == [7] + [0] * 23
    np.testing.assert_allclose(found.offsets[0], 0, atol=1e-6)
    assert found.masks.all() and found.masks.shape == (1, 14, 14)
    # Not beside others.
    found = draw_boxes(np.concatenate([moved(3), moved(30)]), OBJECT, np.random.default_rng(3), 24)
    assert found.labels.tolist() == [7] + [0] * 23 and found.boxes[0, 0] == OBJECT.box[0] + 3


def test_without_background_all_boxes_are_foreground():
    found = draw_boxes(moved(1, 5), OBJECT, np.random.default_rng(3), 24)
    assert (found.labels == 7).all() and found.masks.shape == (24, 14, 14)


def test_numbers_of_the_original():
    proposals = np.concatenate([moved(shift) for shift in np.linspace(0, 1, 100)] + [moved(35, 300)])
    found = draw_boxes(proposals, OBJECT, np.random.default_rng(0))
    assert len(found.boxes) == 256 and len(found.masks) == 64
    boxes = np.concatenate([moved(0, 300), moved(30, 500)])
    labels = draw_anchors(boxes, OBJECT, np.random.default_rng(0)).labels
    assert np.count_nonzero(labels == 1) == np.count_nonzero(labels == 0) == 128


def test_the_mask_of_a_box():
    """Corners are cut to whole pixels, and both are included."""
    mask = np.zeros((30, 40), np.uint8)
    mask[5:19, 10:24] = np.arange(14 * 14).reshape(14, 14) % 2
    np.testing.assert_array_equal(crop_mask(mask, np.float32([10.9, 5.9, 23.99, 18.2])), mask[5:19, 10:24])
    assert crop_mask(mask, np.float32([0, 0, 0, 0])).shape == (14, 14)


def test_the_target_of_the_response(golden):
    mask = golden["0/gt_masks"][0]
    found = response_target(mask, 8, 13)
    np.testing.assert_array_equal(found, resize_nearest(mask, 8, 13))
    assert found.dtype == np.float32 and set(np.unique(found)) == {0, 1}


def test_a_small_object_vanishes_from_the_map():
    """As in the original, which then trains the response towards zero everywhere."""
    mask = np.zeros((64, 96), np.uint8)
    mask[0:2, 0:2] = 1
    targets = draw_targets(moved(0, 4), moved(0, 4), (4, 6), Truth(OBJECT.box, 7, mask), np.random.default_rng(0))
    assert not targets.response.any() and not targets.covered.any()
    assert len(targets.boxes.boxes) == 256


def test_cells_that_a_mask_covers(rng):
    """By half or more, in bins that may overlap."""
    mask = (rng.random((30, 41)) < 0.5).astype(np.uint8)
    mask[:8] = 1
    found = covered_cells(mask, 4, 7)
    for row in range(4):
        for column in range(7):
            rows = slice(row * 30 // 4, int(np.ceil((row + 1) * 30 / 4)))
            columns = slice(column * 41 // 7, int(np.ceil((column + 1) * 41 / 7)))
            assert found[row, column] == (mask[rows, columns].mean() >= 0.5)
    exact = np.zeros((4, 4), np.uint8)
    exact[:, 1] = 1
    np.testing.assert_array_equal(covered_cells(exact, 2, 2), [[1, 0], [1, 0]])


def test_anchors_are_drawn_before_boxes():
    """So that one generator gives the same targets everywhere."""
    boxes = np.concatenate([moved(0, 30), moved(30, 50)])
    targets = draw_targets(boxes, boxes, (4, 6), OBJECT, np.random.default_rng(5), (20, 24))
    rng = np.random.default_rng(5)
    np.testing.assert_array_equal(targets.anchors.labels, draw_anchors(boxes, OBJECT, rng, 20).labels)
    np.testing.assert_array_equal(targets.boxes.boxes, draw_boxes(boxes, OBJECT, rng, 24).boxes)
    assert targets.response.shape == targets.covered.shape == (4, 6) and ANCHORS_OF_A_CELL == 12
