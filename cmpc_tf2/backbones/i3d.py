"""Inception-3D (I3D), a backbone for clips."""

from typing import NamedTuple

import keras
import numpy as np
from keras import layers, ops

from cmpc_tf2.backbones.backbone import Backbone
from cmpc_tf2.backbones.config import I3DConfig
from cmpc_tf2.backbones.deeplab_resnet import BATCH_NORM_EPSILON, FixedBatchNormalization
from cmpc_tf2.layers.given_weights import give, giving_weights
from cmpc_tf2.precision import building_with
from cmpc_tf2.registration import PACKAGE


class Unit(NamedTuple):
    """A convolution with its batch norm and ReLU: its name in the original, filters at full width, kernel, strides."""

    name: str
    filters: int
    kernel: int
    strides: int = 1


class Pool(NamedTuple):
    """A max pool: its name in the original, size and strides in time, height and width."""

    name: str
    size: tuple[int, int, int]
    strides: tuple[int, int, int]


class Block(NamedTuple):
    """An Inception block: four branches on the same input, whose outputs are joined.

    Attributes:
        name: Its name in the original.
        filters: Filters of its six units at full width: of branch 0; reduction and 3x3x3 convolution of branches 1 and
            2; of branch 3, behind a max pool.
    """

    name: str
    filters: tuple[int, int, int, int, int, int]

    def units(self) -> tuple[Unit, ...]:
        """The six units, in that order."""
        # Released checkpoints call one unit otherwise.
        wide = "0a" if self.name == "Mixed_5b" else "0b"
        names = (
            ("Branch_0/Conv3d_0a_1x1", 1),
            ("Branch_1/Conv3d_0a_1x1", 1),
            ("Branch_1/Conv3d_0b_3x3", 3),
            ("Branch_2/Conv3d_0a_1x1", 1),
            (f"Branch_2/Conv3d_{wide}_3x3", 3),
            ("Branch_3/Conv3d_0b_1x1", 1),
        )
        return tuple(
            Unit(f"{self.name}/{name}", filters, kernel)
            for (name, kernel), filters in zip(names, self.filters, strict=True)
        )


ENDPOINTS = (
    Unit("Conv3d_1a_7x7", 64, 7, 2),
    Pool("MaxPool3d_2a_3x3", (1, 3, 3), (1, 2, 2)),
    Unit("Conv3d_2b_1x1", 64, 1),
    Unit("Conv3d_2c_3x3", 192, 3),
    Pool("MaxPool3d_3a_3x3", (1, 3, 3), (1, 2, 2)),
    Block("Mixed_3b", (64, 96, 128, 16, 32, 32)),
    Block("Mixed_3c", (128, 128, 192, 32, 96, 64)),
    Pool("MaxPool3d_4a_3x3", (3, 3, 3), (2, 2, 2)),
    Block("Mixed_4b", (192, 96, 208, 16, 48, 64)),
    Block("Mixed_4c", (160, 112, 224, 24, 64, 64)),
    Block("Mixed_4d", (128, 128, 256, 24, 64, 64)),
    Block("Mixed_4e", (112, 144, 288, 32, 64, 64)),
    Block("Mixed_4f", (256, 160, 320, 32, 128, 128)),
    Pool("MaxPool3d_5a_2x2", (2, 2, 2), (2, 2, 2)),
    Block("Mixed_5b", (256, 160, 320, 32, 128, 128)),
    Block("Mixed_5c", (384, 192, 384, 48, 128, 128)),
)
# The deepest endpoint before each spatial halving.
TAPS = {"c3": "Mixed_3c", "c4": "Mixed_4f", "c5": "Mixed_5c"}


def all_units() -> list[Unit]:
    """The 57 units."""
    found = []
    for endpoint in ENDPOINTS:
        found += endpoint.units() if isinstance(endpoint, Block) else [endpoint] if isinstance(endpoint, Unit) else []
    return found


