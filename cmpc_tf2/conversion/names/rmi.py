"""RMI."""

from cmpc_tf2.conversion.families import Family
from cmpc_tf2.conversion.names import ancestors, deeplab
from cmpc_tf2.conversion.tf1_names import SCOPE, Pair, layer, lstm
from cmpc_tf2.models.config import DeepLabModelConfig


def rmi_pairs(config: DeepLabModelConfig) -> list[Pair]:
    """The variables of RMI."""
    pairs = [*deeplab.deeplab_pairs(config.backbone), *ancestors.word_pairs("RNN/WLSTM")]
    pairs += lstm("RNN/ALSTM", "multimodal_lstm")
    return pairs + layer("conv0", "visual") + layer("conv2", "score")


def infer_config(shapes: dict[str, tuple]) -> DeepLabModelConfig:
    """Reads the sizes off the shapes."""
    backbone = deeplab.infer_config(shapes)
    return ancestors.infer_config(shapes, backbone, visual="conv0", fusion="conv2", fusion_axis=2)


FAMILY = Family(
    name="rmi",
    pairs=rmi_pairs,
    infer_config=infer_config,
    sign=rf"{SCOPE}/RNN/ALSTM/.+",
    ignored=ancestors.IGNORED,
    step=ancestors.STEP,
    unused_variables=deeplab.unused_variables,
    assumed=("image_size",),
)
