"""Pictures, masks and expressions in lists as a `tf.data` stream for Keras' `fit`."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from cmpc_tf2.data.batches import Sample, require_array
from cmpc_tf2.data.image_files import read_image, read_mask
from cmpc_tf2.data.pipeline import PREFETCHED_BATCHES, BatchReader
from cmpc_tf2.errors import InputError, named
from cmpc_tf2.text.tokenizer import Tokenizer

Picture = np.ndarray | str | os.PathLike


def dataset_from(
    images: Sequence[Picture],
    masks: Sequence[Picture],
    expressions: Sequence[str],
    model,
    batch_size: int = 8,
    shuffle: bool = True,
) -> tf.data.Dataset:
    """Batches for a model from pictures of any size, their masks, and expressions.

    Pictures and masks are resized as the model needs them. Files are read when their batch is made.

    ```python
    dataset = cmpc_tf2.dataset_from(["a.jpg", "b.jpg"], ["a.png", "b.png"], ["the dog", "left cup"], model)
    ```

    Args:
        images: Picture files, read as stored, or uint8 RGB arrays `(h, w, 3)`.
        masks: For each picture a PNG file, whose object is not zero, or a bool array `(h, w)`.
        expressions: For each picture an expression.
        model: A `ReferringModel` of pictures with a vocabulary.
        batch_size: Samples per batch; the last batch may have fewer.
        shuffle: Shuffle the samples before every epoch; `keras.utils.set_random_seed` makes the order repeatable.

    Returns:
        A finite dataset of `({"image": float32 (b, S, S, 3), normalised, "token_ids": int32 (b, T)}, mask)`, mask
        float32 `(b, S, S, 1)`; with the further inputs of the model's tokenizer.

    Raises:
        InputError: The lists differ in length or are empty, an item cannot be used, or the model is of clips or has no
            vocabulary.
        tf.errors.InvalidArgumentError: While iterating, with the name of a file that cannot be used.
    """
    if model.input_name != Sample.input_name:
        raise InputError(f"model: expected one of pictures, received {model.title}, whose input is {model.input_name}")
    if batch_size < 1:
        raise InputError(f"batch size: expected at least 1, received {batch_size}")
    count, tokenizer, preprocessing = len(images), model.make_tokenizer(), model.preprocessing
    if not count == len(masks) == len(expressions) or not count:
        received = f"{count}, {len(masks)} and {len(expressions)}"
        raise InputError(f"expected as many images as masks and expressions, at least one; received {received}")
    for index, triple in enumerate(zip(images, masks, expressions, strict=True)):
        _check(index, *triple, tokenizer)

    def read_sample(index: int) -> Sample:
        image, mask = images[index], masks[index]
        name = f"masks[{index}]" if isinstance(mask, np.ndarray) else str(mask)
        image = image if isinstance(image, np.ndarray) else read_image(image)
        mask = mask if isinstance(mask, np.ndarray) else read_mask(mask)
        _require_same_size(name, image, mask)
        # The expression is encoded when the batch is made.
        return Sample(np.zeros(0, np.int64), preprocessing.fit(image), preprocessing.fit_mask(mask), expressions[index])

    order = tf.data.Dataset.range(count)
    if shuffle:
        order = order.shuffle(count)
    read = BatchReader(read_sample, preprocessing, tokenizer).as_graph_function(None)
    return order.enumerate().batch(batch_size).map(read, tf.data.AUTOTUNE).prefetch(PREFETCHED_BATCHES)


def _check(index: int, image: Picture, mask: Picture, expression: str, tokenizer: Tokenizer):
    """Checks all of a triple that can be checked without reading files, and that these exist."""
    for name, item in (("images", image), ("masks", mask)):
        if not isinstance(item, (np.ndarray, str, os.PathLike)):
            raise InputError(
                f"{name}[{index}]: expected the name of a file or an array, received {type(item).__name__}"
            )
        if not isinstance(item, np.ndarray) and not Path(item).is_file():
            raise InputError(f"{name}[{index}]: no such file: {item}")
    if isinstance(image, np.ndarray):
        is_rgb = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size > 0
        require_array(is_rgb, f"images[{index}]", "uint8 (h, w, 3)", image)
    if isinstance(mask, np.ndarray):
        require_array(mask.dtype == bool and mask.ndim == 2, f"masks[{index}]", "bool (h, w)", mask)
        if isinstance(image, np.ndarray):
            _require_same_size(f"masks[{index}]", image, mask)
    if not isinstance(expression, str):
        raise InputError(f"expressions[{index}]: expected text, received {type(expression).__name__}")
    with named(f"expressions[{index}]"):
        tokenizer.encode(expression)


def _require_same_size(name: str, image: np.ndarray, mask: np.ndarray):
    require_array(mask.shape == image.shape[:2], name, f"bool {image.shape[:2]} as its image", mask)
