"""The recipes of MaskRIS and CARIS, which train the same network."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import ClassVar

import keras
import numpy as np
from keras import ops

from cmpc_tf2.recipes.adamw import GroupedAdamW, WarmupPolynomialDecay
from cmpc_tf2.recipes.losses import WeightedCrossEntropy, pixel_weights
from cmpc_tf2.recipes.masking import MASKED, masked_pass
from cmpc_tf2.recipes.maskris_masking import mask_patches, mask_words, require_whole_patches
from cmpc_tf2.recipes.recipe import Augmentation, Recipe


@dataclasses.dataclass(frozen=True)
class CARISRecipe(Recipe):
    """Weighted cross-entropy of the mask, by AdamW; all weights are trained.

    Source: `training.py`, `criterion.py` and `scripts/script.sh` of naver-ai/maskris (commit 01b54d5), without the
    masked pass.

    Differs from the original: the loss is averaged over the whole batch, not over that of each GPU; and epochs follow
    each other without a gap, where the original leaves out what does not fill the last batch of an epoch.

    Attributes:
        steps: 50 epochs of RefCOCO, 42,404 objects in batches of 16, as the original counts them.
        warmup_steps: Steps of the warm-up.
        weight_decay: Weight decay, of the groups that are decayed.
    """

    steps: int = 132_500
    warmup_steps: int = 1500
    weight_decay: float = 0.01

    batch_size: ClassVar[int] = 16
    learning_rate: ClassVar[float] = 0.0001
    initial_loss_scale: ClassVar[float] = 2.0**16
    logged: ClassVar[tuple[str, ...]] = ("mask_logits_loss",)
    one_expression_per_reference: ClassVar[bool] = True
    backbone_is_trained: ClassVar[bool] = True

    def make_optimizer(self, config) -> keras.optimizers.Optimizer:
        total_steps = config.decay_steps or config.steps
        schedule = WarmupPolynomialDecay(config.initial_rate, total_steps, self.warmup_steps)
        return GroupedAdamW(schedule, decay=self.weight_decay)

    def trained_variables(self, model, finetune_backbone: bool) -> list[keras.Variable]:
        return model.trainable_variables

    def normalizer(self, target):
        return ops.mean(pixel_weights(target))

    def losses(self, model: Callable, inputs: dict, target, normalizer) -> Iterator[tuple]:
        logits = model(inputs)["mask_logits"]
        loss = WeightedCrossEntropy()(target, logits) / normalizer
        yield loss, {"mask_logits_loss": loss}, logits


@dataclasses.dataclass(frozen=True)
class MaskRISRecipe(CARISRecipe):
    """A second pass over masked inputs, whose targets are the probabilities for the clean ones.

    Half of the loss of the clean pass, half of that of the masked one, which is computed at a quarter of the size.

    Source: Lee et al. 2024, arXiv 2411.19067, and as `CARISRecipe`.
    """

    logged: ClassVar[tuple[str, ...]] = ("mask_logits_loss", "masked_loss")
    passes: ClassVar[int] = 2

    def losses(self, model: Callable, inputs: dict, target, normalizer) -> Iterator[tuple]:
        outputs = model(inputs)
        loss = WeightedCrossEntropy()(target, outputs["mask_logits"]) / normalizer
        yield loss / 2, {"mask_logits_loss": loss}, outputs["mask_logits"]
        probabilities = ops.stop_gradient(ops.sigmoid(_foreground_logits(outputs)))
        outputs = model(masked_pass(inputs))
        loss = WeightedCrossEntropy()(probabilities, _foreground_logits(outputs))
        yield loss / 2, {"masked_loss": loss}, outputs["mask_logits"]

    def augmentation(self, model) -> "MaskedInputs":
        require_whole_patches(model.config.image_size)
        return MaskedInputs(model.vocabulary)


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedInputs(Augmentation):
    """Adds the masked picture and the masked words of a sample. The mask of the word slots is that of the sentence.

    Attributes:
        vocabulary: The words by token id.
    """

    vocabulary: list[str]

    def names(self, inputs: list[str]) -> dict[str, str]:
        """The added inputs, each with the input whose shape it has."""
        return {f"{MASKED}{name}": name for name in ("image", "token_ids")}

    def __call__(self, inputs: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The added inputs of a sample: pixels first, then words."""
        return {
            f"{MASKED}image": mask_patches(inputs["image"], rng),
            f"{MASKED}token_ids": mask_words(inputs["token_ids"], self.vocabulary, rng),
        }


def _foreground_logits(outputs: dict):
    """The coarse logits of the foreground minus those of the background: float32 `(B, S/4, S/4, 1)`."""
    logits = ops.cast(outputs["coarse_logits"], "float32")
    return logits[..., 1:] - logits[..., :1]


CARIS = CARISRecipe()
MASKRIS = MaskRISRecipe()
