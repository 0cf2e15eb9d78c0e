"""What RRN, RMI and the LSTM baseline have in common."""

from cmpc_tf2.backbones.config import DeepLabResNetConfig
from cmpc_tf2.conversion.names import deeplab
from cmpc_tf2.conversion.tf1_names import PEEPHOLES, SCOPE, Pair, common_size, lstm, training_variables
from cmpc_tf2.models.config import DeepLabModelConfig

STEP = f"{SCOPE}/Variable"
IGNORED = (*training_variables(STEP), *deeplab.IGNORED)


def word_pairs(scope: str) -> list[Pair]:
    """The word vectors, and the LSTM over them in `scope`."""
    return [Pair(f"{SCOPE}/embedding", "text_encoder/embedding"), *lstm(scope, "text_encoder/lstm")]


def infer_config(
    shapes: dict[str, tuple], backbone: DeepLabResNetConfig, visual: str, fusion: str, fusion_axis: int = 3
) -> DeepLabModelConfig:
    """Reads the sizes off the shapes. Without peepholes nothing tells the size of the pictures: 320 is taken.

    Args:
        shapes: Shape per variable name.
        backbone: The sizes of the backbone.
        visual: The layer with `feature_dim` biases.
        fusion: The layer whose kernel has `fusion_dim` along `fusion_axis`.
        fusion_axis: That axis.
    """
    default = DeepLabModelConfig()
    embedding = [f"{SCOPE}/embedding"]
    return DeepLabModelConfig(
        image_size=common_size(shapes, PEEPHOLES, 0, default.grid_size) * default.backbone.stride,
        vocabulary_size=common_size(shapes, embedding, 0, default.vocabulary_size),
        embedding_dim=common_size(shapes, embedding, 1, default.embedding_dim),
        feature_dim=common_size(shapes, [f"{SCOPE}/{visual}/biases"], 0, default.feature_dim),
        fusion_dim=common_size(shapes, [f"{SCOPE}/{fusion}/DW"], fusion_axis, default.fusion_dim),
        backbone=backbone,
    )
