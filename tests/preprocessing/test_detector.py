"""Pictures as detectors see them, and masks of boxes back in the picture, against the numbers of the original."""

import numpy as np
import pytest

from cmpc_tf2.preprocessing.detector_picture import DETECTOR_MEAN, scale_picture
from cmpc_tf2.preprocessing.pasting import clip_boxes, paste_mask, stretch_levels
from twostage_original import read_golden


@pytest.fixture(scope="module")
def golden():
    return read_golden("maskrcnn_tiny")


@pytest.mark.parametrize("number", range(3))
def test_scaled_pictures(golden, number, parity):
    """The second one hits the bound of the longer side; the third one keeps its size."""
    pixels, scale = scale_picture(golden[f"{number}/image"], 128, 200)
    assert pixels.dtype == np.float32 and scale == golden[f"{number}/im_scale"][0]
    parity.within("Mask R-CNN, small: scaled picture (of 255)", pixels, golden[f"{number}/blob"][0], 2e-3)


def test_channels_and_mean():
    image = np.full((4, 4, 3), (200, 100, 50), np.uint8)
    pixels, scale = scale_picture(image, 8, 10)
    assert scale == 2 and pixels.shape == (8, 8, 3)
    np.testing.assert_allclose(pixels[3, 3], np.subtract((50, 100, 200), DETECTOR_MEAN), rtol=1e-6)


def test_neighbours_are_as_far_apart_as_the_scale_says():
    """Three pixels at 1.5 become four, not 4.5: the last one is at 1.833, not at 1.875."""
    image = np.zeros((2, 3, 3), np.uint8)
    image[:, 1:] = [[[90], [180]]]
    pixels, scale = scale_picture(image, 3, 9)
    assert scale == 1.5 and pixels.shape == (3, 4, 3)
    position = 3.5 / 1.5 - 0.5
    np.testing.assert_allclose(pixels[0, 3], 90 * position - np.array(DETECTOR_MEAN), rtol=1e-5)


@pytest.mark.parametrize("height, width", [(1, 5000), (5000, 1), (1, 1)])
def test_no_side_vanishes(height, width):
    pixels, _ = scale_picture(np.zeros((height, width, 3), np.uint8), 600, 1000)
    assert min(pixels.shape[:2]) >= 1 and max(pixels.shape[:2]) <= 1000


@pytest.mark.parametrize("number", range(3))
def test_pasted_masks(golden, number, parity):
    """Equal, except where a box has a side below 14 pixels: there versions of Pillow differ by single grey levels."""
    boxes, probabilities = golden[f"{number}/detections"][:, :4], golden[f"{number}/mask_14"]
    height, width = golden[f"{number}/image"].shape[:2]
    levels = golden[f"{number}/mask_grey"]
    packed = np.unpackbits(golden[f"{number}/masks"])[: levels.size].reshape(levels.shape)
    np.testing.assert_array_equal(packed, levels > 122)
    for box, values, level, expected in zip(boxes, probabilities, levels, packed, strict=True):
        found = paste_mask(values, box, height, width)
        is_small = min(box[2] - box[0], box[3] - box[1]) + 1 < 14
        clear = (np.abs(level.astype(int) - 122.5) > 1) | (not is_small)
        np.testing.assert_array_equal(found[clear], expected[clear].astype(bool))
    parity.counted("Mask R-CNN, small: pasted masks", "equal", len(boxes))


def test_masks_are_stretched_to_their_own_range():
    values = np.linspace(0.2, 0.4, 196, dtype=np.float32).reshape(14, 14)
    levels = stretch_levels(values)
    assert levels.min() == 0 and levels.max() == 255
    mask = paste_mask(values, np.float32([3, 2, 16, 15]), 20, 30)
    np.testing.assert_array_equal(mask[2:16, 3:17], levels > 122)
    assert mask.sum() == (levels > 122).sum()


def test_a_mask_without_range_is_empty():
    assert not paste_mask(np.full((14, 14), 0.9, np.float32), np.float32([0, 0, 9, 9]), 10, 10).any()


def test_boxes_outside_are_clipped_to_a_pixel():
    """Boxes that lie right of the picture or above it have swapped corners."""
    for box, pixel in (([40, 2, 29, 2.9], (2, 29)), ([5, 0, 5.5, -8], (0, 5))):
        clipped = clip_boxes(np.float32(box), 20, 30)
        assert (clipped[:2] <= clipped[2:]).all()
        mask = paste_mask(np.eye(14, dtype=np.float32), np.float32(box), 20, 30)
        assert mask.shape == (20, 30) and set(zip(*np.nonzero(mask), strict=True)) <= {pixel}