def layer_names(unit: str) -> tuple[str, str]:
    """Names of the convolution and of the batch norm of a unit."""
    name = unit.replace("/", "_")
    return name, f"{name}_norm"


class _Builder:
    """Adds units and blocks to a functional model.

    Args:
        config: Widths.
        folded: Build convolutions with biases and no batch norms, and one for the three 1x1x1 units that read the input
            of a block.
    """

    def __init__(self, config: I3DConfig, folded: bool):
        self.config, self.folded = config, folded

    def add(self, x, endpoint: Unit | Pool | Block):
        """Adds an endpoint."""
        if isinstance(endpoint, Pool):
            return layers.MaxPooling3D(endpoint.size, endpoint.strides, padding="same", name=endpoint.name)(x)
        return self.block(x, endpoint) if isinstance(endpoint, Block) else self.unit(x, endpoint)

    def unit(self, x, unit: Unit):
        """Adds a convolution, its batch norm and its activation."""
        convolution, norm = layer_names(unit.name)
        filters = self.config.scaled(unit.filters)
        x = layers.Conv3D(
            filters,
            unit.kernel,
            strides=unit.strides,
            padding="same",
            use_bias=self.folded,
            # The batch norms do not adapt: smaller kernels would make features vanish, by 600 times over all units.
            kernel_initializer="he_normal",
            name=convolution,
        )(x)
        if not self.folded:
            x = FixedBatchNormalization(scale=False, epsilon=BATCH_NORM_EPSILON, name=norm)(x)
        return layers.ReLU(name=f"{convolution}_relu")(x)

    def block(self, x, block: Block):
        """Adds the four branches."""
        first, reduce_1, wide_1, reduce_2, wide_2, pooled = block.units()
        if self.folded:
            parts = (first, reduce_1, reduce_2)
            joined = self.unit(x, _joined(block))
            ends = np.cumsum([self.config.scaled(part.filters) for part in parts])
            branch_0, branch_1, branch_2 = ops.split(joined, [int(end) for end in ends[:-1]], axis=-1)
        else:
            branch_0, branch_1, branch_2 = (self.unit(x, part) for part in (first, reduce_1, reduce_2))
        branch_3 = layers.MaxPooling3D(3, 1, padding="same", name=f"{block.name}_Branch_3_MaxPool3d_0a_3x3")(x)
        branches = [
            branch_0, self.unit(branch_1, wide_1), self.unit(branch_2, wide_2), self.unit(branch_3, pooled),
        ]  # fmt: skip
        return layers.Concatenate(name=block.name)(branches)


def _joined(block: Block) -> Unit:
    first, reduce_1, _, reduce_2, _, _ = block.units()
    return Unit(f"{block.name}/1x1", first.filters + reduce_1.filters + reduce_2.filters, 1)


