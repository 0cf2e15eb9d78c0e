"""The losses of CAC. Everything is computed in the dtype of the predictions, float32 or float64.

Source: `_add_losses` in `lib/nets/network_cycle_response.py` and `network_cycle_res5_2.py` of wenz116/lang2seg (commit
3af9a47).
"""

from keras import ops

# Sharpness of the smooth L1 losses of anchors and of boxes.
ANCHOR_SIGMA, BOX_SIGMA = 3.0, 1.0


def total_loss(outputs: dict, token_ids, caption_weight: float = 1.0) -> tuple:
    """The loss of a step: the sum of its parts.

    Args:
        outputs: As `step.predict` returns them. The response and the caption count if they are there.
        token_ids: int32 `(1, T)`.
        caption_weight: Factor of the loss of the caption.

    Returns:
        The loss, and its parts by name; that of the caption without its factor.
    """
    targets, anchors, boxes = (outputs[name] for name in ("targets", "anchors", "boxes"))
    names = ("anchor_class_loss", "anchor_box_loss", "class_loss", "box_loss", "mask_loss")
    losses = anchor_losses(anchors["logits"], anchors["offsets"], targets.anchors)
    losses += box_losses(boxes["logits"], boxes["offsets"], boxes["mask_logits"], targets.boxes)
    parts = dict(zip(names, losses, strict=True))
    if "response" in outputs:
        parts["response_loss"] = response_loss(outputs["response"], targets.response)
    loss = sum(parts.values())
    if "words" in outputs:
        parts["caption_loss"] = caption_loss(outputs["words"], token_ids)
        loss = loss + caption_weight * parts["caption_loss"]
    return loss, parts


def anchor_losses(logits, offsets, targets) -> tuple:
    """The losses of the region proposal network.

    Args:
        logits: `(1, h, w, 2 A)`, of the background for each of A anchors, and then of objects.
        offsets: `(1, h, w, 4 A)`.
        targets: `AnchorTargets`, of h w A anchors.

    Returns:
        The cross-entropy of the labelled anchors, their mean; and the smooth L1 loss of the offsets of objects, their
        sum over the number of labelled anchors. Both are zero if no anchor is labelled.
    """
    anchors = logits.shape[-1] // 2
    labels = ops.reshape(ops.cast(targets.labels, "int32"), (-1,))
    is_labelled, is_object = (ops.cast(chosen, logits.dtype) for chosen in (labels >= 0, labels == 1))
    count = ops.maximum(ops.sum(is_labelled), 1.0)
    pairs = ops.reshape(logits, (-1, 2, anchors))
    margins = ops.reshape(pairs[:, 1] - pairs[:, 0], (-1,))
    cross_entropy = ops.sum(is_labelled * _binary_cross_entropy(margins, is_object)) / count
    errors = smooth_l1(ops.reshape(offsets, (-1, 4)) - ops.cast(targets.offsets, offsets.dtype), ANCHOR_SIGMA)
    return cross_entropy, ops.sum(is_object[:, None] * errors) / count


def box_losses(logits, offsets, mask_logits, targets) -> tuple:
    """The losses of classes, boxes and masks.

    Args:
        logits: `(n, classes)`.
        offsets: `(n, classes, 4)`.
        mask_logits: Of the m boxes of the foreground, `(m, 14, 14, classes)`.
        targets: `BoxTargets`.

    Returns:
        The cross-entropy of the classes, mean; the smooth L1 loss of the offsets of the right class, sum of a box, mean
        over all boxes, where those of the background count as zero; the binary cross-entropy of the mask of the right
        class, mean.
    """
    labels = ops.cast(targets.labels, "int32")
    right = ops.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    cross_entropy = ops.mean(ops.logsumexp(logits, axis=1) - right)
    found = ops.take_along_axis(offsets, labels[:, None, None], axis=1)[:, 0]
    errors = ops.sum(smooth_l1(found - ops.cast(targets.offsets, offsets.dtype), BOX_SIGMA), axis=1)
    box = ops.mean(ops.where(labels > 0, errors, ops.zeros_like(errors)))
    masks = ops.cast(targets.masks, mask_logits.dtype)
    classes = labels[: ops.shape(masks)[0], None, None, None]
    found = ops.take_along_axis(mask_logits, classes, axis=-1)[..., 0]
    return cross_entropy, box, ops.mean(_binary_cross_entropy(found, masks))


def response_loss(response, target):
    """The binary cross-entropy of the response, mean.

    Args:
        response: Logits, `(1, h, w)`.
        target: `(h, w)`, 0 and 1.
    """
    return ops.mean(_binary_cross_entropy(response[0], ops.cast(target, response.dtype)))


def caption_loss(log_probabilities, token_ids):
    """The mean of minus the log-probability of the words of a sentence and of its end.

    Args:
        log_probabilities: `(B, T + 1, words)`, where row t predicts word t, and the one behind the last word the end.
        token_ids: int `(B, T)`, padded on the right with 0. Word 0 is the end.
    """
    targets = ops.pad(ops.cast(token_ids, "int32"), [[0, 0], [0, 1]])
    length = ops.sum(ops.cast(targets > 0, "int32"), axis=1, keepdims=True)
    counts = ops.cast(ops.arange(targets.shape[1], dtype="int32") <= length, log_probabilities.dtype)
    found = ops.take_along_axis(log_probabilities, targets[..., None], axis=-1)[..., 0]
    return -ops.sum(found * counts) / ops.sum(counts)


def smooth_l1(errors, sigma: float):
    """`sigma^2 / 2 e^2` for errors e up to `1 / sigma^2`, and `|e| - 1 / (2 sigma^2)` above."""
    size, bound = ops.abs(errors), 1 / sigma**2
    return ops.where(size < bound, 0.5 / bound * ops.square(errors), size - 0.5 * bound)


def _binary_cross_entropy(logits, targets):
    return ops.softplus(logits) - logits * targets
