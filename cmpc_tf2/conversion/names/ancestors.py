"""What RRN, RMI and the LSTM baseline have in common."""

from cmpc_tf2.conversion.families import Family, common_size
from cmpc_tf2.conversion.names import deeplab
from cmpc_tf2.conversion.tf1_names import PEEPHOLES, SCOPE, Pair, lstm, training_variables
from cmpc_tf2.models.config import DeepLabModelConfig

_STEP = f"{SCOPE}/Variable"


def word_pairs(scope: str) -> list[Pair]:
    """The word vectors, and the LSTM over them in `scope`."""
    return [Pair(f"{SCOPE}/embedding", "text_encoder/embedding"), *lstm(scope, "text_encoder/lstm")]


def ancestor_family(
    name: str, sign: str, backbone: Family, pairs: list[Pair], sizes: dict[str, tuple[str, int]], **options
) -> Family:
    """The family of one of these models. Without peepholes nothing tells the size of the pictures: 320 is taken.

    Args:
        name: As in `Family`.
        sign: As in `Family`.
        backbone: The family of its backbone.
        pairs: Its variables beyond the backbone's.
        sizes: By field of the configuration, the variable in `SCOPE` and the axis whose length it is.
        options: Further fields of the `Family`.
    """

    def all_pairs(config: DeepLabModelConfig) -> list[Pair]:
        return [*backbone.pairs(config.backbone), *pairs]

    def infer_config(shapes: dict[str, tuple]) -> DeepLabModelConfig:
        default = DeepLabModelConfig()
        places = {"vocabulary_size": ("embedding", 0), "embedding_dim": ("embedding", 1), **sizes}
        found = {
            field: common_size(shapes, [f"{SCOPE}/{variable}"], axis, getattr(default, field))
            for field, (variable, axis) in places.items()
        }
        image_size = common_size(shapes, PEEPHOLES, 0, default.grid_size) * default.backbone.stride
        return DeepLabModelConfig(image_size=image_size, backbone=backbone.infer_config(shapes), **found)

    ignored = (*training_variables(_STEP), *deeplab.IGNORED)
    return Family(name, all_pairs, infer_config, sign, ignored=ignored, step=_STEP, **options)
