"""Pillow's nearest neighbour."""

import numpy as np
import pytest

from cmpc_tf2.tasks.nearest import resize_nearest


@pytest.mark.parametrize("size, scaled", [((50, 70), (83, 117)), ((480, 640), (600, 800)), ((427, 640), (600, 899))])
def test_an_enlarged_mask_is_made_smaller_again_without_a_change(size, scaled, rng):
    """CAC's original scores masks that it has resized to the scaled picture and back."""
    mask = rng.random(size) < 0.5
    np.testing.assert_array_equal(resize_nearest(resize_nearest(mask, *scaled), *size), mask)


def test_nearest_neighbours():
    mask = np.array([[1, 0], [0, 1]], bool)
    np.testing.assert_array_equal(resize_nearest(mask, 4, 2), np.repeat(mask, 2, axis=0))
    np.testing.assert_array_equal(resize_nearest(np.arange(9, dtype=np.uint8).reshape(3, 3), 1, 1), [[4]])
    assert resize_nearest(mask, 4, 6).dtype == np.uint8
