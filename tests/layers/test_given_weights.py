"""Layers that are built without initial values."""

import threading

import keras
import numpy as np
import pytest

from cmpc_tf2.layers.given_weights import giving_weights


def dense() -> keras.layers.Dense:
    layer = keras.layers.Dense(3, name="dense")
    layer.build((None, 2))
    return layer


def test_weights_are_those_that_were_set():
    kernel, bias = np.float32([[1, 2, 3], [4, 5, 6]]), np.float32([7, 8, 9])
    with giving_weights():
        layer = dense()
        x = layer(keras.Input((2,)))
        layer.set_weights([kernel, bias])
    assert x.shape == (None, 3)
    np.testing.assert_array_equal(layer(np.float32([[1, 10]])), [[48, 60, 72]])
    layer.kernel.assign_add(kernel)
    np.testing.assert_array_equal(layer.get_weights()[0], 2 * kernel)
    np.testing.assert_array_equal(kernel, [[1, 2, 3], [4, 5, 6]])


def test_a_weight_that_was_not_set_is_named():
    named = "no value for 1 of 2 weights, the first of them dense/bias"
    with pytest.raises(ValueError, match=named), giving_weights():
        dense().kernel.assign(np.zeros((2, 3)))
    assert np.std(dense().get_weights()[0]) > 0


def test_errors_end_the_block():
    with pytest.raises(KeyError), giving_weights():
        raise KeyError
    keras.utils.set_random_seed(0)
    first = dense().get_weights()[0]
    keras.utils.set_random_seed(0)
    np.testing.assert_array_equal(dense().get_weights()[0], first)
    assert np.std(first) > 0


def test_other_threads_build_layers_as_usual():
    built = []
    with giving_weights():
        thread = threading.Thread(target=lambda: built.append(dense()))
        thread.start()
        thread.join()
    assert np.std(built[0].get_weights()[0]) > 0


def test_blocks_may_be_nested():
    with giving_weights():
        outer = dense()
        with giving_weights():
            inner = dense()
            inner.set_weights([np.ones((2, 3)), np.ones(3)])
        outer.set_weights([np.zeros((2, 3)), np.ones(3)])
    assert outer.get_weights()[0].max() == 0 and inner.get_weights()[0].min() == 1


def test_other_variables_keep_what_they_are_assigned():
    existing, dropout = dense(), keras.layers.Dropout(0.5)
    with giving_weights():
        existing.kernel.assign(np.ones((2, 3)))
        dropout.variables[0].assign(np.ones(2))
    assert existing.get_weights()[0].min() == 1
    np.testing.assert_array_equal(dropout.variables[0], [1, 1])
