"""Pictures and sentences in, masks out."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf
from scipy.special import expit

from cmpc_tf2.config import LEVELS, OUTPUT_STRIDE, WordType
from cmpc_tf2.crf import refine_mask
from cmpc_tf2.data.image_ops import fit_image, restore_map, restored_bands, subtract_mean
from cmpc_tf2.data.text import Vocabulary, tokenize
from cmpc_tf2.errors import InputError
from cmpc_tf2.layers.fusion import fusing
from cmpc_tf2.models.referring_model import ReferringModel


class TwoStageModel:
    """A model ready for inference: pictures or clips are encoded once, expressions decoded against them.

    Args:
        model: A model, for images or video. Its batch norms are folded into a copy of the encoder.
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

        def run(decoder, features, token_ids):
            with fusing(_compile) if on_cpu else contextlib.nullcontext():
                return decoder({**features, "token_ids": token_ids}, training=False)

        self._encode = tf.function(
            lambda pixels: encoder(pixels, training=False),
            input_signature=[tf.TensorSpec((None, *encoder.input.shape[1:]), tf.float32)],
            jit_compile=jit_compile,
        )
        self._decode = tf.function(
            lambda features, token_ids: run(decoder, features, token_ids)["mask_logits"],
            input_signature=[feature_specs, tf.TensorSpec((None, words), tf.int32)],
            jit_compile=jit_compile,
        )
        self._explain = tf.function(
            functools.partial(run, model.explaining_decoder()),
            input_signature=[feature_specs, tf.TensorSpec((1, words), tf.int32)],
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

    def explain(self, features: dict[str, tf.Tensor], token_ids: np.ndarray) -> dict[str, np.ndarray]:
        """As `decode` of one expression, int `(1, T)`, with a look inside.

        Returns:
            What `ReferringModel.explaining_decoder` gives, without the leading axis.
        """
        found = self._explain(features, tf.constant(token_ids, tf.int32))
        return {name: value.numpy()[0] for name, value in found.items()}


@functools.cache
def _compile(function):
    compiled = tf.function(function, jit_compile=True)
    # Variables become tensors, so that they may differ from call to call.
    return lambda *tensors: compiled(*map(tf.convert_to_tensor, tensors))


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    """What the model sees for one expression.

    Attributes:
        fitted_probabilities: float32 `(S, S)`, of the fitted picture: what the model gives.
        size: Height and width of the picture.
    """

    fitted_probabilities: np.ndarray
    size: tuple[int, int]

    @functools.cached_property
    def probabilities(self) -> np.ndarray:
        """float32 `(h, w)`. Beyond the picture's edge the nearest value goes on: a mask may touch the border."""
        return restore_map(self.fitted_probabilities, *self.size, dtype=np.float32)

    def bands(self) -> Iterator[tuple[slice, np.ndarray]]:
        """`probabilities` a few rows at a time, float32 `(n, w)`, with the rows; nothing is kept."""
        for rows, band in restored_bands(self.fitted_probabilities, *self.size):
            yield rows, band.astype(np.float32)

    @property
    def mask(self) -> np.ndarray:
        """bool `(h, w)`: probability of at least one half."""
        return self.mask_from(0.5)

    def mask_from(self, threshold: float) -> np.ndarray:
        """bool `(h, w)`: probability of at least the threshold. The probabilities are not kept."""
        return _mask_of(self.bands(), self.size, threshold)

    def refined_mask(self, image: np.ndarray) -> np.ndarray:
        """The mask after DenseCRF, bool `(h, w)`.

        Args:
            image: The picture, or the annotated frame: uint8 RGB `(h, w, 3)`.

        Raises:
            InputError: pydensecrf is not installed.
        """
        side = len(self.fitted_probabilities)
        refined = refine_mask(self.fitted_probabilities, fit_image(image, side))
        return _mask_of(restored_bands(refined, *self.size), self.size, 0.5)


def _mask_of(bands: Iterable[tuple[slice, np.ndarray]], size: tuple[int, int], threshold: float) -> np.ndarray:
    mask = np.empty(size, bool)
    for rows, band in bands:
        mask[rows] = band >= threshold
    return mask


@dataclasses.dataclass(frozen=True)
class WordReading:
    """How the model takes a word.

    Attributes:
        word: As tokenised.
        is_known: Whether it is in the vocabulary.
        probabilities: Of each type of word; they sum to 1.
    """

    word: str
    is_known: bool
    probabilities: dict[WordType, float]


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
    """What the model sees for one expression, and how it comes to it.

    Attributes:
        prediction: What it marks.
        words: The words that count, in order; empty for a model that does not tell types of words.
        likeness: By stage of the reasoning, in order, float32 `(S / 8, S / 8)` of the fitted picture: how alike the
            features are, at that stage, to those of the places that the model marks in the end; the cosine to their
            mean, averaged over the levels.
    """

    prediction: Prediction
    words: list[WordReading]
    likeness: dict[str, np.ndarray]

    def heat_map(self, stage: str) -> np.ndarray:
        """The likeness of a stage at the picture's size, stretched to 0 to 1: float32 `(h, w)`."""
        heat = restore_map(self.likeness[stage], *self.prediction.size)
        return ((heat - heat.min()) / max(np.ptp(heat), 1e-12)).astype(np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """A picture or clip as the model has encoded it.

    Attributes:
        features: From `TwoStageModel.encode`; at full size CMPC's have 96 MB a picture.
        size: Height and width of the picture.
    """

    features: dict[str, tf.Tensor]
    size: tuple[int, int]


class ExpressionPredictor:
    """Segments what was encoded last by referring expressions.

    Args:
        model: A model, for images or video.
        vocabulary: The words by token id; needed if the model file holds none.

    Attributes:
        vocabulary: The words.
        encoded: What was encoded last; it can be kept, and set again.

    Raises:
        InputError: The model is of another kind. There is no vocabulary, or it does not fit the model.
    """

    # What the model takes beside expressions.
    input_name: str

    def __init__(self, model: ReferringModel, vocabulary: Vocabulary | list[str] | None = None):
        if not isinstance(model, ReferringModel) or model.image_encoder.input.name != self.input_name:
            found = getattr(model, "title", type(model).__name__)
            raise InputError(f"model: expected one that takes {self.input_name}s and expressions, found {found}")
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
        self._stages = list(model.stages)
        self.encoded: Encoded | None = None

    def _encode(self, fitted: np.ndarray, size: tuple[int, int]):
        self.encoded = Encoded(self._model.encode(fitted[None]), size)

    def predict(self, expression: str) -> Prediction:
        """Segments what an expression refers to, in the picture or clip last set.

        Raises:
            InputError: The expression has no words, or nothing was set.
        """
        token_ids = self._token_ids(expression)
        return Prediction(expit(self._model.decode(self.encoded.features, token_ids)[0]), self.encoded.size)

    def explain(self, expression: str) -> Explanation:
        """As `predict`, and how the model comes to it."""
        token_ids = self._token_ids(expression)
        found = self._model.explain(self.encoded.features, token_ids)
        logits = found["mask_logits"][..., 0]
        words = []
        if "word_types" in found:
            tokens = tokenize(expression)[: token_ids.shape[1]]
            for token, probabilities in zip(tokens, found["word_types"][-len(tokens) :], strict=True):
                types = dict(zip(self._model.config.word_types, map(float, probabilities), strict=True))
                words.append(WordReading(token, token in self.vocabulary.ids, types))
        # The upsampled map holds the cells' own values where cells begin.
        weights = expit(logits[::OUTPUT_STRIDE, ::OUTPUT_STRIDE])
        likeness = {}
        for stage in self._stages:
            maps = [found[f"{stage}/{level}"] for level in LEVELS if f"{stage}/{level}" in found]
            if maps:
                likeness[stage] = np.mean([_likeness(one, weights) for one in maps], axis=0)
        return Explanation(Prediction(expit(logits), self.encoded.size), words, likeness)

    def _token_ids(self, expression: str) -> np.ndarray:
        if self.encoded is None:
            raise InputError("nothing to look at yet: call set_image (or set_clip) before predict")
        token_ids = self.vocabulary.encode(expression, self._model.config.max_words)
        if not token_ids.any():
            raise InputError(f"expression {expression!r}: has no words")
        return token_ids[None]


def _likeness(cells: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Cosine between the features of every cell, `(h, w, C)`, and their weighted mean: `(h, w)`."""
    cells = cells.astype(np.float32)
    mean = np.einsum("yx,yxc->c", weights, cells)
    lengths = np.linalg.norm(cells, axis=-1) * np.linalg.norm(mean)
    return cells @ mean / np.maximum(lengths, 1e-12)


class Predictor(ExpressionPredictor):
    """Segments pictures of any size by referring expressions.

    ```python
    predictor = Predictor(load_model("cmpc_unc.keras"))
    predictor.set_image(rgb)
    prediction = predictor.predict("man in the red shirt")
    ```

    Args: as `ExpressionPredictor`.
    """

    input_name = "image"

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
