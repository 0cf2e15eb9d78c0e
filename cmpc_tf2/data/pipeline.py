"""`.npz` batches as a `tf.data` stream for training."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from cmpc_tf2.data.batches import Sample, read_batch
from cmpc_tf2.data.image_ops import subtract_mean
from cmpc_tf2.data.masking import mask_patches, mask_words
from cmpc_tf2.data.text import MAX_WORDS, Vocabulary
from cmpc_tf2.errors import InputError

# Fixed: tf.data's own choice grows with every pause of the consumer, by gigabytes.
PREFETCHED_BATCHES = 4


def training_dataset(
    paths: list[Path],
    batch_size: int,
    seed: int = 0,
    start_step: int = 0,
    shuffle: bool = True,
    cache: bool = False,
    deterministic: bool = True,
    input_context: tf.distribute.InputContext | None = None,
    image_size: int = 320,
    vocabulary_size: int | None = None,
    masked_vocabulary: Vocabulary | None = None,
    kind: type[Sample] = Sample,
) -> tf.data.Dataset:
    """An endless stream of training batches.

    Every epoch is a fresh permutation of all files; it follows from the seed and the epoch's number alone. Epochs
    follow each other without a seam: every batch is full, and no sample is left out.

    Args:
        paths: The split's files.
        batch_size: Samples per step, over all replicas.
        seed: Of the permutations.
        start_step: Steps already taken, to go on where an earlier run stopped.
        shuffle: False keeps the files' order.
        cache: Keep every sample in memory once it was read: 0.41 MB each.
        deterministic: False lets batches overtake each other, which is faster when the disk is slow.
        input_context: Under `tf.distribute`, given by `distribute_datasets_from_function`: an element is then one
            device's share of a global batch.
        image_size: Side of the images in the files.
        vocabulary_size: If given, token ids are checked to be below it.
        masked_vocabulary: The vocabulary, to add a masked copy of every image and expression.
        kind: What the files hold.

    Returns:
        A dataset of `({"image": float32 (b, S, S, 3) BGR minus mean, "token_ids": int32 (b, T)}, float32 mask
        (b, S, S, 1))`, where b is the batch size, or a device's share of it; of video samples `clip`, `(b, 16, S, S,
        3)`, in place of `image`. Masked copies stand beside them as `masked_image` and `masked_token_ids`; they follow
        from the seed and the sample's place in the stream.

    Raises:
        InputError: There are no files, or the batch size does not divide among the workers.
        tf.errors.InvalidArgumentError: While iterating, with the name of a file that cannot be used.
    """
    workers = input_context.num_input_pipelines if input_context else 1
    replicas = input_context.num_replicas_in_sync if input_context else 1
    if not paths:
        raise InputError("no files to train on")
    if batch_size < 1 or batch_size % replicas:
        raise InputError(f"batch size: expected a multiple of the {replicas} devices above 0, received {batch_size}")
    first = start_step * batch_size
    order = _order(len(paths), seed, first, shuffle).enumerate(first)
    if input_context:
        order = order.shard(workers, input_context.input_pipeline_id)
    share = batch_size // replicas  # A worker takes as many elements per step as it has devices.
    names = tf.constant([str(path) for path in paths])

    def read_sample(path):
        return _read_sample(path, image_size, vocabulary_size, kind)

    if cache:
        read_sample = reading_once(read_sample)
    pixels = kind.input_name
    shapes = {pixels: (share, *kind.input_shape(image_size)), "token_ids": (share, MAX_WORDS)}
    types = {pixels: np.float32, "token_ids": np.int32}
    if masked_vocabulary is not None:
        shapes |= {f"masked_{name}": shape for name, shape in shapes.items()}
        types |= {f"masked_{name}": dtype for name, dtype in types.items()}
    mask_shape = (share, image_size, image_size, 1)

    def read_samples(files, positions):
        # Made floats here rather than in TensorFlow: every number is written once.
        inputs = {name: np.empty(shape, types[name]) for name, shape in shapes.items()}
        masks = np.empty(mask_shape, np.float32)
        for row, (file, position) in enumerate(zip(files, positions, strict=True)):
            sample = read_sample(file.decode())
            seen = subtract_mean(sample.fitted(image_size), out=inputs[pixels][row])
            inputs["token_ids"][row] = sample.token_ids
            masks[row, ..., 0] = sample.mask
            if masked_vocabulary is not None:
                rng = np.random.default_rng([seed, position])
                inputs[f"masked_{pixels}"][row] = mask_patches(seen, rng)
                inputs["masked_token_ids"][row] = mask_words(sample.token_ids, masked_vocabulary, rng)
        return *inputs.values(), masks

    def read(positions, indices):
        *arrays, mask = tf.numpy_function(
            read_samples, [tf.gather(names, indices), positions], [*types.values(), np.float32], stateful=False
        )
        for array, shape in zip([*arrays, mask], [*shapes.values(), mask_shape], strict=True):
            array.set_shape(shape)
        return dict(zip(shapes, arrays, strict=True)), mask

    batches = order.batch(share, drop_remainder=True)
    dataset = batches.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=deterministic)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options).prefetch(PREFETCHED_BATCHES)


def samples_of_step(count: int, batch_size: int, seed: int, step: int) -> list[int]:
    """Which files the batch of a step is made of, by index; for messages."""
    return [int(index) for index in _order(count, seed, step * batch_size, shuffle=True).take(batch_size)]


def _order(count: int, seed: int, consumed: int, shuffle: bool) -> tf.data.Dataset:
    """Indices of samples, epoch after epoch, from the `consumed`-th on."""

    def epoch(number):
        indices = tf.range(count, dtype=tf.int64)
        if shuffle:
            indices = tf.random.experimental.stateless_shuffle(indices, seed=tf.stack([seed, number]))
        return tf.data.Dataset.from_tensor_slices(indices)

    epochs = tf.data.Dataset.range(consumed // count, np.iinfo(np.int64).max)
    return epochs.flat_map(epoch).skip(consumed % count)


def reading_once(read: Callable[[str], Sample]) -> Callable[[str], Sample]:
    """Makes a reader keep what it read.

    Unlike with `functools.cache`, a thread that asks for a file that another one reads waits for that one.
    """
    samples, locks = {}, {}

    def read_once(path: str) -> Sample:
        with locks.setdefault(path, threading.Lock()):
            if path not in samples:
                samples[path] = read(path)
            return samples[path]

    return read_once


def _read_sample(path: str, image_size: int, vocabulary_size: int | None, kind: type[Sample]) -> Sample:
    try:
        return read_train_sample(path, image_size, vocabulary_size, kind)
    except InputError as error:
        raise ValueError(str(error)) from None  # numpy_function passes this type and its text on.


def read_train_sample(
    path: str | os.PathLike, image_size: int, vocabulary_size: int | None = None, kind: type[Sample] = Sample
) -> Sample:
    """Reads a file of a train split.

    Raises:
        InputError: It cannot be read, or does not fit a model of these sizes.
    """
    sample = read_batch(path, kind)
    if sample.image.shape[:2] != (image_size, image_size) or sample.token_ids.shape != (MAX_WORDS,):
        found = f"{sample.image.shape}, {sample.token_ids.shape}"
        raise InputError(f"{path}: not of a train split of {image_size} x {image_size}: {found}")
    if vocabulary_size is not None and not 0 <= sample.token_ids.min() <= sample.token_ids.max() < vocabulary_size:
        raise InputError(
            f"{path}: token ids do not fit the model, which has {vocabulary_size} words; "
            "build the split with the model's vocabulary"
        )
    return sample
