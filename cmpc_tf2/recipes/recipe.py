"""The interface of all recipes."""

import abc
from collections.abc import Callable, Iterator

import keras


class Recipe(abc.ABC):
    """How a system is trained.

    Attributes:
        steps: Training steps of the original.
        batch_size: Samples per step of the original.
        learning_rate: Learning rate of the original at that batch size.
        initial_loss_scale: Factor of the loss at the first step of a float16 run.
        logged: Names of the parts of the loss that the log shows.
        passes: Passes of a step over its batch.
        one_expression_per_reference: An epoch takes every object (reference) once, with one of its expressions drawn at
            random; otherwise it takes every expression.
    """

    steps: int
    batch_size: int
    learning_rate: float
    initial_loss_scale: float
    logged: tuple[str, ...]
    passes: int = 1
    one_expression_per_reference: bool = False

    @abc.abstractmethod
    def make_optimizer(self, config) -> keras.optimizers.Optimizer:
        """The optimizer with its schedule.

        Args:
            config: The run, a `TrainConfig` that is `completed`.
        """

    @abc.abstractmethod
    def trained_variables(self, model, finetune_backbone: bool) -> list[keras.Variable]:
        """The variables that training changes, in the model's order."""

    def normalizer(self, target):
        """A number that `losses` divide by: the mean of the pixels' weights. `Trainer` averages it over devices.

        Args:
            target: Masks, float32 `(B, S, S, 1)`: all that a device has of a batch.
        """
        return 1.0

    @abc.abstractmethod
    def losses(self, model: Callable, inputs: dict, target, normalizer) -> Iterator[tuple]:
        """The part of the loss that depends on the batch, one pass after another.

        The gradient of a pass is taken before the next one begins, so that a step keeps the activations of one pass.

        Args:
            model: Inputs to outputs, in training mode.
            inputs: The inputs that `data.pipeline.training_dataset` yields.
            target: Masks, float32 `(B, S, S, 1)`.
            normalizer: The mean of `normalizer` over the whole batch, of which the inputs may be a part.

        Yields:
            For each of `passes`, its share of the loss, averaged over the batch; what the log shows of it by name; and
            its mask logits.
        """

    def penalty(self, variables: list[keras.Variable]):
        """The part of the loss that depends on the trained variables alone."""
        return 0.0

    def augmentation(self, model):
        """A function that adds inputs to a sample, such as `masking.MaskedCopies`; None for no augmentation.

        Args:
            model: The model that is trained, a `ReferringModel`: its vocabulary and the size of its pictures count.

        Raises:
            InputError: The model cannot be trained by the recipe.
        """
        return None
