"""Normalisations as PyTorch defines them."""

import keras
from keras import layers, ops

from cmpc_tf2.registration import PACKAGE

# Of batch norms.
EPSILON = 1e-5
# Smallest norm that `unit_length` divides by.
SMALLEST_NORM = 1e-12


def at_least_float32(x):
    """`x` as float32 if it has a half-precision dtype, otherwise unchanged."""
    return ops.cast(x, "float32") if keras.backend.standardize_dtype(x.dtype) in ("bfloat16", "float16") else x


def unit_length(x):
    """Scales the last axis to unit L2 norm: `x / max(norm, 1e-12)`, as `torch.nn.functional.normalize`.

    Args:
        x: Tensor of any shape. Slices of zeros stay zero; their gradient is finite.

    Returns:
        A tensor of the shape and dtype of `x`, computed in float32 or float64.
    """
    exact = at_least_float32(x)
    squared_norm = ops.sum(ops.square(exact), axis=-1, keepdims=True)
    # The bound is inside the root, where the gradient at zero would be infinite.
    return ops.cast(exact / ops.sqrt(ops.maximum(squared_norm, SMALLEST_NORM**2)), x.dtype)


def _all_but_last(x) -> tuple[int, ...]:
    return tuple(range(len(x.shape) - 1))


def _scale(x, gamma, beta, mean, variance):
    """`x` normalised, in two passes over it."""
    scale = gamma / ops.sqrt(variance + EPSILON)
    return x * scale + (beta - mean * scale)


@ops.custom_gradient
def _normalize_batch(x, gamma, beta, mean, variance, shares):
    """`x` normalised by its own mean and variance, of which its rows have `shares`.

    The gradient has about half the passes over memory of the one that follows from the formula, and keeps `x` alone.
    """

    def gradients(upstream):
        axes, centered = _all_but_last(x), x - mean
        of_beta = ops.sum(upstream, axis=axes)
        product = ops.sum(upstream * centered, axis=axes)
        scale = gamma / ops.sqrt(variance + EPSILON)
        slope = scale * product / (variance + EPSILON)
        of_x = upstream * scale - shares * (centered * slope + of_beta * scale)
        # The statistics follow from `x`: their share is in its gradient.
        of_statistics = ops.zeros_like(mean)
        of_gamma = product / ops.sqrt(variance + EPSILON)
        return of_x, of_gamma, of_beta, of_statistics, of_statistics, ops.zeros_like(shares)

    return _scale(x, gamma, beta, mean, variance), gradients


@keras.saving.register_keras_serializable(package=PACKAGE)
class TorchBatchNormalization(layers.Layer):
    """Batch normalisation over all axes but the last, as `torch.nn.BatchNorm1d` and `BatchNorm2d`.

    In training it normalises by the biased variance of the batch and moves the running variance towards the unbiased
    one, `n / (n - 1)` times as large. A frozen layer (`trainable = False`) always uses the running statistics.

    Differs from `keras.layers.BatchNormalization`: its running variance is biased, its epsilon is 1e-3, and its
    momentum is the share of the old value.

    Args:
        momentum: The share of the new value in the running statistics.
        gamma_initializer: Initial factors of the channels.

    Call arguments:
        x: `(..., C)`.
        repeats: How often the rows of `x` count: a number, or `(B,)`, one for each slice of the first axis.

    Returns:
        The shape of `x`; computed in float32 or float64, whatever the precision of the model.
    """

    def __init__(self, momentum: float = 0.1, gamma_initializer="ones", **kwargs):
        super().__init__(**{**kwargs, "autocast": False})
        self.momentum = momentum
        self.gamma_initializer = keras.initializers.get(gamma_initializer)

    def build(self, x_shape):
        shape = (x_shape[-1],)
        self.gamma = self.add_weight(shape, self.gamma_initializer, name="gamma")
        self.beta = self.add_weight(shape, "zeros", name="beta")
        self.running_mean = self.add_weight(shape, "zeros", trainable=False, name="running_mean")
        self.running_var = self.add_weight(shape, "ones", trainable=False, name="running_var")

    def call(self, x, training=None, repeats=1):
        exact = at_least_float32(x)
        gamma, beta = ops.cast(self.gamma, exact.dtype), ops.cast(self.beta, exact.dtype)
        if training and self.trainable:
            statistics = self._batch_statistics(ops.stop_gradient(exact), repeats)
            return ops.cast(_normalize_batch(exact, gamma, beta, *statistics), self.compute_dtype)
        mean, variance = (ops.cast(value, exact.dtype) for value in (self.running_mean, self.running_var))
        return ops.cast(_scale(exact, gamma, beta, mean, variance), self.compute_dtype)

    def compute_output_shape(self, x_shape):
        return x_shape

    def _batch_statistics(self, x, repeats):
        """Mean and biased variance of a batch, after they have moved the running statistics; and the rows' shares."""
        axes, rows = _all_but_last(x), ops.cast(ops.size(x) // x.shape[-1], x.dtype)
        repeats = ops.cast(repeats, x.dtype)
        if len(repeats.shape) == 0:
            count, shares = rows * repeats, 1 / rows
            mean, variance = ops.moments(x, axes=axes)
        else:
            count = rows * ops.mean(repeats)
            shares = ops.reshape(repeats, (-1, *[1] * len(axes))) / count
            mean = ops.sum(shares * x, axis=axes)
            variance = ops.sum(shares * ops.square(x - mean), axis=axes)
        unbiased = variance * (count / ops.maximum(count - 1, 1))
        for running, value in ((self.running_mean, mean), (self.running_var, unbiased)):
            running.assign(running + self.momentum * (ops.cast(value, running.dtype) - running))
        return mean, variance, shares

    def folding(self):
        """Factor and offset that replace this layer after training: float64 arrays `(C,)`."""
        gamma, beta, mean, variance = (
            ops.convert_to_numpy(value).astype("float64")
            for value in (self.gamma, self.beta, self.running_mean, self.running_var)
        )
        scale = gamma / (variance + EPSILON) ** 0.5
        return scale, beta - mean * scale

    def get_config(self):
        initializer = keras.initializers.serialize(self.gamma_initializer)
        return {**super().get_config(), "momentum": self.momentum, "gamma_initializer": initializer}