@keras.saving.register_keras_serializable(package=PACKAGE)
class InceptionI3D(Backbone):
    """Inception-3D up to its last block, tapped before each spatial halving.

    Padding is TensorFlow's SAME throughout: with strides it is uneven. Batch normalisation always uses its moving
    statistics, in training too, and has no scale.

    Source: `i3d.py` of deepmind/kinetics-i3d (commit 0667e889); Carreira and Zisserman, CVPR 2017. Names of layers are
    those of its checkpoints with `_` for `/`.

    Args:
        config: Widths.
        folded: True builds the inference form: each batch norm is folded into its convolution, and the 1x1x1
            convolutions of a block's input are one. `fold_batch_norm` makes one from a trained model.
        all_endpoints: Output every endpoint by its name in the original, in place of the taps.

    Input: float32 `(B, T, H, W, 3)`, RGB, -1 to 1; any number of frames, any size.
    Output: dict of `c3`, `c4`, `c5`: float32 `(B, ceil(T/s), ceil(H/r), ceil(W/r), C)` with s of 2, 4, 8, r of 8, 16,
        32, and C of 480, 832, 1024 at full width.
    """

    title = "an I3D backbone"
    config_type = I3DConfig

    def __init__(
        self, config: I3DConfig | dict | None = None, folded: bool = False, all_endpoints: bool = False, **kwargs
    ):
        if not isinstance(config, I3DConfig):
            config = I3DConfig(**(config or {}))
        build = _Builder(config, folded)
        clip = keras.Input((None, None, None, 3), name="clip")
        x, found = clip, {}
        for endpoint in ENDPOINTS:
            x = found[endpoint.name] = build.add(x, endpoint)
        outputs = found if all_endpoints else {level: found[name] for level, name in TAPS.items()}
        super().__init__(inputs=clip, outputs=outputs, **kwargs)
        self.config = config
        self.folded = folded
        self.all_endpoints = all_endpoints

    def inference_form(self, image_size: int | None = None) -> "InceptionI3D":
        return fold_batch_norm(self)

    def finetuned_variables(self) -> list[keras.Variable]:
        """The kernels of the blocks, and no batch norm."""
        return [
            layer.kernel for layer in self.layers if isinstance(layer, layers.Conv3D) and layer.name.startswith("Mixed")
        ]

    def get_config(self):
        options = {"folded": self.folded, "all_endpoints": self.all_endpoints}
        return {"config": self.config.to_dict(), **options, "name": self.name}


def fold_batch_norm(backbone: InceptionI3D) -> InceptionI3D:
    """The inference form of a backbone: the same function, without batch norms and with fewer convolutions.

    Args:
        backbone: A backbone with batch norms; it is not changed.

    Returns:
        A new folded backbone with its own weights.
    """
    sources = {unit.name: [unit.name] for unit in all_units()}
    for block in (endpoint for endpoint in ENDPOINTS if isinstance(endpoint, Block)):
        first, reduce_1, _, reduce_2, _, _ = block.units()
        parts = [part.name for part in (first, reduce_1, reduce_2)]
        sources[_joined(block).name] = parts
        for part in parts:
            del sources[part]
    with building_with(backbone.get_layer("Conv3d_1a_7x7").dtype_policy), giving_weights():
        folded = InceptionI3D(backbone.config, True, backbone.all_endpoints, name=backbone.name)
        for name, parts in sources.items():
            weights = [_folded_weights(backbone, part) for part in parts]
            kernel, bias = (np.concatenate(values, axis=-1) for values in zip(*weights, strict=True))
            give(folded.get_layer(layer_names(name)[0]), [kernel, bias])
    return folded


def _folded_weights(backbone: InceptionI3D, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a unit without its batch norm."""
    convolution, norm = (backbone.get_layer(name) for name in layer_names(unit))
    beta, mean, variance = (
        np.asarray(ops.convert_to_numpy(value), "float64")
        for value in (norm.beta, norm.moving_mean, norm.moving_variance)
    )
    scale = 1 / np.sqrt(variance + norm.epsilon)
    kernel = ops.convert_to_numpy(convolution.kernel) * scale
    return kernel.astype("float32"), (beta - mean * scale).astype("float32")


def kinetics_classifier(backbone: InceptionI3D, classes: int = 400) -> keras.Model:
    """The original's classifier on a backbone, to check a checkpoint of Kinetics.

    Its last layer is called `Logits` and takes the checkpoint's `Logits/Conv3d_0c_1x1/conv_3d` weights.

    Args:
        backbone: A backbone.
        classes: Number of classes.

    Returns:
        A model of clips with sides of 193 to 224 pixels and at least 9 frames, `(B, T, H, W, 3)`, that gives logits,
        `(B, classes)`.
    """
    x = layers.AveragePooling3D((2, 7, 7), 1, name="AvgPool_0a_7x7")(backbone.output["c5"])
    x = layers.Conv3D(classes, 1, name="Logits")(x)  # (B, T, 1, 1, classes)
    return keras.Model(backbone.input, ops.mean(x, axis=(1, 2, 3)), name="kinetics_classifier")
