"""CAC: names are those of wenz116/lang2seg (commit 3af9a47), whose files are state dicts.

The variants `spatial` and `response` have the same parameters. They are taken to be of `response`, the paper's choice,
unless the sizes say otherwise.
"""

from cmpc_tf2.conversion.families import TORCH, Family, common_size
from cmpc_tf2.conversion.names import mask_rcnn, mattnet
from cmpc_tf2.conversion.torch_names import TorchPair, linear, make_pairs, sentence_encoder, table
from cmpc_tf2.models.cac.config import CACConfig, CaptionerConfig
from cmpc_tf2.models.cac.filters import REGIONS

ENCODER, CAPTIONER = "rnn_encoder", "caption_model"
# Name of the layer with the filters, which is no module of the original.
_FILTERS = "filters/"
# Linear layers of the captioner.
_CAPTIONER_LAYERS = (
    *("att_embed.0", "ctx2att", "core.attention.h2att", "core.attention.alpha_net"),
    *("core.i2h", "core.h2h", "core.a2c", "logit"),
)


def cac_pairs(config: CACConfig) -> list[TorchPair]:
    """The parameters and running statistics, without the classifier of the ResNet."""
    places = sentence_encoder(ENCODER)
    if config.captioner:
        places += table(f"{CAPTIONER}/embed.0")
        places += [place for name in _CAPTIONER_LAYERS for place in linear(f"{CAPTIONER}/{name}")]
    names = ["dynamic_fc"] if config.variant == "baseline" else [*(f"dynamic_fc_{n}" for n in range(REGIONS))]
    names += [] if config.variant == "baseline" else ["response_fc"]
    filters = [place for name in names for place in linear(f"{_FILTERS}{name}")]
    pairs = make_pairs(places, "") + make_pairs(filters, "", _FILTERS)
    return [*pairs, *mask_rcnn.mask_rcnn_pairs(config.detector)]


def infer_config(shapes: dict[str, tuple]) -> CACConfig:
    """Reads the sizes off the shapes; what these do not tell is as published.

    Args:
        shapes: Shape per parameter name.
    """
    default = CACConfig()

    def size(name: str, axis: int, usual: int) -> int:
        return common_size(shapes, [name], axis, usual)

    words = size(f"{ENCODER}.embedding.weight", 0, default.vocabulary_size)
    return CACConfig(
        variant="baseline" if "dynamic_fc.weight" in shapes else default.variant,
        vocabulary_size=words,
        max_words=mattnet.MAX_WORDS.get(words, default.max_words),
        embedding_dim=size(f"{ENCODER}.embedding.weight", 1, default.embedding_dim),
        word_dim=size(f"{ENCODER}.mlp.0.weight", 0, default.word_dim),
        lstm_units=size(f"{ENCODER}.rnn.weight_hh_l0", 1, default.lstm_units),
        detector=mask_rcnn.infer_config(shapes),
        captioner=_infer_captioner(shapes),
    )


def _infer_captioner(shapes: dict[str, tuple]) -> CaptionerConfig | None:
    if not any(name.startswith(f"{CAPTIONER}.") for name in shapes):
        return None
    default = CaptionerConfig()
    return CaptionerConfig(
        units=common_size(shapes, [f"{CAPTIONER}.ctx2att.weight"], 1, default.units),
        word_dim=common_size(shapes, [f"{CAPTIONER}.embed.0.weight"], 1, default.word_dim),
        attention_dim=common_size(shapes, [f"{CAPTIONER}.ctx2att.weight"], 0, default.attention_dim),
    )


FAMILY = Family(
    name="cac",
    file_format=TORCH,
    pairs=cac_pairs,
    infer_config=infer_config,
    sign=r"dynamic_fc(_0)?\.weight",
    ignored=mask_rcnn.FAMILY.ignored,
    unused_variables=lambda config: mask_rcnn.unused_classifier(config.detector),
    assumed=("variant", "max_words", *(f"detector.{name}" for name in mask_rcnn.FAMILY.assumed)),
    file_content=lambda state: state,
    states_sizes=False,
)
