"""CMPC-I."""

from cmpc_tf2.backbones.config import DeepLabResNetConfig
from cmpc_tf2.conversion.families import Family, common_size
from cmpc_tf2.conversion.names import backbone
from cmpc_tf2.conversion.tf1_names import (
    PEEPHOLES,
    SCOPE,
    Pair,
    conv_lstm,
    layer,
    lstm,
    norm,
    training_variables,
)
from cmpc_tf2.models.cmpc.config import MUTAN_HEADS, CMPCConfig

LEVELS = DeepLabResNetConfig.levels
STEP = f"{SCOPE}/Variable_1"
IGNORED = training_variables(STEP)

# Layers with a kernel and biases: (TF1 scope, Keras layer), per level or exchange.
_PER_LEVEL = (
    ("{level}_lateral", "lateral_{level}"),
    ("words_trans_{level}", "relation_graph_{level}/word_projection"),
    ("spa_graph_trans2_{level}", "relation_graph_{level}/cell_projection"),
    ("gconv_update_spa_graph_{level}", "relation_graph_{level}/convolution/update"),
    ("fusion_{level}", "fusion_{level}"),
    ("score_{level}", "score_{level}"),
)
_PER_LEVEL_HEAD = (
    ("vis_trans_{level}_head{number}", "mutan_visual_{level}/projection"),
    ("lang_trans_{level}_head{number}", "mutan_{level}/projection"),
)
_PER_LEVEL_NORM = (
    ("gconv_feat_ln_spa_graph_{level}", "relation_graph_{level}/convolution/message_norm"),
    ("gconv_update_ln_spa_graph_{level}", "relation_graph_{level}/convolution/update_norm"),
)
_PER_EXCHANGE = (
    ("spa_graph_key_{tag}gv_f1", "{exchange}/key"),
    ("lang_query_{tag}gv_f1", "{exchange}/query"),
    ("gv_lang_{tag}gv_f1", "{exchange}/context"),
    ("trans_feat_{tag}_f1", "{exchange}/transform_{first}"),
    ("lang_feat_{tag}_f1", "{exchange}/gate_{first}"),
    ("trans_feat_{tag}_f2", "{exchange}/transform_{second}"),
    ("lang_feat_{tag}_f2", "{exchange}/gate_{second}"),
)


def cmpc_pairs(config: CMPCConfig) -> list[Pair]:
    """The 735 variables of CMPC-I (fewer with a smaller backbone)."""
    return backbone.backbone_pairs(config.backbone) + pairs_behind_backbone(config)


def pairs_behind_backbone(config: CMPCConfig) -> list[Pair]:
    """The variables of CMPC-I without those of its backbone."""
    pairs = [Pair(f"{SCOPE}/Variable", "text_encoder/embedding"), *lstm("RNN", "text_encoder/lstm")]
    pairs += layer("words_parse_1", "word_parser/hidden") + layer("words_parse_2", "word_parser/types")
    for level in LEVELS:
        for tf1, keras in _PER_LEVEL:
            pairs += layer(tf1.format(level=level), keras.format(level=level))
        for tf1, keras in _PER_LEVEL_NORM:
            pairs += norm(tf1.format(level=level), keras.format(level=level))
        for tf1, keras in _PER_LEVEL_HEAD:
            for head in range(MUTAN_HEADS):
                pairs += layer(tf1.format(level=level, number=head + 1), keras.format(level=level), (head, MUTAN_HEADS))
        first, second = (other for other in LEVELS if other != level)
        for tag, round_number in ((level, 1), (f"{level}_2", 2)):
            exchange = f"exchange_{level}_round{round_number}"
            for tf1, keras in _PER_EXCHANGE:
                keras = keras.format(exchange=exchange, first=first, second=second)
                pairs += layer(tf1.format(tag=tag), keras)
    return pairs + conv_lstm() + layer("score", "score")


def infer_config(shapes: dict[str, tuple]) -> CMPCConfig:
    """Reads the sizes off the shapes, a dict by variable name."""
    return CMPCConfig(backbone=backbone.infer_config(shapes), **sizes_behind_backbone(shapes))


def sizes_behind_backbone(shapes: dict[str, tuple]) -> dict[str, int]:
    """The sizes other than those of the backbone."""
    default = CMPCConfig()

    def size(names: list[str], axis: int, default: int) -> int:
        return common_size(shapes, [f"{SCOPE}/{name}" for name in names], axis, default)

    feature_dim = size([f"{level}_lateral/biases" for level in LEVELS], 0, default.feature_dim)
    lstm_inputs = size(["RNN/multi_rnn_cell/cell_0/basic_lstm_cell/kernel"], 0, 0)
    return {
        "image_size": common_size(shapes, PEEPHOLES, 0, default.grid_size) * default.backbone.stride,
        "vocabulary_size": size(["Variable"], 0, default.vocabulary_size),
        "embedding_dim": size(["Variable"], 1, max(1, lstm_inputs - feature_dim)),
        "feature_dim": feature_dim,
        "fusion_dim": size([f"fusion_{level}/biases" for level in LEVELS], 0, default.fusion_dim),
        "word_parser_dim": size(["words_parse_1/biases"], 0, default.word_parser_dim),
    }


FAMILY = Family(
    name="cmpc",
    pairs=cmpc_pairs,
    infer_config=infer_config,
    sign=rf"{SCOPE}/(words_parse_[12]|vis_trans_c[345]_head\d)/DW",
    unless=rf"{SCOPE}/tg_.+",  # CMPC-V has all variables of CMPC-I, and its temporal graphs.
    ignored=IGNORED,
    step=STEP,
)
