"""Scores of models that choose among given boxes."""

import numpy as np
import pytest

from cmpc_tf2.tasks.boxes.candidates import (
    BoxShares,
    attribute_scores,
    boxes_to_sides,
    chooses_annotation,
    iou,
    is_right,
)
from cmpc_tf2.tasks.masks.task import MaskTask


def test_iou_counts_whole_pixels():
    assert iou([0, 0, 4, 4], [0, 0, 4, 4]) == 1
    assert iou([0, 0, 4, 4], [2, 0, 4, 4]) == 8 / 24
    assert iou([0, 0, 4, 4], [2, 2, 4, 4]) == 4 / 28
    assert iou([0.5, 0, 4, 4], [0, 0, 4, 4]) == 14 / 18


@pytest.mark.parametrize("other", [[3, 0, 4, 4], [0, 3, 4, 4], [4, 0, 4, 4], [9, 9, 2, 2]])
def test_boxes_that_share_one_row_or_column_do_not_overlap(other):
    assert iou([0, 0, 4, 4], other) == 0


def test_a_detected_box_is_right_from_one_half_on():
    assert is_right([0, 0, 4, 4], [0, 0, 4, 8])
    assert not is_right([0, 0, 4, 4], [0, 0, 4, 9])


@pytest.mark.parametrize(
    "corners, overlap",
    [([0, 0, 9, 9], 1.0), ([5, 0, 14, 9], 50 / 150), ([9, 0, 18, 9], 0.0), ([9, 0, 0, 9], 0.0), ([9, 9, 0, 0], 0.0)],
)
def test_boxes_become_sides(corners, overlap):
    """Both corners are included. A box with swapped corners overlaps with nothing."""
    x1, y1, x2, y2 = corners
    (box,) = boxes_to_sides(np.float32([corners]))
    np.testing.assert_array_equal(box, [x1, y1, x2 - x1 + 1, y2 - y1 + 1])
    assert iou(box, [0, 0, 10, 10]) == pytest.approx(overlap)


def test_shares_of_right_boxes():
    records = [{"given_box": given, "detected_box": True} for given in (True, False, False, True, True)]
    shares = BoxShares.of(records)
    assert shares.summarize(shares.numbers_of(records)) == {"given_boxes": 3 / 5, "detected_boxes": 1.0}
    assert BoxShares.of([{"detected_box": False}]).names == ("detected_boxes",)
    assert BoxShares.of([{"detected_box": False}, {}]) is None  # Not all samples have boxes.
    assert np.isnan(shares.from_sums(np.zeros(3))).all()


def test_the_first_of_equal_scores_is_chosen():
    assert chooses_annotation(np.array([0.1, 0.3, 0.3]), 1)
    assert not chooses_annotation(np.array([0.1, 0.3, 0.3]), 2)


def test_masks_are_right_from_a_threshold_on():
    pairs = np.array([[5, 10], [9, 10], [0, 20]])
    scores_of_masks = MaskTask().scores
    values = scores_of_masks.from_sums(scores_of_masks.columns(pairs).sum(axis=0))
    report = scores_of_masks.as_report(values.tolist())
    assert report["overall_iou"] == 14 / 40
    assert report["precision"] == pytest.approx({"0.5": 2 / 3, "0.6": 1 / 3, "0.7": 1 / 3, "0.8": 1 / 3, "0.9": 1 / 3})


def test_attributes():
    logits = np.array([[0.0, -1.0, 2.0], [3.0, 3.0, 3.0], [-1.0, 2.0, -1.0]])
    labels = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 1]])
    scores = attribute_scores(logits, labels)
    assert (scores.precision, scores.recall) == (2 / 3, 2 / 4)
    assert scores.f1 == pytest.approx(2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2))


def test_no_attributes():
    none = attribute_scores(np.ones((2, 3)), np.zeros((2, 3)))
    assert (none.precision, none.recall, none.f1) == (None, None, None)
    missed = attribute_scores(-np.ones((1, 2)), np.ones((1, 2)))
    assert (missed.precision, missed.recall, missed.f1) == (None, 0, None)
    wrong = attribute_scores(np.array([[1.0, -1.0]]), np.array([[0, 1]]))
    assert (wrong.precision, wrong.recall, wrong.f1) == (0, 0, 0)
