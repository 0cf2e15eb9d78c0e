"""Which TensorFlow 1 variable is which Keras weight; the converter does the work.

Left: names in the checkpoints of CMPC-Refseg (commit 094639b), referseg_rrn (7eabaf4) and TF-phrasecut-public
(b0b0778). Right: `Variable.path` of our models.
"""

import dataclasses
import re

import numpy as np

from cmpc_tf2.config import LEVELS, MUTAN_HEADS, BackboneConfig, ModelConfig, ReferringConfig
from cmpc_tf2.models.backbone import bottleneck_names, convolution_and_norm

SCOPE = "text_objseg"
STEP = f"{SCOPE}/Variable_1"
ANCESTOR_STEP = f"{SCOPE}/Variable"
BETA_1_POWER, BETA_2_POWER = f"{SCOPE}/beta1_power", f"{SCOPE}/beta2_power"


@dataclasses.dataclass(frozen=True)
class Pair:
    """One TensorFlow 1 variable and its place in the Keras model.

    Attributes:
        tf1: Name of the variable.
        keras: Path of the weight.
        head: If the weight holds several variables side by side (the heads of MUTAN), the index of this one's block
            of columns.
        factor: Name of another variable that this one is divided by (Caffe's running sums of batch norm).
    """

    tf1: str
    keras: str
    head: int | None = None
    factor: str | None = None


