"""What the models of pictures and of clips have in common."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import keras
from keras import ops

from cmpc_tf2.config import LEVELS, ReferringConfig
from cmpc_tf2.models.backbone import DeepLabResNet, fold_batch_norm
from cmpc_tf2.models.saving import KerasFileModel


class ReferringModel(KerasFileModel):
    """A functional model in two halves: an encoder of what is looked at, and a decoder of expressions about it.

    A subclass says what the halves are made of.

    Args:
        config: Sizes; a `config_type` or its `to_dict()`.
        vocabulary: The words by token id, saved with the model; None if unknown.

    Raises:
        TypeError: They are the sizes of another kind of model.

    Attributes:
        config: Sizes.
        vocabulary: The words by token id, saved with the model; None if unknown.
        image_encoder: What is done once for all expressions about a picture.
        expression_decoder: The rest; it takes the encoder's outputs and `token_ids`.
    """

    # What to call such a model in messages.
    title: str
    config_type: ClassVar[type] = ReferringConfig
    # The outputs that training looks at, and how much each counts. A coarse one is held to a mask of its own size.
    loss_weights: ClassVar[dict[str, float]] = {"mask_logits": 1.0}
    # Stages of the reasoning, in order, and the layers of the decoder whose outputs they are: `<name>_<level>`.
    stages: ClassVar[dict[str, str]] = {}
    # Of a configuration: the backbone's taps, by level, to the encoder's outputs; and those with `token_ids` to the
    # outputs of the model.
    build_visual_projection: ClassVar[Callable[..., keras.Model]]
    build_expression_decoder: ClassVar[Callable[..., keras.Model]]

    def __init__(self, config=None, vocabulary: list[str] | None = None, **kwargs):
        if not isinstance(config, ReferringConfig):
            config = self.config_type(**(config or {}))
        if type(config) is not self.config_type:
            expected, received = self.config_type.__name__, type(config).__name__
            raise TypeError(f"{self.title}: expected sizes of type {expected}, received {received}")
        backbone = DeepLabResNet(config.backbone, name="backbone")
        encoder = self.build_encoder(config, backbone, self.build_visual_projection(config))
        decoder = self.build_expression_decoder(config)
        pixels = encoder.input
        token_ids = keras.Input((config.max_words,), dtype="int32", name="token_ids")
        outputs = decoder({**encoder(pixels), "token_ids": token_ids})
        super().__init__(inputs={pixels.name: pixels, "token_ids": token_ids}, outputs=outputs, **kwargs)
        self.config = config
        self.vocabulary = None if vocabulary is None else list(vocabulary)
        self.image_encoder = encoder
        self.expression_decoder = decoder

    @staticmethod
    def build_encoder(config, backbone: keras.Model, projection: keras.Model) -> keras.Model:
        """Pictures to what a projection makes of those taps of the backbone that it asks for."""
        image = keras.Input((config.image_size, config.image_size, 3), name="image")
        taps = backbone(image)
        return keras.Model(image, projection({level: taps[level] for level in projection.input}), name="image_encoder")

    def inference_encoder(self) -> keras.Model:
        """The encoder with batch norms folded: same outputs to rounding, faster; a copy, not to be trained."""
        backbone = fold_batch_norm(self.image_encoder.get_layer("backbone"), self.config.image_size)
        return self.build_encoder(self.config, backbone, self.inference_projection())

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
