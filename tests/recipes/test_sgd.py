"""SGD in PyTorch's form, by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cmpc_tf2.recipes.sgd import StepDecay, TorchSGD


def run(optimizer, gradients, start=(1.0, -2.0)) -> np.ndarray:
    variable = keras.Variable(np.float32(start), name="weight")
    optimizer.build([variable])
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient, tf.float32)])
    return np.asarray(variable)


def test_momentum_and_decay(rng):
    gradients, value, velocity = rng.normal(size=(5, 2)), np.array([1.0, -2.0]), 0.0
    found = run(TorchSGD(0.1, momentum=0.9, decay=0.01), gradients)
    for gradient in gradients:
        velocity = 0.9 * velocity + gradient + 0.01 * value
        value = value - 0.1 * velocity
    np.testing.assert_allclose(found, value, rtol=1e-5)


def test_a_fall_of_the_rate_acts_on_the_momentum():
    """Keras' SGD would take the last step at the old rate."""
    found = run(TorchSGD(StepDecay(1.0, 1)), [[1.0, 0.0], [0.0, 0.0]], (0.0, 0.0))
    np.testing.assert_allclose(found, [-1.0 - 0.1 * 0.9, 0.0], rtol=1e-6)


def test_rates_and_decays_by_path():
    options = {"rate_factor": lambda path: 10.0, "is_decayed": lambda path: "weight" not in path}
    np.testing.assert_allclose(run(TorchSGD(0.1, decay=0.5, **options), [[0.1, 0.2]]), [0.9, -2.2], rtol=1e-6)
    np.testing.assert_allclose(run(TorchSGD(0.1, decay=0.5), [[0.0, 0.0]]), [0.95, -1.9], rtol=1e-6)


def test_the_rate_falls_after_360_000_steps():
    schedule = StepDecay(1e-4, 360_000)
    assert [float(schedule(step)) for step in (0, 359_999)] == pytest.approx([1e-4, 1e-4])
    assert [float(schedule(step)) for step in (360_000, 800_000)] == pytest.approx([1e-5, 1e-5])


def test_saving():
    optimizer = TorchSGD(StepDecay(1e-4, 3), momentum=0.8, decay=0.2)
    again = TorchSGD.from_config(optimizer.get_config())
    assert (again.momentum, again.decay, again.name) == (0.8, 0.2, "sgd")
    assert float(again.learning_rate) == pytest.approx(1e-4)
