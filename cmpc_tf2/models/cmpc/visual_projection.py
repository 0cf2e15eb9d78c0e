"""Backbone levels to the visual halves of MUTAN; neither depends on words."""

import keras

from cmpc_tf2.layers.cell_dense import CellDense
from cmpc_tf2.layers.normalization import L2Normalize
from cmpc_tf2.models.cmpc.config import MUTAN_HEADS, CMPCConfig
from cmpc_tf2.models.cmpc.mutan import MutanVisual
from cmpc_tf2.models.deeplab_model import level_input


def build_visual_projection(config: CMPCConfig, with_laterals: bool = False) -> keras.Model:
    """The projection of every level.

    Args:
        config: Sizes.
        with_laterals: Also return the features that MUTAN starts from.

    Returns:
        A model of `c3`, `c4`, `c5` that gives `visual_c3`, ...: `(B, h, w, heads, C)`; and `lateral_c3`, ...:
        `(B, h, w, C)`, of unit norm.
    """
    taps, outputs = {}, {}
    for level in config.backbone.levels:
        taps[level] = level_input(level, config)
        lateral = CellDense(config.feature_dim, name=f"lateral_{level}")(taps[level])
        lateral = L2Normalize(name=f"lateral_{level}_norm")(lateral)
        outputs[f"visual_{level}"] = MutanVisual(config.feature_dim, MUTAN_HEADS, name=f"mutan_visual_{level}")(lateral)
        if with_laterals:
            outputs[f"lateral_{level}"] = lateral
    return keras.Model(taps, outputs, name="visual_projection")
