"""The interface of all recipes."""

import abc
from collections.abc import Callable

import keras


class Recipe(abc.ABC):
    """How a system is trained.

    Attributes:
        logged: Names of the parts of the loss that the log shows.
    """

    logged: tuple[str, ...]

    @abc.abstractmethod
    def make_optimizer(self, config) -> keras.optimizers.Optimizer:
        """The optimizer with its schedule.

        Args:
            config: The run, a `TrainConfig`.
        """

    @abc.abstractmethod
    def trained_variables(self, model, finetune_backbone: bool) -> list[keras.Variable]:
        """The variables that training changes, in the model's order."""

    @abc.abstractmethod
    def batch_loss(self, model: Callable, inputs: dict, target) -> tuple:
        """The part of the loss that depends on the batch.

        Args:
            model: Inputs to outputs, in training mode.
            inputs: The inputs that `data.pipeline.training_dataset` yields.
            target: Masks, float32 `(B, S, S, 1)`.

        Returns:
            The loss, averaged over the batch; its parts by their name in the log; and the mask logits.
        """

    @abc.abstractmethod
    def penalty(self, variables: list[keras.Variable]):
        """The part of the loss that depends on the trained variables alone."""

    def augmentation(self, vocabulary: list[str] | None):
        """A function that adds inputs to a sample, such as `masking.MaskedCopies`; None for no augmentation.

        Args:
            vocabulary: The words by token id; None if unknown.

        Raises:
            InputError: The recipe needs the words.
        """
        return None
