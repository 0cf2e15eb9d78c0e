"""Parts shared by RRN, RMI and the LSTM baseline, the systems that CMPC builds on."""

import keras
from keras import layers

from cmpc_tf2.layers.cell_dense import CellDense
from cmpc_tf2.layers.normalization import L2Normalize
from cmpc_tf2.layers.upsampling import LegacyBilinearResize
from cmpc_tf2.models.config import DeepLabModelConfig
from cmpc_tf2.models.deeplab_model import DeepLabModel, level_input
from cmpc_tf2.text.text_encoder import TextEncoder


class DeepestLevelModel(DeepLabModel):
    """A model that uses only the deepest level of the backbone: RMI and the LSTM baseline."""

    @staticmethod
    def build_visual_projection(config: DeepLabModelConfig) -> keras.Model:
        """The deepest level to `visual`, `(B, h, w, C)`, of unit norm."""
        level = config.backbone.levels[-1]
        tap = level_input(level, config)
        return keras.Model({level: tap}, {"visual": project_visual(tap, config)}, name="visual_projection")


def project_visual(tap, config: DeepLabModelConfig):
    """The deepest level to visual features of unit norm, `(B, h, w, C)`."""
    return L2Normalize(name="visual_norm")(CellDense(config.feature_dim, name="visual")(tap))


def read_words(token_ids, config: DeepLabModelConfig):
    """Token ids to word features, `is_word` and word vectors; as `TextEncoder`."""
    sizes = config.vocabulary_size, config.embedding_dim, config.feature_dim
    initializer = keras.initializers.RandomUniform(-0.08, 0.08)
    return TextEncoder(*sizes, embedding_initializer=initializer, name="text_encoder")(token_ids)


def score_cells(features, config: DeepLabModelConfig) -> dict:
    """Features of cells, `(B, h, w, C)`, to logits of pixels and, for training, of cells: `coarse_logits`."""
    logits = layers.Conv2D(1, 1, dtype="float32", name="score")(features)
    upsampled = LegacyBilinearResize(config.image_size, dtype="float32", name="upsample")(logits)
    return {"mask_logits": upsampled, "coarse_logits": logits}
