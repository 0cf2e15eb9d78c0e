"""The interface of all recipes."""

import abc
from collections.abc import Callable, Iterator

import keras
import numpy as np

from cmpc_tf2.tasks.masks.keras_metrics import OverallIoU


class Augmentation:
    """Changes training samples, or adds inputs to them."""

    def change(self, sample, rng: np.random.Generator):
        """A sample in place of one of the split."""
        return sample

    def names(self, inputs: list[str]) -> dict[str, str]:
        """The added inputs, each with the input whose shape it has."""
        return {}

    def __call__(self, inputs: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The added inputs of a sample."""
        return {}


class Recipe(abc.ABC):
    """How a system is trained.

    Attributes:
        steps: Training steps of the original.
        batch_size: Samples per step of the original.
        learning_rate: Learning rate of the original at that batch size.
        initial_loss_scale: Factor of the loss at the first step of a float16 run.
        logged: Names of the parts of the loss that the log shows.
        passes: Passes of a step over its batch.
        data: What a run reads, a `training.run_data.SampleData`, as `module:name`.
        one_expression_per_reference: An epoch takes every object (reference) once, with one of its expressions drawn at
            random; otherwise it takes every expression.
        backbone_is_trained: Whether the backbone is trained in any case (True), never (False), or with
            `finetune_backbone` only (None).
    """

    steps: int
    batch_size: int
    learning_rate: float
    initial_loss_scale: float
    logged: tuple[str, ...]
    passes: int = 1
    data: str = "cmpc_tf2.training.run_data:SampleData"
    one_expression_per_reference: bool = False
    backbone_is_trained: bool | None = None

    @abc.abstractmethod
    def make_optimizer(self, config) -> keras.optimizers.Optimizer:
        """The optimizer with its schedule.

        Args:
            config: The run, a `TrainConfig` that is `completed`.
        """

    @abc.abstractmethod
    def trained_variables(self, model, finetune_backbone: bool) -> list[keras.Variable]:
        """The variables that training changes, in the model's order.

        Args:
            model: The model.
            finetune_backbone: Among them those of the backbone, where that is a choice (`backbone_is_trained`).
        """

    def training_form(self, model) -> keras.Model:
        """The model that training steps run, with the same weights; its outputs are those that `losses` takes."""
        return model.training_form()

    def normalizer(self, target):
        """A number that `losses` divide by: the mean of the pixels' weights. `Trainer` averages it over devices.

        Args:
            target: Masks, float32 `(B, S, S, 1)`, or what else the task has: all that a device has of a batch.
        """
        return 1.0

    @abc.abstractmethod
    def losses(self, model: Callable, inputs: dict, target, normalizer) -> Iterator[tuple]:
        """The part of the loss that depends on the batch, one pass after another.

        The gradient of a pass is taken before the next one begins, so that a step keeps the activations of one pass.

        Args:
            model: Inputs to outputs, in training mode.
            inputs: The inputs that `data.pipeline.training_dataset` yields.
            target: Masks, float32 `(B, S, S, 1)`, or what else the task has.
            normalizer: The mean of `normalizer` over the whole batch, of which the inputs may be a part.

        Yields:
            For each of `passes`, its share of the loss, averaged over the batch; what the log shows of it by name; and
            the output that the metric scores.
        """

    def make_metric(self) -> keras.metrics.Metric:
        """Scores training batches; the log has it under its name."""
        return OverallIoU()

    def scored(self, outputs: dict):
        """The output of a model that the metric scores."""
        return outputs["mask_logits"]

    def penalty(self, variables: list[keras.Variable]):
        """The part of the loss that depends on the trained variables alone."""
        return 0.0

    def augmentation(self, model) -> Augmentation | None:
        """The augmentation, such as `masking.MaskedCopies`; None for none.

        Args:
            model: The model that is trained, a `ReferringModel`: its vocabulary and the size of its pictures count.

        Raises:
            InputError: The model cannot be trained by the recipe.
        """
        return None
