"""Pictures in, objects out: Mask R-CNN C4 ready for inference."""

import dataclasses

import numpy as np
import tensorflow as tf
from scipy.special import expit

from cmpc_tf2.inference.graphs import graph
from cmpc_tf2.inference.runner import require_tensorflow
from cmpc_tf2.models.mask_rcnn_c4.boxes import refine
from cmpc_tf2.models.mask_rcnn_c4.detections import Detections, select_detections
from cmpc_tf2.models.mask_rcnn_c4.model import MaskRCNNC4
from cmpc_tf2.preprocessing.detector_picture import DETECTOR_PREPROCESSING, scale_picture
from cmpc_tf2.preprocessing.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True, eq=False)
class DetectorPicture:
    """A picture as the detector has encoded it.

    Attributes:
        features: The feature map, float32 `(1, h, w, C)`; 8 MB for a picture of usual shape at full size.
        size: Height and width of the picture.
        scaled_size: Those of the scaled picture.
        scale: Pixels of the scaled picture per pixel of the picture.
    """

    features: tf.Tensor
    size: tuple[int, int]
    scaled_size: tuple[int, int]
    scale: float


class Detector:
    """Finds the objects in pictures. A picture is encoded once, for all that follows.

    ```python
    detector = Detector(load_model("mask_rcnn.keras"))
    picture = detector.encode(rgb)
    detections = detector.detect(picture)
    pooled, features = detector.box_features(picture, detections.boxes)
    masks = detector.mask_probabilities(features, detections.classes)
    mask = paste_mask(masks[0], detections.boxes[0], *picture.size)
    ```

    Args:
        model: The model. Its form for inference is used.
        preprocessing: Normalizes the pixels.

    Raises:
        InputError: Keras runs on another backend than TensorFlow.
    """

    def __init__(self, model: MaskRCNNC4, preprocessing: Preprocessing = DETECTOR_PREPROCESSING):
        require_tensorflow()
        self.config = model.config
        self._preprocessing = preprocessing
        self._model = model.inference_form()
        c4, c5 = (self.config.backbone.channels(level) for level in ("c4", "c5"))
        pixels, features, box_features = (
            tf.TensorSpec((count, None, None, channels), tf.float32)
            for count, channels in ((1, 3), (1, c4), (None, c5))
        )
        boxes, scale, size = (
            tf.TensorSpec((None, 4), tf.float32),
            tf.TensorSpec((), tf.float32),
            tf.TensorSpec((2,), tf.int32),
        )
        self._encode = graph(self._features_of_picture, pixels)
        self._score = graph(self._score_boxes, features, scale, size, size)
        self._box_features = graph(self._features_of_boxes, features, boxes)
        self._masks = graph(self._model.mask_head, box_features)

    def encode(self, image: np.ndarray) -> DetectorPicture:
        """Encodes a picture.

        Args:
            image: uint8 RGB `(h, w, 3)`, any size.
        """
        sides = self.config.shorter_side, self.config.longer_side
        pixels, scale = scale_picture(image, *sides, self._preprocessing)
        features = self._encode(pixels[None])
        return DetectorPicture(features, image.shape[:2], pixels.shape[:2], scale)

    def score_boxes(self, picture: DetectorPicture) -> tuple[np.ndarray, np.ndarray]:
        """The boxes of all classes, before any are left out.

        Returns:
            Boxes, float32 `(n, classes, 4)`, x1, y1, x2, y2 in pixels of the picture, and the probability that they are
            of the class, float32 `(n, classes)`. Class 0 is the background.
        """
        boxes, probabilities = self._score(picture.features, picture.scale, picture.scaled_size, picture.size)
        return boxes.numpy(), probabilities.numpy()

    def detect(self, picture: DetectorPicture) -> Detections:
        """The objects of a picture; at least one."""
        return select_detections(*self.score_boxes(picture))

    def box_features(self, picture: DetectorPicture, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features of boxes: those that are pooled from the feature map, and those behind the last stage of the ResNet.

        Args:
            picture: The picture.
            boxes: `(n, 4)`, x1, y1, x2, y2 in pixels of the picture.

        Returns:
            float32 `(n, 7, 7, C)` and `(n, 7, 7, 2 C)`: 1024 and 2048 channels at the default sizes. The original calls
            them `pool5` and `fc7`.
        """
        pooled, features = self._box_features(picture.features, np.float32(boxes * picture.scale))
        return pooled.numpy(), features.numpy()

    def mask_probabilities(self, features: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """The masks of boxes, for `preprocessing.pasting.paste_mask`.

        Args:
            features: The second result of `box_features`, `(n, 7, 7, 2 C)`.
            classes: The class of each box, `(n,)`.

        Returns:
            float32 `(n, 14, 14)`.
        """
        logits = self._masks(features).numpy()
        return expit(logits[np.arange(len(classes)), :, :, classes])

    def _features_of_picture(self, pixels):
        return tf.cast(self._model(pixels), tf.float32)

    def _score_boxes(self, features, scale, scaled_size, size):
        model = self._model
        boxes = model.propose(model.rpn(features), *tf.unstack(scaled_size))
        _, box_features = self._features_of_boxes(features, boxes)
        outputs = model.box_head(box_features)
        refined = refine(boxes / scale, outputs["offsets"], *tf.unstack(size))
        return refined, tf.nn.softmax(outputs["logits"])

    def _features_of_boxes(self, features, boxes):
        pooled = self._model.pool(features, boxes)
        return pooled, tf.cast(self._model.last_stage(pooled), tf.float32)
