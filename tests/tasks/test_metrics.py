import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cmpc_tf2.data.segmentations import encode_run_lengths
from cmpc_tf2.medium import PICTURES
from cmpc_tf2.tasks.masks.metrics import coco_map, intersection_and_union, iou
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


def test_coco_map_is_that_of_pycocotools(rng, capsys):
    """On masks of rectangles, some equal to their object, some empty, some with equal scores."""
    images, objects, found, ious, scores = [], [], [], [], []
    for number in range(1, 61):
        target, mask = np.zeros((2, 20, 30), bool)
        top, left = rng.integers(0, 10, size=2)
        target[top : top + 9, left : left + 12] = True
        moved_top, moved_left = (top, left) + rng.integers(0, 4, size=2) * (number % 5 > 0)
        mask[moved_top : moved_top + 9, moved_left : moved_left + 12] = number % 7 > 0
        score = round(float(rng.random()), 1)
        ious.append(iou(*intersection_and_union(mask, target)))
        scores.append(score)
        images.append({"id": number, "height": 20, "width": 30})
        common = {"image_id": number, "category_id": 1}
        box = {"bbox": [0, 0, 30, 20], "area": int(target.sum()), "iscrowd": 0}
        objects.append({**common, "id": number, "segmentation": encode_run_lengths(target), **box})
        found.append({**common, "score": score, "segmentation": encode_run_lengths(mask)})
    truth = COCO()
    truth.dataset = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "object"}]}
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(found), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert 0.1 < evaluation.stats[0] < 0.9
    assert coco_map(ious, scores) == pytest.approx(evaluation.stats[0], abs=1e-12)
