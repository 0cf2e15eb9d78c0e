"""The LSTM baseline."""

from cmpc_tf2.conversion.families import Family
from cmpc_tf2.conversion.names import ancestors, deeplab
from cmpc_tf2.conversion.tf1_names import SCOPE, Pair, layer
from cmpc_tf2.models.config import DeepLabModelConfig


def lstm_pairs(config: DeepLabModelConfig) -> list[Pair]:
    """The variables of the LSTM baseline."""
    pairs = [*deeplab.deeplab_pairs(config.backbone), *ancestors.word_pairs("RNN")]
    return pairs + layer("conv0", "visual") + layer("conv1", "fusion") + layer("conv2", "score")


def infer_config(shapes: dict[str, tuple]) -> DeepLabModelConfig:
    """Reads the sizes off the shapes."""
    return ancestors.infer_config(shapes, deeplab.infer_config(shapes), visual="conv0", fusion="conv1")


FAMILY = Family(
    name="lstm",
    pairs=lstm_pairs,
    infer_config=infer_config,
    sign=rf"{SCOPE}/conv1/(DW|biases)",
    ignored=ancestors.IGNORED,
    step=ancestors.STEP,
    unused_variables=deeplab.unused_variables,
    assumed=("image_size",),
)
