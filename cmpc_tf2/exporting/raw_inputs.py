"""Raw pictures and sentences inside a TensorFlow graph: preprocessing and tokenizer for models that run without this
project."""

import numpy as np
import tensorflow as tf

from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.text.vocabulary import UNKNOWN, Vocabulary

# Separator of tokens. A sentence cannot contain it, because it is replaced first.
_CUT = "\x00"
# White space, as in Python's str.strip.
_WHITE = r"[\x09-\x0d\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]"


def decode_picture(image_bytes: tf.Tensor) -> tf.Tensor:
    """A JPEG or PNG file to uint8 RGB `(h, w, 3)`, with the exact inverse cosine transform that Pillow uses."""
    return tf.cond(
        tf.io.is_jpeg(image_bytes),
        lambda: tf.io.decode_jpeg(image_bytes, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_png(image_bytes, channels=3),
    )


def fit_picture(image: tf.Tensor, size: int) -> tf.Tensor:
    """`resizing.fit_image`, to float32 `(size, size, 3)`."""
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


def normalize_pixels(pixels: tf.Tensor, preprocessing: Preprocessing) -> tf.Tensor:
    """`Preprocessing.normalize` of float32 RGB `(..., h, w, 3)`."""
    if preprocessing.channels == "bgr":
        pixels = pixels[..., ::-1]
    return (pixels - np.array(preprocessing.mean, np.float32)) / np.array(preprocessing.deviation, np.float32)


def restore_values(values: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """`resizing.restore_map` of `(B, S, S)`, to float32 `(B, height, width)`."""
    side = tf.maximum(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    padded = tf.concat([values[:, :1], values, values[:, -1:]], axis=1)
    padded = tf.concat([padded[:, :, :1], padded, padded[:, :, -1:]], axis=2)
    lines = _interpolate(padded, values.shape[1], tf.range(top, top + height), side, axis=1)
    return _interpolate(lines, values.shape[2], tf.range(left, left + width), side, axis=2)


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


def tokenize(expression: tf.Tensor, words: tf.lookup.StaticHashTable, max_words: int) -> tf.Tensor:
    """`Vocabulary.encode`: a sentence to int32 `(max_words,)`.

    Raises:
        tf.errors.InvalidArgumentError: When it runs, for a sentence without words.
    """
    text = tf.strings.regex_replace(expression, _CUT, "\x01")
    text = tf.strings.regex_replace(text, f"^{_WHITE}+|{_WHITE}+$", "")
    text = tf.strings.regex_replace(text, r"([^0-9A-Za-z_]+)", rf"{_CUT}\1{_CUT}")
    pieces = tf.strings.split(text, _CUT)
    pieces = tf.boolean_mask(pieces, ~tf.strings.regex_full_match(pieces, f"{_WHITE}*"))
    pieces = tf.strings.lower(pieces, encoding="utf-8")
    is_closed = tf.reduce_any(pieces[-1:] == ".")
    pieces = tf.cond(is_closed, lambda: pieces[:-1], lambda: pieces)
    with tf.control_dependencies([tf.debugging.assert_positive(tf.size(pieces), "the expression has no words")]):
        ids = words.lookup(pieces[:max_words])
    return tf.ensure_shape(tf.pad(ids, [[max_words - tf.size(ids), 0]]), (max_words,))


def word_table(vocabulary: Vocabulary) -> tf.lookup.StaticHashTable:
    """The ids of words, as constants of the graph. Any character may be part of a word, tabs and line breaks too."""
    words = tf.lookup.KeyValueTensorInitializer(
        list(vocabulary.ids), list(vocabulary.ids.values()), value_dtype=tf.int32
    )
    return tf.lookup.StaticHashTable(words, default_value=vocabulary.ids[UNKNOWN])
