"""The matching network of MAttNet: whole modules, as the authors saved them, and state dicts.

Names are those of lichengunc/MAttNet (commit 3204d07).
"""

from cmpc_tf2.conversion.families import TORCH, Family, common_size
from cmpc_tf2.conversion.torch_names import BATCH_COUNTS, TorchPair, batch_norm, linear, make_pairs, sentence_encoder
from cmpc_tf2.models.mattnet.config import MAttNetConfig
from cmpc_tf2.text.phrases import DIRECTIONS

# Word slots by the size of the vocabulary, where they are not as usual: RefCOCOg.
MAX_WORDS = {3349: 20}
# A layer whose weight is in two parts.
HIDDEN = "sub_encoder.attn_fuse.0"
_SCALES = {
    "sub_encoder": ("pool5", "fc7", "att", "phrase"),
    "loc_encoder": ("lfeat", "dif_lfeat"),
    "rel_encoder": ("vis_feat", "lfeat"),
}


def mattnet_pairs(config: MAttNetConfig) -> list[TorchPair]:
    """The parameters and running statistics: 115, one of them in two parts."""
    places = [*sentence_encoder("rnn_encoder"), *linear("weight_fc")]
    for phrase in ("sub_attn", "loc_attn", "rel_attn"):
        places += linear(f"{phrase}/fc")
    for encoder, features in _SCALES.items():
        places += [(f"{encoder}.{name}_normalizer/weight", "as_is") for name in features]
    places += [*linear("sub_encoder.att_fuse.0"), *batch_norm("sub_encoder.att_fuse.1"), *linear("sub_encoder.att_fc")]
    places += [*linear("sub_encoder.attn_fuse/2"), *linear("loc_encoder.fc"), *linear("rel_encoder.fc")]
    for module in ("sub", "loc", "rel"):
        for side in ("vis_emb_fc", "lang_emb_fc"):
            for first, second in ((0, 1), (4, 5)):
                layer = f"{module}_matching.{side}"
                places += [*linear(f"{layer}.{first}"), *batch_norm(f"{layer}.{second}")]
    return [*make_pairs(places, ""), *_hidden_pairs(config)]


def _hidden_pairs(config: MAttNetConfig) -> list[TorchPair]:
    """The hidden layer of the attention to cells: its kernel for the boxes, that for the phrase, and its bias."""
    boxes = config.fc7_dim + config.joint_dim
    ends = {f"{HIDDEN}.visual": (0, boxes), HIDDEN: (boxes, boxes + config.word_dim)}
    kernels = [TorchPair(f"{HIDDEN}.weight", f"{part}/kernel", "linear", inputs) for part, inputs in ends.items()]
    return [*kernels, TorchPair(f"{HIDDEN}.bias", f"{HIDDEN}/bias", "as_is")]


def infer_config(shapes: dict[str, tuple]) -> MAttNetConfig:
    """Reads the sizes off the shapes; what these do not tell is as published.

    Args:
        shapes: Shape per parameter name.
    """
    default = MAttNetConfig()
    fused, pool5 = "sub_encoder.att_fuse.0.weight", "sub_encoder.pool5_normalizer.weight"
    sides = [f"{module}_matching.{side}" for module in ("sub", "loc", "rel") for side in ("vis_emb_fc", "lang_emb_fc")]
    language = [f"{module}_matching.lang_emb_fc.0.weight" for module in ("sub", "loc", "rel")]
    recurrent = [f"rnn_encoder.rnn.weight_hh_{direction}" for direction in DIRECTIONS]
    fc7 = ["sub_encoder.fc7_normalizer.weight", "rel_encoder.vis_feat_normalizer.weight"]
    table_name = ["rnn_encoder.embedding.weight"]
    words = common_size(shapes, table_name, 0, default.vocabulary_size)
    return MAttNetConfig(
        vocabulary_size=words,
        max_words=MAX_WORDS.get(words, default.max_words),
        attributes=common_size(shapes, ["sub_encoder.att_fc.weight", "sub_encoder.att_fc.bias"], 0, default.attributes),
        embedding_dim=common_size(shapes, table_name, 1, default.embedding_dim),
        word_dim=common_size(shapes, language, 1, default.word_dim),
        lstm_units=common_size(shapes, recurrent, 1, default.lstm_units),
        joint_dim=common_size(shapes, [fused, *(f"{side}.4.weight" for side in sides)], 0, default.joint_dim),
        pool5_dim=common_size(shapes, [pool5], 1, default.pool5_dim),
        fc7_dim=common_size(shapes, fc7, 1, default.fc7_dim),
    )


FAMILY = Family(
    name="mattnet",
    file_format=TORCH,
    pairs=mattnet_pairs,
    infer_config=infer_config,
    sign=r"rel_matching\.vis_emb_fc\.0\.weight",
    ignored=(BATCH_COUNTS,),
    assumed=("max_words", "contexts"),
)
