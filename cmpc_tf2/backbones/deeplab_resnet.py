"""DeepLab-ResNet, the image backbone."""

import keras
import numpy as np
from keras import layers

from cmpc_tf2.backbones.backbone import Backbone
from cmpc_tf2.backbones.config import DeepLabResNetConfig
from cmpc_tf2.layers.given_weights import give, giving_weights
from cmpc_tf2.layers.phases import MergePhases, SplitPhases
from cmpc_tf2.precision import building_with
from cmpc_tf2.registration import PACKAGE

BATCH_NORM_EPSILON = 1e-3
# Dilation by stage, in place of strides.
DILATIONS = {4: 2, 5: 4}


@keras.saving.register_keras_serializable(package=PACKAGE)
class FixedBatchNormalization(layers.BatchNormalization):
    """Batch normalisation by the moving statistics, whatever `training` says; gamma and beta can be trained."""

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=False, mask=mask)


def bottleneck_names(stage: int, depth: int) -> list[str]:
    """Caffe's names of the bottlenecks of one stage: `2a 2b 2c`, `3a 3b1 3b2 3b3`, ..."""
    if stage in (3, 4):
        return [f"{stage}a"] + [f"{stage}b{i}" for i in range(1, depth)]
    return [f"{stage}{chr(ord('a') + i)}" for i in range(depth)]


class _Builder:
    """Adds the blocks of the ResNet to a functional model.

    Args:
        folded: Build convolutions with biases, and no batch norms.
    """

    def __init__(self, folded: bool):
        self.folded = folded

    def stage(self, x, stage: int, depth: int, filters: int, on_phases: bool):
        """Adds the bottlenecks of a stage.

        Args:
            x: `(B, h, w, C)`.
            stage: 2 to 5. Stage 3 halves the map.
            depth: Bottlenecks.
            filters: Inside the bottlenecks.
            on_phases: Run a dilated stage on phases, if the map divides into them.
        """
        if stage == 3:
            # In place of strides: in TensorFlow 2.21, the gradient of small 1x1 convolutions with strides overwrites
            # memory that is not its own, on CPUs with several threads.
            x = x[:, ::2, ::2]
        rate = DILATIONS.get(stage, 1)
        on_phases = on_phases and rate > 1 and x.shape[1] % rate == 0
        if on_phases:
            x = SplitPhases(rate, name=f"split_phases_{stage}")(x)
        for index, name in enumerate(bottleneck_names(stage, depth)):
            x = self.bottleneck(x, name, filters, dilation=1 if on_phases else rate, project=index == 0)
        return MergePhases(rate, name=f"merge_phases_{stage}")(x) if on_phases else x

    def bottleneck(self, x, name: str, filters: int, dilation: int, project: bool):
        """Adds three convolutions and a shortcut, which is projected where channels change."""
        shortcut = self.convolution(x, f"{name}_branch1", 4 * filters, 1, relu=False) if project else x
        x = self.convolution(x, f"{name}_branch2a", filters, 1)
        x = self.convolution(x, f"{name}_branch2b", filters, 3, dilation=dilation)
        x = self.convolution(x, f"{name}_branch2c", 4 * filters, 1, relu=False)
        return layers.ReLU(name=f"res{name}_relu")(layers.Add(name=f"res{name}")([shortcut, x]))

    def convolution(self, x, suffix: str, filters: int, kernel_size: int, strides=1, dilation=1, relu=True):
        """Adds a convolution, its batch norm and its activation."""
        convolution, norm = convolution_and_norm(suffix)
        x = layers.Conv2D(
            filters,
            kernel_size,
            strides=strides,
            dilation_rate=dilation,
            padding="same",
            use_bias=self.folded,
            activation="relu" if self.folded and relu else None,
            name=convolution,
        )(x)
        if self.folded:
            return x
        x = FixedBatchNormalization(epsilon=BATCH_NORM_EPSILON, name=norm)(x)
        return layers.ReLU(name=f"{convolution}_relu")(x) if relu else x


