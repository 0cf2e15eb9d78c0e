"""MaskRIS and CARIS, assembled from their parts."""

from typing import ClassVar

import keras
from keras import layers, ops

from cmpc_tf2.backbones.swin import SwinTransformer
from cmpc_tf2.layers.transformer import fan_in_uniform
from cmpc_tf2.layers.upsampling import AlignedBilinearResize
from cmpc_tf2.models.maskris.config import DECODER_LEVELS, PROMPT_GRIDS, MaskRISConfig
from cmpc_tf2.models.maskris.decoder_layer import DecoderLayer
from cmpc_tf2.models.maskris.head import ClassScores, ConvolutionNorm
from cmpc_tf2.models.maskris.positions import LevelPositions
from cmpc_tf2.models.maskris.prompts import AppendPrompts, ConditionalPrompts
from cmpc_tf2.models.maskris.word_attention import WordAttention
from cmpc_tf2.models.referring_model import ReferringModel
from cmpc_tf2.registration import PACKAGE
from cmpc_tf2.text.bert import Bert

EPSILON = 1e-5


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskRIS(ReferringModel):
    """MaskRIS and CARIS: a picture and an expression in, a mask out. Both are one network; they differ in training.

    Swin encodes the picture, BERT the expression together with prompts made from the picture. In the decoder, words
    and cells attend to each other. Finally the first word, `[CLS]`, stands for the foreground and the mean of learned
    prompts for the background.

    Args: as `ReferringModel`.

    Call arguments (a dict):
        image: float32 `(B, S, S, 3)` with S = `config.image_size`; RGB, normalised (`model.preprocessing`).
        token_ids: int32 `(B, T)` with T = `config.max_words`, padded on the right.
        token_mask: int32 `(B, T)`, 1 for tokens and 0 for padding.

    Returns:
        A dict of float32 logits: `coarse_logits`, `(B, S/4, S/4, 2)`, of background and foreground, and `mask_logits`,
        `(B, S, S, 1)`, their difference at the size of the picture, which is above 0 in the foreground.

    Source: `model/models/maskris.py`, `model/backbones/backbones.py` and `model/msdeform_decoder.py` of
    naver-ai/maskris (commit 01b54d5); Lee et al., arXiv 2411.19067; Liu et al., ACM MM 2023.
    """

    title = "a MaskRIS model"
    config_type = MaskRISConfig
    tokenizer_name = "wordpiece"
    protocol_name = "resized"
    preprocessing_options: ClassVar = {
        "resizing": "stretch",
        "channels": "rgb",
        "mean": tuple(255 * value for value in (0.485, 0.456, 0.406)),
        "deviation": tuple(255 * value for value in (0.229, 0.224, 0.225)),
    }

    @classmethod
    def build_image_encoder(cls, config: MaskRISConfig) -> keras.Model:
        return image_encoder(config, config.image_size, config.image_size)

    @staticmethod
    def build_expression_decoder(config: MaskRISConfig) -> keras.Model:
        return expression_decoder(config, config.image_size, config.image_size)

    def explaining_decoder(self) -> keras.Model:
        """As `ReferringModel.explaining_decoder`, with the attention of the words to the cells in the last layer."""
        decoder = super().explaining_decoder()
        last = self.expression_decoder.get_layer(f"encoder.{self.config.decoder_layers - 1}")
        visual, language, positions, _ = last.input
        attention = WordAttention(last, name="word_attention")(visual, language[:, : self.config.max_words], positions)
        return keras.Model(decoder.input, {**decoder.output, "attention": attention})

    def get_backbone(self) -> SwinTransformer:
        """The backbone with its trained weights. (Not a property: Keras would save it under that name too.)"""
        return self.image_encoder.get_layer("backbone")


def image_encoder(config: MaskRISConfig, height: int, width: int) -> keras.Model:
    """The half that depends on the picture alone.

    Args:
        config: Sizes; not that of the picture.
        height: Rows of the picture in pixels.
        width: Columns of the picture in pixels.

    Returns:
        A model from `image` to `prompts` for BERT, `(B, P, D)`; `visual`, the cells of the decoder's levels, `(B, N,
        C)`; and `lateral`, the finest map, `(B, h, w, C)`.
    """
    image = keras.Input((height, width, 3), name="image")
    taps = SwinTransformer(config.swin, image_size=(height, width), name="backbone")(image)
    prompts = ConditionalPrompts(PROMPT_GRIDS, config.bert.width, name="conditional_prompts")(taps["f3"])
    levels = []
    for index, level in enumerate(DECODER_LEVELS):
        project = ConvolutionNorm(config.feature_dim, 1, config.groups, use_bias=True, name=f"input_convs.{index}")
        levels.append(
            ops.reshape(project(taps[level]), (-1, taps[level].shape[1] * taps[level].shape[2], config.feature_dim))
        )
    lateral = ConvolutionNorm(config.feature_dim, 1, config.groups, use_bias=False, name="lateral_convs.0")(taps["f0"])
    outputs = {"prompts": prompts, "visual": ops.concatenate(levels, axis=1), "lateral": lateral}
    return keras.Model(image, outputs, name="image_encoder")