# Variables that are read past: a pattern for the whole name, and why.
_ADAM = (
    (rf"{SCOPE}/beta[12]_power", "Adam's running power, not a weight"),
    (rf"{SCOPE}/(?P<base>.+)/Adam(_1)?", "Adam slot, not a weight"),
)
IGNORED_IN_CMPC = (
    (re.escape(STEP), "the training step; reported as `step`"),
    *_ADAM,
)
IGNORED_IN_BACKBONE = ((r"fc1_voc12_c[0-3]/(weights|biases)", "DeepLab's own classifier, which CMPC does not use"),)
IGNORED_IN_DEEPLAB = ((r"DeepLab/fc1_voc12/conv[0-3]/(DW|biases)", "DeepLab's own classifier, which feeds nothing"),)
IGNORED_IN_ANCESTORS = (
    (re.escape(ANCESTOR_STEP), "the training step; reported as `step`"),
    *_ADAM,
    *IGNORED_IN_DEEPLAB,
)

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
# Of the video model alone.
_PER_LEVEL_IN_VIDEO = (
    ("tg_vtrans_{level}", "temporal_graph_{level}/cell_projection"),
    ("tg_ltrans_{level}", "temporal_graph_{level}/action_projection"),
    ("tg_query_{level}", "temporal_graph_{level}/query"),
    ("tg_key_{level}", "temporal_graph_{level}/key"),
    ("gconv_update_temp_graph_{level}", "temporal_graph_{level}/convolution/update"),
    ("mm_trans_{level}", "temporal_context_{level}/cell_projection"),
    ("ctx_trans_{level}", "temporal_context_{level}/node_projection"),
)
_PER_LEVEL_NORM_IN_VIDEO = (
    ("gconv_feat_ln_temp_graph_{level}", "temporal_graph_{level}/convolution/message_norm"),
    ("gconv_update_ln_temp_graph_{level}", "temporal_graph_{level}/convolution/update_norm"),
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
_CONV_LSTM = (
    ("kernel", "kernel"),
    ("W_ci", "peephole_i"),
    ("W_cf", "peephole_f"),
    ("W_co", "peephole_o"),
)
_CONV_LSTM_NORMS = (
    ("LayerNorm", "norm_j"),
    ("LayerNorm_1", "norm_i"),
    ("LayerNorm_2", "norm_f"),
    ("LayerNorm_3", "norm_o"),
    ("LayerNorm_4", "norm_c"),
)


def backbone_pairs(config: BackboneConfig) -> list[Pair]:
    """The variables of a backbone; also those of a bare `deeplab_resnet_init.ckpt`."""
    suffixes = ["conv1"]
    for stage, depth in zip((2, 3, 4, 5), config.depths, strict=True):
        for index, name in enumerate(bottleneck_names(stage, depth)):
            branches = ["2a", "2b", "2c"] if index else ["1", "2a", "2b", "2c"]
            suffixes += [f"{name}_branch{branch}" for branch in branches]
    pairs = []
    for suffix in suffixes:
        convolution, norm = convolution_and_norm(suffix)
        pairs.append(Pair(f"{convolution}/weights", f"{convolution}/kernel"))
        pairs += [Pair(f"{norm}/{p}", f"{norm}/{p}") for p in ("beta", "gamma", "moving_mean", "moving_variance")]
    return pairs


def cmpc_pairs(config: ModelConfig) -> list[Pair]:
    """The 735 variables of CMPC-I (fewer with a smaller backbone)."""
    pairs = backbone_pairs(config.backbone)
    pairs += [Pair(f"{SCOPE}/Variable", "text_encoder/embedding"), *_lstm("RNN", "text_encoder/lstm")]
    pairs += _layer("words_parse_1", "word_parser/hidden") + _layer("words_parse_2", "word_parser/types")
    for level in LEVELS:
        for tf1, keras in _PER_LEVEL:
            pairs += _layer(tf1.format(level=level), keras.format(level=level))
        for tf1, keras in _PER_LEVEL_NORM:
            pairs += _norm(tf1.format(level=level), keras.format(level=level))
        for tf1, keras in _PER_LEVEL_HEAD:
            for head in range(MUTAN_HEADS):
                pairs += _layer(tf1.format(level=level, number=head + 1), keras.format(level=level), head)
        first, second = (other for other in LEVELS if other != level)
        for tag, round_number in ((level, 1), (f"{level}_2", 2)):
            exchange = f"exchange_{level}_round{round_number}"
            for tf1, keras in _PER_EXCHANGE:
                keras = keras.format(exchange=exchange, first=first, second=second)
                pairs += _layer(tf1.format(tag=tag), keras)
    return pairs + _conv_lstm() + _layer("score", "score")


def video_pairs(config: ModelConfig) -> list[Pair]:
    """The variables of CMPC-V: those of CMPC-I, the temporal graphs and contexts."""
    pairs = cmpc_pairs(config)
    for level in LEVELS:
        for tf1, keras in _PER_LEVEL_IN_VIDEO:
            pairs += _layer(tf1.format(level=level), keras.format(level=level))
        for tf1, keras in _PER_LEVEL_NORM_IN_VIDEO:
            pairs += _norm(tf1.format(level=level), keras.format(level=level))
    return pairs


def rrn_pairs(config: ReferringConfig) -> list[Pair]:
    """The variables of RRN."""
    pairs = [*backbone_pairs(config.backbone), *_ancestor_words("RNN")]
    pairs += _layer("mlp0", "visual") + _layer("fusion", "fusion")
    for level in LEVELS:
        pairs += _layer(f"{level}_lateral", f"lateral_{level}")
    return pairs + _conv_lstm() + _layer("score", "score")


def lstm_pairs(config: ReferringConfig) -> list[Pair]:
    """The variables of the LSTM baseline."""
    pairs = [*deeplab_pairs(config.backbone), *_ancestor_words("RNN")]
    return pairs + _layer("conv0", "visual") + _layer("conv1", "fusion") + _layer("conv2", "score")


def rmi_pairs(config: ReferringConfig) -> list[Pair]:
    """The variables of RMI."""
    pairs = [*deeplab_pairs(config.backbone), *_ancestor_words("RNN/WLSTM")]
    pairs += _lstm("RNN/ALSTM", "multimodal_lstm")
    return pairs + _layer("conv0", "visual") + _layer("conv2", "score")


def deeplab_pairs(config: BackboneConfig) -> list[Pair]:
    """The backbone of RMI and the LSTM baseline, also bare: the same network under other names, with Caffe's batch
    norm."""
    pairs = _deeplab_layer("group_1/conv1", "group_1/bn_conv1", "conv1")
    for stage, depth in zip((2, 3, 4, 5), config.depths, strict=True):
        for index, name in enumerate(bottleneck_names(stage, depth)):
            blocks = {"block_1": "2a", "block_2": "2b", "block_3": "2c"} | ({} if index else {"block_add": "1"})
            for block, branch in blocks.items():
                scope = f"group_{stage}_{index}/{block}"
                pairs += _deeplab_layer(f"{scope}/conv", f"{scope}/bn", f"{name}_branch{branch}")
    return pairs


def unused_variables(pairs: list[Pair], config: ReferringConfig | BackboneConfig) -> dict[str, np.ndarray]:
    """What an original restores beside the weights: factors of 1, and a classifier that feeds nothing, as zeros."""
    found = {pair.factor: np.ones(1, np.float32) for pair in pairs if pair.factor}
    if found:
        for number in range(4):
            scope = f"DeepLab/fc1_voc12/conv{number}"
            found[f"{scope}/DW"] = np.zeros((3, 3, config.backbone.stage_filters(5), 21), np.float32)
            found[f"{scope}/biases"] = np.zeros(21, np.float32)
    return found


def slot_names(tf1: str) -> tuple[str, str]:
    """Adam's first and second moment of a variable."""
    return f"{SCOPE}/{tf1}/Adam", f"{SCOPE}/{tf1}/Adam_1"


def _ancestor_words(scope: str) -> list[Pair]:
    return [Pair(f"{SCOPE}/embedding", "text_encoder/embedding"), *_lstm(scope, "text_encoder/lstm")]


def _lstm(tf1: str, keras: str) -> list[Pair]:
    cell = f"{SCOPE}/{tf1}/multi_rnn_cell/cell_0/basic_lstm_cell"
    return [Pair(f"{cell}/{p}", f"{keras}/{p}") for p in ("kernel", "bias")]


def _deeplab_layer(convolution: str, norm: str, suffix: str) -> list[Pair]:
    keras_convolution, keras_norm = convolution_and_norm(suffix)
    factor = f"DeepLab/{norm}/factor"
    return [
        Pair(f"DeepLab/{convolution}/DW", f"{keras_convolution}/kernel"),
        *(Pair(f"DeepLab/{norm}/{p}", f"{keras_norm}/{p}") for p in ("beta", "gamma")),
        *(Pair(f"DeepLab/{norm}/{p}", f"{keras_norm}/moving_{p}", factor=factor) for p in ("mean", "variance")),
    ]


def _conv_lstm() -> list[Pair]:
    pairs = [Pair(f"{SCOPE}/rnn/conv_lstm_cell/{tf1}", f"conv_lstm/{keras}") for tf1, keras in _CONV_LSTM]
    for tf1, keras in _CONV_LSTM_NORMS:
        pairs += _norm(f"rnn/conv_lstm_cell/{tf1}", f"conv_lstm/{keras}")
    return pairs


def _layer(tf1: str, keras: str, head: int | None = None) -> list[Pair]:
    return [
        Pair(f"{SCOPE}/{tf1}/DW", f"{keras}/kernel", head),
        Pair(f"{SCOPE}/{tf1}/biases", f"{keras}/bias", head),
    ]


def _norm(tf1: str, keras: str) -> list[Pair]:
    return [Pair(f"{SCOPE}/{tf1}/{p}", f"{keras}/{p}") for p in ("beta", "gamma")]
