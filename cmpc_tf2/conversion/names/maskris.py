"""MaskRIS and CARIS: whole models, and checkpoints of training.

Names are those of naver-ai/maskris (commit 01b54d5).
"""

import re

import numpy as np

from cmpc_tf2.backbones.windows import relative_position_index
from cmpc_tf2.conversion.families import TORCH, Family, common_size
from cmpc_tf2.conversion.names import bert, swin
from cmpc_tf2.conversion.torch_names import TorchPair, convolution, feed_forward, linear, make_pairs, norm, table
from cmpc_tf2.models.maskris.config import DECODER_LEVELS, PROMPT_GRIDS, MaskRISConfig

# Beginnings of names.
BACKBONE, DECODER = "backbone.", "pixel_decoder."
SWIN, BERT = f"{BACKBONE}vis_encoder.", f"{BACKBONE}lang_encoder."
# A parameter of every MaskRIS checkpoint that no computation uses; CARIS has none.
MASK_TOKEN = f"{SWIN}mask_token"
# Weights of background and foreground in the loss, which the original keeps among the buffers.
CLASS_WEIGHTS = "criterion.seg_criterion.weight", (0.9, 1.1)
_BUFFERS = (
    (rf"{re.escape(SWIN)}.+\.relative_position_index", swin.RECOMPUTED),
    (rf"{re.escape(BERT)}embeddings\.position_ids", bert.POSITION_NUMBERS),
    (re.escape(CLASS_WEIGHTS[0]), "the weights of the classes in the loss; the recipe has them"),
)


def maskris_pairs(config: MaskRISConfig) -> list[TorchPair]:
    """The parameters of MaskRIS without `MASK_TOKEN`: 901 at full size."""
    return [
        *swin.swin_pairs(config.swin, SWIN),
        *bert.bert_pairs(config.bert, BERT),
        *_prompt_pairs(),
        *_decoder_pairs(config),
    ]


def _prompt_pairs() -> list[TorchPair]:
    """The prompts that BERT sees."""
    scope = "conditional_prompts"
    places = [*table(f"{scope}/lang_prompts"), *norm(f"{scope}/lang_prompts_norm")]
    for index in range(len(PROMPT_GRIDS)):
        places += [*linear(f"{scope}/in_linears.{index}"), *linear(f"{scope}/out_linears.{index}")]
    return make_pairs(places, BACKBONE)


def _decoder_pairs(config: MaskRISConfig) -> list[TorchPair]:
    """Everything behind Swin and BERT."""
    places = [*table("level_encoding"), *table("vis_prompts"), *linear("lang_in_linear"), *norm("lang_in_norm")]
    for index in range(len(DECODER_LEVELS)):
        places += [*convolution(f"input_convs.{index}/conv"), *norm(f"input_convs.{index}/gn")]
    for layer in (f"encoder.{index}" for index in range(config.decoder_layers)):
        places += [(f"{layer}/{gamma}", "as_is") for gamma in ("gamma_v2l", "gamma_l2v")]
        for attention in ("v2l_cross_attn", "l2v_cross_attn", "lang_self_attn"):
            for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                places += linear(f"{layer}/{attention}/{name}")
        for name in ("sampling_offsets", "attention_weights", "value_proj", "output_proj"):
            places += linear(f"{layer}/vis_self_attn/{name}")
        places += [*feed_forward(f"{layer}/vis_mlp"), *feed_forward(f"{layer}/lang_mlp")]
        for name in ("v_norm1", "v_norm2", "v_norm3", "l_norm1", "l_norm2", "l_norm3"):
            places += norm(f"{layer}/{name}")
    for name in ("lateral_convs.0", "output_convs.0"):
        places += [(f"{name}/conv/kernel", "conv"), *norm(f"{name}/gn")]
    for index in (0, 2, 4):
        places += [*convolution(f"mask_feature.{index}"), *linear(f"lang_embed.{index}")]
    return make_pairs(places, DECODER)


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
