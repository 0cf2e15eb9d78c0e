import keras
import numpy as np
import pytest
import tensorflow as tf

from cmpc_tf2.recipes.optimizers import FastAdam


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_adam_takes_the_steps_of_keras_to_the_bit(dtype):
    """Of a schedule too, in a smaller graph."""
    found, sizes = [], []
    for adam in (FastAdam, keras.optimizers.Adam):
        rng = np.random.default_rng(0)
        variables = [keras.Variable(rng.normal(size=shape), dtype) for shape in ((3, 4, 5), (7,))]
        optimizer = adam(keras.optimizers.schedules.PolynomialDecay(0.01, 10), beta_1=0.8, epsilon=1e-5)
        optimizer.build(variables)
        step = tf.function(optimizer.apply, autograph=False)
        for _ in range(3):
            gradients = [tf.constant(rng.normal(size=variable.shape), dtype) for variable in variables]
            step(gradients)
        sizes.append(len(step.get_concrete_function(gradients).graph.get_operations()))
        found.append([variable.numpy() for variable in (*variables, *optimizer.variables)])
    assert sizes[0] < sizes[1]
    for value, expected in zip(*found, strict=True):
        np.testing.assert_array_equal(value, expected)
