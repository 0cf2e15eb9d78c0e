"""The original's checkpoints of CMPC-V: which variable is which weight. `cmpc_tf2.conversion` does the work."""

from cmpc_tf2.conversion.families import Family
from cmpc_tf2.conversion.names import backbone, cmpc, i3d
from cmpc_tf2.conversion.tf1_names import SCOPE, Pair, layer, norm
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


def video_pairs(config: CMPCVideoConfig) -> list[Pair]:
    """The variables of CMPC-V: those of the backbone and of CMPC-I behind it, the temporal graphs and contexts."""
    backbone_pairs = {"r2d": backbone.backbone_pairs, "i3d": i3d.i3d_pairs}[config.backbone_type]
    pairs = backbone_pairs(config.backbone) + cmpc.pairs_behind_backbone(config)
    for level in config.backbone.levels:
        for tf1, keras in _PER_LEVEL:
            pairs += layer(tf1.format(level=level), keras.format(level=level))
        for tf1, keras in _PER_LEVEL_NORM:
            pairs += norm(tf1.format(level=level), keras.format(level=level))
    return pairs


def infer_config(shapes: dict[str, tuple]) -> CMPCVideoConfig:
    """Reads backbone and sizes off the names and shapes."""
    backbone_type = "i3d" if any(name.startswith(i3d.RGB) for name in shapes) else "r2d"
    names = {"r2d": backbone, "i3d": i3d}[backbone_type]
    sizes = cmpc.sizes_behind_backbone(shapes)
    return CMPCVideoConfig(backbone_type=backbone_type, backbone=names.infer_config(shapes), **sizes)


FAMILY = Family(
    name="cmpc_video",
    pairs=video_pairs,
    infer_config=infer_config,
    assumed=("annotated_features",),
    sign=rf"{SCOPE}/tg_.+",
    ignored=cmpc.IGNORED,
    step=cmpc.STEP,
)
