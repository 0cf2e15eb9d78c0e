import numpy as np
import pytest
from keras import ops

from cmpc_tf2.layers.normalization import GlobalLayerNormalization, l2_normalize
from cmpc_tf2.precision import computing_in


def test_l2_normalize_gives_unit_norm(rng):
    x = rng.normal(size=(2, 3, 5)).astype("float32")
    np.testing.assert_allclose(np.linalg.norm(l2_normalize(x), axis=-1), 1, rtol=1e-6)


def test_l2_normalize_epsilon_bounds_the_squared_norm():
    # Norm 1e-7: its square is below 1e-12, so it is divided by 1e-6.
    x = np.array([[1e-7, 0.0]], "float32")
    np.testing.assert_allclose(l2_normalize(x), [[0.1, 0.0]], rtol=1e-5)
    np.testing.assert_array_equal(l2_normalize(np.zeros((1, 2), "float32")), [[0, 0]])


def test_layer_norm_is_over_everything_but_the_batch(rng):
    x = rng.normal(2, 3, size=(2, 3, 4, 5)).astype("float32")
    layer = GlobalLayerNormalization()
    layer.build(x.shape)
    gamma, beta = rng.normal(size=(2, 5)).astype("float32")
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    mean = x.mean(axis=(1, 2, 3), keepdims=True)
    expected = (x - mean) / x.std(axis=(1, 2, 3), keepdims=True) * gamma + beta
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 1e-5])
def test_layer_norm_epsilon_is_far_below_small_variances(scale, rng):
    """With 1e-6, or Keras' 1e-3, in place of 1e-12 inputs of this size would come out short."""
    x = (scale * rng.normal(size=(1, 50, 4))).astype("float32")
    layer = GlobalLayerNormalization()
    assert ops.convert_to_numpy(layer(x)).std() == pytest.approx(1, rel=1e-2)


def test_layer_norm_of_a_constant_is_its_offset():
    layer = GlobalLayerNormalization()
    np.testing.assert_array_equal(layer(np.ones((1, 3, 2), "float32")), np.zeros((1, 3, 2)))


def test_sums_that_float16_cannot_hold(rng):
    x = (300 * rng.normal(size=(1, 4, 4, 10))).astype("float16")
    with computing_in("float16"):
        normalized = GlobalLayerNormalization()(x)
    assert normalized.dtype == "float16"
    assert np.std(np.asarray(normalized, "float32")) == pytest.approx(1, abs=1e-3)
    norms = np.linalg.norm(np.asarray(l2_normalize(x), "float32"), axis=-1)
    np.testing.assert_allclose(norms, 1, atol=2e-3)
