import numpy as np
import pytest
import scipy.interpolate
import tensorflow as tf

from cmpc_tf2.layers.upsampling import AlignedBilinearResize, LegacyBilinearResize


@pytest.mark.parametrize("source, target", [(40, 320), (8, 64), (5, 12), (320, 40), (12, 5), (7, 7)])
def test_equals_tensorflow_1(source, target, rng):
    """The goldens hold full-size outputs at every 8th pixel only, which are the coarse grid itself."""
    x = rng.normal(size=(2, source, source, 3)).astype("float32")
    expected = tf.compat.v1.image.resize_bilinear(x, (target, target))
    np.testing.assert_allclose(LegacyBilinearResize(target)(x), expected, atol=2e-6)


@pytest.mark.parametrize("height, width", [(7, 11), (2, 3), (1, 1), (3, 4)])
def test_aligned_corners(height, width, rng):
    x = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    rows = scipy.interpolate.interp1d(np.arange(3), x, axis=1)(np.linspace(0, 2, height))
    expected = scipy.interpolate.interp1d(np.arange(4), rows, axis=2)(np.linspace(0, 3, width))
    np.testing.assert_allclose(AlignedBilinearResize((height, width))(x), expected, atol=1e-6)
