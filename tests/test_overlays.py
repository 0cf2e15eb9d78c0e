import numpy as np

from cmpc_tf2.overlays import COLORS, FILL, draw_masks


def test_a_small_picture_by_hand():
    image = np.full((7, 7, 3), 100, np.uint8)
    first, second, target = np.zeros((3, 7, 7), bool)
    first[1:6, 1:6] = True
    second[0, 0] = True
    target[6, 6] = True
    drawn = draw_masks(image, [first, second], target)
    filled = (1 - FILL) * 100 + FILL * np.array(COLORS[0])
    np.testing.assert_allclose(drawn[3, 3], filled, atol=1)  # Inside: translucent.
    np.testing.assert_array_equal(drawn[1, 3], COLORS[0])  # The contour: opaque.
    np.testing.assert_array_equal(drawn[0, 0], COLORS[1])
    np.testing.assert_array_equal(drawn[6, 6], [255, 255, 255])
    np.testing.assert_array_equal(drawn[0, 6], [100, 100, 100])
    assert (image == 100).all()


def test_empty_and_full_masks():
    image = np.full((4, 4, 3), 10, np.uint8)
    np.testing.assert_array_equal(draw_masks(image, [np.zeros((4, 4), bool)]), image)
    assert (draw_masks(image, [np.ones((4, 4), bool)]) != image).all()
