"""ResNet up to its last but one stage, an image backbone, and its last stage, which runs on the features of boxes."""

import keras
from keras import layers, ops

from cmpc_tf2.backbones.backbone import Backbone
from cmpc_tf2.backbones.config import ResNetC4Config
from cmpc_tf2.layers.given_weights import give, giving_weights
from cmpc_tf2.layers.torch_normalization import TorchBatchNormalization
from cmpc_tf2.precision import building_with
from cmpc_tf2.registration import PACKAGE

# Name of the network in checkpoints, and beginning of the names of all layers.
SCOPE = "resnet"


@keras.saving.register_keras_serializable(package=PACKAGE)
class FrozenBatchNormalization(TorchBatchNormalization):
    """Batch normalisation by the running statistics, in training too. None of its weights train."""

    @property
    def trainable(self) -> bool:
        """False. It stays so if the whole model is made trainable."""
        return False

    @trainable.setter
    def trainable(self, value: bool):
        pass


class _Builder:
    """Adds blocks of a ResNet to a functional model.

    Args:
        folded: Build convolutions with biases, and no batch norms.
    """

    def __init__(self, folded: bool):
        self.folded = folded

    def stage(self, x, stage: int, depth: int, filters: int):
        """Adds the bottlenecks of a stage.

        Args:
            x: `(B, h, w, C)`.
            stage: 1 to 4. Stages 2 and 3 halve the map.
            depth: Bottlenecks.
            filters: Inside the bottlenecks.
        """
        if stage in (2, 3):
            # In place of strides: in TensorFlow 2.21, the gradient of small 1x1 convolutions with strides overwrites
            # memory that is not its own, on CPUs with several threads.
            x = x[:, ::2, ::2]
        for index in range(depth):
            name = f"{SCOPE}.layer{stage}.{index}"
            shortcut = x
            if index == 0:
                shortcut = self.convolution(x, f"{name}.downsample.0", 4 * filters, 1)
            inner = layers.ReLU()(self.convolution(x, f"{name}.conv1", filters, 1))
            inner = layers.ReLU()(self.convolution(inner, f"{name}.conv2", filters, 3))
            inner = self.convolution(inner, f"{name}.conv3", 4 * filters, 1)
            x = layers.ReLU(name=name)(layers.Add()([inner, shortcut]))
        return x

    def convolution(self, x, name: str, filters: int, kernel_size: int, strides: int = 1, padding: str = "same"):
        """Adds a convolution and its batch norm."""
        x = layers.Conv2D(filters, kernel_size, strides, padding, use_bias=self.folded, name=name)(x)
        return x if self.folded else FrozenBatchNormalization(name=_norm_name(name))(x)


@keras.saving.register_keras_serializable(package=PACKAGE)
class ResNetC4(Backbone):
    """A ResNet without its last stage, in the layout of Caffe with the padding of PyTorch.

    The stride of a stage is on its first 1x1 convolutions. Padding is the same on all sides. Batch norms always use
    their running statistics, and do not train.

    Source: `lib/nets/resnet_v1.py` of lichengunc/mask-faster-rcnn (commit 45e2818). Names of layers are those of its
    checkpoints.

    Args:
        config: Widths and depths.
        folded: True builds the inference form: each batch norm is folded into its convolution.

    Input: float32 `(B, H, W, 3)`, BGR minus mean.
    Output: dict of `c4`: `(B, ceil(H/16), ceil(W/16), C)` with C of 1024 at full width.
    """

    title = "a ResNet C4 backbone"
    config_type = ResNetC4Config

    def __init__(self, config: ResNetC4Config | dict | None = None, folded: bool = False, **kwargs):
        if not isinstance(config, ResNetC4Config):
            config = ResNetC4Config(**(config or {}))
        build = _Builder(folded)
        image = keras.Input((None, None, 3), name="image")
        # "same" would pad more at the end than at the start where there are strides.
        x = layers.ZeroPadding2D(3)(image)
        x = layers.ReLU()(build.convolution(x, f"{SCOPE}.conv1", config.width, 7, 2, "valid"))
        # PyTorch pads the maximum with minus infinity. After the ReLU, zero is the same.
        x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
        for stage in (1, 2, 3):
            x = build.stage(x, stage, config.depths[stage - 1], config.stage_channels(stage) // 4)
        super().__init__(inputs=image, outputs={"c4": x}, **kwargs)
        self.config = config
        self.folded = folded

    def inference_form(self, image_size: int | None = None) -> "ResNetC4":
        with building_with(self.get_layer(f"{SCOPE}.conv1").dtype_policy), giving_weights():
            folded = ResNetC4(self.config, folded=True, name=self.name)
            fold_into(folded, self)
        return folded

    def finetuned_variables(self) -> list[keras.Variable]:
        """The kernels of stages 2 and 3."""
        trained = tuple(f"{SCOPE}.layer{stage}." for stage in (2, 3))
        return [variable for variable in self.trainable_variables if variable.path.startswith(trained)]

    def get_config(self):
        return {"config": self.config.to_dict(), "folded": self.folded, "name": self.name}


def build_last_stage(config: ResNetC4Config, folded: bool = False, name: str = "layer4") -> keras.Model:
    """The last stage of the ResNet, which runs on the pooled features of boxes.

    Args:
        config: Sizes of the ResNet.
        folded: As for `ResNetC4`.
        name: Name of the model.

    Returns:
        A model from `(B, h, w, C)` to `(B, h, w, 2 C)`: 1024 and 2048 channels at full width.
    """
    features = keras.Input((None, None, config.channels("c4")), name="features")
    outputs = _Builder(folded).stage(features, 4, config.depths[3], config.stage_channels(4) // 4)
    return keras.Model(features, outputs, name=name)


def fold_into(folded: keras.Model, model: keras.Model):
    """Sets the weights of a folded model: those of another with batch norms, folded into its convolutions."""
    for layer in folded.layers:
        if isinstance(layer, layers.Conv2D):
            scale, offset = model.get_layer(_norm_name(layer.name)).folding()
            give(layer, [ops.convert_to_numpy(model.get_layer(layer.name).kernel) * scale, offset])


def _norm_name(convolution: str) -> str:
    """Name of the batch norm of a convolution: `bn1` of `conv1`, `downsample.1` of `downsample.0`."""
    if convolution.endswith("downsample.0"):
        return f"{convolution[:-1]}1"
    return "bn".join(convolution.rsplit("conv", 1))
