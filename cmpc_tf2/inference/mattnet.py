"""MAttNet ready for inference: it finds the objects of a picture once, then chooses one for each expression."""

import dataclasses

import numpy as np
import tensorflow as tf

from cmpc_tf2.data.coco_categories import class_names
from cmpc_tf2.data.objects import ObjectSample
from cmpc_tf2.inference.detector import Detector, DetectorPicture
from cmpc_tf2.inference.graphs import graph
from cmpc_tf2.inference.runner import Runner, tensor_specs
from cmpc_tf2.models.mask_rcnn_c4.detections import Detections
from cmpc_tf2.models.mattnet.config import CELLS
from cmpc_tf2.models.mattnet.matching_network import MODULES
from cmpc_tf2.models.mattnet.model import MAttNet
from cmpc_tf2.preprocessing import box_geometry as geometry
from cmpc_tf2.preprocessing.pasting import clip_boxes, paste_logits
from cmpc_tf2.tasks.boxes.candidates import boxes_to_sides, chooses_annotation, is_right
from cmpc_tf2.tasks.masks.explanation import Candidate


@dataclasses.dataclass(frozen=True, eq=False)
class FoundObjects:
    """The objects of a picture, ready for expressions.

    Attributes:
        encoded: Outputs of the matching network's `box_encoder`, with batch size 1.
        detections: The objects.
        contexts: The objects that each can stand in relation to, int64 `(n, K)`; -1 where there are fewer.
        picture: The picture as the detector has encoded it.
    """

    encoded: dict[str, tf.Tensor]
    detections: Detections
    contexts: np.ndarray
    picture: DetectorPicture


