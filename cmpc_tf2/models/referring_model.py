"""What the models of pictures and of clips have in common."""

import dataclasses
from typing import ClassVar

import keras
from keras import ops

from cmpc_tf2.config import LEVELS
from cmpc_tf2.models.backbone import fold_batch_norm


class ReferringModel(keras.Model):
    """A functional model in two halves: an encoder of what is looked at, and a decoder of expressions about it.

    Attributes:
        config: Sizes.
        vocabulary: The words by token id, saved with the model; None if unknown.
        image_encoder: Everything that does not depend on words.
        expression_decoder: The rest; it takes the encoder's outputs and `token_ids`.
    """

    # What to call such a model in messages.
    title: str
    # The outputs that training looks at, and how much each counts. A coarse one is held to a mask of its own size.
    loss_weights: ClassVar[dict[str, float]]
    # Stages of the reasoning, in order, and the layers of the decoder whose outputs they are: one for each level.
    stages: ClassVar[dict[str, str]] = {}

    def __init__(self, encoder: keras.Model, decoder: keras.Model, config, vocabulary: list[str] | None, **kwargs):
        pixels = encoder.input
        token_ids = keras.Input((config.max_words,), dtype="int32", name="token_ids")
        outputs = decoder({**encoder(pixels), "token_ids": token_ids})
        super().__init__(inputs={pixels.name: pixels, "token_ids": token_ids}, outputs=outputs, **kwargs)
        self.config = config
        self.vocabulary = None if vocabulary is None else list(vocabulary)
        self.image_encoder = encoder
        self.expression_decoder = decoder

    def inference_encoder(self) -> keras.Model:
        """The encoder with batch norms folded: same outputs to rounding, faster; a copy, not to be trained."""
        backbone = fold_batch_norm(self.image_encoder.get_layer("backbone"), self.config.image_size)
        return build_image_encoder(backbone, self.inference_projection(), self.config.image_size)

    def inference_projection(self) -> keras.Model:
        """What comes behind the backbone in `inference_encoder`: taps to the encoder's outputs."""
        return self.image_encoder.get_layer("visual_projection")

    def explaining_decoder(self) -> keras.Model:
        """The decoder with a look inside, where the model has what is asked for.

        Returns:
            A model of the decoder's inputs that gives `mask_logits`, `word_types`, `(B, T, K)`, in the order of
            `config.word_types`, and for each stage and level `<stage>/<level>`, `(B, h, w, C)`.
        """
        decoder = self.expression_decoder
        layers = {layer.name: layer for layer in decoder.layers}
        wanted = {"word_types": "word_parser"}
        wanted |= {f"{stage}/{level}": f"{name}_{level}" for stage, name in self.stages.items() for level in LEVELS}
        found = {output: layers[name].output for output, name in wanted.items() if name in layers}
        return keras.Model(decoder.input, {"mask_logits": decoder.output["mask_logits"], **found})

    def at_size(self, image_size: int) -> "ReferringModel":
        """The same weights for pictures of another size.

        The ConvLSTM's peepholes have one weight per cell; they are resized bilinearly. Everything else does not depend
        on the size.

        Differs from TF1: a checkpoint is bound to its size there. Scores at another size are not the published ones.

        Args:
            image_size: Side of the pictures in pixels, a multiple of 8.

        Returns:
            A new model.
        """
        config = dataclasses.replace(self.config, image_size=image_size)
        model = type(self)(config, vocabulary=self.vocabulary, name=self.name)
        for target, source in zip(model.variables, self.variables, strict=True):
            value = ops.convert_to_tensor(source)
            if target.shape != source.shape:
                value = ops.image.resize(value, target.shape[:2], interpolation="bilinear")
            target.assign(value)
        return model

    def get_config(self):
        return {"config": self.config.to_dict(), "vocabulary": self.vocabulary, "name": self.name}


def build_image_encoder(backbone: keras.Model, projection: keras.Model, image_size: int) -> keras.Model:
    """Pictures to what a projection makes of those taps of the backbone that it asks for."""
    image = keras.Input((image_size, image_size, 3), name="image")
    taps = backbone(image)
    return keras.Model(image, projection({level: taps[level] for level in projection.input}), name="image_encoder")
