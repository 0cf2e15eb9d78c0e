import numpy as np
import pytest

from cmpc_tf2.preprocessing import interpolation
from cmpc_tf2.tasks.drawing import COLORS
from cmpc_tf2.tasks.masks.drawing import FILL, draw_masks


def test_a_small_picture():
    image = np.full((7, 7, 3), 100, np.uint8)
    first, second, target = np.zeros((3, 7, 7), bool)
    first[1:6, 1:6] = True
    second[0, 0] = True
    target[6, 6] = True
    drawn = draw_masks(image, [first, second], target=target)
    filled = (1 - FILL) * 100 + FILL * np.array(COLORS[0])
    np.testing.assert_allclose(drawn[3, 3], filled, atol=1)  # Inside: translucent.
    np.testing.assert_array_equal(drawn[1, 3], COLORS[0])  # The contour: opaque.
    np.testing.assert_array_equal(drawn[0, 0], COLORS[1])
    np.testing.assert_array_equal(drawn[6, 6], [255, 255, 255])
    np.testing.assert_array_equal(drawn[0, 6], [100, 100, 100])
    assert (image == 100).all()


def test_drawing_in_bands_gives_the_same_picture(rng, monkeypatch):
    image = rng.integers(0, 256, size=(45, 70, 3), dtype=np.uint8)
    masks = list(rng.random((2, 45, 70)) < 0.5)
    whole = draw_masks(image, masks, target=masks[0] & masks[1])
    monkeypatch.setattr(interpolation, "BAND_PIXELS", 200)
    np.testing.assert_array_equal(draw_masks(image, masks, target=masks[0] & masks[1]), whole)


def test_captions_are_below_the_picture_in_the_colour_of_the_mask():
    image = np.full((60, 90, 3), 100, np.uint8)
    masks = [np.zeros((60, 90), bool)] * 2
    short = draw_masks(image, masks, ["the man", "the dog (IoU 0.512)"])
    assert short.shape[1:] == (90, 3) and short.dtype == np.uint8
    np.testing.assert_array_equal(short[:60], image)
    bars = short[60:, 0].tolist()
    assert bars.index([*COLORS[0]]) < bars.index([*COLORS[1]])
    written = short[60:, 10:].min(axis=2)
    assert written.min() < 60 and written.max() == 255
    # Long captions are wrapped, and characters that the font lacks cause no error.
    assert len(draw_masks(image, masks, ["the man " * 20, "\U0001f436 \u4eba"])) > len(short)
    assert len(draw_masks(np.zeros((1, 1, 3), np.uint8), [np.ones((1, 1), bool)], ["the man"])) > 1


@pytest.mark.parametrize("height, width", [(20, 40_000), (40_000, 20)])
def test_long_and_thin_pictures(height, width):
    """Contours leave the inside of a mask visible, and captions are no larger than they have to be."""
    image = np.full((height, width, 3), 100, np.uint8)
    drawn = draw_masks(image, [np.ones((height, width), bool)], ["the man"])
    assert drawn.shape[1] == width and drawn.shape[0] < height + 100
    assert (drawn[:height] != COLORS[0]).any(axis=2).all()
    inside = np.zeros((height, width), bool)
    inside[2:-2, 2:-2] = True
    drawn = draw_masks(image, [inside])
    np.testing.assert_array_equal(drawn[2, 2], COLORS[0])
    assert (drawn[height // 2, width // 2] != COLORS[0]).any()


def test_empty_and_full_masks():
    image = np.full((4, 4, 3), 10, np.uint8)
    np.testing.assert_array_equal(draw_masks(image, [np.zeros((4, 4), bool)]), image)
    assert (draw_masks(image, [np.ones((4, 4), bool)]) != image).all()