class MAttNetRunner(Runner):
    """The runner of MAttNet, a picture at a time.

    Source: `tools/mattnet.py` of lichengunc/MAttNet (commit 3204d07).

    Args:
        model: The model.

    Attributes: as `Runner`, and:
        categories: Names of the detector's classes without the background.
    """

    pictures_at_once = 1

    def __init__(self, model: MAttNet):
        super().__init__(model)
        self.categories = class_names(self.config.detector.classes - 1)
        self._detector = Detector(model.detector, model.preprocessing)
        network, decoder = model.matching, model.matching.expression_decoder
        boxes = tensor_specs(network.box_encoder.input, batch_size=1)
        del boxes["rows"]
        encoded = {name: spec for name, spec in tensor_specs(decoder.input, 1).items() if name != "token_ids"}
        text = tf.TensorSpec((None, self.config.max_words), tf.int32)

        def encode(features):
            found = network.encode(features)
            return {name: tf.cast(found[name], spec.dtype) for name, spec in encoded.items()}

        self._encode = graph(encode, boxes)
        self._decode = graph(
            lambda features, token_ids: decoder({**features, "token_ids": token_ids}, training=False), encoded, text
        )

    def encode(self, pixels: np.ndarray) -> FoundObjects:
        """Finds the objects of a picture.

        Args:
            pixels: uint8 RGB `(1, h, w, 3)`, any size.
        """
        picture = self._detector.encode(pixels[0])
        return self.encode_boxes(picture, self._detector.detect(picture))

    def encode_boxes(self, picture: DetectorPicture, detections: Detections) -> FoundObjects:
        """Prepares given objects of a picture."""
        inputs, contexts = self.box_inputs(picture, detections)
        encoded = self._encode({name: tf.constant(value[None]) for name, value in inputs.items()})
        return FoundObjects(encoded, detections, contexts, picture)

    def box_inputs(self, picture: DetectorPicture, detections: Detections) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The call arguments of `MatchingNetwork` for objects of a picture, without batch axis, and their contexts."""
        # As in the demo of the original: the places are those of the boxes as found, the features of what lies in the
        # picture.
        boxes = boxes_to_sides(detections.boxes)
        pooled, features = self._detector.box_features(picture, clip_boxes(detections.boxes, *picture.size))
        contexts = geometry.contexts(boxes, detections.classes, self.config.contexts)
        cells = features.reshape(len(boxes), CELLS, -1)
        inputs = {
            "pool5": pooled.reshape(len(boxes), CELLS, -1),
            "fc7": cells,
            "lfeats": geometry.location_features(boxes, *picture.size),
            "dif_lfeats": geometry.neighbour_features(boxes, detections.classes),
            "cxt_fc7": geometry.context_features(cells.mean(axis=1), contexts),
            "cxt_lfeats": geometry.relative_features(boxes, contexts),
        }
        return inputs, contexts

    def annotated_inputs(self, sample: ObjectSample) -> dict[str, np.ndarray]:
        """As `box_inputs`, for the annotated boxes of a sample's picture."""
        return self.box_inputs(self._detector.encode(sample.image), annotated_objects(sample))[0]

    def encode_annotated(self, sample: ObjectSample, picture: DetectorPicture | None = None) -> FoundObjects:
        """As `encode`, with the annotated boxes in place of detected ones.

        Args:
            sample: The sample.
            picture: Its picture as the detector has encoded it, if it has.
        """
        return self.encode_boxes(picture or self._detector.encode(sample.image), annotated_objects(sample))

    def decode_and_compare(
        self, features: FoundObjects, samples: list, text: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, list[dict[str, bool]]]:
        """As `Runner.decode_and_compare`.

        Returns:
            As there. Samples of objects have `given_box`, whether the right one of the annotated boxes has the best
            score; and `detected_box`, whether the best of the detected boxes overlaps with it by half.
        """
        if not isinstance(samples[0], ObjectSample):
            return super().decode_and_compare(features, samples, text)
        best = self.scores(features, text)["scores"].argmax(axis=1)
        boxes = boxes_to_sides(features.detections.boxes[best])
        given = self.scores(self.encode_annotated(samples[0], features.picture), text)["scores"]
        return self._mask_logits(features, best), [
            {
                "given_box": chooses_annotation(scores, sample.object),
                "detected_box": is_right(box, sample.boxes[sample.object]),
            }
            for sample, scores, box in zip(samples, given, boxes, strict=True)
        ]

    def scores(self, features: FoundObjects, text: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of the matching network's `expression_decoder`, given the tokenizer's of S expressions."""
        found = self._decode(features.encoded, tf.constant(text["token_ids"], tf.int32))
        return {name: value.numpy() for name, value in found.items()}

    def decode(self, features: FoundObjects, text: dict[str, np.ndarray]) -> np.ndarray:
        """The masks of the best objects, as logits: float32 `(S, h, w)`, from 0 on in the mask."""
        return self._mask_logits(features, self.scores(features, text)["scores"].argmax(axis=1))

    def explain(self, features: FoundObjects, text: dict[str, np.ndarray]) -> dict:
        """As `decode` of one expression, with intermediate results.

        Returns:
            `mask_logits`, `(h, w, 1)`; `phrases`, by module its share and the weights of the word slots, `(T,)`;
            `candidates`, all objects, the best first; and `subject`, the attention to the cells of the best one, as a
            map of the picture.
        """
        found = {name: value[0] for name, value in self.scores(features, text).items()}
        order = np.argsort(-found["scores"], kind="stable")
        shares = zip(MODULES, found["weights"], found["word_attention"], strict=True)
        grid = found["grid_attention"][order[0]].reshape(7, 7)
        return {
            "mask_logits": self._mask_logits(features, order[:1])[0, ..., None],
            "phrases": {name: (float(share), weights) for name, share, weights in shares},
            "candidates": [self._candidate(features, found, number) for number in order],
            "subject": _in_picture(grid, features.detections.boxes[order[0]], features.picture.size),
        }

    def _candidate(self, features: FoundObjects, found: dict, number: int) -> Candidate:
        detections = features.detections
        label = detections.classes[number] - 1
        scores = zip(MODULES, found["weights"] * found["module_scores"][number], strict=True)
        return Candidate(
            box=detections.boxes[number],
            label=self.categories[label],
            score=float(found["scores"][number]),
            parts={name: float(value) for name, value in scores},
        )

    def _mask_logits(self, features: FoundObjects, numbers: np.ndarray) -> np.ndarray:
        """The masks of objects, `(n,)`, as logits: float32 `(n, h, w)`."""
        chosen, places = np.unique(numbers, return_inverse=True)
        detections, size = features.detections, features.picture.size
        boxes, classes = detections.boxes[chosen], detections.classes[chosen]
        _, box_features = self._detector.box_features(features.picture, boxes)
        masks = self._detector.mask_probabilities(box_features, classes)
        logits = [paste_logits(mask, box, size) for mask, box in zip(masks, boxes, strict=True)]
        return np.stack([logits[place] for place in places])


def annotated_objects(sample: ObjectSample) -> Detections:
    """The annotated boxes of a sample's picture, as detections that are certain."""
    corners = np.concatenate([sample.boxes[:, :2], sample.boxes[:, :2] + sample.boxes[:, 2:] - 1], axis=1)
    return Detections(corners, sample.categories, np.ones(len(corners), np.float32))


def _in_picture(cells: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map of the cells of a box as a map of the picture, zero outside of the box: float32 `(h, w)`."""
    import cv2

    x1, y1, x2, y2 = clip_boxes(np.asarray(box), *size).astype(int)
    drawn = np.zeros(size, np.float32)
    if x2 >= x1 and y2 >= y1:
        drawn[y1 : y2 + 1, x1 : x2 + 1] = cv2.resize(np.float32(cells), (x2 - x1 + 1, y2 - y1 + 1))
    return drawn
