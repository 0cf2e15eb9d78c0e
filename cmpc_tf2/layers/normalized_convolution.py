"""A convolution with a batch norm and an activation."""

import math

import keras
from keras import layers, ops

from cmpc_tf2.layers.given_weights import give, giving_weights
from cmpc_tf2.layers.torch_normalization import TorchBatchNormalization
from cmpc_tf2.layers.transformer import fan_in_uniform
from cmpc_tf2.registration import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class NormalizedConvolution(layers.Layer):
    """A convolution without bias, a batch norm as in PyTorch, and a leaky ReLU.

    The input is padded with `(kernel_size - 1) / 2` zeros on all sides, also with strides.

    Args:
        filters: Channels of the output.
        kernel_size: Side of the kernel in cells; odd.
        strides: Cells between two positions of the kernel.
        slope: Slope of the activation below 0; 0 for a ReLU.
        momentum: The share of the new value in the running statistics.
        names: Names of the convolution and of the norm.
        folded: Leave the norm out and give the convolution a bias, for the weights of `folded_weights`.

    Input: `(B, h, w, C)`. Output: `(B, ceil(h / strides), ceil(w / strides), filters)`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        slope: float = 0.0,
        momentum: float = 0.1,
        names: tuple[str, str] = ("conv", "bn"),
        folded: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.slope = slope
        self.momentum = momentum
        self.names = list(names)
        self.folded = folded

    def build(self, input_shape):
        convolution, norm = self.names
        self.conv = layers.Conv2D(
            self.filters,
            self.kernel_size,
            strides=self.strides,
            # With strides, "same" would pad less at the start than at the end.
            padding="same" if self.strides == 1 else "valid",
            use_bias=self.folded,
            kernel_initializer=fan_in_uniform(self.kernel_size**2 * input_shape[-1]),
            dtype=self.dtype_policy,
            name=convolution,
        )
        self.conv.build(input_shape)
        if not self.folded:
            self.norm = TorchBatchNormalization(self.momentum, dtype=self.dtype_policy, name=norm)
            self.norm.build((None, None, None, self.filters))

    def call(self, x, training=None):
        margin = self.kernel_size // 2
        if margin and self.strides > 1:
            x = ops.pad(x, [[0, 0], [margin, margin], [margin, margin], [0, 0]])
        x = self.conv(x)
        x = x if self.folded else self.norm(x, training=training)
        return _leaky_relu(x, self.slope) if self.slope else ops.relu(x)

    def compute_output_shape(self, input_shape):
        batch, *sides, _ = input_shape
        sides = (None if side is None else math.ceil(side / self.strides) for side in sides)
        return (batch, *sides, self.filters)

    def folded_weights(self) -> list:
        """Kernel and bias of the same layer with `folded`."""
        scale, offset = self.norm.folding()
        return [ops.convert_to_numpy(self.conv.kernel) * scale, offset]

    def folded_copy(self) -> "NormalizedConvolution":
        """The same function after training, in one convolution."""
        with giving_weights():
            folded = type(self).from_config({**self.get_config(), "folded": True})
            folded.build((None, None, None, self.conv.kernel.shape[2]))
            give(folded, self.folded_weights())
        return folded

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "slope": self.slope,
            "momentum": self.momentum,
            "names": self.names,
            "folded": self.folded,
        }


def _leaky_relu(x, slope: float):
    # TensorFlow's operation, which has a fast gradient, rounds the slope to float32.
    is_exact = keras.backend.standardize_dtype(x.dtype) != "float64"
    return ops.leaky_relu(x, slope) if is_exact else ops.maximum(x, slope * x)
