"""CAC: assembly."""

import dataclasses
from typing import ClassVar

import keras
from keras import ops

from cmpc_tf2.layers.given_weights import give, giving_weights
from cmpc_tf2.models.cac.captioner import GRID, Captioner, pool_to_grid
from cmpc_tf2.models.cac.config import CACConfig
from cmpc_tf2.models.cac.filters import SentenceFilters
from cmpc_tf2.models.interface import ReferringInterface
from cmpc_tf2.models.mask_rcnn_c4.anchors import anchors
from cmpc_tf2.models.mask_rcnn_c4.boxes import refine
from cmpc_tf2.models.mask_rcnn_c4.model import MaskRCNNC4
from cmpc_tf2.precision import building_with
from cmpc_tf2.preprocessing.detector_picture import DETECTOR_MEAN
from cmpc_tf2.registration import PACKAGE
from cmpc_tf2.text.phrases import SentenceEncoder


@keras.saving.register_keras_serializable(package=PACKAGE)
class CAC(ReferringInterface, keras.Model):
    """CAC: a picture and sentences in; for each sentence the box, class and mask of the object it refers to.

    A sentence weights the feature map of a Mask R-CNN; everything behind the map proposes and detects the referred
    object alone. The answer is the box and class with the largest probability of all.

    `encode` runs once per picture, `decode` for all sentences about it. `weight_features`, `propose`, `read_boxes` and
    `caption` are the steps of training; `predict` in `recipes/cac/step.py` calls them.

    Source: `lib/nets/network_cycle_response.py` and its siblings, and `lib/model/test.py`, of wenz116/lang2seg (commit
    3af9a47); Chen et al., BMVC 2019, arXiv 1910.04748.

    Args: as `ReferringModel`, and:
        detector: A Mask R-CNN of the sizes of the model, to be part of it; None for a new one.

    Call arguments (a dict):
        image: float32 `(1, H, W, 3)`, BGR minus mean, scaled.
        scaling: float32 `(1, 3)`: pixels of the scaled picture per pixel of the picture; height and width of the
            picture.
        token_ids: int32 `(S, T)` with T = `config.max_words`, padded on the right with 0.

    Returns:
        As `decode`.

    Attributes:
        detector: The Mask R-CNN.
        rnn_encoder: Sentences to vectors.
        filters: Weights the feature map.
        caption_model: The captioner; None if there is none.
    """

    title = "a CAC model"
    config_type = CACConfig
    tokenizer_name = "whitespace"
    protocol_name = "own_size"
    preprocessing_options: ClassVar = {"resizing": "none", "channels": "bgr", "mean": DETECTOR_MEAN}
    runner = "cmpc_tf2.inference.cac:CACRunner"
    stages: ClassVar = {"response": ()}
    detector_type = MaskRCNNC4
    input_name = "image"

    def __init__(
        self,
        config=None,
        vocabulary: list[str] | None = None,
        preprocessing: dict | None = None,
        tokenizer: str | None = None,
        detector: MaskRCNNC4 | None = None,
        **kwargs,
    ):
        config, tokenizer = self.complete(config, tokenizer)
        super().__init__(**kwargs)
        self.set_attributes(config, vocabulary, preprocessing, tokenizer)
        sizes = config.detector.backbone
        self.detector = detector or MaskRCNNC4(config.detector, name="detector")
        widths = config.vocabulary_size, config.embedding_dim, config.word_dim, config.lstm_units
        self.rnn_encoder = SentenceEncoder(*widths, name="rnn_encoder")
        self.rnn_encoder.build((None, config.max_words))
        self.filters = SentenceFilters(config.variant, name="filters")
        self.filters.build((None, None, None, sizes.channels("c4")), (None, 2 * config.lstm_units))
        self.caption_model = None
        if config.captioner:
            self.caption_model = Captioner(config.captioner, config.vocabulary_size + 1, name="caption_model")
            self.caption_model.build((None, GRID**2, 2 * sizes.channels("c5")), (None, config.max_words))
        self.built = True

    def call(self, inputs):
        return self.decode(self.encode(inputs["image"], inputs["scaling"]), inputs["token_ids"])

    def encode(self, image, scaling) -> dict:
        """The half that depends on the picture alone.

        Args:
            image: As the model takes it.
            scaling: As the model takes it.

        Returns:
            `features`, the feature map, `(1, h, w, C)`; and `geometry`, float32 `(1, 5)`: height and width of the
            scaled picture, and `scaling`.
        """
        sides = ops.cast(ops.stack(ops.shape(image)[1:3]), "float32")
        return {"features": self.detector(image), "geometry": ops.concatenate([sides[None], scaling], axis=1)}

    def decode(self, encoded: dict, token_ids) -> dict:
        """The half that depends on the sentences too.

        Args:
            encoded: From `encode`.
            token_ids: int32 `(S, T)`.

        Returns:
            A dict, float32 where nothing else is said:
                score: `(S,)`, the probability of the answer.
                class_index: int32 `(S,)`, from 1.
                box: `(S, 4)`, x1, y1, x2, y2 in pixels of the picture. A box outside has its corners swapped.
                mask_probs: `(S, 14, 14)`, the mask within the box.
                response: `(S, h, w)`, the response of the map to the sentence.
        """
        geometry = encoded["geometry"][0]
        seen = self.weight_features(encoded["features"], token_ids)
        predictions = {"weighted": seen["weighted"], **self.detector.rpn(seen["weighted"])}

        def answer_one(one):
            return self._answer({name: value[None] for name, value in one.items()}, geometry)

        # One sentence after the other: the features of all their boxes at once would take gigabytes.
        answers = ops.map(answer_one, predictions)
        return {**answers, "response": ops.cast(seen["response"], "float32")}

    def weight_features(self, features, token_ids, training: bool = False) -> dict:
        """The feature map as sentences weight it; returns what `SentenceFilters` does, and `hidden`, their vectors."""
        hidden = self.rnn_encoder(token_ids, training=training)["sentence"]
        return {**self.filters(features, hidden), "hidden": hidden}

    def detect(self, weighted, rpn_outputs: dict, geometry) -> tuple:
        """The boxes of a picture for one sentence.

        Args:
            weighted: The weighted map, `(1, h, w, C)`.
            rpn_outputs: From `detector.rpn`, of this map.
            geometry: As from `encode`, `(5,)`.

        Returns:
            Proposals, float32 `(n, 4)`, in pixels of the scaled picture; probabilities of classes, `(n, classes)`, the
            background first; and offsets, `(n, classes, 4)`.
        """
        boxes = self.detector.propose(rpn_outputs, geometry[0], geometry[1])
        outputs = self.read_boxes(weighted, boxes)
        return boxes, ops.softmax(outputs["logits"], axis=-1), outputs["offsets"]

    def propose(self, weighted, height, width) -> dict:
        """What the region proposal network predicts for a map, for training.

        Args:
            weighted: The weighted map, `(1, h, w, C)`.
            height: Rows of the scaled picture.
            width: Its columns.

        Returns:
            `logits` and `offsets`, as from `detector.rpn`; `anchors`, float32 `(h w A, 4)`, in the order row, column,
            anchor; and `proposals`, float32 `(n, 4)`, which no gradient goes through.
        """
        outputs = self.detector.rpn(weighted)
        proposals = self.detector.propose(outputs, height, width, training=True)
        return {**outputs, "anchors": anchors(*ops.shape(weighted)[1:3]), "proposals": proposals}

    def read_boxes(self, weighted, boxes, foreground: int | None = None) -> dict:
        """What the heads predict for boxes.

        Args:
            weighted: The weighted map, `(1, h, w, C)`.
            boxes: float32 `(n, 4)`, in pixels of the scaled picture.
            foreground: Predict the masks of so many boxes, the first ones; None for no masks.

        Returns:
            `logits`, `(n, classes)`; `offsets`, `(n, classes, 4)`; and `mask_logits`, `(foreground, 14, 14, classes)`.
        """
        features = self.detector.last_stage(self.detector.pool(weighted, boxes))
        outputs = self.detector.box_head(features)
        if foreground is not None:
            outputs = {**outputs, "mask_logits": self.detector.mask_head(features[:foreground])}
        return outputs

    def caption(self, features, weighted, token_ids, covered, training: bool = False):
        """The log-probabilities of the words of sentences, from two views of a picture.

        The views are the last stage on the map and on the weighted map; in the variant `spatial`, on the weighted map,
        and the same where the object is.

        Args:
            features: The map, `(1, h, w, C)`.
            weighted: The weighted map, `(S, h, w, C)`.
            token_ids: int32 `(S, T)`.
            covered: The cells that the object covers, `(h, w)`, 0 and 1; of no effect in the variant `response`.
            training: Whether there is dropout.

        Returns:
            `(S, T + 1, words)`, as `Captioner` does.
        """
        second = self.detector.last_stage(weighted)
        if self.config.variant == "response":
            first = self.detector.last_stage(features)
            first = ops.broadcast_to(first, ops.shape(second))
        else:
            first, second = second, second * ops.cast(covered, second.dtype)[..., None]
        grids = ops.concatenate([pool_to_grid(view) for view in (first, second)], axis=-1)
        cells = ops.reshape(grids, (-1, GRID**2, grids.shape[-1]))
        return self.caption_model(cells, token_ids, training=training)

    def _answer(self, prediction: dict, geometry) -> dict:
        """The answer to one sentence, without the batch axis."""
        weighted, scale = prediction.pop("weighted"), geometry[2]
        boxes, probabilities, offsets = self.detect(weighted, prediction, geometry)
        row, number, score = choose(probabilities)
        box = refine(boxes[row][None] / scale, offsets[row, number][None, None], geometry[3], geometry[4])[0]
        logits = self.read_boxes(weighted, box * scale, foreground=1)["mask_logits"]
        mask = ops.sigmoid(ops.take(logits[0], number, axis=-1))
        return {"score": score, "class_index": number, "box": box[0], "mask_probs": mask}

    def get_backbone(self) -> MaskRCNNC4:
        """The detector, which training starts from and changes."""
        return self.detector

    def inference_form(self) -> "CAC":
        """A faster copy that computes the same function, without the captioner; not to be trained or saved."""
        config = dataclasses.replace(self.config, captioner=None)
        others = (self.vocabulary, self.preprocessing.to_dict(), self.tokenizer_type.name)
        detector = self.detector.inference_form()
        with building_with(self.filters.dtype_policy), giving_weights():
            form = CAC(config, *others, detector, name=self.name)
            for part in ("rnn_encoder", "filters"):
                give(getattr(form, part), getattr(self, part).get_weights())
        return form


def choose(probabilities) -> tuple:
    """The box and class with the largest probability. Of equal ones the first counts, box by box.

    Differs from the original, which suppresses boxes of each class before. That leaves out no largest one, but of equal
    ones it takes the last class.

    Args:
        probabilities: `(n, classes)`, the background first.

    Returns:
        The number of the box and that of the class, int32, and the probability.
    """
    objects = ops.reshape(probabilities[:, 1:], (-1,))
    largest = ops.max(objects)
    # Not `argmax`: on a GPU, it may take any of equal values.
    count = ops.shape(objects)[0]
    first = ops.min(ops.where(objects == largest, ops.arange(count), count))
    classes = probabilities.shape[1] - 1
    return first // classes, first % classes + 1, largest
