"""A layer of the decoder, in which words and cells attend to each other."""

import keras
from keras import layers

from cmpc_tf2.layers.deformable_attention import DeformableAttention
from cmpc_tf2.layers.transformer import FeedForward
from cmpc_tf2.models.maskris.attention import FewKeysAttention, FewQueriesAttention
from cmpc_tf2.models.maskris.config import MaskRISConfig
from cmpc_tf2.registration import PACKAGE

EPSILON = 1e-5


@keras.saving.register_keras_serializable(package=PACKAGE)
class DecoderLayer(layers.Layer):
    """Words attend to the cells and to each other, then cells to the words and, deformably, to each other.

    All six steps are residual and normalised after.

    Source: `VLMSDeformAttnLayer` in `model/msdeform_decoder.py` of naver-ai/maskris (commit 01b54d5).

    Args:
        config: Sizes of the model.
        grids: Rows and columns of each level.

    Call arguments:
        visual: `(B, N, C)`, the cells of all levels, row by row.
        language: `(B, T, C)`, words and prompts.
        positions: `(1, N, C)`.
        is_token: bool `(B, T)`, false at padding.

    Returns:
        The new `visual` and `language`.
    """

    def __init__(self, config: MaskRISConfig | dict, grids: list[tuple[int, int]], **kwargs):
        super().__init__(**kwargs)
        self.config = config if isinstance(config, MaskRISConfig) else MaskRISConfig(**config)
        self.grids = [tuple(grid) for grid in grids]

    def build(self, visual_shape, language_shape, positions_shape, is_token_shape):
        config, dtype = self.config, self.dtype_policy
        heads = config.decoder_heads
        sizes = {"heads": heads, "head_dim": config.head_dim, "dtype": dtype}
        self.v2l_cross_attn = FewQueriesAttention(**sizes, name="v2l_cross_attn")
        self.v2l_cross_attn.build(language_shape, visual_shape, visual_shape)
        self.lang_self_attn = FewQueriesAttention(**sizes, name="lang_self_attn")
        self.lang_self_attn.build(language_shape, language_shape, language_shape)
        self.l2v_cross_attn = FewKeysAttention(**sizes, name="l2v_cross_attn")
        self.l2v_cross_attn.build(visual_shape, language_shape, language_shape)
        self.vis_self_attn = DeformableAttention(self.grids, heads, config.points, name="vis_self_attn")
        self.vis_self_attn.build(visual_shape, positions_shape)
        self.vis_mlp = FeedForward(config.mlp_dim, "relu", dtype=dtype, name="vis_mlp")
        self.vis_mlp.build(visual_shape)
        self.lang_mlp = FeedForward(config.mlp_dim, "relu", dtype=dtype, name="lang_mlp")
        self.lang_mlp.build(language_shape)
        for name in ("v_norm1", "v_norm2", "v_norm3", "l_norm1", "l_norm2", "l_norm3"):
            norm = layers.LayerNormalization(epsilon=EPSILON, dtype=dtype, name=name)
            norm.build(visual_shape if name.startswith("v") else language_shape)
            setattr(self, name, norm)
        self.gamma_v2l, self.gamma_l2v = (
            self.add_weight((1, 1, visual_shape[-1]), "ones", name=name) for name in ("gamma_v2l", "gamma_l2v")
        )

    def call(self, visual, language, positions, is_token):
        located = visual + positions
        attended = self.v2l_cross_attn(language, located, visual)
        language = self.l_norm1(language + self.gamma_v2l * attended)
        language = self.l_norm2(language + self.lang_self_attn(language, language, language, is_token))
        language = self.l_norm3(language + self.lang_mlp(language))
        attended = self.l2v_cross_attn(located, language, language, is_token)
        # The original numbers its norms in this order.
        visual = self.v_norm2(visual + self.gamma_l2v * attended)
        visual = self.v_norm1(self.vis_self_attn(visual, positions))
        visual = self.v_norm3(visual + self.vis_mlp(visual))
        return visual, language

    def compute_output_shape(self, visual_shape, language_shape):
        return visual_shape, language_shape

    def get_config(self):
        return {**super().get_config(), "config": self.config.to_dict(), "grids": self.grids}
