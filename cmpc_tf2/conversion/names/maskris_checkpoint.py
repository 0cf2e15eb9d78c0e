"""Checkpoints of MaskRIS and CARIS, whole and of training."""

import re

import numpy as np

from cmpc_tf2.backbones.windows import relative_position_index
from cmpc_tf2.conversion.families import TORCH, Family
from cmpc_tf2.conversion.names import bert, swin
from cmpc_tf2.conversion.names.maskris import DECODER, MASK_TOKEN, SWIN, maskris_pairs
from cmpc_tf2.conversion.tf1_names import common_size
from cmpc_tf2.models.maskris.config import DECODER_LEVELS, MaskRISConfig

BERT = "backbone.lang_encoder."
# Weights of background and foreground in the loss, which the original keeps among the buffers.
CLASS_WEIGHTS = "criterion.seg_criterion.weight", (0.9, 1.1)
_BUFFERS = (
    (rf"{re.escape(SWIN)}.+\.relative_position_index", swin.RECOMPUTED),
    (re.escape(CLASS_WEIGHTS[0]), "the weights of the classes in the loss; the recipe has them"),
)


def infer_config(shapes: dict[str, tuple]) -> MaskRISConfig:
    """Reads the sizes off the shapes; what these do not tell is as published.

    Args:
        shapes: Shape per parameter name.
    """
    default = MaskRISConfig()

    def size(pattern: str, axis: int, usual: int) -> int:
        names = [name for name in shapes if re.fullmatch(rf"{re.escape(DECODER)}{pattern}", name)]
        return common_size(shapes, names, axis, usual)

    layers = {match[1] for name in shapes if (match := re.match(rf"{re.escape(DECODER)}encoder\.(\d+)\.", name))}
    language, heads = bert.infer_config(shapes, BERT), default.decoder_heads
    attention = size(r"encoder\..+_attn\.q_proj\.weight", 0, heads * default.head_dim)
    samples = size(r"encoder\..+\.attention_weights\.weight", 0, heads * len(DECODER_LEVELS) * default.points)
    return MaskRISConfig(
        vocabulary_size=language.vocabulary_size,
        swin=swin.infer_config(shapes, SWIN),
        bert=language,
        feature_dim=size(r"lang_in_linear\.weight", 0, default.feature_dim),
        output_dim=size(r"lang_embed\.4\.weight", 0, default.output_dim),
        decoder_layers=len(layers) or default.decoder_layers,
        head_dim=max(1, attention // heads),
        points=max(1, samples // (heads * len(DECODER_LEVELS))),
        mlp_dim=size(r"encoder\..+_mlp\.fc1\.weight", 0, default.mlp_dim),
        prompts=size(r"vis_prompts\.weight", 0, default.prompts),
    )


def unused_variables(config: MaskRISConfig) -> dict[str, np.ndarray]:
    """What the original requires beside the parameters of `maskris_pairs`, to resume training."""
    found = {MASK_TOKEN: np.zeros((1, 1, config.swin.width), np.float32)}
    index = relative_position_index(config.swin.window).astype(np.int64)
    for stage, depth in enumerate(config.swin.depths):
        for block in range(depth):
            found[f"{SWIN}layers.{stage}.blocks.{block}.attn.relative_position_index"] = index
    name, weights = CLASS_WEIGHTS
    return {**found, name: np.float32(weights)}


def optimizer_groups(names: list[str]) -> list[list[str]]:
    """The parameters in the six groups of the original's AdamW.

    Source: `params_to_optimize` in `model/models/maskris.py` of naver-ai/maskris (commit 01b54d5).

    Args:
        names: Names of parameters and buffers in the order of the state dict.
    """
    groups = [[] for _ in range(6)]
    for name in names:
        if any(re.fullmatch(pattern, name) for pattern, _ in _BUFFERS):
            continue
        if name.startswith(BERT):
            first, not_decayed = 0, "Norm|embeddings"
        elif name.startswith(SWIN):
            first, not_decayed = 2, "norm|relative_position_bias_table"
        else:
            first, not_decayed = 4, "norm|lang_prompts|vis_prompts"
        groups[first if re.search(not_decayed, name) else first + 1].append(name)
    return groups


FAMILY = Family(
    name="maskris",
    file_format=TORCH,
    pairs=maskris_pairs,
    infer_config=infer_config,
    sign=re.escape(f"{SWIN}patch_embed.proj.weight"),
    ignored=(*_BUFFERS, (re.escape(MASK_TOKEN), "a parameter that no computation uses")),
    unused_variables=unused_variables,
    assumed=("image_size", "max_words", "bert.heads", "decoder_heads", "groups"),
    optimizer_groups=optimizer_groups,
)
