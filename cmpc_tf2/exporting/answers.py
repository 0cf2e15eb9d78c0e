"""What exported models answer: from the outputs of the decoder to what a user wants."""

import abc
from typing import ClassVar

import numpy as np
import tensorflow as tf
from scipy.special import expit

from cmpc_tf2.exporting.raw_inputs import GraphResizing
from cmpc_tf2.models.referring_model import ReferringModel


class GraphAnswer(abc.ABC):
    """The answer of exported models of a task.

    Attributes:
        output: The decoder's output that the signature `tensors` gives.
        description: The answer in words, for model cards.
        use: Lines of a model card that show how to take the answer, for a picture and of `tensors`.
        measured: The result of `serving_default` that is compared with the model's.
    """

    output: ClassVar[str]
    description: ClassVar[str]
    use: ClassVar[dict[str, str]]
    measured: ClassVar[str]

    @abc.abstractmethod
    def in_graph(self, output: tf.Tensor, resizing: GraphResizing, height: tf.Tensor, width: tf.Tensor) -> dict:
        """The answers to E expressions, each with leading axis E.

        Args:
            output: The decoder's.
            resizing: How the picture was resized.
            height: Rows of the picture.
            width: Its columns.
        """

    @abc.abstractmethod
    def expected(self, answer: np.ndarray, model: ReferringModel) -> np.ndarray:
        """`measured` for a picture of the model's size, given `ReferringModel.answer` for one expression."""


class MaskAnswer(GraphAnswer):
    """`mask`, uint8 `(E, h, w)` of 0 and 1, `probabilities`, float32, and `score`, their mean within the mask."""

    output = "mask_logits"
    description = "a mask of the object that the sentence refers to"
    use: ClassVar = {
        "image": 'found["mask"]  # uint8 (h, w), 0 and 1, at the picture\'s own size; also "probabilities" and "score"',
        "clip": 'found["mask"]  # uint8 (h, w), 0 and 1, of the ninth frame; also "probabilities" and "score"',
        "tensors": 'found["mask_logits"]  # float32 (B, S, S, 1)',
    }
    measured = "probabilities"

    def in_graph(self, output: tf.Tensor, resizing: GraphResizing, height: tf.Tensor, width: tf.Tensor) -> dict:
        probabilities = resizing.restore(tf.sigmoid(output[..., 0]), height, width)
        mask = tf.cast(probabilities >= 0.5, tf.uint8)
        inside = tf.cast(mask, tf.float32)
        count = tf.reduce_sum(inside, axis=[1, 2])
        score = tf.math.divide_no_nan(tf.reduce_sum(probabilities * inside, axis=[1, 2]), count)
        return {"mask": mask, "probabilities": probabilities, "score": score}

    def expected(self, answer: np.ndarray, model: ReferringModel) -> np.ndarray:
        size = model.config.image_size
        return model.preprocessing.restore(expit(answer), size, size)