@keras.saving.register_keras_serializable(package=PACKAGE)
class DeepLabResNet(Backbone):
    """A ResNet whose last two stages are dilated instead of strided, tapped after stages 3, 4 and 5.

    Caffe's layout: the stride of stage 3 sits on its first 1x1 convolutions. Padding is TensorFlow's SAME throughout.
    Batch normalisation always uses its moving statistics, in training too.

    Source: `deeplab_resnet/model.py` in CMPC-Refseg; layer names are those of its checkpoints.

    Args:
        config: Widths and depths.
        folded: True builds the inference form: each batch norm is folded into its convolution, which has a bias
            instead. `fold_batch_norm` makes one from a trained model.
        image_size: Side of the pictures, if all are square and of one size: dilated stages then run on phases where
            the grid divides into them.

    Input: float32 `(B, H, W, 3)`, BGR minus mean.
    Output: dict of `c3`, `c4`, `c5`: float32 `(B, ceil(H/8), ceil(W/8), C)` with C of 512, 1024, 2048 at full width.
    """

    title = "a DeepLab-ResNet backbone"
    config_type = DeepLabResNetConfig

    def __init__(
        self,
        config: DeepLabResNetConfig | dict | None = None,
        folded: bool = False,
        image_size: int | None = None,
        **kwargs,
    ):
        if not isinstance(config, DeepLabResNetConfig):
            config = DeepLabResNetConfig(**(config or {}))

        build = _Builder(folded)
        image = keras.Input((image_size, image_size, 3), name="image")
        x = build.convolution(image, "conv1", config.width, 7, strides=2)
        x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool1")(x)
        taps = {}
        for stage, depth in zip((2, 3, 4, 5), config.depths, strict=True):
            x = build.stage(x, stage, depth, config.stage_filters(stage) // 4, on_phases=image_size is not None)
            if f"c{stage}" in config.levels:
                taps[f"c{stage}"] = x
        super().__init__(inputs=image, outputs=taps, **kwargs)
        self.config = config
        self.folded = folded
        self.image_size = image_size

    def inference_form(self, image_size: int | None = None) -> "DeepLabResNet":
        return fold_batch_norm(self, image_size)

    def finetuned_variables(self) -> list[keras.Variable]:
        """The kernels of stages 3 to 5 (the original's `-conv5`), and no batch norm."""
        layers = [layer for layer in self.layers if layer.name.startswith(("res3", "res4", "res5"))]
        return [variable for layer in layers for variable in layer.variables]

    def get_config(self):
        sizes = {"config": self.config.to_dict(), "image_size": self.image_size}
        return {**sizes, "folded": self.folded, "name": self.name}


def convolution_and_norm(suffix: str) -> tuple[str, str]:
    """Names of a convolution and of its batch norm: `res2a_branch1`, `bn2a_branch1`; `conv1`, `bn_conv1`."""
    return ("conv1", "bn_conv1") if suffix == "conv1" else (f"res{suffix}", f"bn{suffix}")


def fold_batch_norm(backbone: DeepLabResNet, image_size: int | None = None) -> DeepLabResNet:
    """The inference form of a backbone: the same function, without batch norms.

    A batch norm with fixed statistics is one multiplication and one addition per channel, so it goes into the kernel
    and the bias of the convolution before it.

    Args:
        backbone: A backbone with batch norms; it is not changed.
        image_size: Side of the pictures, if all are square and of one size: that makes it faster.

    Returns:
        A new folded backbone with its own weights.
    """
    with building_with(backbone.get_layer("conv1").dtype_policy), giving_weights():
        folded = DeepLabResNet(backbone.config, folded=True, image_size=image_size, name=backbone.name)
        for layer in folded.layers:
            if isinstance(layer, layers.Conv2D):
                norm = backbone.get_layer(convolution_and_norm(layer.name.removeprefix("res"))[1])
                give(layer, _folded_weights(backbone.get_layer(layer.name), norm))
    return folded


def _folded_weights(convolution: layers.Conv2D, norm: FixedBatchNormalization) -> list[np.ndarray]:
    """Kernel and bias of a convolution with its batch norm."""
    gamma, beta, mean, variance = (
        np.asarray(keras.ops.convert_to_numpy(v), "float64")
        for v in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    )
    scale = gamma / np.sqrt(variance + norm.epsilon)
    kernel = keras.ops.convert_to_numpy(convolution.kernel)
    folded = np.empty(kernel.shape, "float32")  # Without a copy in float64.
    np.multiply(kernel, scale, out=folded, dtype="float64", casting="same_kind")
    return [folded, (beta - mean * scale).astype("float32")]
