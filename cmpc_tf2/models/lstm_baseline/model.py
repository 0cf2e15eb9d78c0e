"""The LSTM baseline, assembled from its parts."""

import keras

from cmpc_tf2.layers.level_fusion import LevelFusion
from cmpc_tf2.models.ancestors import DeepestLevelModel, read_words, score_cells
from cmpc_tf2.models.config import DeepLabModelConfig
from cmpc_tf2.registration import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class LSTMBaseline(DeepestLevelModel):
    """D+LSTM, the baseline of RMI's authors: the sentence vector is joined to the features of every cell.

    Args: as `ReferringModel`. Call arguments: as `CMPC`.

    Returns:
        A dict of float32 logits: `mask_logits`, `(B, S, S, 1)`; and `coarse_logits`, `(B, h, w, 1)`, for
        training.

    Source: `TF-phrasecut-public` of chenxi116 (commit b0b0778); Liu et al., ICCV 2017.

    Differs from TF1: every sample of a batch gets what it would get alone. Tested by `tests/models/test_ancestors.py`.
    """

    title = "an LSTM baseline model"

    @staticmethod
    def build_expression_decoder(config: DeepLabModelConfig) -> keras.Model:
        visual = keras.Input((config.grid_size, config.grid_size, config.feature_dim), name="visual")
        token_ids = keras.Input((config.max_words,), dtype="int32", name="token_ids")
        words, _, _ = read_words(token_ids, config)
        fused = LevelFusion(config.fusion_dim, name="fusion")([visual], words[:, -1])
        outputs = score_cells(fused, config)
        return keras.Model({"visual": visual, "token_ids": token_ids}, outputs, name="expression_decoder")
