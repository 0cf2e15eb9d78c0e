"""`.npz` batches as a `tf.data` stream for training."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from cmpc_tf2.data.batches import MANIFEST, SAMPLES_PER_REFERENCE, Sample, read_batch, read_manifest
from cmpc_tf2.data.datasets import rebuild_command
from cmpc_tf2.data.stored_words import require_same_words
from cmpc_tf2.errors import InputError, named
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.text.tokenizers import Tokenizer
from cmpc_tf2.text.vocabulary import MAX_WORDS

_TARGET = "target"
# Fixed: tf.data's own choice grows with every pause of the consumer, by gigabytes.
PREFETCHED_BATCHES = 4


def training_dataset(
    paths: list[Path],
    batch_size: int,
    preprocessing: Preprocessing,
    seed: int = 0,
    start_step: int = 0,
    input_context: tf.distribute.InputContext | None = None,
    vocabulary_size: int | None = None,
    tokenizer: Tokenizer | None = None,
    augmentation: Callable | None = None,
    sample_type: type[Sample] = Sample,
    on_error: Callable[[InputError], None] | None = None,
    group_sizes: list[int] | None = None,
) -> tf.data.Dataset:
    """An endless stream of training batches.

    Every epoch is a fresh permutation of all files, or of all groups of files, each with one of its files drawn at
    random; it follows from the seed and the epoch's number alone. Epochs follow each other without a gap.

    Args:
        paths: The split's files.
        batch_size: Samples per step, over all replicas.
        preprocessing: That of the model; the pictures in the files have its size.
        seed: Seed of the permutations and draws.
        start_step: Steps already taken, to resume where an earlier run stopped.
        input_context: Under `tf.distribute`, given by `distribute_datasets_from_function`: an element is then one
            device's share of a global batch.
        vocabulary_size: If given, token ids are checked to be below it.
        tokenizer: Encodes the stored sentences; None takes the stored token ids.
        augmentation: Adds inputs to each sample, such as `recipes.masking.MaskedCopies`; its random numbers follow from
            the seed and the sample's position in the stream.
        sample_type: Class of the samples in the files.
        on_error: Called with the reason why a file cannot be used, before the stream fails.
        group_sizes: Numbers of consecutive files that form a group, above 0; None if every file is one.

    Returns:
        A dataset of `({"image": float32 (b, S, S, 3), normalised, "token_ids": int32 (b, T)}, target)`, where b is the
        batch size, or a device's share of it, and the target `Sample.target`, a float32 mask `(b, S, S, 1)`; of video
        samples `clip`, `(b, 16, S, S, 3)`, in place of `image`.

    Raises:
        InputError: There are no files, or the batch size does not divide among the workers.
        tf.errors.InvalidArgumentError: While iterating, with the name of a file that cannot be used.
    """
    replicas = input_context.num_replicas_in_sync if input_context else 1
    if not paths:
        raise InputError("no files to train on")
    if batch_size < 1 or batch_size % replicas:
        raise InputError(f"batch size: expected a multiple of the {replicas} devices above 0, received {batch_size}")
    first = start_step * batch_size
    order = _order(group_sizes or [1] * len(paths), seed, first).enumerate(first)
    if input_context:
        order = order.shard(input_context.num_input_pipelines, input_context.input_pipeline_id)
    share = batch_size // replicas  # A worker takes as many elements per step as it has devices.
    read_sample = _file_reader(paths, preprocessing, vocabulary_size, tokenizer, sample_type)
    reader = BatchReader(read_sample, preprocessing, tokenizer, augmentation, sample_type, seed, on_error)
    dataset = order.batch(share, drop_remainder=True).map(reader.as_graph_function(share), tf.data.AUTOTUNE)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options).prefetch(PREFETCHED_BATCHES)


def _file_reader(paths, preprocessing, vocabulary_size, tokenizer, sample_type) -> Callable[[int], Sample]:
    stored_words = vocabulary_size if tokenizer is None else None  # Only stored token ids can be too large.

    def read_sample(index: int) -> Sample:
        sample = read_train_sample(paths[index], preprocessing, stored_words, sample_type)
        if tokenizer is not None:
            with named(paths[index], "; remove it from the annotations and build the split again"):
                tokenizer.split(sample.expression)  # Raises an error if it has no words.
        return sample

    return read_sample


class BatchReader:
    """Makes batches of arrays from samples.

    Args:
        read_sample: Gives the sample with an index; raises InputError. Its image and mask have the size of the model.
        preprocessing: That of the model.
        tokenizer: As `training_dataset`; so are the other arguments.

    Attributes:
        specs: Shape without the batch axis, and NumPy type, of the arrays by name: the inputs, then the target.
    """

    def __init__(
        self,
        read_sample: Callable[[int], Sample],
        preprocessing: Preprocessing,
        tokenizer: Tokenizer | None,
        augmentation: Callable | None = None,
        sample_type: type[Sample] = Sample,
        seed: int = 0,
        on_error: Callable[[InputError], None] | None = None,
    ):
        self._read_sample, self._preprocessing = read_sample, preprocessing
        self._tokenizer, self._augmentation = tokenizer, augmentation
        self._seed, self._pixels, self._on_error = seed, sample_type.input_name, on_error
        text = {"token_ids": np.zeros(MAX_WORDS, np.int32)} if tokenizer is None else tokenizer.encode("a")
        self.specs = {self._pixels: (sample_type.input_shape(preprocessing.size), np.float32)}
        self.specs |= {name: (value.shape, value.dtype) for name, value in text.items()}
        if augmentation is not None:
            names = augmentation.names(list(self.specs))
            self.specs |= {added: self.specs[name] for added, name in names.items()}
        self.specs[_TARGET] = (sample_type.target_shape(preprocessing.size), np.float32)

    def as_graph_function(self, count: int | None) -> Callable:
        """Positions in the stream and indices of samples to inputs and target, for `tf.data.Dataset.map`.

        Args:
            count: Samples of a batch; None if the last one may be smaller.
        """

        def read(positions, indices):
            types = [dtype for _, dtype in self.specs.values()]
            arrays = tf.numpy_function(self, [indices, positions], types, stateful=False)
            inputs = dict(zip(self.specs, arrays, strict=True))
            for name, (shape, _) in self.specs.items():
                inputs[name].set_shape((count, *shape))
            target = inputs.pop(_TARGET)
            return inputs, target

        return read

    def __call__(self, indices: np.ndarray, positions: np.ndarray) -> list[np.ndarray]:
        """The arrays of a batch in the order of `specs`."""
        # Made floats here rather than in TensorFlow: every number is written once.
        arrays = {name: np.empty((len(indices), *shape), dtype) for name, (shape, dtype) in self.specs.items()}
        for row, (index, position) in enumerate(zip(indices, positions, strict=True)):
            sample = self._read(int(index))
            if self._augmentation is not None:
                rng = np.random.default_rng([self._seed, position])
                sample = self._augmentation.change(sample, rng)
            pixels = arrays[self._pixels][row]
            self._preprocessing.normalize(sample.fitted(self._preprocessing), out=pixels)
            stored = self._tokenizer is None
            text = {"token_ids": sample.token_ids} if stored else self._tokenizer.encode(sample.expression)
            inputs = {self._pixels: pixels, **text}
            if self._augmentation is not None:
                inputs |= self._augmentation(inputs, rng)
            del inputs[self._pixels]  # It is in its place already.
            for name, value in inputs.items():
                arrays[name][row] = value
            arrays[_TARGET][row] = sample.target(self._preprocessing)
        return list(arrays.values())

    def _read(self, index: int) -> Sample:
        try:
            return self._read_sample(index)
        except InputError as error:
            if self._on_error is not None:
                self._on_error(error)
            raise ValueError(str(error)) from None  # numpy_function passes this type and its text on.


def check_train_files(paths: list[Path], model, sample_type: type[Sample] = Sample):
    """Checks by its manifest and its first files that a train split fits a model.

    Args:
        paths: The split's files in order.
        model: The model, a `ReferringModel`.
        sample_type: Class of the samples.

    Raises:
        InputError: It does not.
    """
    require_resizing(paths[0].parent, model.preprocessing, sample_type)
    vocabulary_size = model.config.vocabulary_size if model.tokenizer_type.reads_stored_ids else None
    read_train_sample(paths[0], model.preprocessing, vocabulary_size, sample_type)
    if vocabulary_size and model.vocabulary is not None:
        require_same_words(paths, model.make_tokenizer(), sample_type)


def require_resizing(folder: Path, preprocessing: Preprocessing, sample_type: type[Sample] = Sample):
    """Checks by the manifest of a train split, if there is one, that its pictures are resized as the model needs them.

    Raises:
        InputError: They are not.
    """
    manifest = read_manifest(folder)
    # Splits of the original, and manifests of earlier versions, do not say it: their pictures are fitted.
    found = "fit" if manifest is None else manifest["settings"].get("resizing", "fit")
    if sample_type.stores_resized and found != preprocessing.resizing:
        raise InputError(
            f"{folder}: the resizing of its pictures is {found!r:.40}, but the model needs "
            f"{preprocessing.resizing!r}; {_how_to_build(folder, preprocessing, sample_type)}"
        )


def read_samples_per_reference(
    folder: Path, preprocessing: Preprocessing, sample_type: type[Sample] = Sample
) -> list[int]:
    """How many consecutive files of a train split belong to each reference, by its manifest.

    Args:
        folder: Folder of the split.
        preprocessing: That of the model.
        sample_type: Class of the samples.

    Returns:
        The numbers in order, without references that have no files.

    Raises:
        InputError: There is no manifest, or it does not record them.
    """
    manifest = read_manifest(folder) or {}
    if SAMPLES_PER_REFERENCE not in manifest:
        raise InputError(
            f"{folder}: the recipe takes one expression of each object per epoch, but no {MANIFEST} there records the "
            f"objects; {_how_to_build(folder, preprocessing, sample_type)}"
        )
    return [count for count in manifest[SAMPLES_PER_REFERENCE] if count]


def _how_to_build(folder: Path, preprocessing: Preprocessing, sample_type: type[Sample]) -> str:
    return f"build it again with `{rebuild_command(folder, sample_type, preprocessing)}`"


def samples_of_step(group_sizes: list[int], batch_size: int, seed: int, step: int) -> list[int]:
    """Which files the batch of a step is made of, by index; for messages."""
    return [int(index) for index in _order(group_sizes, seed, step * batch_size).take(batch_size)]


def _order(group_sizes: list[int], seed: int, consumed: int) -> tf.data.Dataset:
    """Indices of files, one of each group, epoch after epoch, from the `consumed`-th on."""
    count, sizes = len(group_sizes), np.array(group_sizes, np.int64)
    starts = np.cumsum(sizes) - sizes

    def epoch(number):
        key = tf.stack([seed, number])
        groups = tf.random.experimental.stateless_shuffle(tf.range(count, dtype=tf.int64), seed=key)
        # The draws must not depend on the places of the groups.
        key = tf.random.experimental.stateless_fold_in(key, 1)
        draws = tf.random.stateless_uniform([count], key, minval=None, maxval=None, dtype=tf.int64)
        return tf.data.Dataset.from_tensor_slices(tf.gather(starts + draws % sizes, groups))

    epochs = tf.data.Dataset.range(consumed // count, np.iinfo(np.int64).max)
    return epochs.flat_map(epoch).skip(consumed % count)


def read_train_sample(
    path: str | os.PathLike,
    preprocessing: Preprocessing,
    vocabulary_size: int | None = None,
    sample_type: type[Sample] = Sample,
) -> Sample:
    """Reads a file of a train split.

    Args:
        path: The file.
        preprocessing: That of the model.
        vocabulary_size: Words of the model, if it takes the stored token ids.
        sample_type: Class of the sample.

    Raises:
        InputError: It cannot be read, or does not fit the model.
    """
    sample, size = read_batch(path, sample_type), preprocessing.size

    def advice() -> str:
        return f"; {_how_to_build(Path(path).parent, preprocessing, sample_type)}"

    with named(path, advice):
        sample.require_train_fit(preprocessing)
    if not sample.has_train_size(size) or sample.token_ids.shape != (MAX_WORDS,):
        found = f"{sample.image.shape}, {sample.token_ids.shape}"
        raise InputError(f"{path}: not of a train split of {size} x {size}: {found}{advice()}")
    if vocabulary_size is not None and not 0 <= sample.token_ids.min() <= sample.token_ids.max() < vocabulary_size:
        raise InputError(
            f"{path}: token ids do not fit the model, which has {vocabulary_size} words; "
            "build the split with the model's vocabulary"
        )
    return sample
