"""RRN, assembled from its parts."""

import keras
from keras import layers, ops

from cmpc_tf2.layers.cell_dense import CellDense
from cmpc_tf2.layers.conv_lstm import PeepholeConvLSTM
from cmpc_tf2.layers.level_fusion import LevelFusion
from cmpc_tf2.layers.upsampling import LegacyBilinearResize
from cmpc_tf2.models.ancestors import project_visual, read_words
from cmpc_tf2.models.config import DeepLabModelConfig
from cmpc_tf2.models.deeplab_model import DeepLabModel, level_input
from cmpc_tf2.registration import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class RRN(DeepLabModel):
    """Recurrent Refinement Networks: the sentence is fused with the deepest features once, and a ConvLSTM refines the
    result with the backbone's levels, deep to shallow.

    Args: as `ReferringModel`. Call arguments: as `CMPC`.

    Returns:
        A dict with float32 logits `(B, S, S, 1)`: `mask_logits`.

    Source: `referseg_rrn` of liruiyu (commit 7eabaf4); Li et al., CVPR 2018.

    Differs from TF1: every sample of a batch gets what it would get alone. Tested by `tests/models/test_ancestors.py`.
    """

    title = "an RRN model"

    @staticmethod
    def build_visual_projection(config: DeepLabModelConfig) -> keras.Model:
        levels = config.backbone.levels
        taps = {level: level_input(level, config) for level in levels}
        outputs = {"visual": project_visual(taps[levels[-1]], config)}
        for level in levels:
            outputs[level] = CellDense(config.fusion_dim, activation="relu", name=f"lateral_{level}")(taps[level])
        return keras.Model(taps, outputs, name="visual_projection")

    @staticmethod
    def build_expression_decoder(config: DeepLabModelConfig) -> keras.Model:
        size, levels = config.grid_size, config.backbone.levels
        visual = keras.Input((size, size, config.feature_dim), name="visual")
        laterals = {level: keras.Input((size, size, config.fusion_dim), name=level) for level in levels}
        token_ids = keras.Input((config.max_words,), dtype="int32", name="token_ids")
        words, _, _ = read_words(token_ids, config)
        fused = LevelFusion(config.fusion_dim, name="fusion")([visual], words[:, -1])
        # The picture may have batch size 1 with many sentences.
        sequence = [fused, *(laterals[level] + ops.zeros_like(fused) for level in reversed(levels))]
        refined = PeepholeConvLSTM(config.fusion_dim, dtype="float32", name="conv_lstm")(sequence)
        logits = layers.Conv2D(1, 3, padding="same", dtype="float32", name="score")(refined)
        outputs = {"mask_logits": LegacyBilinearResize(config.image_size, dtype="float32", name="upsample")(logits)}
        return keras.Model({"visual": visual, **laterals, "token_ids": token_ids}, outputs, name="expression_decoder")
