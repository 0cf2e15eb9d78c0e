"""What the models of pictures and of clips have in common."""

import dataclasses

import keras
from keras import ops


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
        raise NotImplementedError

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
