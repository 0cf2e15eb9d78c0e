"""Masked second passes, MaskRIS' training for CMPC and its ancestors: `--recipe masked`."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import ClassVar

from keras import ops

from cmpc_tf2.errors import InputError
from cmpc_tf2.recipes import cmpc
from cmpc_tf2.recipes.masking import MaskedCopies, masked_pass
from cmpc_tf2.text.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class MaskedPasses(cmpc.CMPCRecipe):
    """A second pass over masked inputs, whose targets are the probabilities for the clean ones.

    Half of the loss of the clean pass, half of that of the masked one.

    Source: Lee et al. 2024, arXiv 2411.19067, and `training.py` of naver-ai/maskris.
    """

    passes: ClassVar[int] = 2

    @property
    def logged(self) -> tuple[str, ...]:
        return (*super().logged, "masked_loss")

    def losses(self, model: Callable, inputs: dict, target, normalizer) -> Iterator[tuple]:
        logits = model(inputs)
        loss, parts = self.weighted_cross_entropy(self.targets(target, logits), logits)
        yield loss / 2, parts, logits["mask_logits"]
        probabilities = {name: ops.stop_gradient(ops.sigmoid(logits[name])) for name in self.loss_weights}
        logits = model(masked_pass(inputs))
        loss, _ = self.weighted_cross_entropy(probabilities, logits)
        yield loss / 2, {"masked_loss": loss}, logits["mask_logits"]

    def augmentation(self, model) -> MaskedCopies:
        if model.vocabulary is None:
            raise InputError("--recipe masked masks words: give the vocabulary (--vocabulary FILE)")
        return MaskedCopies(Vocabulary(model.vocabulary))


CMPC, RRN, RMI, LSTM_BASELINE = (
    MaskedPasses(recipe.loss_weights, recipe.decay_steps)
    for recipe in (cmpc.CMPC, cmpc.RRN, cmpc.RMI, cmpc.LSTM_BASELINE)
)
