"""CG-SL-Att., the video model."""

import dataclasses

import keras
from keras import ops

from cmpc_tf2.precision import exact_dtype
from cogrounding_tf2.config import CANDIDATES, CoGroundingConfig
from cogrounding_tf2.models.co_attention import CoAttention
from cogrounding_tf2.models.grounding_model import GroundingModel
from cogrounding_tf2.models.package import PACKAGE
from cogrounding_tf2.models.proposals import PROPOSALS
from cogrounding_tf2.models.visual import SCALES, VisualLayers, layers_of, new_layers


@keras.saving.register_keras_serializable(package=PACKAGE)
class CGSLAtt(GroundingModel):
    """CG-SL-Att.: a clip and an expression in, a box of the middle frame out.

    As `SLAtt`, with the middle frame's features enriched by those of the other frames.

    Args: as `ReferringModel`.

    Call arguments (a dict):
        clip: float32 `(B, F, 256, 256, 3)` with F = `config.clip_frames`; RGB, normalised (`model.preprocessing`).
        token_ids: int32 `(B, T)` with T = `config.max_words`, padded on the right with 0.

    Returns:
        As `SLAtt`, of the middle frame. `visual` is a mean of vectors of unit length.

    Source: `model/test_cogrounding_model_semantic_attn.py` of SijieSong/CVPR21-Cogrounding_semantic_attention (commit
    7b0630a); Song et al., CVPR 2021.
    """

    title = "a CG-SL-Att. (video) model"
    config_type = CoGroundingConfig

    @classmethod
    def build_image_encoder(cls, config: CoGroundingConfig) -> keras.Model:
        correlations = [CoAttention(name=f"corr_conv.{scale}.0") for scale in SCALES]
        return clip_encoder(config, dataclasses.replace(new_layers(config), correlations=correlations))

    def inference_encoder(self) -> keras.Model:
        """A faster copy of the encoder with folded batch norms: same outputs up to rounding; not to be trained."""
        return clip_encoder(self.config, layers_of(self.image_encoder).folded())

    def frame_encoder(self) -> tuple[keras.Model, keras.Model]:
        """As `ReferringModel.frame_encoder`: up to the attention between frames, and from there on."""
        visual_layers, config = layers_of(self.image_encoder).folded(), self.config
        frame = keras.Input((config.image_size, config.image_size, 3), name="frame")
        maps = visual_layers.visual_maps(frame)
        framed = [keras.Input((config.clip_frames, *one.shape[1:]), dtype=one.dtype) for one in maps]
        return keras.Model(frame, maps), keras.Model(framed, joined_features(visual_layers, framed, mutual=False))

    @staticmethod
    def answer(outputs: dict):
        """The proposals, and for post-processing the features of the places of the five best ones, `(B, 5, D)`."""
        logits = outputs["box_logits"]
        best = ops.top_k(logits[..., 4], CANDIDATES)[1]
        places = ops.take(ops.convert_to_tensor(PROPOSALS["place"]), best)
        return {"box_logits": logits, "features": ops.take_along_axis(outputs["visual"], places[..., None], axis=1)}

    def training_form(self) -> keras.Model:
        """The form that the original trains: two frames of a clip, each with the other's help. It shares all weights.

        Returns:
            A model from `clip`, `(B, 2, 256, 256, 3)`, and `token_ids`, `(B, T)`, to the outputs of `SLAtt` with `2 B`
            samples: the two frames of the first clip, those of the second one, and so on.
        """
        config = self.config
        clip = keras.Input((2, config.image_size, config.image_size, 3), dtype=exact_dtype(), name="clip")
        token_ids = keras.Input((config.max_words,), dtype="int32", name="token_ids")
        features = clip_features(layers_of(self.image_encoder), clip, mutual=True)
        outputs = self.expression_decoder({**features, "token_ids": ops.repeat(token_ids, 2, axis=0)})
        return keras.Model({"clip": clip, "token_ids": token_ids}, outputs, name="training_form")


def clip_encoder(config: CoGroundingConfig, visual_layers: VisualLayers) -> keras.Model:
    """The half that depends on the clip alone.

    Args:
        config: Sizes.
        visual_layers: Its layers.

    Returns:
        A model from `clip` to `visual` and `projected` of the middle frame.
    """
    clip = keras.Input((config.clip_frames, config.image_size, config.image_size, 3), dtype=exact_dtype(), name="clip")
    return keras.Model(clip, clip_features(visual_layers, clip, mutual=False), name="image_encoder")


def clip_features(visual_layers: VisualLayers, clip, mutual: bool) -> dict:
    """The features of a clip's places, as `VisualLayers.features`; `mutual` as of `CoAttention`."""
    maps = visual_layers.visual_maps(ops.reshape(clip, (-1, *clip.shape[2:])))
    return joined_features(visual_layers, [ops.reshape(x, (-1, clip.shape[1], *x.shape[1:])) for x in maps], mutual)


def joined_features(visual_layers: VisualLayers, framed: list, mutual: bool) -> dict:
    """As `clip_features`, given the maps of the frames, `(B, F, n, n, D)` each."""
    enriched = [join(x, mutual=mutual) for join, x in zip(visual_layers.correlations, framed, strict=True)]
    return visual_layers.features(enriched)
