"""How SL-Att. and CG-SL-Att. are trained."""

import dataclasses
import random
from collections.abc import Callable, Iterator
from typing import ClassVar

import keras
import numpy as np
from keras import ops

from cmpc_tf2.recipes.recipe import Augmentation, Recipe
from cmpc_tf2.recipes.rmsprop import EpochPolynomialDecay, TorchRMSprop
from cogrounding_tf2.data.augmentation import draws_of
from cogrounding_tf2.losses import RANK_WEIGHT, BoxAccuracy, detection_loss, location_loss, rank_loss, targets_of

# The backbone learns at this share of the rate.
BACKBONE_FACTOR = 0.1


@dataclasses.dataclass(frozen=True)
class GroundingRecipe(Recipe):
    """Detection, rank and location losses by PyTorch's RMSprop; all weights are trained.

    Source: `train_epoch` and `main` of the training scripts of SijieSong/CVPR21-Cogrounding_semantic_attention (commit
    7b0630a).

    Differs from the original: epochs follow each other without a gap, where the original leaves out what does not fill
    the last batch of an epoch. With several devices or parts, samples are ranked against those of the same share.

    Attributes:
        steps: 100 epochs of RefCOCO's 120,624 sentences in batches of 32, without incomplete ones.
        weight_decay: Added to the gradient of every weight, times the weight.
    """

    steps: int = 376_900
    weight_decay: float = 0.0005

    batch_size: ClassVar[int] = 32
    learning_rate: ClassVar[float] = 0.0001
    initial_loss_scale: ClassVar[float] = 2.0**10
    logged: ClassVar[tuple[str, ...]] = ("detection_loss", "rank_loss", "location_loss")
    backbone_is_trained: ClassVar[bool] = True

    def make_optimizer(self, config) -> keras.optimizers.Optimizer:
        schedule = EpochPolynomialDecay(config.initial_rate, config.decay_steps or config.steps)
        return TorchRMSprop(schedule, self.weight_decay, rate_factor=rate_factor)

    def trained_variables(self, model, finetune_backbone: bool) -> list[keras.Variable]:
        return model.trainable_variables

    def losses(self, model: Callable, inputs: dict, target, normalizer) -> Iterator[tuple]:
        outputs = model(inputs)
        loss, parts = total_loss(outputs, target)
        yield loss, parts, outputs["box_logits"]

    def make_metric(self) -> keras.metrics.Metric:
        return BoxAccuracy()

    def scored(self, outputs: dict):
        return outputs["box_logits"]

    def augmentation(self, model) -> "BoxAugmentation":
        return BoxAugmentation(model.config.image_size)


def total_loss(outputs: dict, target) -> tuple:
    """The loss of a batch.

    Args:
        outputs: Of a model, for B samples.
        target: Boxes in the square, `(B, 4)`, or of pairs of frames `(B / 2, 2, 4)`.

    Returns:
        The loss, and its parts by name, weighted.
    """
    targets = targets_of(ops.cast(ops.reshape(target, (-1, 4)), outputs["box_logits"].dtype))
    parts = {
        "detection_loss": detection_loss(outputs["box_logits"], targets),
        "rank_loss": RANK_WEIGHT * rank_loss(outputs["similarity"], outputs["visual"], outputs["subject"], targets),
        "location_loss": location_loss(outputs["location"], targets),
    }
    return sum(parts.values()), parts


def rate_factor(path: str) -> float:
    """The factor of the learning rate of a weight, given `Variable.path`."""
    return BACKBONE_FACTOR if path.startswith("module_list.") else 1.0


@dataclasses.dataclass(frozen=True)
class BoxAugmentation(Augmentation):
    """Mirrors, brightens and moves pictures with their boxes, as the original does.

    Attributes:
        size: Side of the square that the model sees.
    """

    size: int

    def change(self, sample, rng: np.random.Generator):
        return sample.augmented(self.size, draws_of(random.Random(int(rng.integers(2**63)))))


SL_ATT = GroundingRecipe()
CG_SL_ATT = GroundingRecipe()
