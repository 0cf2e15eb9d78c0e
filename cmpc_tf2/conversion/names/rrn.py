"""RRN."""

from cmpc_tf2.backbones.config import DeepLabResNetConfig
from cmpc_tf2.conversion.names import backbone
from cmpc_tf2.conversion.names.ancestors import ancestor_family, word_pairs
from cmpc_tf2.conversion.tf1_names import SCOPE, conv_lstm, layer

_PAIRS = word_pairs("RNN") + layer("mlp0", "visual") + layer("fusion", "fusion")
for _level in DeepLabResNetConfig.levels:
    _PAIRS += layer(f"{_level}_lateral", f"lateral_{_level}")
_PAIRS += conv_lstm() + layer("score", "score")

FAMILY = ancestor_family(
    name="rrn",
    sign=rf"{SCOPE}/mlp0/(DW|biases)",
    backbone=backbone.FAMILY,
    pairs=_PAIRS,
    sizes={"feature_dim": ("mlp0/biases", 0), "fusion_dim": ("fusion/DW", 3)},
)
