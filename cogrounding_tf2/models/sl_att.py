"""SL-Att., the image model."""

import keras

from cmpc_tf2.precision import exact_dtype
from cogrounding_tf2.config import GroundingConfig
from cogrounding_tf2.models.grounding_model import GroundingModel
from cogrounding_tf2.models.package import PACKAGE
from cogrounding_tf2.models.visual import VisualLayers, layers_of, new_layers


@keras.saving.register_keras_serializable(package=PACKAGE)
class SLAtt(GroundingModel):
    """SL-Att.: a picture and an expression in, a box out.

    DarkNet-53 encodes the picture, an LSTM the expression. A one-stage detector on three scales proposes three boxes
    for each of 1344 places. Their confidences are weighted by how well the place fits the subject of the expression,
    and how well its position fits the location that the expression tells.

    Args: as `ReferringModel`.

    Call arguments (a dict):
        image: float32 `(B, 256, 256, 3)`; RGB, normalised (`model.preprocessing`).
        token_ids: int32 `(B, T)` with T = `config.max_words`, padded on the right with 0.

    Returns:
        A dict, float32 or the dtype of the model; P = 1344 places are in the order scale (8 x 8, 16 x 16, 32 x 32
        cells), row, column:
            box_logits: `(B, 4032, 5)`: x, y, w, h and final confidence, in the order scale, anchor, row, column.
            similarity: `(B, P)`, how well a place fits the subject, 0 to 1.
            location: `(B, P)`, how well its position fits, 0 to 1.
            objectness: `(B, P)`, mean of the three raw confidences.
            visual: `(B, P, D)`, the features that `similarity` compares, of unit length.
            subject: `(B, D)`, the vector that it compares them with.
            word_attention: `(B, 2, T)`, the weights of the words for the subject and for the location.

    Source: `model/grounding_model_semantic_attn.py` of SijieSong/CVPR21-Cogrounding_semantic_attention (commit
    7b0630a); Song et al., CVPR 2021.
    """

    title = "an SL-Att. model"
    config_type = GroundingConfig

    @classmethod
    def build_image_encoder(cls, config: GroundingConfig) -> keras.Model:
        return image_encoder(config, new_layers(config))

    def inference_encoder(self) -> keras.Model:
        """A faster copy of the encoder with folded batch norms: same outputs up to rounding; not to be trained."""
        return image_encoder(self.config, layers_of(self.image_encoder).folded())


def image_encoder(config: GroundingConfig, visual_layers: VisualLayers) -> keras.Model:
    """The half that depends on the picture alone.

    Args:
        config: Sizes.
        visual_layers: Its layers.

    Returns:
        A model from `image` to `visual` and `projected`.
    """
    image = keras.Input((config.image_size, config.image_size, 3), dtype=exact_dtype(), name="image")
    return keras.Model(image, visual_layers.features(visual_layers.visual_maps(image)), name="image_encoder")
