"""What a training run reads: the stream of its batches, and the scores of its validation split."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from cmpc_tf2.data.pipeline import (
    check_train_files,
    read_samples_per_reference,
    samples_of_step,
    training_dataset,
)
from cmpc_tf2.errors import InputError
from cmpc_tf2.fields import FieldError
from cmpc_tf2.inference.evaluation import evaluate
from cmpc_tf2.inference.runner import make_runner
from cmpc_tf2.medium import Medium
from cmpc_tf2.models.interface import ReferringInterface
from cmpc_tf2.systems import import_object
from cmpc_tf2.training.config import TrainConfig

# Validation samples that are drawn for TensorBoard.
DRAWN_SAMPLES = 4


class SampleData:
    """Batches of samples, one file each. A recipe names another class (`Recipe.data`) if it needs other batches.

    Args:
        config: The run, `completed`.
        model: The model that is trained.
        paths: Files of the train split; its manifest and its first files are checked.
        medium: Medium of the samples.

    Attributes:
        epoch_size: Of what `batch_size` counts, how many an epoch has: files, or objects if the recipe takes one
            expression of each.

    Raises:
        InputError: The split does not fit the model and the recipe.
    """

    @staticmethod
    def check_options(config: TrainConfig):
        """Checks the options of a run, `completed`, before its model is built.

        Raises:
            FieldError: The run has an option that this training does not have.
        """

    def __init__(self, config: TrainConfig, model: ReferringInterface, paths: list[Path], medium: Medium):
        self._config, self._model, self._paths, self._medium = config, model, paths, medium
        recipe = config.make_recipe()
        check_train_files(paths, model, medium.sample_type)
        self._group_sizes = [1] * len(paths)
        if recipe.one_expression_per_reference:
            self._group_sizes = read_samples_per_reference(paths[0].parent, model.preprocessing, medium.sample_type)
        self.epoch_size = len(self._group_sizes)
        self._tokenizer = None if model.tokenizer_type.reads_stored_ids else model.make_tokenizer()
        self._augmentation = recipe.augmentation(model)

    def dataset(
        self,
        start_step: int,
        input_context: tf.distribute.InputContext | None = None,
        on_error: Callable[[InputError], None] | None = None,
    ) -> tf.data.Dataset:
        """The endless stream of `(inputs, target)` from a step on, which follows from seed and step alone.

        Args:
            start_step: Steps already taken.
            input_context: As `training_dataset`.
            on_error: As `training_dataset`.
        """
        config = self._config
        return training_dataset(
            self._paths,
            config.batch_size,
            self._model.preprocessing,
            seed=config.seed,
            start_step=start_step,
            input_context=input_context,
            vocabulary_size=config.model.vocabulary_size,
            tokenizer=self._tokenizer,
            augmentation=self._augmentation,
            sample_type=self._medium.sample_type,
            on_error=on_error,
            group_sizes=self._group_sizes,
        )

    def names_of_step(self, step: int) -> list[str]:
        """Names of the files that the batch of a step is made of, for messages."""
        config = self._config
        numbers = samples_of_step(self._group_sizes, config.batch_size, config.seed, step)
        return [self._paths[number].name for number in numbers]

    def validate(self, paths: list[Path]) -> tuple[dict[str, float], list]:
        """Scores the model on a validation split.

        Returns:
            The scores as entries of the log, `val_overall_iou`, ..., of which the first decides which model is best;
            and the first few samples as pictures with the results drawn in.
        """
        task, pictures = self._medium.task, []

        def draw(_, sample, prediction, score):
            if len(pictures) < DRAWN_SAMPLES:
                pictures.append(task.draw(sample, prediction, score))

        result = evaluate(make_runner(self._model), paths, on_prediction=draw, medium=self._medium)
        return task.log_entry(result["plain"]), pictures


def make_data(config: TrainConfig, model: ReferringInterface, paths: list[Path], medium: Medium) -> SampleData:
    """The data of a run, as its recipe names it.

    Raises:
        InputError: As `check_options` and `SampleData`.
    """
    check_options(config)
    return _data_type_of(config)(config.completed(), model, paths, medium)


def check_options(config: TrainConfig):
    """Checks the options of a run before its model is built.

    Raises:
        FieldError: The run has an option that the training of its system does not have.
    """
    _data_type_of(config).check_options(config.completed())


def _data_type_of(config: TrainConfig) -> type[SampleData]:
    return import_object(config.make_recipe().data)


def dataset_of_steps(
    make_batch: Callable[[int], Any], signature, start_step: int, on_error: Callable[[InputError], None] | None = None
) -> tf.data.Dataset:
    """The endless stream of batches that a function makes, for `SampleData.dataset`.

    Args:
        make_batch: Number of a step to its batch; raises InputError.
        signature: The `tf.TensorSpec`s of a batch.
        start_step: Steps already taken.
        on_error: Called with the reason why a batch cannot be made, before the stream fails.
    """

    def batches() -> Iterator:
        for step in itertools.count(start_step):
            try:
                yield make_batch(step)
            except InputError as error:
                if on_error is not None:
                    on_error(error)
                raise ValueError(str(error)) from None  # tf.data passes this type and its text on.

    options = tf.data.Options()
    # A detector may run inside of the generator, and must not wait for threads that wait for it.
    options.threading.private_threadpool_size = 1
    return tf.data.Dataset.from_generator(batches, output_signature=signature).with_options(options).prefetch(1)


def require_undivided(config: TrainConfig, reason: str):
    """Checks that no option divides or compiles the batches of a run.

    Args:
        config: The run.
        reason: Why they cannot be, for the message.

    Raises:
        FieldError: One does.
    """
    for name, allowed in {"strategy": "none", "accumulate": 1, "jit_compile": False}.items():
        if getattr(config, name) != allowed:
            raise FieldError(name, f"{reason}, so that batches cannot be divided or compiled; leave it out")
