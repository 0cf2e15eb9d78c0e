"""Layers whose weights are given, from a file or by another model, and therefore not drawn at random first."""

import contextlib
import threading
from collections.abc import Iterable, Iterator

import keras
import numpy as np
from keras import ops

from cmpc_tf2.tensors import copied

# Keras has one for all threads, so that only one thread may replace it.
_ADD_WEIGHT, _LOCK = keras.layers.Layer.add_weight, threading.RLock()


def give(layer: keras.Layer, weights: Iterable[np.ndarray]):
    """Sets the weights of a layer, faster than `set_weights`.

    Args:
        layer: A built layer.
        weights: The values, in the order of `layer.weights`.

    Raises:
        ValueError: Their number or a shape does not fit.
    """
    layer.set_weights([copied(value) for value in weights])


class _Assignments(keras.StatelessScope):
    """Keeps what is assigned to variables, with the variables."""

    def __init__(self):
        super().__init__()
        self.updates = {}

    def add_update(self, update):
        super().add_update(update)
        self.updates[id(update[0])] = update


@contextlib.contextmanager
def giving_weights() -> Iterator[None]:
    """Within the block, layers are built without initial values, and each of their weights must be set.

    Drawing the weights of a full-size model and writing them to memory takes longer than reading them from a file.

    ```python
    with giving_weights():
        layer = keras.layers.Dense(3)
        layer.build((None, 2))
        layer.set_weights([kernel, bias])
    ```

    The weights get their values at the end of the block. Until then, code outside of symbolic calls must not use them.
    Layers that other threads build meanwhile are initialized as usual.

    Raises:
        ValueError: A weight was not set.
    """
    thread, weights = threading.get_ident(), []

    def add_weight(layer, shape=None, initializer=None, *args, **kwargs):
        if threading.get_ident() != thread:
            return _ADD_WEIGHT(layer, shape, initializer, *args, **kwargs)

        def value(shape, dtype=None):  # Symbolic calls of layers want one before it is set.
            found = scope.get_current_value(weight)
            return ops.zeros(shape, dtype) if found is None else found

        weight = _ADD_WEIGHT(layer, shape, value, *args, **kwargs)
        weights.append(weight)
        return weight

    # In a stateless scope, Keras makes variables without values and keeps assignments; at the end it initializes them.
    with _LOCK, _Assignments() as scope:
        before, keras.layers.Layer.add_weight = keras.layers.Layer.add_weight, add_weight
        try:
            yield
        finally:
            keras.layers.Layer.add_weight = before
        missing = [weight.path for weight in weights if scope.get_current_value(weight) is None]
        if missing:
            raise ValueError(f"no value for {len(missing)} of {len(weights)} weights, the first of them {missing[0]}")
    known = set(map(id, weights))
    for key, (variable, value) in scope.updates.items():
        if key not in known:  # States of random numbers, for example.
            variable.assign(value)
