"""Raw pictures inside a TensorFlow graph: preprocessing for models that run without this project."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.preprocessing.resizing import LETTERBOX_COLOR

# Fractional bits of the weights in Pillow's filters.
_PRECISION = 22


def decode_picture(image_bytes: tf.Tensor) -> tf.Tensor:
    """A JPEG or PNG file to uint8 RGB `(h, w, 3)`, with the exact inverse cosine transform that Pillow uses."""
    return tf.cond(
        tf.io.is_jpeg(image_bytes),
        lambda: tf.io.decode_jpeg(image_bytes, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_png(image_bytes, channels=3),
    )


def normalize_pixels(pixels: tf.Tensor, preprocessing: Preprocessing) -> tf.Tensor:
    """`Preprocessing.normalize` of float32 RGB `(..., h, w, 3)`."""
    if preprocessing.channels == "bgr":
        pixels = pixels[..., ::-1]
    return (pixels - np.array(preprocessing.mean, np.float32)) / np.array(preprocessing.deviation, np.float32)


class GraphResizing(NamedTuple):
    """A `preprocessing.resizing.Resizing` as TensorFlow operations.

    Attributes:
        resize: `resize_image`, from uint8 `(h, w, 3)` and a size to float32 `(size, size, 3)`.
        restore: `restore`, from `(B, S, S)`, a height and a width to float32 `(B, height, width)`.
    """

    resize: Callable
    restore: Callable


def fit_picture(image: tf.Tensor, size: int) -> tf.Tensor:
    """`Fit.resize_image`."""
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    sides = tf.cast(tf.stack([height, width]), tf.float64)
    scale = tf.reduce_min(size / sides)
    rows, columns = tf.unstack(tf.maximum(1, tf.cast(tf.round(sides * scale), tf.int32)))
    padded = tf.pad(tf.cast(image, tf.float32), [[1, 1], [1, 1], [0, 0]])
    lines = _interpolate(padded, height, tf.range(rows), rows, axis=0)
    resized = _interpolate(lines, width, tf.range(columns), columns, axis=1)
    resized = tf.round(tf.maximum(resized, tf.cast(tf.reduce_min(image), tf.float32)))
    top, left = (size - rows) // 2, (size - columns) // 2
    return tf.ensure_shape(tf.image.pad_to_bounding_box(resized, top, left, size, size), (size, size, 3))


def restore_fitted(values: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """`Fit.restore`."""
    side = tf.maximum(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    lines = _interpolate(_pad_edges(values), values.shape[1], tf.range(top, top + height), side, axis=1)
    return _interpolate(lines, values.shape[2], tf.range(left, left + width), side, axis=2)


def stretch_picture(image: tf.Tensor, size: int) -> tf.Tensor:
    """`Stretch.resize_image`: equal to Pillow, whose filters are computed in whole numbers."""
    image = tf.cast(image, tf.int32)
    lines = _filter(tf.transpose(image, (1, 0, 2)), size)  # Along the rows first.
    return tf.cast(tf.ensure_shape(_filter(tf.transpose(lines, (1, 0, 2)), size), (size, size, 3)), tf.float32)


def restore_stretched(values: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """`Stretch.restore`."""
    lines = _interpolate(_pad_edges(values), values.shape[1], tf.range(height), height, axis=1)
    return _interpolate(lines, values.shape[2], tf.range(width), width, axis=2)


def letterbox_picture(image: tf.Tensor, size: int) -> tf.Tensor:
    """`Letterboxed.resize_image`, but for a level of rounding: OpenCV computes in whole numbers where it enlarges."""
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    sides = tf.cast(tf.stack([height, width]), tf.float64)
    rows, columns = tf.unstack(tf.maximum(1, tf.cast(tf.round(sides * (size / tf.reduce_max(sides))), tf.int32)))
    shrinks = tf.logical_and(rows <= height, columns <= width)
    down, across = _area_weights(height, rows, shrinks), _area_weights(width, columns, shrinks)
    resized = tf.round(tf.einsum("ph,hwc,qw->pqc", down, tf.cast(image, tf.float32), across))
    top, left = (size - rows) // 2, (size - columns) // 2
    is_inside = tf.image.pad_to_bounding_box(tf.ones_like(resized), top, left, size, size) > 0
    padded = tf.image.pad_to_bounding_box(resized, top, left, size, size)
    return tf.ensure_shape(tf.where(is_inside, padded, tf.constant(LETTERBOX_COLOR, tf.float32)), (size, size, 3))


GRAPH_RESIZINGS = {
    "fit": GraphResizing(fit_picture, restore_fitted),
    "letterbox": GraphResizing(letterbox_picture, restore_fitted),
    "stretch": GraphResizing(stretch_picture, restore_stretched),
}


def _area_weights(source: tf.Tensor, target: tf.Tensor, shrinks: tf.Tensor) -> tf.Tensor:
    """The weight of each input position in each output position by OpenCV's `INTER_AREA`: float32 `(target, source)`.

    Args:
        source: Length of an axis.
        target: Its length after resizing.
        shrinks: Whether no axis becomes longer; otherwise neighbours are interpolated.
    """
    scale = tf.cast(source, tf.float64) / tf.cast(target, tf.float64)
    position, place = tf.range(source, dtype=tf.float64), tf.range(target, dtype=tf.float64)[:, None]
    ends = tf.minimum((place + 1) * scale, position + 1), tf.maximum(place * scale, position)
    averaged = tf.maximum(ends[0] - ends[1], 0) / scale
    lower = tf.floor(place * scale)
    share = place + 1 - (lower + 1) / scale
    share = tf.where(share <= 0, tf.zeros_like(share), share - tf.floor(share))
    last = tf.cast(source - 1, tf.float64)
    upper = tf.minimum(lower + 1, last)
    interpolated = tf.where(position == lower, 1 - share, 0) + tf.where(position == upper, share, 0)
    return tf.cast(tf.where(shrinks, averaged, interpolated), tf.float32)


def _pad_edges(values: tf.Tensor) -> tf.Tensor:
    """Repeats the edges of `(B, h, w)` once."""
    padded = tf.concat([values[:, :1], values, values[:, -1:]], axis=1)
    return tf.concat([padded[:, :, :1], padded, padded[:, :, -1:]], axis=2)


def _filter(values: tf.Tensor, target: int) -> tf.Tensor:
    """Pillow's bilinear filter along the first axis, which averages where it shrinks: int32, from 0 to 255."""
    source = tf.shape(values)[0]
    scale = tf.cast(source, tf.float64) / target
    support = tf.maximum(scale, 1.0)
    centre = (tf.range(target, dtype=tf.float64) + 0.5) * scale
    first = tf.maximum(0, tf.cast(centre - support + 0.5, tf.int32))
    last = tf.minimum(source, tf.cast(centre + support + 0.5, tf.int32))
    taps = tf.reduce_max(last - first)
    position = first[:, None] + tf.range(taps)
    distance = tf.abs(tf.cast(position, tf.float64) - centre[:, None] + 0.5) * (1.0 / support)
    weights = tf.where(position < last[:, None], tf.maximum(1.0 - distance, 0.0), 0.0)
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    weights = tf.cast(0.5 + weights * 2**_PRECISION, tf.int32)
    position = tf.minimum(position, source - 1)  # Beyond the end the weight is zero.

    def add(tap, total):
        weight = weights[:, tap][:, None, None]
        return tap + 1, total + weight * tf.gather(values, position[:, tap])

    # One tap after the other: all at once would take the memory of as many pictures.
    start = tf.fill([target, tf.shape(values)[1], 3], 1 << (_PRECISION - 1))
    _, total = tf.while_loop(lambda tap, _: tap < taps, add, (0, start))
    return tf.clip_by_value(tf.bitwise.right_shift(total, _PRECISION), 0, 255)


def _interpolate(padded: tf.Tensor, source, wanted: tf.Tensor, target, axis: int) -> tf.Tensor:
    """Bilinear resizing of one axis from `source` to `target` positions, of which the wanted ones are given.

    Args:
        padded: The values, with one more at either end.
        source: Length of the axis without these.
        wanted: The output positions to compute.
        target: Length of the axis after resizing.
        axis: The axis.
    """
    source, target = tf.cast(source, tf.float64), tf.cast(target, tf.float64)
    position = (tf.cast(wanted, tf.float64) + 0.5) * (source / target) - 0.5
    lower = tf.floor(position)
    share = tf.cast(position - lower, tf.float32)
    share = tf.reshape(share, [-1] + [1] * (len(padded.shape) - axis - 1))
    first = tf.gather(padded, tf.cast(lower, tf.int32) + 1, axis=axis)
    second = tf.gather(padded, tf.cast(lower, tf.int32) + 2, axis=axis)
    return (1 - share) * first + share * second
