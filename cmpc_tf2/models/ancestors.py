"""What RRN, RMI and the LSTM baseline have in common: the systems that CMPC grew from."""

import keras
from keras import layers

from cmpc_tf2.config import ReferringConfig
from cmpc_tf2.layers.cell_dense import CellDense
from cmpc_tf2.layers.normalization import L2Normalize
from cmpc_tf2.layers.upsampling import LegacyBilinearResize
from cmpc_tf2.models.text_encoder import TextEncoder
from cmpc_tf2.precision import EXACT


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


def score_cells(features, config: ReferringConfig) -> dict:
    """Features of cells, `(B, h, w, C)`, to logits of pixels and, for training, of cells: `coarse_logits`."""
    logits = layers.Conv2D(1, 1, dtype=EXACT, name="score")(features)
    upsampled = LegacyBilinearResize(config.image_size, dtype=EXACT, name="upsample")(logits)
    return {"mask_logits": upsampled, "coarse_logits": logits}
