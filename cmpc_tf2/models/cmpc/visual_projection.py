"""From the levels of the backbone to the visual halves of MUTAN. Neither depends on words."""

import keras
import numpy as np
from keras import ops

from cmpc_tf2.layers.cell_dense import CellDense
from cmpc_tf2.layers.given_weights import give, giving_weights
from cmpc_tf2.layers.normalization import L2Normalize, inverse_norm
from cmpc_tf2.layers.spatial_grid import GRID_CHANNELS
from cmpc_tf2.layers.upsampling import LegacyBilinearResize
from cmpc_tf2.models.cmpc.config import MUTAN_HEADS, CMPCConfig
from cmpc_tf2.models.cmpc.mutan import MutanVisual
from cmpc_tf2.models.deeplab_model import level_input
from cmpc_tf2.precision import building_with
from cmpc_tf2.registration import PACKAGE


def build_visual_projection(config: CMPCConfig, with_laterals: bool = False, folded: bool = False) -> keras.Model:
    """The projection of every level.

    Args:
        config: Sizes.
        with_laterals: Give the features that MUTAN starts from, too.
        folded: The inference form, which `fold_laterals` fills.

    Returns:
        A model of `c3`, `c4`, `c5` that gives `visual_c3`, ...: `(B, h, w, heads, C)`; and `lateral_c3`, ...:
        `(B, h, w, C)`, of unit norm.
    """
    taps, outputs = {}, {}
    for level in config.backbone.levels:
        is_coarse = config.level_grid(level) != config.grid_size
        is_folded = folded and _is_narrow(level, config)
        name, sizes = f"mutan_visual_{level}", (config.feature_dim, MUTAN_HEADS)
        taps[level] = level_input(level, config)
        coarse = CellDense(config.feature_dim, name=f"lateral_{level}")(taps[level])
        lateral = LegacyBilinearResize(config.grid_size, name=f"resized_{level}")(coarse) if is_coarse else coarse
        normalized = L2Normalize(name=f"lateral_{level}_norm")(lateral)
        if folded and is_coarse:
            source = WithOne(name=f"tap_{level}_with_one")(taps[level]) if is_folded else coarse
            visual = ResizedMutanVisual(*sizes, name=name)(source, lateral)
        else:
            x = ScaledTap(name=f"scaled_{level}")(taps[level], lateral) if is_folded else normalized
            visual = MutanVisual(*sizes, name=name)(x)
        outputs[f"visual_{level}"] = visual
        if with_laterals:
            outputs[f"lateral_{level}"] = normalized
    return keras.Model(taps, outputs, name="visual_projection")


def fold_laterals(projection: keras.Model, config: CMPCConfig) -> keras.Model:
    """The inference form of a projection: the same function in fewer multiplications.

    Where a tap is narrower than its lateral (c3 at full width: 512 and 1000 channels), the lateral's matrix goes into
    the wide one of MUTAN behind it. What stands between, the division by the lateral's norm, is one factor per cell:

        l2n(x L + b) W = (x / |x L + b|) (L W) + (1 / |x L + b|) (b W)

    Where a tap has fewer cells than the grid, it is resized behind the product, as `ResizedMutanVisual` describes.

    Args:
        projection: From `build_visual_projection`; it is left as it is.
        config: Its sizes.

    Returns:
        A new projection with its own weights.
    """
    with_laterals = any(name.startswith("lateral") for name in projection.output)
    with building_with(projection.layers[-1].dtype_policy), giving_weights():
        folded = build_visual_projection(config, with_laterals, folded=True)
        for level in config.backbone.levels:
            lateral = projection.get_layer(f"lateral_{level}")
            kernel, bias = projection.get_layer(f"mutan_visual_{level}").get_weights()
            if _is_narrow(level, config):
                first, first_bias = (np.asarray(weights, "float64") for weights in lateral.get_weights())
                rows = np.concatenate([first, first_bias[None]]) @ kernel[:-GRID_CHANNELS].astype("float64")
                kernel = np.concatenate([rows.astype("float32"), kernel[-GRID_CHANNELS:].astype("float32")])
            give(folded.get_layer(f"lateral_{level}"), lateral.get_weights())
            give(folded.get_layer(f"mutan_visual_{level}"), [kernel, bias])
    return folded


def _is_narrow(level: str, config: CMPCConfig) -> bool:
    return config.backbone.channels(level) < config.feature_dim


@keras.saving.register_keras_serializable(package=PACKAGE)
class ScaledTap(keras.layers.Layer):
    """`[x, 1] / |y|`: a tap, and one, over the norm of its lateral; see `fold_laterals`.

    Call arguments:
        tap: `(B, h, w, C)`.
        lateral: `(B, h, w, D)`.

    Returns:
        `(B, h, w, C + 1)`.
    """

    def call(self, tap, lateral):
        factor = ops.cast(inverse_norm(lateral), tap.dtype)
        return ops.concatenate([tap * factor, factor], axis=-1)

    def compute_output_shape(self, tap_shape):
        return (*tap_shape[:-1], tap_shape[-1] + 1)


@keras.saving.register_keras_serializable(package=PACKAGE)
class WithOne(keras.layers.Layer):
    """`[x, 1]`: a map with a channel of ones; see `fold_laterals`.

    Input: `(B, h, w, C)`. Output: `(B, h, w, C + 1)`.
    """

    def call(self, x):
        return ops.concatenate([x, ops.ones_like(x[..., :1])], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] + 1)


@keras.saving.register_keras_serializable(package=PACKAGE)
class ResizedMutanVisual(MutanVisual):
    """`MutanVisual` of a map that is resized and normalised, with its product on the small map.

    Resizing U is linear and works on each channel alone, so it commutes with the product over the channels:

        tanh([l2n(U y), grid] [W; G] + b) = tanh(U(y W) / |U y| + grid G + b)

    Call arguments:
        source: `(B, h, w, C)`: y, or what gives it by a product that is in W.
        lateral: `(B, H, W, D)`: U y.

    Returns:
        `(B, H, W, heads, units)`.
    """

    def build(self, source_shape, lateral_shape):
        super().build((*lateral_shape[:3], source_shape[-1]))
        self.resize = LegacyBilinearResize(tuple(lateral_shape[1:3]), dtype=self.dtype_policy, name="resize")

    def call(self, source, lateral):
        kernel, bias = self.projection.kernel, self.projection.bias
        kernel, bias = ops.cast(kernel, source.dtype), ops.cast(bias, source.dtype)
        product = self.resize(ops.matmul(source, kernel[:-GRID_CHANNELS]))
        grid = ops.matmul(ops.cast(self._grid, source.dtype), kernel[-GRID_CHANNELS:]) + bias
        x = ops.tanh(product * ops.cast(inverse_norm(lateral), source.dtype) + grid)
        return ops.reshape(x, (-1, *x.shape[1:3], self.heads, self.units))

    def compute_output_shape(self, source_shape, lateral_shape):
        return super().compute_output_shape(lateral_shape)
