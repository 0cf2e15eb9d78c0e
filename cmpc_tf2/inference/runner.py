"""A model ready for inference: encode once, decode any number of expressions."""

import contextlib
import functools

import keras
import numpy as np
import tensorflow as tf

from cmpc_tf2.errors import InputError
from cmpc_tf2.inference.frames import FrameEncoder
from cmpc_tf2.inference.graphs import graph
from cmpc_tf2.layers.fusion import fusing
from cmpc_tf2.models.interface import ReferringInterface
from cmpc_tf2.models.referring_model import ReferringModel
from cmpc_tf2.systems import import_object


def make_runner(model: ReferringInterface):
    """The model ready for inference: the `Runner` that its class names."""
    return import_object(model.runner)(model)


class Runner:
    """A model ready for inference: pictures or clips are encoded once, expressions decoded against them.

    Subclasses have `encode`, `decode` and `explain`, as `ModelRunner` describes them.

    Args:
        model: The model.

    Attributes:
        config: Sizes of the model.
        preprocessing: Preprocessing of the model.
        tokenizer_type: Class of its tokenizer.
        vocabulary: Its words by token id; None if the model file holds none.
        protocol_name: Protocol by which its original is scored.

    Raises:
        InputError: Keras runs on another backend than TensorFlow.
    """

    # Most pictures that `encode` takes; None for any number.
    pictures_at_once: int | None = None

    def __init__(self, model: ReferringInterface):
        require_tensorflow()
        self.config = model.config
        self.preprocessing = model.preprocessing
        self.tokenizer_type = model.tokenizer_type
        self.protocol_name = model.protocol_name
        self.vocabulary = model.vocabulary
        self.make_tokenizer = model.make_tokenizer

    def decode_and_compare(self, features, samples: list, text: dict[str, np.ndarray]) -> tuple:
        """Answers to the expressions of samples, and whether the boxes behind them are right.

        Args:
            features: From `encode`, of the picture of the samples.
            samples: The samples.
            text: The tokenizer's of their expressions.

        Returns:
            As `decode`; and for each sample a part of its record, a dict of booleans: empty if the model chooses no
            box, or if the sample has none.
        """
        return self.decode(features, text), [{} for _ in samples]


class ModelRunner(Runner):
    """The runner of models in two halves, an encoder of pixels and a decoder of expressions.

    Args:
        model: A model, for pictures or clips. Its encoder is used in the form for inference.
        jit_compile: Compile the whole model with XLA, which is slower on CPUs. Without it, chains of elementwise
            operations are compiled on CPUs where several expressions are decoded at once. That takes some tenths of a
            second for each number of expressions. A single expression would not become faster.

    Attributes: as `Runner`.

    Raises:
        InputError: As `Runner`.
    """

    def __init__(self, model: ReferringModel, jit_compile: bool = False):
        super().__init__(model)
        by_frames, decoder = model.frame_encoder(), model.expression_decoder
        encoder = model.image_encoder if by_frames else model.inference_encoder()
        features = tensor_specs(encoder.output)
        text = {name: spec for name, spec in tensor_specs(decoder.input).items() if name not in features}
        one_text = tensor_specs(text, batch_size=1)
        self._text_dtypes = {name: spec.dtype for name, spec in text.items()}
        on_cpu = not tf.config.list_physical_devices("GPU")

        def run(decoder, features, text):
            return decoder({**features, **text}, training=False)

        def answer(features, text):
            return model.answer(run(decoder, features, text))

        def answer_several(features, text):
            with fusing(_compile) if on_cpu else contextlib.nullcontext():
                return answer(features, text)

        one_picture = tensor_specs(features, batch_size=1)
        pixels = tf.TensorSpec((None, *encoder.input.shape[1:]), tf.float32)
        encode = graph(lambda pixels: encoder(pixels, training=False), pixels, jit_compile=jit_compile)
        if by_frames:
            self._encode = FrameEncoder(*by_frames, self.preprocessing)
        else:
            self._encode = lambda pixels: encode(tf.constant(self.preprocessing.normalize(pixels)))
        self._decode_one = graph(answer, one_picture, one_text, jit_compile=jit_compile)
        self._decode_several = graph(answer_several, features, text, jit_compile=jit_compile)
        self._explain = graph(
            functools.partial(run, model.explaining_decoder()), one_picture, one_text, jit_compile=jit_compile
        )

    def encode(self, pixels: np.ndarray) -> dict[str, tf.Tensor]:
        """Features of pictures or clips.

        Args:
            pixels: uint8 RGB `(B, S, S, 3)`, or `(B, F, S, S, 3)`, already fitted to the model's size
                (`Sample.fitted`).

        Returns:
            Tensors with batch size B, for `decode`.
        """
        return self._encode(pixels)

    def decode(self, features: dict[str, tf.Tensor], text: dict[str, np.ndarray]) -> np.ndarray:
        """The model's answers to expressions.

        Args:
            features: From `encode`; of one picture, which then serves all expressions, or of one per expression.
            text: From the tokenizer, with batch size first: `token_ids`, int `(B, T)`.

        Returns:
            `ReferringModel.answer`: of models for masks their logits, float32 `(B, S, S)`.
        """
        tensors = self._tensors(text)
        is_one = len(next(iter(tensors.values()))) == 1
        answers = (self._decode_one if is_one else self._decode_several)(features, tensors)
        return keras.tree.map_structure(lambda x: x.numpy(), answers)

    def explain(self, features: dict[str, tf.Tensor], text: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """As `decode` of one expression, with intermediate results.

        Returns:
            The outputs of `ReferringModel.explaining_decoder`, without the leading axis.
        """
        found = self._explain(features, self._tensors(text))
        return {name: value.numpy()[0] for name, value in found.items()}

    def _tensors(self, text: dict[str, np.ndarray]) -> dict[str, tf.Tensor]:
        return {name: tf.constant(text[name], dtype) for name, dtype in self._text_dtypes.items()}


def require_tensorflow():
    """Checks the backend of Keras.

    Raises:
        InputError: It is another one.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise InputError(f"inference runs on TensorFlow, but Keras is set to {backend}; set KERAS_BACKEND=tensorflow")


def tensor_specs(tensors: dict, batch_size: int | None = None) -> dict[str, tf.TensorSpec]:
    """Shapes and types of tensors by name, for another batch size; None for any."""
    return {name: tf.TensorSpec((batch_size, *one.shape[1:]), one.dtype, name) for name, one in tensors.items()}


@functools.cache
def _compile(function):
    compiled = tf.function(function, jit_compile=True, autograph=False)
    # Variables become tensors, so that they may differ from call to call.
    return lambda *tensors: compiled(*map(tf.convert_to_tensor, tensors))
