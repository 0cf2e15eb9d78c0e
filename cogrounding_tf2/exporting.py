"""Boxes as exported models give them."""

from typing import ClassVar

import numpy as np
import tensorflow as tf

from cmpc_tf2.exporting.answers import GraphAnswer
from cmpc_tf2.exporting.raw_inputs import GraphResizing
from cmpc_tf2.models.referring_model import ReferringModel
from cogrounding_tf2.config import IMAGE_SIZE
from cogrounding_tf2.decoding import predict_box
from cogrounding_tf2.losses import best_box


class BoxAnswer(GraphAnswer):
    """`box`, x1, y1, x2, y2 in pixels of the picture, float32 `(E, 4)`, and `score`, 0 to 1."""

    output = "box_logits"
    description = "the box of the object that the sentence refers to"
    use: ClassVar = {
        "image": 'found["box"]  # float32 (4,): x1, y1, x2, y2 in pixels of the picture; also "score"',
        "clip": 'found["box"]  # float32 (4,): x1, y1, x2, y2 in pixels of the middle frame; also "score"',
        "tensors": 'found["box_logits"]  # float32 (B, 4032, 5)',
    }
    measured = "box"

    def in_graph(self, output: tf.Tensor, resizing: GraphResizing, height: tf.Tensor, width: tf.Tensor) -> dict:
        sides = tf.cast(tf.stack([width, height]), tf.float64)
        ratio = IMAGE_SIZE / tf.reduce_max(sides)
        borders = (IMAGE_SIZE - tf.maximum(tf.round(sides * ratio), 1)) / 2
        ratio, borders = tf.cast(ratio, tf.float32), tf.cast(borders, tf.float32)
        restored = (best_box(output) - tf.tile(borders, [2])) / ratio
        box = tf.clip_by_value(restored, 0.0, tf.tile(tf.cast(sides, tf.float32), [2]))
        score = tf.reduce_max(tf.nn.softmax(output[..., 4]), axis=-1)
        return {"box": box, "score": score}

    def expected(self, answer: np.ndarray, model: ReferringModel) -> np.ndarray:
        logits = answer["box_logits"] if isinstance(answer, dict) else answer
        size = model.config.image_size
        return predict_box(logits, (size, size), model.preprocessing).box
