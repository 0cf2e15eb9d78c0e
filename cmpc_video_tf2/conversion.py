"""The original's checkpoints of CMPC-V: which variable is which weight. `cmpc_tf2.conversion` does the work."""

import functools

from cmpc_tf2.conversion.families import Family
from cmpc_tf2.conversion.names import cmpc
from cmpc_tf2.conversion.tf1_names import SCOPE, Pair, layer, norm
from cmpc_tf2.models.cmpc.config import CMPCConfig
from cmpc_video_tf2.config import CMPCVideoConfig

# Layers with a kernel and biases, per level: (TF1 scope, Keras layer).
_PER_LEVEL = (
    ("tg_vtrans_{level}", "temporal_graph_{level}/cell_projection"),
    ("tg_ltrans_{level}", "temporal_graph_{level}/action_projection"),
    ("tg_query_{level}", "temporal_graph_{level}/query"),
    ("tg_key_{level}", "temporal_graph_{level}/key"),
    ("gconv_update_temp_graph_{level}", "temporal_graph_{level}/convolution/update"),
    ("mm_trans_{level}", "temporal_context_{level}/cell_projection"),
    ("ctx_trans_{level}", "temporal_context_{level}/node_projection"),
)
_PER_LEVEL_NORM = (
    ("gconv_feat_ln_temp_graph_{level}", "temporal_graph_{level}/convolution/message_norm"),
    ("gconv_update_ln_temp_graph_{level}", "temporal_graph_{level}/convolution/update_norm"),
)


def video_pairs(config: CMPCConfig) -> list[Pair]:
    """The variables of CMPC-V: those of CMPC-I, the temporal graphs and contexts."""
    pairs = cmpc.cmpc_pairs(config)
    for level in config.backbone.levels:
        for tf1, keras in _PER_LEVEL:
            pairs += layer(tf1.format(level=level), keras.format(level=level))
        for tf1, keras in _PER_LEVEL_NORM:
            pairs += norm(tf1.format(level=level), keras.format(level=level))
    return pairs


FAMILY = Family(
    name="cmpc_video",
    pairs=video_pairs,
    infer_config=functools.partial(cmpc.infer_config, config_type=CMPCVideoConfig),
    sign=rf"{SCOPE}/tg_.+",
    ignored=cmpc.IGNORED,
    step=cmpc.STEP,
)
