"""RRN."""

from cmpc_tf2.conversion.families import Family
from cmpc_tf2.conversion.names import ancestors, backbone
from cmpc_tf2.conversion.tf1_names import SCOPE, Pair, conv_lstm, layer
from cmpc_tf2.models.config import DeepLabModelConfig


def rrn_pairs(config: DeepLabModelConfig) -> list[Pair]:
    """The variables of RRN."""
    pairs = [*backbone.backbone_pairs(config.backbone), *ancestors.word_pairs("RNN")]
    pairs += layer("mlp0", "visual") + layer("fusion", "fusion")
    for level in config.backbone.levels:
        pairs += layer(f"{level}_lateral", f"lateral_{level}")
    return pairs + conv_lstm() + layer("score", "score")


def infer_config(shapes: dict[str, tuple]) -> DeepLabModelConfig:
    """Reads the sizes off the shapes."""
    return ancestors.infer_config(shapes, backbone.infer_config(shapes), visual="mlp0", fusion="fusion")


FAMILY = Family(
    name="rrn",
    pairs=rrn_pairs,
    infer_config=infer_config,
    sign=rf"{SCOPE}/mlp0/(DW|biases)",
    ignored=ancestors.IGNORED,
    step=ancestors.STEP,
)
