"""Pictures and sentences in, masks out."""

import contextlib
import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf
from scipy.special import expit

from cmpc_tf2.data.image_ops import fit_image, restore_map, subtract_mean
from cmpc_tf2.data.text import Vocabulary
from cmpc_tf2.errors import InputError
from cmpc_tf2.layers.fusion import fusing
from cmpc_tf2.models.referring_model import ReferringModel


class TwoStageModel:
    """A model ready for inference: pictures or clips are encoded once, expressions decoded against them.

    Args:
        model: A CMPC model, for images or video. Its batch norms are folded into a copy of the encoder.
        jit_compile: Compile the whole model with XLA; on CPUs that is slower. Without it chains of elementwise
            operations are compiled, on CPUs, for each number of expressions anew: some tenths of a second.

    Raises:
        InputError: Keras runs on another backend than TensorFlow.
    """

    def __init__(self, model: ReferringModel, jit_compile: bool = False):
        backend = keras.backend.backend()
        if backend != "tensorflow":
            raise InputError(
                f"inference runs on TensorFlow, but Keras is set to {backend}; set KERAS_BACKEND=tensorflow"
            )
        self.config = model.config
        words = model.config.max_words
        encoder = model.inference_encoder()
        decoder = model.expression_decoder
        feature_specs = {
            name: tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype) for name, tensor in encoder.output.items()
        }

        on_cpu = not tf.config.list_physical_devices("GPU")

        def decode(features, token_ids):
            with fusing(_compile) if on_cpu else contextlib.nullcontext():
                return decoder({**features, "token_ids": token_ids}, training=False)["mask_logits"]

        self._encode = tf.function(
            lambda pixels: encoder(pixels, training=False),
            input_signature=[tf.TensorSpec((None, *encoder.input.shape[1:]), tf.float32)],
            jit_compile=jit_compile,
        )
        self._decode = tf.function(
            decode,
            input_signature=[feature_specs, tf.TensorSpec((None, words), tf.int32)],
            jit_compile=jit_compile,
        )

    def encode(self, pixels: np.ndarray) -> dict[str, tf.Tensor]:
        """Features of pictures or clips.

        Args:
            pixels: uint8 RGB `(B, S, S, 3)`, or `(B, 16, S, S, 3)`, already fitted to the model's size
                (`Sample.fitted`).

        Returns:
            Tensors with batch size B, for `decode`.
        """
        return self._encode(tf.constant(subtract_mean(pixels)))

    def decode(self, features: dict[str, tf.Tensor], token_ids: np.ndarray) -> np.ndarray:
        """Mask logits of expressions.

        Args:
            features: From `encode`; of one picture, which then serves all expressions, or of one per expression.
            token_ids: int `(B, T)`.

        Returns:
            float32 `(B, S, S)`.
        """
        return self._decode(features, tf.constant(token_ids, tf.int32)).numpy()[..., 0]


@functools.cache
def _compile(function):
    return tf.function(function, jit_compile=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    """What the model sees for one expression.

    Attributes:
        mask: bool `(h, w)`: probability of at least one half.
        probabilities: float32 `(h, w)`.
    """

    mask: np.ndarray
    probabilities: np.ndarray


class ExpressionPredictor:
    """Segments what was encoded last by referring expressions.

    Args:
        model: A CMPC model, for images or video.
        vocabulary: The words by token id; needed if the model file holds none.

    Raises:
        InputError: There is no vocabulary, or it does not fit the model.
    """

    def __init__(self, model: ReferringModel, vocabulary: Vocabulary | list[str] | None = None):
        words = vocabulary if vocabulary is not None else model.vocabulary
        if words is None:
            raise InputError("the model holds no vocabulary; give the one it was trained with (--vocabulary FILE)")
        self.vocabulary = words if isinstance(words, Vocabulary) else Vocabulary(words)
        if len(self.vocabulary) != model.config.vocabulary_size:
            raise InputError(
                f"the vocabulary has {len(self.vocabulary)} words, but the model has {model.config.vocabulary_size}; "
                "give the one it was trained with"
            )
        self._model = TwoStageModel(model)
        self._features = None
        self._size = (0, 0)

    def _encode(self, fitted: np.ndarray, size: tuple[int, int]):
        self._size = size
        self._features = self._model.encode(fitted[None])

    def predict(self, expression: str) -> Prediction:
        """Segments what an expression refers to, in the picture or clip last set.

        Raises:
            InputError: The expression has no words, or nothing was set.
        """
        if self._features is None:
            raise InputError("nothing to look at yet: call set_image (or set_clip) before predict")
        token_ids = self.vocabulary.encode(expression, self._model.config.max_words)
        if not token_ids.any():
            raise InputError(f"expression {expression!r}: has no words")
        logits = self._model.decode(self._features, token_ids[None])[0]
        # Beyond the picture's edge the nearest value goes on: a mask may touch the border.
        probabilities = restore_map(expit(logits), *self._size).astype(np.float32)
        return Prediction(probabilities >= 0.5, probabilities)


class Predictor(ExpressionPredictor):
    """Segments pictures of any size by referring expressions.

    ```python
    predictor = Predictor(load_model("cmpc_unc.keras"))
    predictor.set_image(rgb)
    prediction = predictor.predict("man in the red shirt")
    ```

    Args: as `ExpressionPredictor`.
    """

    def set_image(self, image: np.ndarray):
        """Encodes a picture; the following `predict` calls are about it.

        Args:
            image: uint8 RGB `(h, w, 3)`, any size.

        Raises:
            InputError: It has another shape or type.
        """
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise InputError(f"image: expected uint8 (h, w, 3), found {image.dtype} {image.shape}")
        self._encode(fit_image(image, self._model.config.image_size), image.shape[:2])
