"""What the image model and the video model share: the decoder of expressions."""

from typing import ClassVar

import keras
from keras import ops

from cmpc_tf2.backbones.darknet53 import DarkNet53
from cmpc_tf2.models.referring_model import ReferringModel
from cmpc_tf2.precision import exact_dtype
from cmpc_tf2.text.phrases import PhraseAttention
from cogrounding_tf2.config import PLACES, GroundingConfig
from cogrounding_tf2.models.head import SubjectScores, join_scales, propose_boxes, weigh_confidences
from cogrounding_tf2.models.language import LanguageEncoder, language_vector
from cogrounding_tf2.models.location import LocationScores


class GroundingModel(ReferringModel):
    """A model that finds the box of an expression.

    Args: as `ReferringModel`.
    """

    config_type: ClassVar[type] = GroundingConfig
    tokenizer_name = "grounding"
    protocol_name = "boxes"
    exported_answer = "cogrounding_tf2.exporting:BoxAnswer"
    preprocessing_options: ClassVar = {
        "resizing": "letterbox",
        "channels": "rgb",
        "mean": tuple(255 * value for value in (0.485, 0.456, 0.406)),
        "deviation": tuple(255 * value for value in (0.229, 0.224, 0.225)),
    }

    @staticmethod
    def build_expression_decoder(config: GroundingConfig) -> keras.Model:
        return expression_decoder(config)

    @staticmethod
    def answer(outputs: dict):
        """As `ReferringModel.answer`: the proposals, `(B, 4032, 5)`."""
        return outputs["box_logits"]

    def explaining_decoder(self) -> keras.Model:
        """The decoder: its outputs have the scores of the places and the weights of the words already."""
        return self.expression_decoder

    def get_backbone(self) -> DarkNet53:
        """The backbone with its trained weights. (Not a property: Keras would save it under that name too.)"""
        return self.image_encoder.get_layer("backbone")


def expression_decoder(config: GroundingConfig) -> keras.Model:
    """The half that depends on the expression too. The features of one picture serve any number of expressions.

    Args:
        config: Sizes.

    Returns:
        A model from the features of the places, `visual` and `projected`, `(B, 1344, D)`, and `token_ids`, `(B, T)`, to
        the outputs of `SLAtt`.
    """
    channels, exact = config.feature_dim, exact_dtype()
    visual = keras.Input((PLACES, channels), dtype=exact, name="visual")
    projected = keras.Input((PLACES, channels), dtype=exact, name="projected")
    token_ids = keras.Input((config.max_words,), dtype="int32", name="token_ids")

    words = LanguageEncoder(config.vocabulary_size, channels, name="textmodel")(token_ids)
    word_inputs = words["context"], words["embedded"], words["is_word"]
    subject, subject_weights = PhraseAttention(normalize=True, name="sub_attn")(*word_inputs)
    location, location_weights = PhraseAttention(normalize=True, name="loc_attn")(*word_inputs)
    proposals = propose_boxes(projected, language_vector(words["sentence"], channels), channels)

    similarity, visual_of_all = SubjectScores(dtype=exact, name="subject_scores")(visual, subject)
    objectness = join_scales([ops.mean(numbers[..., 4], axis=-1) for numbers in proposals])
    scores = LocationScores(channels, dtype=exact, name="location_scores")(objectness * similarity, location)
    outputs = {
        "box_logits": weigh_confidences(proposals, similarity * scores),
        "similarity": similarity,
        "location": scores,
        "objectness": objectness,
        "visual": visual_of_all,
        "subject": ops.cast(subject, exact),
        "word_attention": ops.cast(ops.stack([subject_weights, location_weights], axis=1), exact),
    }
    inputs = {"visual": visual, "projected": projected, "token_ids": token_ids}
    return keras.Model(inputs, outputs, name="expression_decoder")
