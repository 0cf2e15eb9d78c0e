"""Parameters in the layout of PyTorch to weights in that of Keras, and back."""

import keras
import numpy as np

from cmpc_tf2.conversion.torch_names import TorchPair

# Axes of a PyTorch parameter in the order of Keras, and the other way round.
_TO_KERAS = {"linear": (1, 0), "conv": (2, 3, 1, 0)}
_TO_TORCH = {"linear": (1, 0), "conv": (3, 2, 0, 1)}


def to_keras(value: np.ndarray, pair: TorchPair) -> np.ndarray:
    """A parameter, or the part of it that a weight has, in the layout of Keras, as float32."""
    return _transposed(value[:, slice(*pair.inputs)] if pair.inputs else value, pair, _TO_KERAS)


def _transposed(value: np.ndarray, pair: TorchPair, axes: dict[str, tuple]) -> np.ndarray:
    """A parameter in the layout of the other side, as float32."""
    value = value.transpose(axes[pair.transform]) if pair.transform in axes else value
    return np.ascontiguousarray(value, np.float32).reshape(value.shape)


def torch_shape(shape: tuple, pair: TorchPair) -> tuple:
    """The shape that the parameter of a Keras weight has in PyTorch, up to the last of the weight's inputs."""
    axes = _TO_TORCH.get(pair.transform, range(len(shape)))
    outputs, *others = (shape[axis] for axis in axes)
    return (outputs, pair.inputs[1], *others[1:]) if pair.inputs else (outputs, *others)


def torch_weights(pairs: list[TorchPair], variables: dict[str, keras.Variable]) -> dict[str, np.ndarray]:
    """The parameters of a model as float32 arrays in the layout of PyTorch.

    Args:
        pairs: The parameters and their places.
        variables: The variables of the model by path.
    """
    weights = {}
    for pair in pairs:
        value = _transposed(keras.ops.convert_to_numpy(variables[pair.keras]), pair, _TO_TORCH)
        known = weights.get(pair.torch)
        weights[pair.torch] = value if known is None else np.concatenate([known, value], axis=1)
    return weights
