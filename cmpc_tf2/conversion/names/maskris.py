"""MaskRIS and CARIS, and the Swin Transformer and BERT that they start from.

The path of a weight is the name of its parameter with other separators: a Keras layer has the name of a PyTorch module
within the part above it, and `weight` is `kernel`, `gamma` or `embeddings`, `bias` of a norm is `beta`.

Names are those of naver-ai/maskris (commit 01b54d5).
"""

from cmpc_tf2.backbones.config import SwinConfig
from cmpc_tf2.conversion.torch_names import TorchPair
from cmpc_tf2.models.maskris.config import DECODER_LEVELS, PROMPT_GRIDS, MaskRISConfig
from cmpc_tf2.text.config import BertConfig

# Beginnings of names in checkpoints of the whole model.
SWIN, BACKBONE, DECODER = "backbone.vis_encoder.", "backbone.", "pixel_decoder."
# Beginning of the paths of BERT's weights.
BERT = "lang_encoder/"
# A parameter of every MaskRIS checkpoint that no computation uses; CARIS has none.
MASK_TOKEN = f"{SWIN}mask_token"

_NAMES = {"kernel": "weight", "gamma": "weight", "embeddings": "weight", "beta": "bias"}


def maskris_pairs(config: MaskRISConfig) -> list[TorchPair]:
    """The parameters of MaskRIS without `MASK_TOKEN`: 901 at full size."""
    return [
        *swin_pairs(config.swin, SWIN),
        *bert_pairs(config.bert, f"{BACKBONE}lang_encoder."),
        *_prompt_pairs(),
        *_decoder_pairs(config),
    ]


def swin_pairs(config: SwinConfig, prefix: str = "") -> list[TorchPair]:
    """The parameters of a Swin Transformer.

    Args:
        config: Its sizes.
        prefix: Beginning of the names in the checkpoint: empty in a file of its own.
    """
    places = [*_convolution("patch_embed/proj"), *_norm("patch_embed/norm")]
    for stage, depth in enumerate(config.depths):
        for block in (f"layers.{stage}.blocks.{index}" for index in range(depth)):
            places += [*_norm(f"{block}/norm1"), (f"{block}/attn/relative_position_bias_table", "as_is")]
            places += [*_linear(f"{block}/attn/qkv"), *_linear(f"{block}/attn/proj")]
            places += [*_norm(f"{block}/norm2"), *_feed_forward(f"{block}/mlp")]
        if stage + 1 < len(config.depths):
            merging = f"layers.{stage}.downsample"
            places += [*_norm(f"{merging}/norm"), (f"{merging}/reduction/kernel", "linear")]
        places += _norm(f"norm{stage}")
    return _pairs(places, prefix)


def bert_pairs(config: BertConfig, prefix: str = "bert.") -> list[TorchPair]:
    """The parameters of BERT without its pooler.

    Args:
        config: Its sizes.
        prefix: Beginning of the names in the checkpoint; the default is that of a file of its own.
    """
    places = []
    for table in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        places += _table(f"{BERT}embeddings/{table}")
    places += _norm(f"{BERT}embeddings/LayerNorm")
    for layer in (f"{BERT}encoder.layer.{index}" for index in range(config.layers)):
        for name in ("query", "key", "value"):
            places += _linear(f"{layer}/attention.self.{name}")
        for name in ("attention.output", "output"):
            places += [*_linear(f"{layer}/{name}.dense"), *_norm(f"{layer}/{name}.LayerNorm")]
        places += _linear(f"{layer}/intermediate.dense")
    return _pairs(places, prefix, BERT)


def _prompt_pairs() -> list[TorchPair]:
    """The prompts that BERT sees."""
    scope = "conditional_prompts"
    places = [*_table(f"{scope}/lang_prompts"), *_norm(f"{scope}/lang_prompts_norm")]
    for index in range(len(PROMPT_GRIDS)):
        places += [*_linear(f"{scope}/in_linears.{index}"), *_linear(f"{scope}/out_linears.{index}")]
    return _pairs(places, BACKBONE)


def _decoder_pairs(config: MaskRISConfig) -> list[TorchPair]:
    """Everything behind Swin and BERT."""
    places = [*_table("level_encoding"), *_table("vis_prompts"), *_linear("lang_in_linear"), *_norm("lang_in_norm")]
    for index in range(len(DECODER_LEVELS)):
        places += [*_convolution(f"input_convs.{index}/conv"), *_norm(f"input_convs.{index}/gn")]
    for layer in (f"encoder.{index}" for index in range(config.decoder_layers)):
        places += [(f"{layer}/{gamma}", "as_is") for gamma in ("gamma_v2l", "gamma_l2v")]
        for attention in ("v2l_cross_attn", "l2v_cross_attn", "lang_self_attn"):
            for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                places += _linear(f"{layer}/{attention}/{name}")
        for name in ("sampling_offsets", "attention_weights", "value_proj", "output_proj"):
            places += _linear(f"{layer}/vis_self_attn/{name}")
        places += [*_feed_forward(f"{layer}/vis_mlp"), *_feed_forward(f"{layer}/lang_mlp")]
        for norm in ("v_norm1", "v_norm2", "v_norm3", "l_norm1", "l_norm2", "l_norm3"):
            places += _norm(f"{layer}/{norm}")
    for name in ("lateral_convs.0", "output_convs.0"):
        places += [(f"{name}/conv/kernel", "conv"), *_norm(f"{name}/gn")]
    for index in (0, 2, 4):
        places += [*_convolution(f"mask_feature.{index}"), *_linear(f"lang_embed.{index}")]
    return _pairs(places, DECODER)


def _linear(layer: str) -> list[tuple[str, str]]:
    return [(f"{layer}/kernel", "linear"), (f"{layer}/bias", "as_is")]


def _convolution(layer: str) -> list[tuple[str, str]]:
    return [(f"{layer}/kernel", "conv"), (f"{layer}/bias", "as_is")]


def _norm(layer: str) -> list[tuple[str, str]]:
    return [(f"{layer}/gamma", "as_is"), (f"{layer}/beta", "as_is")]


def _feed_forward(layer: str) -> list[tuple[str, str]]:
    return [*_linear(f"{layer}/fc1"), *_linear(f"{layer}/fc2")]


def _table(layer: str) -> list[tuple[str, str]]:
    return [(f"{layer}/embeddings", "as_is")]


def _pairs(places: list[tuple[str, str]], prefix: str, scope: str = "") -> list[TorchPair]:
    """Pairs of paths with their transforms; a name begins with `prefix` where the path begins with `scope`."""
    pairs = []
    for path, transform in places:
        layer, _, weight = path.removeprefix(scope).rpartition("/")
        name = f"{layer}/{_NAMES.get(weight, weight)}".replace("/", ".")
        pairs.append(TorchPair(f"{prefix}{name}", path, transform))
    return pairs
