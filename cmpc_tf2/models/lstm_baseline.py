"""The LSTM baseline: the parts put together."""

from typing import ClassVar

import keras
from keras import layers

from cmpc_tf2.config import PACKAGE, ReferringConfig
from cmpc_tf2.layers.upsampling import LegacyBilinearResize
from cmpc_tf2.models.ancestors import AncestorModel, read_words
from cmpc_tf2.models.cmpc import EXACT
from cmpc_tf2.models.level_fusion import LevelFusion


@keras.saving.register_keras_serializable(package=PACKAGE)
class LSTMBaseline(AncestorModel):
    """D+LSTM, the baseline of RMI's authors: one sentence vector beside the visual features of every cell.

    Args and call arguments: as `AncestorModel`.

    Returns:
        As `AncestorModel`; and `coarse_logits`, float32 `(B, h, w, 1)`, which training looks at.

    Source: `TF-phrasecut-public` of chenxi116 (commit b0b0778); Liu et al., ICCV 2017.

    Differs from TF1: every sample of a batch gets what it would get alone. Tested by `tests/models/test_ancestors.py`.
    """

    title = "an LSTM baseline model"
    loss_weights: ClassVar = {"coarse_logits": 1.0}

    @staticmethod
    def build_expression_decoder(config: ReferringConfig) -> keras.Model:
        visual = keras.Input((config.grid_size, config.grid_size, config.feature_dim), name="visual")
        token_ids = keras.Input((config.max_words,), dtype="int32", name="token_ids")
        words, _, _ = read_words(token_ids, config)
        fused = LevelFusion(config.fusion_dim, name="fusion")([visual], words[:, -1])
        return keras.Model({"visual": visual, "token_ids": token_ids}, score(fused, config), name="expression_decoder")


def score(features, config: ReferringConfig) -> dict:
    """Features of cells, `(B, h, w, C)`, to logits of cells and of pixels."""
    logits = layers.Conv2D(1, 1, dtype=EXACT, name="score")(features)
    upsampled = LegacyBilinearResize(config.image_size, dtype=EXACT, name="upsample")(logits)
    return {"mask_logits": upsampled, "coarse_logits": logits}
