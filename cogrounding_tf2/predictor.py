"""Pictures or clips and sentences in, boxes out."""

import numpy as np

from cmpc_tf2.errors import InputError
from cmpc_tf2.inference.predictor import ExpressionPredictor, Predictor
from cmpc_tf2.tasks.boxes.prediction import BoxPrediction
from cmpc_tf2.tasks.masks.explanation import Explanation, Phrase
from cogrounding_tf2.config import GRIDS
from cogrounding_tf2.decoding import predict_box

# Maps that show how a box was found: outputs of the models, by their name on the page.
STAGES = {"subject": "similarity", "location": "location", "objectness": "objectness"}
# What the two rows of `word_attention` are about.
ASPECTS = ("subject", "location")


class BoxExplainer(ExpressionPredictor):
    """Finds boxes; subclasses set what they are found in."""

    gives_masks = False

    def explain(self, expression: str) -> Explanation:
        """As `predict`, with the words for the subject and for the location, and how well places fit them."""
        text = self._text_of(expression)
        found = self._runner.explain(self.encoded.features, text)
        maps = {stage: place_map(found[name]) for stage, name in STAGES.items()}
        words = self.tokenizer.words(expression)
        unknown = [word.text for word in words if not word.is_known]
        phrases = [
            Phrase.of_slots(aspect, words, weights)
            for aspect, weights in zip(ASPECTS, found["word_attention"], strict=True)
        ]
        truncation = self.tokenizer.describe_truncation(expression)
        prediction = self._prediction(found["box_logits"])
        return Explanation(prediction, [], maps, phrases=phrases, unknown_words=unknown, truncation=truncation)

    def _prediction(self, answer: np.ndarray | dict[str, np.ndarray]) -> BoxPrediction:
        logits = answer["box_logits"] if isinstance(answer, dict) else answer
        return predict_box(logits, self.encoded.size, self._runner.preprocessing)


class BoxPredictor(BoxExplainer, Predictor):
    """Finds boxes in pictures of any size.

    ```python
    predictor = BoxPredictor(load_model("sl_att.keras"))
    predictor.set_image(rgb)
    predictor.predict("man in the red shirt").box
    ```

    Args: as `cmpc_tf2.Predictor`, with an SL-Att. model.
    """


class ClipBoxPredictor(BoxExplainer):
    """Finds boxes in the middle frame of a clip.

    Args: as `ExpressionPredictor`, with a CG-SL-Att. model.
    """

    input_name = "clip"

    @property
    def frames(self) -> int:
        """Frames of a clip."""
        return len(self._runner.preprocessing.frames)

    def set_clip(self, frames: np.ndarray | list[np.ndarray]):
        """Encodes a clip; the following `predict` calls are about its middle frame.

        Args:
            frames: As many as the model reads, uint8 RGB `(h, w, 3)` each, any size.

        Raises:
            InputError: There are more or fewer, or they have other shapes or types.
        """
        frames = [np.asarray(frame) for frame in frames]
        shapes = {(frame.dtype.name, frame.shape) for frame in frames}
        dtype, shape = next(iter(shapes)) if len(shapes) == 1 else (None, ())
        if len(frames) != self.frames or dtype != "uint8" or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            found = f"{len(frames)} of {sorted(shapes)}"
            raise InputError(f"clip: expected {self.frames} frames of uint8 (h, w, 3), found {found}")
        self._encode(np.stack([self._runner.preprocessing.fit(frame) for frame in frames]), shape[:2])


def place_map(values: np.ndarray) -> np.ndarray:
    """Values of the places of all scales, `(1344,)`, as one map of the finest grid: the mean of the scales."""
    maps, first, finest = [], 0, GRIDS[-1]
    for side in GRIDS:
        cells = np.float32(values[first : first + side**2]).reshape(side, side)
        maps.append(cells.repeat(finest // side, axis=0).repeat(finest // side, axis=1))
        first += side**2
    return np.mean(maps, axis=0)