def expression_decoder(config: MaskRISConfig, height: int, width: int) -> keras.Model:
    """The half that depends on the expression too. The features of one picture serve any number of expressions.

    Args:
        config: Sizes; not that of the picture.
        height: Rows of the picture in pixels.
        width: Columns of the picture in pixels.

    Returns:
        A model from the outputs of `image_encoder`, `token_ids` and `token_mask` to the outputs of `MaskRIS`.
    """
    all_grids = config.swin.grids(height, width)
    grids = [all_grids[level] for level in DECODER_LEVELS]
    cells = [rows * columns for rows, columns in grids]
    prompts = keras.Input((sum(side * side for side in PROMPT_GRIDS), config.bert.width), name="prompts")
    visual_input = keras.Input((sum(cells), config.feature_dim), name="visual")
    lateral = keras.Input((*all_grids["f0"], config.feature_dim), name="lateral")
    token_ids = keras.Input((config.max_words,), dtype="int32", name="token_ids")
    token_mask = keras.Input((config.max_words,), dtype="int32", name="token_mask")

    words = Bert(config.bert, name="lang_encoder")(token_ids, token_mask, prompts)
    initializers = (fan_in_uniform(config.bert.width) for _ in range(2))
    words = layers.Dense(config.feature_dim, None, True, *initializers, name="lang_in_linear")(words)
    words = layers.LayerNormalization(epsilon=EPSILON, name="lang_in_norm")(words)
    language = AppendPrompts(config.prompts, name="vis_prompts")(words)
    is_token = ops.pad(token_mask, [[0, 0], [0, config.prompts]], constant_values=1) > 0

    visual = visual_input
    positions = LevelPositions(grids, name="level_encoding")(visual)
    for index in range(config.decoder_layers):
        visual, language = DecoderLayer(config, grids, name=f"encoder.{index}")(visual, language, positions, is_token)

    finest = ops.reshape(visual[:, -cells[-1] :], (-1, *grids[-1], config.feature_dim))
    coarse_logits = segment(finest, lateral, language, config)
    foreground = coarse_logits[..., 1:] - coarse_logits[..., :1]
    mask_logits = AlignedBilinearResize((height, width), dtype="float32", name="upsample")(foreground)
    inputs = {"prompts": prompts, "visual": visual_input, "lateral": lateral}
    return keras.Model(
        {**inputs, "token_ids": token_ids, "token_mask": token_mask},
        {"mask_logits": mask_logits, "coarse_logits": coarse_logits},
        name="expression_decoder",
    )


def segment(finest, lateral, language, config: MaskRISConfig):
    """The output of the decoder to logits.

    Args:
        finest: The cells of the decoder's finest level, `(B, h, w, C)`.
        lateral: The finest map of the picture, `(B, 2 h, 2 w, C)`.
        language: Words and prompts, `(B, T + P, C)`.
        config: Sizes.

    Returns:
        float32 `(B, 2 h, 2 w, 2)`: logits of background and foreground.
    """
    channels = config.feature_dim
    upsampled = ops.image.resize(finest, lateral.shape[1:3], interpolation="bilinear")
    features = ConvolutionNorm(channels, 3, config.groups, use_bias=False, name="output_convs.0")(upsampled + lateral)
    features = ops.relu(features)
    for index in (0, 2):
        initializers = {name: fan_in_uniform(channels) for name in ("kernel_initializer", "bias_initializer")}
        features = layers.Conv2D(channels, 1, activation="relu", **initializers, name=f"mask_feature.{index}")(features)

    background = ops.mean(language[:, config.max_words :], axis=1)
    embeddings = ops.stack([background, language[:, 0]], axis=1)
    for index, units, activation in ((0, channels, "relu"), (2, channels, "relu"), (4, config.output_dim, None)):
        initializers = {name: fan_in_uniform(channels) for name in ("kernel_initializer", "bias_initializer")}
        embeddings = layers.Dense(units, activation, **initializers, name=f"lang_embed.{index}")(embeddings)
    return ClassScores(config.output_dim, dtype="float32", name="mask_feature.4")(features, embeddings)
