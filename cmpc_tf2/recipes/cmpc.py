"""The recipes of CMPC, RRN, RMI and the LSTM baseline, which share one form of loss and optimizer."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import ClassVar

import keras

from cmpc_tf2.backbones.config import DeepLabResNetConfig
from cmpc_tf2.recipes.losses import SummedCrossEntropy, is_decayed, resize_target, weight_decay
from cmpc_tf2.recipes.optimizers import INITIAL_RATE, BiasDoublingAdam, polynomial_schedule
from cmpc_tf2.recipes.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class CMPCRecipe(Recipe):
    """Summed cross-entropy and weight decay, by Adam with doubled biases.

        sum over outputs of weight * mean over the batch of summed cross-entropy, plus weight decay

    Source: `train_op` in `CMPC_model.py` of CMPC-Refseg.

    Attributes:
        loss_weights: The outputs in the loss, and their weights. A coarse output is compared with a mask of its own
            size.
        decay_steps: Steps over which the original's learning rate falls.
        steps: Training steps of the original.
    """

    loss_weights: dict[str, float]
    decay_steps: int
    steps: int = 700_000

    batch_size: ClassVar[int] = 1
    learning_rate: ClassVar[float] = INITIAL_RATE
    # Sums over 102,400 pixels have gradients that are large as they are.
    initial_loss_scale: ClassVar[float] = 1.0

    @property
    def logged(self) -> tuple[str, ...]:
        return tuple(f"{name}_loss" for name in self.loss_weights)

    def make_optimizer(self, config) -> keras.optimizers.Optimizer:
        return BiasDoublingAdam(polynomial_schedule(config.initial_rate, config.decay_steps or self.decay_steps))

    def trained_variables(self, model, finetune_backbone: bool) -> list[keras.Variable]:
        """All outside the backbone and, if it is fine-tuned, some of its kernels.

        The backbone's batch norms never change: neither their statistics, nor their scales and offsets.
        """
        backbone = model.get_backbone()
        frozen = {variable.path for variable in backbone.variables}
        if finetune_backbone:
            frozen -= {variable.path for variable in backbone.finetuned_variables()}
        return [variable for variable in model.trainable_variables if variable.path not in frozen]

    def losses(self, model: Callable, inputs: dict, target, normalizer) -> Iterator[tuple]:
        logits = model(inputs)
        loss, parts = self.weighted_cross_entropy(self.targets(target, logits), logits)
        yield loss, parts, logits["mask_logits"]

    def targets(self, target, logits: dict) -> dict:
        """The mask at the size of each output."""
        return {name: resize_target(target, logits[name].shape[1]) for name in self.loss_weights}

    def weighted_cross_entropy(self, targets: dict, logits: dict) -> tuple:
        """The weighted sum over the outputs, and the cross-entropy of each by its name in the log."""
        compute = SummedCrossEntropy()
        losses = {name: compute(targets[name], logits[name]) for name in self.loss_weights}
        total = sum(self.loss_weights[name] * loss for name, loss in losses.items())
        return total, {f"{name}_loss": loss for name, loss in losses.items()}

    def penalty(self, variables: list[keras.Variable]):
        return sum(weight_decay(variable) for variable in variables if is_decayed(variable.path))


# CMPC: the final mask counts most; the side outputs of the three levels keep each of them useful by itself.
CMPC = CMPCRecipe(
    {"mask_logits": 0.7} | {f"mask_logits_{level}": 0.1 for level in reversed(DeepLabResNetConfig.levels)},
    decay_steps=800_000,
)
RRN = CMPCRecipe({"mask_logits": 1.0}, decay_steps=800_000)
RMI = CMPCRecipe({"coarse_logits": 1.0}, decay_steps=750_000)
LSTM_BASELINE = CMPCRecipe({"coarse_logits": 1.0}, decay_steps=750_000)
