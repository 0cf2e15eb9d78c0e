"""Most models: an encoder of pixels, and a decoder of expressions."""

import dataclasses

import keras
from keras import ops

from cmpc_tf2.layers.given_weights import giving_weights
from cmpc_tf2.models.interface import ReferringInterface


class ReferringModel(ReferringInterface, keras.Model):
    """A functional model in two halves: an encoder of a picture or clip, and a decoder of expressions about it.

    Everything that does not depend on words belongs in the encoder, which runs once for all expressions about a
    picture. A subclass builds the two halves.

    Args:
        config: Sizes; a `config_type` or its `to_dict()`.
        vocabulary: The words by token id, saved with the model; None if unknown.
        preprocessing: `Preprocessing.to_dict()`, as a model file holds it; None for that of the original.
        tokenizer: Name of a tokenizer, as a model file holds it; None for that of the original.

    Raises:
        TypeError: `config` is of another model.
        ValueError: There is no such tokenizer.

    Attributes:
        config: Sizes.
        vocabulary: The words by token id; None if unknown.
        preprocessing: How pictures become inputs of the encoder.
        image_encoder: The half that runs once for all expressions about a picture.
        expression_decoder: The other half; its inputs are the outputs of the encoder and of the tokenizer.
    """

    def __init__(
        self,
        config=None,
        vocabulary: list[str] | None = None,
        preprocessing: dict | None = None,
        tokenizer: str | None = None,
        **kwargs,
    ):
        config, tokenizer = self.complete(config, tokenizer)
        encoder = self.build_image_encoder(config)
        decoder = self.build_expression_decoder(config)
        pixels = encoder.input
        text = {
            name: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=name)
            for name, tensor in decoder.input.items()
            if name not in encoder.output
        }
        outputs = decoder({**encoder(pixels), **text})
        super().__init__(inputs={pixels.name: pixels, **text}, outputs=outputs, **kwargs)
        self.set_attributes(config, vocabulary, preprocessing, tokenizer)
        self.image_encoder = encoder
        self.expression_decoder = decoder

    @classmethod
    def build_image_encoder(cls, config) -> keras.Model:
        """A picture or clip to the features that the decoder takes, each with batch size first."""
        raise NotImplementedError

    @staticmethod
    def build_expression_decoder(config) -> keras.Model:
        """The encoder's outputs and the tokenizer's to the outputs of the model.

        The features may have batch size 1 with any number of sentences: they are broadcast.
        """
        raise NotImplementedError

    def inference_encoder(self) -> keras.Model:
        """A faster copy of the encoder, if there is one: same outputs up to rounding; not to be trained."""
        return self.image_encoder

    @staticmethod
    def answer(outputs: dict):
        """The output that a task scores, `(B, ...)`: mask logits, float32 `(B, S, S)`."""
        return outputs["mask_logits"][..., 0]

    def frame_encoder(self) -> tuple[keras.Model, keras.Model] | None:
        """The encoder of a model of clips in two halves for inference, if frames can be encoded one by one.

        Returns:
            The arguments `encode` and `join` of `inference.frames.FrameEncoder`.
        """
        return None

    @property
    def input_name(self) -> str:
        """The input that pixels go to: `image` or `clip`."""
        return self.image_encoder.input.name

    def explaining_decoder(self) -> keras.Model:
        """The decoder with intermediate results, where the model has them.

        Returns:
            A model of the decoder's inputs that gives `mask_logits`, `word_types`, `(B, T, K)`, in the order of
            `config.word_types`, and for each stage `<stage>/<layer>`, `(B, h, w, C)`. A subclass may add `attention`,
            float32 `(B, T, h, w)`: the attention of each token to places; every map sums to 1.
        """
        decoder = self.expression_decoder
        layers = {layer.name: layer for layer in decoder.layers}
        wanted = {"word_types": "word_parser"}
        wanted |= {f"{stage}/{name}": name for stage, names in self.stages.items() for name in names}
        found = {output: layers[name].output for output, name in wanted.items() if name in layers}
        return keras.Model(decoder.input, {"mask_logits": decoder.output["mask_logits"], **found})

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """As `keras.Model.compute_loss`. Masks that are not in a dict are the targets of `mask_logits`."""
        y, y_pred = _with_targets(y, y_pred)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """As `keras.Model.compute_metrics`. Masks that are not in a dict are the targets of `mask_logits`."""
        y, y_pred = _with_targets(y, y_pred)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def at_size(self, image_size: int) -> "ReferringModel":
        """The same weights for pictures of another size.

        Weights with one value per cell (the ConvLSTM's peepholes) are resized bilinearly. Everything else does not
        depend on the size.

        Differs from TF1: a checkpoint is bound to its size there. Scores at another size are not the published ones.

        Args:
            image_size: Side of the pictures in pixels.

        Returns:
            A new model.

        Raises:
            FieldError: The model cannot have this size.
        """
        config = dataclasses.replace(self.config, image_size=image_size)
        with giving_weights():
            model = type(self)(**{**self.get_config(), "config": config})
            for target, source in zip(model.variables, self.variables, strict=True):
                value = ops.convert_to_tensor(source)
                if target.shape != source.shape:
                    value = ops.image.resize(value, target.shape[:2], interpolation="bilinear")
                target.assign(value)
        return model


def _with_targets(y, y_pred: dict) -> tuple:
    """Targets, and the outputs that have one: Keras expects a target for every output that it is given."""
    if not keras.tree.is_nested(y):
        y = {"mask_logits": y}
    is_partial = isinstance(y, dict) and y.keys() <= y_pred.keys()
    return y, {name: y_pred[name] for name in y} if is_partial else y_pred
