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

    No gradient goes through the boxes. That of the map is a product of matrices. TensorFlow's own fails on GPUs if
    deterministic operations are switched on, as in `train`; if they are not, its results on CPUs differ from run to run
    by up to 0.2 % in norm.

    Args:
        features: `(1, h, w, C)`.
        boxes: float32 `(n, 4)`, x1, y1, x2, y2 in pixels; they may lie outside and be inverted.
        stride: Pixels per cell.
        size: Points along a side, 2 or more.

    Returns:
        float32 `(n, size, size, C)`.
    """
    import tensorflow as tf

    @tf.custom_gradient
    def sample(features):
        padded = tf.pad(tf.cast(features, tf.float32), [[0, 0], [1, 1], [1, 1], [0, 0]])
        last = tf.cast(tf.shape(padded)[1:3] - 1, tf.float32)
        x1, y1, x2, y2 = tf.unstack(boxes / stride + 1, axis=-1)
        shares = tf.stack([y1 / last[0], x1 / last[1], y2 / last[0], x2 / last[1]], axis=-1)
        pooled = tf.image.crop_and_resize(padded, shares, tf.zeros(tf.shape(boxes)[:1], tf.int32), (size, size))

        def gradient(upstream):
            height, width = tf.unstack(tf.shape(features)[1:3])
            columns = _shares_of_cells(boxes[:, 0::2] / stride, size, width)
            rows = _shares_of_cells(boxes[:, 1::2] / stride, size, height)
            by_row = tf.einsum("nih,nijc->hnjc", rows, upstream)
            return tf.cast(tf.einsum("hnjc,njw->hwc", by_row, columns)[None], features.dtype)

        return pooled, gradient

    return sample(features)


def _shares_of_cells(ends, size: int, cells):
    """What each cell of a side contributes to the points between two ends: float32 `(n, size, cells)`.

    Args:
        ends: The first and last point in cells, `(n, 2)`.
        size: Points.
        cells: Cells of the side.
    """
    import tensorflow as tf

    steps = tf.range(size, dtype=tf.float32) / (size - 1)
    points = ends[:, :1] + steps * (ends[:, 1:] - ends[:, :1])
    return tf.maximum(1 - tf.abs(points[..., None] - tf.range(tf.cast(cells, tf.float32))), 0)
