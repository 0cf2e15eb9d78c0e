"""The letterbox of the models of boxes, against the original."""

import hashlib
import json

import numpy as np
import pytest

from cmpc_tf2.data.image_files import read_image
from cmpc_tf2.preprocessing.letterbox import Letterbox
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.preprocessing.resizing import RESIZINGS
from original import GOLDEN

LETTERBOX = RESIZINGS["letterbox"]
FOLDER = GOLDEN / "cogrounding"
# Size of the square, and number of the picture.
CASES = [(64, 0), (64, 1), (64, 2), (64, 3), (64, 4), (256, 3)]


@pytest.fixture(scope="module")
def golden():
    return np.load(FOLDER / "cogrounding_data.npz")


@pytest.mark.parametrize("size, number", CASES)
def test_pictures_equal_the_originals(size, number, golden, parity):
    image = Preprocessing(size, "letterbox").fit(golden[f"picture/{number}"])
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, golden[f"letterbox/{size}/{number}/image"])
    parity.counted("letterboxed pictures *", "equal", 1)


@pytest.mark.parametrize("size, number", CASES)
def test_boxes_equal_the_originals(size, number, golden):
    x, y, width, height = golden[f"box_xywh/{number}"]
    place = Letterbox.of(*golden[f"picture/{number}"].shape[:2], size)
    found = np.trunc(place.fit_box([x, y, x + width, y + height]))
    np.testing.assert_array_equal(found, golden[f"letterbox/{size}/{number}/box"])
    np.testing.assert_array_equal(
        np.float32([place.ratio, place.dw, place.dh]), golden[f"letterbox/{size}/{number}/ratio_dw_dh"]
    )


@pytest.mark.parametrize("split", ["testA", "testB"])
def test_real_pictures_equal_the_originals(split, shared_data, parity):
    folder = shared_data / "refer_mini" / "images" / "mscoco" / "images" / "train2014"
    items = json.loads((FOLDER / "cogrounding_refer_mini.json").read_text())[split]
    assert len(items) >= 17
    for item in items:
        picture = read_image(folder / item["file"])
        image = LETTERBOX.resize_image(picture, 256)
        assert hashlib.sha256(image.tobytes()).hexdigest() == item["image_sha256"], item["file"]
        place = Letterbox.of(*picture.shape[:2], 256)
        x, y, width, height = map(int, item["annotated"])
        assert np.trunc(place.fit_box([x, y, x + width, y + height])).tolist() == item["box"]
        assert np.float32([place.ratio, place.dw, place.dh]).tolist() == item["ratio_dw_dh"]
    parity.counted("letterboxed COCO pictures and boxes *", "equal", len(items))


def test_truths_of_the_originals_test_are_restored(parity):
    golden = np.load(FOLDER / "cogrounding_vid.npz")
    for item in range(11):
        ratio, dw, dh = golden[f"item/{item}/ratio_dw_dh"][2]
        truth = np.clip(golden[f"item/{item}/boxes"][2], 0, 255)
        np.testing.assert_array_equal(Letterbox(256, ratio, dw, dh).restore_box(truth), golden["test/targets"][item])
    parity.counted("restored boxes *", "equal", 11)


@pytest.mark.parametrize("height, width", [(90, 140), (120, 96), (50, 50), (427, 640), (7, 200), (1, 1000)])
def test_the_letterbox_fills_the_square(height, width):
    place = Letterbox.of(height, width, 64)
    assert place.left + place.columns + place.right == place.top + place.rows + place.bottom == 64
    assert 0 <= place.right - place.left <= 1 and 0 <= place.bottom - place.top <= 1
    image = LETTERBOX.resize_image(np.full((height, width, 3), 7, np.uint8), 64)
    inside = (image == 7).all(axis=2)
    assert inside[place.top : 64 - place.bottom, place.left : 64 - place.right].all()
    assert inside.sum() == place.rows * place.columns and (image[~inside] == (124, 116, 104)).all()


def test_boxes_come_back():
    place = Letterbox.of(90, 140, 256)
    boxes = np.array([[[10, 20, 70, 65], [0, 0, 140, 90]]])
    np.testing.assert_allclose(place.restore_box(place.fit_box(boxes)), boxes, atol=1e-4)
    assert place.restore_box(boxes).dtype == np.float32


def test_only_the_outer_side_of_each_corner_is_clamped():
    place = Letterbox.of(90, 140, 256)
    above = place.restore_box([10, 2, 20, 6])
    assert above[1] == 0 and above[3] < 0
    below = place.restore_box([-30, 250, 300, 255])
    assert below[1] > 90 and below[0] == 0 and below[2:].tolist() == [140, 90]


def test_masks_and_maps_lie_where_the_picture_does(rng):
    picture = np.zeros((90, 141, 3), np.uint8)
    picture[30:60, 20:80] = 255
    fitted = LETTERBOX.resize_image(picture, 64)
    mask = LETTERBOX.resize_mask(picture[..., 0] > 0, 64)
    bright = fitted[..., 0] > 127
    assert (bright & mask).sum() / (bright[fitted[..., 0] != 124] | False).sum() > 0.95
    back = LETTERBOX.restore(np.where(mask, 1.0, 0.0), 90, 141) > 0.5
    assert (back & (picture[..., 0] > 0)).sum() / (back | (picture[..., 0] > 0)).sum() > 0.8


def test_the_letterbox_in_words():
    assert "64 pixels on their longer side" in Preprocessing(64, "letterbox").describe_resizing()
