import numpy as np
import pytest

from cmpc_tf2.medium import PICTURES
from cmpc_tf2.tasks.masks.metrics import intersection_and_union
from cmpc_video_tf2.medium import CLIPS
from original import GOLDEN

PREDICTION = np.array([[1, 1, 0, 0]] * 2 + [[0] * 4] * 2)
TARGET = np.array([[0, 1, 1, 0]] * 2 + [[0] * 4] * 2)


def test_counts_by_hand():
    assert intersection_and_union(PREDICTION, TARGET) == (2, 6)
    assert intersection_and_union(PREDICTION * 1e-3, TARGET) == (2, 6)  # Any non-zero value is foreground.


def test_scores_by_hand():
    summary = PICTURES.task.scores.summarize([(2, 6), (4, 4), (5, 10)])
    assert summary["overall_iou"] == pytest.approx(11 / 20)
    assert summary["mean_iou"] == pytest.approx((1 / 3 + 1 + 1 / 2) / 3)
    assert summary["precision"] == {
        "0.5": pytest.approx(2 / 3),  # From the threshold on.
        "0.6": pytest.approx(1 / 3),
        "0.7": pytest.approx(1 / 3),
        "0.8": pytest.approx(1 / 3),
        "0.9": pytest.approx(1 / 3),
    }


def test_an_empty_prediction_of_an_empty_mask_is_correct():
    summary = PICTURES.task.scores.summarize([(0, 0)])
    assert summary["overall_iou"] == summary["mean_iou"] == 1
    summary = PICTURES.task.scores.summarize([(0, 0), (1, 4)])
    assert summary["overall_iou"] == 0.25
    assert summary["mean_iou"] == 0.625


def test_scores_equal_those_that_maskris_prints(parity):
    golden = np.load(GOLDEN / "maskris" / "maskris_extras.npz")
    count = len(golden["scores/iou"])
    masks = (np.unpackbits(golden[f"scores/{name}"]).reshape(count, 30, 30) for name in ("pred", "truth"))
    pairs = [intersection_and_union(*pair) for pair in zip(*masks, strict=True)]
    np.testing.assert_array_equal(np.transpose(pairs), [golden["scores/intersection"], golden["scores/union"]])
    found = PICTURES.task.scores.summarize(pairs)
    printed = [float(line.split()[-1]) for line in golden["scores/printed"]]
    percent = [found["mean_iou"], *(found["precision"][x] for x in ("0.5", "0.7", "0.9")), found["overall_iou"]]
    np.testing.assert_allclose(np.multiply(percent, 100), printed, rtol=0, atol=0.00501)  # Two digits are printed.
    parity.counted("MaskRIS: intersections and unions *", "equal", count)


def test_no_samples():
    assert PICTURES.task.scores.summarize([])["overall_iou"] is None


def test_average_precision_is_the_mean_of_the_precisions():
    summary = CLIPS.task.scores.summarize([(2, 6), (4, 4), (5, 10)])
    assert summary["precision"]["0.5"] == pytest.approx(2 / 3)
    assert summary["average_precision"] == pytest.approx((2 + 9) / 30)
