"""What the losses of a training step of CAC need: predictions for a picture and a sentence, and targets for them."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from cmpc_tf2.recipes.cac.targets import AnchorTargets, BoxTargets, StepTargets, Truth, draw_targets


def predict(model, image, token_ids, draw: Callable, training: bool = False) -> dict:
    """What a model predicts, and what it is compared with.

    Args:
        model: A `CAC`.
        image: float32 `(1, H, W, 3)`, BGR minus mean, scaled.
        token_ids: int32 `(1, T)`.
        draw: Anchors, proposals and the size of the feature map, as `model.propose` has them, to `StepTargets`; for
            example `DrawnTargets(...)`.
        training: Whether there is dropout.

    Returns:
        A dict, float32 also of models of a lower precision:
            targets: The `StepTargets`.
            anchors: `logits` and `offsets` of the anchors, as from `model.propose`.
            boxes: `logits`, `offsets` and `mask_logits` of the drawn boxes, as from `model.read_boxes`.
            response: `(1, h, w)`; only of the variant `response`.
            words: As from `model.caption`; only of models with a captioner.
    """
    features = model.detector(image)
    seen = model.weight_features(features, token_ids, training=training)
    weighted = seen["weighted"]
    proposed = model.propose(weighted, *ops.shape(image)[1:3])
    targets = draw(proposed["anchors"], proposed["proposals"], ops.shape(features)[1:3])
    found = {
        "targets": targets,
        "anchors": {name: proposed[name] for name in ("logits", "offsets")},
        "boxes": model.read_boxes(weighted, targets.boxes.boxes, ops.shape(targets.boxes.masks)[0]),
    }
    if model.config.variant == "response":
        found["response"] = ops.cast(seen["response"], "float32")
    if model.caption_model is not None:
        words = model.caption(features, weighted, token_ids, targets.covered, training=training)
        found["words"] = ops.cast(words, "float32")
    return found


class TrainingStep(keras.layers.Layer):
    """`predict` as a layer, which draws the targets.

    Args:
        model: A `CAC`, whose weights it shares.
        counts: Anchors with a label at most, and boxes.

    Call arguments (a dict):
        image: As `predict`.
        token_ids: As `predict`.
        box: float32 `(1, 4)`, label: int32 `(1,)`, and mask: uint8 `(1, H, W)`, the `Truth`.
        seed: int64 `(1, n)`, the seeds of the draws: for example, of the run and the step.

    Returns:
        As `predict`.
    """

    def __init__(self, model, counts: tuple[int, int]):
        super().__init__(dtype="float32", name="training_step")  # The picture and the box are not rounded.
        self.model, self.counts = model, counts
        self.built = True

    def call(self, inputs, training=None):
        truth = Truth(*(inputs[name][0] for name in ("box", "label", "mask")))
        draw = DrawnTargets(truth, inputs["seed"][0], self.counts)
        return predict(self.model, inputs["image"], inputs["token_ids"], draw, training=bool(training))


class DrawnTargets:
    """Draws the targets of a step in NumPy, eagerly or within a graph of TensorFlow.

    Args:
        truth: The object, as tensors or arrays.
        seed: The seeds of the draws, ints `(n,)`.
        counts: Anchors with a label at most, and boxes.
    """

    def __init__(self, truth: Truth, seed, counts: tuple[int, int]):
        self.truth, self.seed, self.counts = truth, seed, counts

    def __call__(self, anchors, proposals, map_size: tuple) -> StepTargets:
        import tensorflow as tf

        def draw(anchors, proposals, map_size, box, label, mask, seed):
            truth, rng = Truth(box, int(label), mask), np.random.default_rng(seed)
            targets = draw_targets(anchors, proposals, tuple(map_size), truth, rng, self.counts)
            return [*targets.anchors, *targets.boxes, targets.response, targets.covered]

        arguments = [anchors, proposals, tf.stack(map_size), *self.truth, self.seed]
        types = [tf.int8, tf.float32, tf.float32, tf.int32, *[tf.float32] * 4]
        drawn = tf.numpy_function(draw, arguments, types)
        boxes = self.counts[1]
        shapes = [(None,), (None, 4), (boxes, 4), (boxes,), (boxes, 4), (None, 14, 14), (None, None), (None, None)]
        drawn = [tf.ensure_shape(tensor, shape) for tensor, shape in zip(drawn, shapes, strict=True)]
        return StepTargets(AnchorTargets(*drawn[:2]), BoxTargets(*drawn[2:6]), *drawn[6:])
