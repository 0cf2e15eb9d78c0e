"""The losses of a training step of CAC: one picture and one sentence."""

from collections.abc import Callable

import numpy as np
from keras import ops

from cmpc_tf2.recipes.cac.losses import anchor_losses, box_losses, caption_loss, response_loss
from cmpc_tf2.recipes.cac.targets import (
    ANCHORS,
    BOXES,
    AnchorTargets,
    BoxTargets,
    StepTargets,
    Truth,
    draw_targets,
)


def step_losses(model, image, token_ids, draw: Callable, caption_weight: float = 1.0) -> tuple:
    """The loss of a step.

    The response counts in the variant `response`, the caption in models with a captioner.

    Args:
        model: A `CAC`.
        image: float32 `(1, H, W, 3)`, BGR minus mean, scaled.
        token_ids: int32 `(1, T)`.
        draw: Anchors, proposals and the size of the feature map, as `model.propose` has them, to `StepTargets`; for
            example `DrawnTargets(...)`.
        caption_weight: Factor of the loss of the caption.

    Returns:
        The loss, and its parts by name; that of the caption without its factor.
    """
    features = model.detector(image)
    seen = model.weight_features(features, token_ids, training=True)
    weighted = seen["weighted"]
    proposed = model.propose(weighted, *ops.shape(image)[1:3])
    targets = draw(proposed["anchors"], proposed["proposals"], ops.shape(features)[1:3])
    foreground = ops.shape(targets.boxes.masks)[0]
    heads = model.read_boxes(weighted, targets.boxes.boxes, foreground)
    parts = dict(
        zip(
            ("anchor_class_loss", "anchor_box_loss", "class_loss", "box_loss", "mask_loss"),
            (
                *anchor_losses(proposed["logits"], proposed["offsets"], targets.anchors),
                *box_losses(heads["logits"], heads["offsets"], heads["mask_logits"], targets.boxes),
            ),
            strict=True,
        )
    )
    if model.config.variant == "response":
        parts["response_loss"] = response_loss(seen["response"], targets.response)
    loss = sum(parts.values())
    if model.caption_model is not None:
        words = model.caption(features, weighted, token_ids, targets.covered, training=True)
        parts["caption_loss"] = caption_loss(words, token_ids)
        loss = loss + caption_weight * parts["caption_loss"]
    return loss, parts


class DrawnTargets:
    """Draws the targets of a step in NumPy, eagerly or within a graph of TensorFlow.

    Args:
        truth: The object, as tensors or arrays.
        seed: The seeds of the draws, ints `(n,)`: for example, of the run and the step.
        counts: Anchors with a label at most, and boxes.
    """

    def __init__(self, truth: Truth, seed, counts: tuple[int, int] = (ANCHORS, BOXES)):
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
