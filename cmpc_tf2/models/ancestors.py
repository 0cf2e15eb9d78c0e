"""What RRN, RMI and the LSTM baseline have in common: the systems that CMPC grew from."""

from collections.abc import Callable
from typing import ClassVar

import keras

from cmpc_tf2.config import ReferringConfig
from cmpc_tf2.layers.cell_dense import CellDense
from cmpc_tf2.layers.normalization import L2Normalize
from cmpc_tf2.models.backbone import DeepLabResNet
from cmpc_tf2.models.referring_model import ReferringModel, build_image_encoder
from cmpc_tf2.models.text_encoder import TextEncoder


class AncestorModel(ReferringModel):
    """A model of pictures with the sizes of `ReferringConfig`.

    Args:
        config: Sizes; a `ReferringConfig` or its `to_dict()`.
        vocabulary: The words by token id, saved with the model; None if unknown.

    Call arguments: as `CMPC`.

    Returns:
        As `CMPC`, without the side outputs.
    """

    loss_weights: ClassVar = {"mask_logits": 1.0}
    # What the projection gives, and `token_ids`, to the outputs of the model.
    build_expression_decoder: ClassVar[Callable[[ReferringConfig], keras.Model]]

    def __init__(self, config: ReferringConfig | dict | None = None, vocabulary: list[str] | None = None, **kwargs):
        if not isinstance(config, ReferringConfig):
            config = ReferringConfig(**(config or {}))
        backbone = DeepLabResNet(config.backbone, name="backbone")
        encoder = build_image_encoder(backbone, self.build_visual_projection(config), config.image_size)
        super().__init__(encoder, self.build_expression_decoder(config), config, vocabulary, **kwargs)

    @staticmethod
    def build_visual_projection(config: ReferringConfig) -> keras.Model:
        """The deepest tap `c5` to `visual`, `(B, h, w, C)`, of unit norm."""
        c5 = keras.Input((config.grid_size, config.grid_size, config.backbone.stage_filters(5)), name="c5")
        return keras.Model({"c5": c5}, {"visual": project_visual(c5, config)}, name="visual_projection")


def project_visual(c5, config: ReferringConfig):
    """The deepest tap to visual features of unit norm, `(B, h, w, C)`."""
    return L2Normalize(name="visual_norm")(CellDense(config.feature_dim, name="visual")(c5))


def read_words(token_ids, config: ReferringConfig):
    """Token ids to word features, `is_word` and word vectors; as `TextEncoder`."""
    sizes = config.vocabulary_size, config.embedding_dim, config.feature_dim
    initializer = keras.initializers.RandomUniform(-0.08, 0.08)
    return TextEncoder(*sizes, embedding_initializer=initializer, name="text_encoder")(token_ids)
