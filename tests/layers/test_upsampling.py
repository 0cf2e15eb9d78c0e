import numpy as np
import pytest
import tensorflow as tf

from cmpc_tf2.layers.upsampling import LegacyBilinearResize


@pytest.mark.parametrize("source, target", [(40, 320), (8, 64), (5, 12), (320, 40), (12, 5), (7, 7)])
def test_equals_tensorflow_1(source, target, rng):
    """The goldens hold full-size outputs at every 8th pixel only, which are the coarse grid itself."""
    x = rng.normal(size=(2, source, source, 3)).astype("float32")
    expected = tf.compat.v1.image.resize_bilinear(x, (target, target))
    np.testing.assert_allclose(LegacyBilinearResize(target)(x), expected, atol=2e-6)
