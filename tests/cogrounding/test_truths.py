"""Truths of boxes, against the original."""

import json

import numpy as np
import pytest

from cmpc_tf2.preprocessing.letterbox import Letterbox
from cogrounding_tf2.data.truths import square_box, true_box, whole_pixels
from original import GOLDEN

FOLDER = GOLDEN / "cogrounding"


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
