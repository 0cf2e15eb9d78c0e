"""What training of CAC reads: a picture, a sentence, and the object that it refers to."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from cmpc_tf2.data.batches import read_batch
from cmpc_tf2.data.mattnet_data import PreparedData
from cmpc_tf2.data.object_split import read_object_split
from cmpc_tf2.data.objects import ObjectSample
from cmpc_tf2.errors import InputError, named
from cmpc_tf2.fields import FieldError
from cmpc_tf2.medium import Medium
from cmpc_tf2.models.cac.model import CAC
from cmpc_tf2.preprocessing.detector_picture import scale_picture
from cmpc_tf2.recipes.cac.targets import scale_truth
from cmpc_tf2.training.config import TrainConfig
from cmpc_tf2.training.run_data import SampleData, dataset_of_steps, require_undivided


class ReferentData(SampleData):
    """As `SampleData`, for `CACRecipe`: a step takes one sentence, with its picture and object.

    The first epoch takes the pictures in the order of the split, every further one in random order. All sentences about
    a picture follow each other, in random order. The orders follow from the seed and the number of the epoch, the seeds
    of a step's draws from the seed and the step.

    Args: as `SampleData`.

    Attributes:
        epoch_size: Sentences of the split.

    Raises:
        InputError: The split does not fit the model.
    """

    @staticmethod
    def check_options(config: TrainConfig):
        """As `SampleData.check_options`."""
        if config.batch_size != 1:
            raise FieldError("batch_size", "CAC takes one sentence per step; leave it out")
        require_undivided(config, "CAC takes one sentence per step, and pictures of any size")

    def __init__(self, config: TrainConfig, model: CAC, paths: list[Path], medium: Medium):
        self._config, self._model, self._paths, self._medium = config, model, paths, medium
        data = read_object_split(paths, model.make_tokenizer())
        _require_known_classes(data, paths, config.model.detector.classes)
        self._token_ids = data.token_ids
        self._pictures = [
            [row for number in picture.reference_ids for row in data.references[number].sentence_ids]
            for picture in data.pictures.values()
        ]
        self.epoch_size = len(paths)
        self._order = 0, []
        self._signature = {
            "image": tf.TensorSpec((1, None, None, 3), tf.float32),
            "token_ids": tf.TensorSpec((1, data.max_words), tf.int32),
            "box": tf.TensorSpec((1, 4), tf.float32),
            "label": tf.TensorSpec((1,), tf.int32),
            "mask": tf.TensorSpec((1, None, None), tf.uint8),
            "seed": tf.TensorSpec((1, 2), tf.int64),
        }

    def dataset(
        self, start_step: int, input_context=None, on_error: Callable[[InputError], None] | None = None
    ) -> tf.data.Dataset:
        """The endless stream of the call arguments of `recipes.cac.step.TrainingStep`; otherwise as `SampleData`."""
        return dataset_of_steps(self._inputs, self._signature, start_step, on_error)

    def names_of_step(self, step: int) -> list[str]:
        return [self._paths[self._sentence(step)].name]

    def _sentence(self, step: int) -> int:
        """The sentence of a step, by the number of its file."""
        epoch, place = divmod(step, self.epoch_size)
        number, order = self._order
        if number != epoch or not order:
            order = sentences_of_epoch(self._pictures, self._config.seed, epoch)
            self._order = epoch, order
        return order[place]

    def _inputs(self, step: int) -> dict[str, np.ndarray]:
        number = self._sentence(step)
        path, detector = self._paths[number], self._config.model.detector
        sample = read_batch(path, ObjectSample)
        with named(path, "; build the split again"):
            image = sample.image
        pixels, scale = scale_picture(image, detector.shorter_side, detector.longer_side, self._model.preprocessing)
        category = int(sample.categories[sample.object])
        truth = scale_truth(sample.boxes[sample.object], category, sample.mask, scale, pixels.shape[:2])
        inputs = {
            "image": pixels,
            "token_ids": self._token_ids[number],
            "box": truth.box,
            "label": np.int32(truth.label),
            "mask": truth.mask,
            "seed": np.int64([self._config.seed, step]),
        }
        return {name: np.asarray(value)[None] for name, value in inputs.items()}


def sentences_of_epoch(pictures: list[list[int]], seed: int, epoch: int) -> list[int]:
    """The order of the sentences in an epoch.

    Source: the loader of wenz116/lang2seg (commit 3af9a47), whose random numbers are others.

    Args:
        pictures: The sentences about each picture.
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
    """
    rng = np.random.default_rng([seed, epoch, 1])  # Not the generator of a step, which has two seeds.
    order = rng.permutation(len(pictures)) if epoch else range(len(pictures))
    return [sentence for picture in order for sentence in rng.permutation(pictures[picture]).tolist()]


def _require_known_classes(data: PreparedData, paths: list[Path], classes: int):
    """Checks that the detector has the classes of all referred objects."""
    for reference in data.references.values():
        category = data.boxes[reference.annotation_id].category_id
        if category >= classes:
            raise InputError(
                f"{paths[reference.sentence_ids[0]]}: expected objects of the classes 1 to {classes - 1}, as the "
                f"detector has, found class {category}; give a detector for this data set (--backbone)"
            )
