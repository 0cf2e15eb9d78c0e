"""CAC ready for inference: the feature map of a picture is computed once, then one object found per expression."""

import numpy as np
import tensorflow as tf

from cmpc_tf2.data.objects import ObjectSample
from cmpc_tf2.inference.graphs import graph
from cmpc_tf2.inference.runner import Runner
from cmpc_tf2.models.cac.model import CAC
from cmpc_tf2.preprocessing.detector_picture import scale_picture
from cmpc_tf2.preprocessing.pasting import paste_logits
from cmpc_tf2.tasks.boxes.candidates import boxes_to_sides, is_right


class CACRunner(Runner):
    """The runner of CAC, a picture at a time.

    Source: `lib/model/test.py` of wenz116/lang2seg (commit 3af9a47).

    Args:
        model: The model.

    Attributes: as `Runner`.
    """

    pictures_at_once = 1

    def __init__(self, model: CAC):
        super().__init__(model)
        form = model.inference_form()
        channels = self.config.detector.backbone.channels("c4")
        image, scaling = tf.TensorSpec((1, None, None, 3), tf.float32), tf.TensorSpec((1, 3), tf.float32)
        encoded = {
            "features": tf.TensorSpec((1, None, None, channels), form.filters.compute_dtype),
            "geometry": tf.TensorSpec((1, 5), tf.float32),
        }
        text = tf.TensorSpec((None, self.config.max_words), tf.int32)
        self._encode = graph(form.encode, image, scaling)
        self._decode = graph(form.decode, encoded, text)

    def encode(self, pixels: np.ndarray) -> dict[str, tf.Tensor]:
        """The feature map of a picture.

        Args:
            pixels: uint8 RGB `(1, h, w, 3)`, any size.
        """
        detector = self.config.detector
        scaled, scale = scale_picture(pixels[0], detector.shorter_side, detector.longer_side, self.preprocessing)
        return self._encode(scaled[None], np.float32([[scale, *pixels.shape[1:3]]]))

    def answers(self, features: dict[str, tf.Tensor], text: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of `CAC.decode`, given the tokenizer's of S expressions."""
        found = self._decode(features, tf.constant(text["token_ids"], tf.int32))
        return {name: value.numpy() for name, value in found.items()}

    def decode(self, features: dict[str, tf.Tensor], text: dict[str, np.ndarray]) -> np.ndarray:
        """The masks of the objects, as logits: float32 `(S, h, w)`, from 0 on in the mask."""
        return _mask_logits(features, self.answers(features, text))

    def decode_and_compare(
        self, features: dict[str, tf.Tensor], samples: list, text: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, list[dict[str, bool]]]:
        """As `Runner.decode_and_compare`.

        Returns:
            As there. Samples of objects have `detected_box`, whether the found box overlaps with the annotated one by
            half.
        """
        found = self.answers(features, text)
        boxes = boxes_to_sides(found["box"])
        return _mask_logits(features, found), [
            {"detected_box": is_right(box, one.boxes[one.object])} if isinstance(one, ObjectSample) else {}
            for one, box in zip(samples, boxes, strict=True)
        ]

    def explain(self, features: dict[str, tf.Tensor], text: dict[str, np.ndarray]) -> dict:
        """As `decode` of one expression, with intermediate results.

        Returns:
            `mask_logits`, `(h, w, 1)`; and `response`, how well the cells of the feature map fit the expression.
        """
        found = self.answers(features, text)
        return {"mask_logits": _mask_logits(features, found)[0, ..., None], "response": found["response"][0]}


def _mask_logits(features: dict[str, tf.Tensor], found: dict[str, np.ndarray]) -> np.ndarray:
    """The found masks in the picture that was encoded, as logits: float32 `(S, h, w)`."""
    size = tuple(map(int, features["geometry"].numpy()[0, 3:]))
    return np.stack([paste_logits(*one, size) for one in zip(found["mask_probs"], found["box"], strict=True)])
