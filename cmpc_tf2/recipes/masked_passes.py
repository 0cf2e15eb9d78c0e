"""Masked second passes, MaskRIS' training for any system: `--recipe maskris`."""

import dataclasses
from collections.abc import Callable

import keras
from keras import ops

from cmpc_tf2.errors import InputError
from cmpc_tf2.recipes.masking import MASKED, MaskedCopies
from cmpc_tf2.recipes.recipe import Recipe
from cmpc_tf2.recipes.tf1 import TF1Recipe
from cmpc_tf2.text.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class MaskedPasses(Recipe):
    """A recipe with a second pass over masked inputs, whose targets are the probabilities for the clean ones.

    Half of the loss of the clean pass, half of that of the masked one.

    Source: Lee et al. 2024, arXiv 2411.19067, and `training.py` of naver-ai/maskris.

    Attributes:
        recipe: That of the system.
    """

    recipe: TF1Recipe

    @property
    def logged(self) -> tuple[str, ...]:
        return (*self.recipe.logged, "masked_loss")

    def make_optimizer(self, config) -> keras.optimizers.Optimizer:
        return self.recipe.make_optimizer(config)

    def trained_variables(self, model, finetune_backbone: bool) -> list[keras.Variable]:
        return self.recipe.trained_variables(model, finetune_backbone)

    def penalty(self, variables: list[keras.Variable]):
        return self.recipe.penalty(variables)

    def batch_loss(self, model: Callable, inputs: dict, target) -> tuple:
        outputs = {}

        def keep_outputs(inputs):
            outputs.update(model(inputs))
            return outputs

        loss, parts, mask_logits = self.recipe.batch_loss(keep_outputs, inputs, target)
        masked = model({name: inputs[f"{MASKED}{name}"] for name in inputs if f"{MASKED}{name}" in inputs})
        probabilities = {name: ops.stop_gradient(ops.sigmoid(value)) for name, value in outputs.items()}
        masked_loss, _ = self.recipe.weighted_cross_entropy(probabilities, masked)
        return (loss + masked_loss) / 2, {**parts, "masked_loss": masked_loss}, mask_logits

    def augmentation(self, vocabulary: list[str] | None) -> MaskedCopies:
        if vocabulary is None:
            raise InputError("--recipe maskris masks words: give the vocabulary (--vocabulary FILE)")
        return MaskedCopies(Vocabulary(vocabulary))
