"""DarkNet-53 with the neck of YOLOv3, an image backbone."""

import keras
from keras import layers

from cmpc_tf2.backbones.backbone import Backbone
from cmpc_tf2.backbones.config import DarkNet53Config
from cmpc_tf2.backbones.darknet_layers import BLOCKS, FIRST, HEADS, layer_name, sublayer_names, unused_heads
from cmpc_tf2.layers.given_weights import give, giving_weights
from cmpc_tf2.layers.normalized_convolution import NormalizedConvolution
from cmpc_tf2.precision import building_with, exact_dtype
from cmpc_tf2.registration import PACKAGE

# Of the leaky ReLUs.
SLOPE = 0.1


@keras.saving.register_keras_serializable(package=PACKAGE)
class UnusedHeads(layers.Layer):
    """Holds the weights of the detection heads, so that checkpoints go back complete. It computes nothing.

    Args:
        config: Sizes of the backbone.

    Input and output: any tensor, unchanged.
    """

    def __init__(self, config: DarkNet53Config | dict, **kwargs):
        super().__init__(**kwargs)
        self.config = config if isinstance(config, DarkNet53Config) else DarkNet53Config(**config)

    @property
    def trainable(self) -> bool:
        """False: there is no gradient. It stays so if the whole model is made trainable."""
        return False

    @trainable.setter
    def trainable(self, value: bool):
        pass

    def build(self, input_shape):
        self.heads = []
        for head in unused_heads(self.config):
            # A folded layer has a bias and no norm.
            options = {"folded": not head.has_norm, "dtype": self.dtype_policy}
            layer = _convolution(head.number, head.filters, head.kernel_size, **options)
            layer.build((None, None, None, head.inputs))
            layer.trainable = False
            self.heads.append(layer)
        for weight in self.weights:
            weight.trainable = False

    def call(self, x):
        return x

    def get_config(self):
        return {**super().get_config(), "config": self.config.to_dict()}


def _convolution(number: int, filters: int, kernel_size: int, **options) -> NormalizedConvolution:
    names = sublayer_names(number)
    return NormalizedConvolution(filters, kernel_size, slope=SLOPE, names=names, name=layer_name(number), **options)


@keras.saving.register_keras_serializable(package=PACKAGE)
class DarkNet53(Backbone):
    """DarkNet-53 with the neck of YOLOv3, tapped before the detection heads.

    Source: `yolov3.cfg` of pjreddie/darknet and `model/darknet.py` of SijieSong/CVPR21-Cogrounding_semantic_attention
    (commit 7b0630a); Redmon and Farhadi, arXiv 1804.02767. Layers have the numbers of `yolov3.cfg`.

    Differs from the original: the detection heads, which nothing reads, are not computed, so their running statistics
    do not move in training. Their weights are kept.

    Args:
        config: Sizes.
        folded: True builds the inference form: each batch norm is folded into its convolution, and there are no heads.

    Input: float32 `(B, H, W, 3)`, RGB, normalised; H and W are multiples of 32.
    Output: dict of `t0`, `t1`, `t2`: `(B, H/s, W/s, C)` with strides s of 32, 16 and 8, and C of 1024, 512 and 256 at
        the default sizes.
    """

    title = "a DarkNet-53 backbone"
    config_type = DarkNet53Config

    def __init__(self, config: DarkNet53Config | dict | None = None, folded: bool = False, **kwargs):
        if not isinstance(config, DarkNet53Config):
            config = DarkNet53Config(**(config or {}))
        image = keras.Input((None, None, 3), dtype=exact_dtype(), name="image")
        stages = _stages(image, config, folded)
        taps = _neck(stages, config, folded)
        if not folded:
            taps["t0"] = UnusedHeads(config, name=HEADS)(taps["t0"])
        super().__init__(inputs=image, outputs=taps, **kwargs)
        self.config = config
        self.folded = folded

    def inference_form(self, image_size: int | None = None) -> "DarkNet53":
        with building_with(self.get_layer(layer_name(0)).dtype_policy), giving_weights():
            folded = DarkNet53(self.config, folded=True, name=self.name)
            for layer in self.layers:
                if isinstance(layer, NormalizedConvolution):
                    give(folded.get_layer(layer.name), layer.folded_weights())
        return folded

    def finetuned_variables(self) -> list[keras.Variable]:
        """All weights but those of the unused heads."""
        return self.trainable_variables

    def get_config(self):
        return {"config": self.config.to_dict(), "folded": self.folded, "name": self.name}


def _stages(image, config: DarkNet53Config, folded: bool) -> dict[int, keras.KerasTensor]:
    """The outputs of the five stages."""
    widths, outputs = config.widths, {}
    x, number = _convolution(0, widths[0], 3, folded=folded)(image), 1
    for stage, blocks in enumerate(BLOCKS, start=1):
        x = _convolution(number, widths[stage], 3, strides=2, folded=folded)(x)
        number += 1
        for _ in range(blocks):
            inner = _convolution(number, widths[stage - 1], 1, folded=folded)(x)
            inner = _convolution(number + 1, widths[stage], 3, folded=folded)(inner)
            x = layers.Add(name=layer_name(number + 2))([x, inner])
            number += 3
        outputs[stage] = x
    return outputs


def _neck(stages: dict[int, keras.KerasTensor], config: DarkNet53Config, folded: bool) -> dict[str, keras.KerasTensor]:
    """The levels: from coarse to fine, each joins the branch of the one before with the output of a stage."""
    taps, branch = {}, None
    for (level, number), stage in zip(FIRST.items(), (5, 4, 3), strict=True):
        narrow, wide, x = config.widths[stage - 1], config.widths[stage], stages[stage]
        if branch is not None:
            reduced = _convolution(number - 3, narrow, 1, folded=folded)(branch)
            doubled = layers.UpSampling2D(2, name=layer_name(number - 2))(reduced)
            x = layers.Concatenate(name=layer_name(number - 1))([doubled, x])
        for first in (number, number + 2):
            x = _convolution(first, narrow, 1, folded=folded)(x)
            x = _convolution(first + 1, wide, 3, folded=folded)(x)
        taps[level] = x
        if level != "t2":
            branch = _convolution(number + 4, narrow, 1, folded=folded)(x)
    return taps
