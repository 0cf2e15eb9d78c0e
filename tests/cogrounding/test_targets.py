"""Targets and truths of boxes, against the original."""

import json

import numpy as np
import pytest

from cmpc_tf2.preprocessing.letterbox import Letterbox
from cogrounding_tf2.data.targets import ANCHORS, GRIDS, square_box, target, true_box, whole_pixels
from original import GOLDEN

FOLDER = GOLDEN / "cogrounding"


def test_targets_equal_the_originals(parity):
    golden = np.load(FOLDER / "cogrounding_image_tiny.npz")
    for number in range(3):
        found = target(golden[f"{number}/box"])
        expected = golden["target/best_anchor"][number], golden["target/gj"][number], golden["target/gi"][number]
        assert found[:3] == expected
        parity.within("SL-Att.: targets", found.values, golden["target/values"][number, :4], 1e-6)


@pytest.mark.parametrize("number, anchor", list(enumerate(ANCHORS)))
def test_a_box_of_an_anchors_size_has_that_anchor(number, anchor):
    size = np.minimum(np.array(anchor) * 256 / 416, 240)
    found = target([5, 6, size[0] + 5, size[1] + 6])
    assert found.anchor == number
    cells = GRIDS[number // 3]
    centre = [found.column + found.values[0], found.row + found.values[1]]
    np.testing.assert_allclose(centre, (size / 2 + (5, 6)) * cells / 256, rtol=1e-5)
    expected = np.log(size / (np.array(anchor) * 256 / 416))
    np.testing.assert_allclose(found.values[2:], expected, atol=1e-5)
    assert found.values.dtype == np.float32


def test_boxes_are_clamped_to_the_square():
    found, expected = target([-30, 100, 400, 300]), target([0, 100, 255, 255])
    assert found[:3] == expected[:3] and (found.values == expected.values).all()
    assert target([250, 250, 400, 400])[:3] == (8, 31, 31)


def test_annotations_lose_their_fractions():
    assert whole_pixels([10.9, 20.2, 10.9 + 30.7, 20.2 + 15.99]).tolist() == [10, 20, 40, 35]
    # 74.03 + 182.0 - 74.03 is a little less than 182.
    assert (74.03 + 182.0) - 74.03 < 182
    assert whole_pixels([74.03, 0, 74.03 + 182.0, 1]).tolist() == [74, 0, 256, 1]
    assert whole_pixels([[1, 2, 3, 4]]).dtype == np.int64


@pytest.mark.parametrize("split", ["testA", "testB"])
def test_real_boxes_equal_the_originals(split, shared_data):
    from cmpc_tf2.data.image_files import read_image

    folder = shared_data / "refer_mini" / "images" / "mscoco" / "images" / "train2014"
    for item in json.loads((FOLDER / "cogrounding_refer_mini.json").read_text())[split]:
        x, y, width, height = item["annotated"]
        place = Letterbox.of(*read_image(folder / item["file"]).shape[:2], 256)
        assert square_box([x, y, x + width, y + height], place).tolist() == item["box"]


def test_truths_of_the_originals_test(parity):
    golden = np.load(FOLDER / "cogrounding_vid.npz")
    for item, clip in enumerate(golden["annotation/clip"]):
        place = Letterbox.of(*golden[f"frame/{'aba'[clip]}/0"].shape[:2], 256)
        box = golden["annotation/boxes"][item]
        np.testing.assert_array_equal(square_box(box, place), golden[f"item/{item}/boxes"][2])
        np.testing.assert_array_equal(true_box(box, place), golden["test/targets"][item])
    parity.counted("CG-SL-Att.: true boxes of a test *", "equal", 11)
