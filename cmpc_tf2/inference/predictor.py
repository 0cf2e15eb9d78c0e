"""Pictures and sentences in, masks out."""

import dataclasses
import functools
from typing import ClassVar

import numpy as np
import tensorflow as tf
from scipy.special import expit

from cmpc_tf2.errors import InputError
from cmpc_tf2.inference.evaluation import one_by_one
from cmpc_tf2.inference.runner import make_runner
from cmpc_tf2.models.interface import ReferringInterface
from cmpc_tf2.tasks.masks.explanation import Explanation, Phrase, WordReading, stage_similarity
from cmpc_tf2.tasks.masks.prediction import Prediction
from cmpc_tf2.text.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """A picture or clip as the model has encoded it.

    Attributes:
        features: From `Runner.encode`; at full size CMPC's have 96 MB a picture.
        size: Height and width of the picture.
    """

    features: object
    size: tuple[int, int]

    @functools.cached_property
    def size_in_bytes(self) -> int:
        """Memory that the tensors and arrays of the features take up."""
        return _size_in_bytes(self.features)


def _size_in_bytes(value) -> int:
    if isinstance(value, tf.Tensor):
        return value.dtype.size * value.shape.num_elements()
    if isinstance(value, np.ndarray):
        return value.nbytes
    if dataclasses.is_dataclass(value):
        value = vars(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return sum(map(_size_in_bytes, parts))


class ExpressionPredictor:
    """Segments the picture or clip that was encoded last by referring expressions.

    Args:
        model: A model, for pictures or clips.
        vocabulary: The words by token id; needed if the model file holds none.

    Attributes:
        model_title: The model in words.
        tokenizer: Tokenizer of the model.
        encoded: The last encoding; it can be kept, and set again.

    Raises:
        InputError: The model takes something else. There is no vocabulary, or it does not fit the model.
    """

    # The model's input other than the expression.
    input_name: str
    # Whether `predict` gives masks, which DenseCRF can refine.
    gives_masks: ClassVar[bool] = True

    def __init__(self, model: ReferringInterface, vocabulary: Vocabulary | list[str] | None = None):
        if not isinstance(model, ReferringInterface) or model.input_name != self.input_name:
            found = getattr(model, "title", type(model).__name__)
            raise InputError(f"model: expected one that takes {self.input_name}s and expressions, found {found}")
        self.model_title = model.title
        self.tokenizer = model.make_tokenizer(vocabulary)
        self._runner = make_runner(model)
        self._stages = list(model.stages)
        self.encoded: Encoded | None = None

    def _encode(self, fitted: np.ndarray, size: tuple[int, int]):
        self.encoded = Encoded(self._runner.encode(fitted[None]), size)

    def predict(self, expression: str) -> Prediction:
        """Segments what an expression refers to, in the picture or clip last set.

        Raises:
            InputError: The expression has no words, or nothing was set.
        """
        text = self._text_of(expression)
        (answer,) = one_by_one(self._runner.decode(self.encoded.features, text))
        return self._prediction(answer)

    def explain(self, expression: str) -> Explanation:
        """As `predict`, and how the model arrives at the result."""
        text = self._text_of(expression)
        found = self._runner.explain(self.encoded.features, text)
        words = self.tokenizer.words(expression)
        readings, attention = [], []
        for word in words:
            if "word_types" in found:
                probabilities = found["word_types"][word.slots].mean(axis=0)
                types = dict(zip(self._runner.config.word_types, map(float, probabilities), strict=True))
                readings.append(WordReading(word.text, word.is_known, types))
            if "attention" in found:
                attention.append((word.text, found["attention"][word.slots].mean(axis=0)))
        maps = {stage: found[stage] for stage in self._stages if stage in found}
        return Explanation(
            prediction=self._prediction(found["mask_logits"][..., 0]),
            words=readings,
            similarity=stage_similarity(found, self._stages) | maps,
            attention=attention,
            phrases=[
                Phrase.of_slots(aspect, words, weights, share)
                for aspect, (share, weights) in found.get("phrases", {}).items()
            ],
            candidates=found.get("candidates", []),
            unknown_words=[word.text for word in words if not word.is_known],
            truncation=self.tokenizer.describe_truncation(expression),
        )

    def _prediction(self, logits: np.ndarray) -> Prediction:
        return Prediction(expit(logits), self.encoded.size, self._runner.preprocessing)

    def _text_of(self, expression: str) -> dict[str, np.ndarray]:
        if self.encoded is None:
            raise InputError("no picture or clip yet: call set_image (or set_clip) before predict")
        return {name: value[None] for name, value in self.tokenizer.encode(expression).items()}


class Predictor(ExpressionPredictor):
    """Segments pictures of any size by referring expressions.

    ```python
    predictor = Predictor(load_model("cmpc_unc.keras"))
    predictor.set_image(rgb)
    prediction = predictor.predict("man in the red shirt")
    ```

    Args:
        model: A model for pictures.
        vocabulary: The words by token id; needed if the model file holds none.

    Attributes:
        model_title: The model in words.
        tokenizer: Tokenizer of the model.
        encoded: The last encoding; it can be kept, and set again.

    Raises:
        InputError: The model takes something else. There is no vocabulary, or it does not fit the model.
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
        self._encode(self._runner.preprocessing.fit(image), image.shape[:2])
