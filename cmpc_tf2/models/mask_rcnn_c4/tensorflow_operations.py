"""Operations on boxes that TensorFlow has and Keras has not.

This is the only module of models that imports TensorFlow, on first use, so that all models can be listed without it.
There, both are loops in C++ with kernels for GPUs, and crops have gradients. With `keras.ops`, suppression would be a
loop in Python over thousands of boxes.
"""

import numpy as np


def suppress(boxes, scores, overlap: float, candidates: int, most: int):
    """Non-maximum suppression: leaves out boxes that overlap with one of a higher score.

    Both corners of a box are included. Overlap is intersection over union. The original suppresses at the threshold
    itself on a CPU, and above it on a GPU; here it is always the former.

    Args:
        boxes: float32 `(n, 4)`, x1, y1, x2, y2, not inverted.
        scores: float32 `(n,)`.
        overlap: Least overlap of a box that is left out.
        candidates: Boxes with the highest scores that are considered.
        most: Boxes to keep at most.

    Returns:
        float32 `(m, 4)`, by falling score.
    """
    import tensorflow as tf

    scores, order = tf.math.top_k(scores, tf.minimum(candidates, tf.size(scores)))
    boxes = tf.gather(boxes, order)
    # TensorFlow takes boxes without their last corner, and suppresses above the threshold.
    kept = tf.image.non_max_suppression(
        boxes + tf.constant([0.0, 0.0, 1.0, 1.0]), scores, most, np.nextafter(np.float32(overlap), np.float32(0))
    )
    return tf.gather(boxes, kept)


def crop(features, boxes, stride: int, size: int):
    """Samples a feature map at the points of a grid in each box.

    The first and last points are on the sides of the box. Values between cells are bilinear. Everything outside of the
    map is zero, so that a point right of the last column is a blend with zero.

    On CPUs, the gradient is reliable only after `tf.config.experimental.enable_op_determinism`. Without it, threads add
    to the same cells at once, and results differ from run to run by up to 0.2 % in norm.

    Args:
        features: `(1, h, w, C)`.
        boxes: float32 `(n, 4)`, x1, y1, x2, y2 in pixels; they may lie outside and be inverted.
        stride: Pixels per cell.
        size: Points along a side.

    Returns:
        float32 `(n, size, size, C)`.
    """
    import tensorflow as tf

    padded = tf.pad(features, [[0, 0], [1, 1], [1, 1], [0, 0]])
    last = tf.cast(tf.shape(padded)[1:3] - 1, tf.float32)
    x1, y1, x2, y2 = tf.unstack(boxes / stride + 1, axis=-1)
    shares = tf.stack([y1 / last[0], x1 / last[1], y2 / last[0], x2 / last[1]], axis=-1)
    return tf.image.crop_and_resize(padded, shares, tf.zeros(tf.shape(boxes)[:1], tf.int32), (size, size))
