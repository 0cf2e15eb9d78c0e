"""Normalisations as PyTorch defines them, against its formulas."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from cmpc_tf2.layers.torch_normalization import TorchBatchNormalization, unit_length
from cmpc_tf2.precision import building_with


def test_unit_length(rng):
    x = rng.normal(size=(2, 3, 5))
    np.testing.assert_allclose(unit_length(x), x / np.linalg.norm(x, axis=-1, keepdims=True), rtol=1e-14)
    # The norm, not its square, is at least 1e-12.
    np.testing.assert_allclose(unit_length(np.array([[3e-13, 4e-13]])), [[0.3, 0.4]], rtol=1e-12)


def test_the_gradient_of_unit_length_at_zero_is_finite():
    x = tf.zeros((1, 3))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(unit_length(x))
    np.testing.assert_allclose(tape.gradient(y, x), np.full((1, 3), 1e12), rtol=1e-6)


# Of all rows, or of each slice of the first axis.
@pytest.fixture(params=[1, 4, [2, 0, 3]], ids="repeats={}".format)
def repeats(request) -> int | list[int]:
    return request.param


def test_batch_statistics(rng, repeats):
    """Normalised by the biased variance; the running one moves towards the unbiased one, as if rows were repeated."""
    x = rng.normal(2, 3, size=(3, 3, 3, 5))
    with building_with("float64"):
        layer = TorchBatchNormalization(momentum=0.3)
        found = layer(ops.convert_to_tensor(x), training=True, repeats=ops.convert_to_tensor(repeats))
    rows = np.repeat(x, repeats, axis=0).reshape(-1, 5)
    expected = (x - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(layer.running_mean, 0.3 * rows.mean(0), rtol=1e-14)
    np.testing.assert_allclose(layer.running_var, 0.7 + 0.3 * rows.var(0, ddof=1), rtol=1e-14)


def test_gradients_of_a_batch(rng, repeats):
    """Those of the formula, with the statistics as functions of the batch, and rows repeated."""
    x, weights = tf.constant(rng.normal(2, 3, size=(3, 3, 3, 5))), tf.constant(rng.normal(size=(3, 3, 3, 5)))
    counts = repeats if isinstance(repeats, list) else [repeats] * 3
    with building_with("float64"):
        layer = TorchBatchNormalization()
        layer.build(x.shape)
    gamma, beta = (tf.constant(rng.normal(size=5)) for _ in range(2))
    layer.set_weights([gamma, beta, layer.running_mean, layer.running_var])
    with tf.GradientTape() as tape:
        tape.watch([x, gamma, beta])
        rows, factors = (tf.repeat(value, counts, axis=0) for value in (x, weights))
        mean, variance = tf.nn.moments(rows, axes=[0, 1, 2])
        loss = tf.reduce_sum(factors * ((rows - mean) / tf.sqrt(variance + 1e-5) * gamma + beta) ** 2)
    expected = tape.gradient(loss, [x, gamma, beta])
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = layer(x, training=True, repeats=tf.constant(repeats))
        loss = tf.reduce_sum(tf.repeat(weights * found**2, counts, axis=0))
    found = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("training, trainable", [(False, True), (True, False)])
def test_running_statistics(rng, training, trainable):
    """They are used in inference, and by a frozen layer in training too; then they stay as they are."""
    x, layer = rng.normal(size=(4, 5)).astype("float32"), TorchBatchNormalization(trainable=trainable)
    layer.build(x.shape)
    gamma, beta, mean, variance = rng.uniform(0.5, 2, size=(4, 5)).astype("float32")
    layer.set_weights([gamma, beta, mean, variance])
    expected = (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    np.testing.assert_allclose(layer(x, training=training), expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(layer.running_mean, mean)
    scale, offset = layer.folding()
    np.testing.assert_allclose(x * scale + offset, expected, rtol=0, atol=1e-5)


def test_a_batch_of_one_row_has_finite_statistics():
    layer = TorchBatchNormalization()
    np.testing.assert_array_equal(layer(np.full((1, 3), 7.0, "float32"), training=True), np.zeros((1, 3)))
    assert np.isfinite(layer.running_var).all()
