"""How the matching network of MAttNet is trained."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import ClassVar

import keras
import numpy as np
from keras import ops

from cmpc_tf2.recipes.clipped_adam import ClippedAdam, LateExponentialDecay
from cmpc_tf2.recipes.recipe import Recipe
from cmpc_tf2.registration import PACKAGE

MARGIN = 0.1
# The largest weight of an attribute; the smallest is 1.
LARGEST_WEIGHT = 10


@dataclasses.dataclass(frozen=True)
class MAttNetRecipe(Recipe):
    """Ranking and attribute losses by Adam with clipped gradients; the detector's features are given.

    A batch is 3 N rows of a box and a sentence, by the model's inputs with n = 1: N pairs that fit, then other boxes
    with the sentences of these pairs, then their boxes with other sentences. Boxes recur, so that a batch has far fewer
    boxes than rows; the subject of each is encoded once.

    Source: `lossFun` and `main` in `tools/train.py` of lichengunc/MAttNet (commit 3204d07).

    Differs from the original: with several devices, the rows of each are normalised by their own statistics.

    Attributes:
        steps: Steps of the original.
        decay_start: The last step at the full rate.
        decay_every: Steps in which the rate falls to a tenth.
        clip: The largest absolute value of an element of the gradient.
    """

    steps: int = 30_000
    decay_start: int = 8000
    decay_every: int = 8000
    clip: float = 0.1

    # In pictures, of which all referred objects count, three times each.
    batch_size: ClassVar[int] = 15
    learning_rate: ClassVar[float] = 0.0004
    initial_loss_scale: ClassVar[float] = 2.0**10
    logged: ClassVar[tuple[str, ...]] = ("ranking_loss", "attribute_loss")
    backbone_is_trained: ClassVar[bool] = False
    data: ClassVar[str] = "cmpc_tf2.training.pair_data:PairData"

    def make_optimizer(self, config) -> keras.optimizers.Optimizer:
        schedule = LateExponentialDecay(config.initial_rate, self.decay_start, self.decay_every)
        return ClippedAdam(schedule, self.clip)

    def trained_variables(self, model, finetune_backbone: bool) -> list[keras.Variable]:
        return model.trainable_variables

    def losses(self, model: Callable, inputs: dict, target, normalizer) -> Iterator[tuple]:
        """As `Recipe.losses`.

        Args:
            model: As there.
            inputs: The inputs of `MatchingNetwork` for 3 N rows.
            target: `attributes`, float32 `(N, A)`, 0 or 1, of the boxes of the pairs that fit; and `attribute_weights`,
                `(A,)`, as `attribute_weights` returns them.
            normalizer: As there.
        """
        outputs = model(inputs)
        loss, parts = total_loss(outputs, target["attributes"], target["attribute_weights"])
        yield loss, parts, self.scored(outputs)

    def make_metric(self) -> keras.metrics.Metric:
        return RankingAccuracy()

    def scored(self, outputs: dict):
        return outputs["scores"]


def total_loss(outputs: dict, attributes, weights) -> tuple:
    """The loss of a batch.

    Args:
        outputs: Of a `MatchingNetwork`, for 3 N rows with n = 1.
        attributes: `(N, A)`, 0 or 1.
        weights: `(A,)`.

    Returns:
        The loss, and its parts by name.
    """
    rows = ops.shape(attributes)[0]
    # Models of a lower precision have exact scores only.
    logits = ops.cast(outputs["attributes"][:rows, 0], outputs["scores"].dtype)
    parts = {
        "ranking_loss": ranking_loss(outputs["scores"]),
        "attribute_loss": attribute_loss(logits, attributes, weights),
    }
    return sum(parts.values()), parts


def ranking_loss(scores):
    """A pair that fits has a score above those with another box and with another sentence, by a margin.

    Source: `MaxMarginCriterion` in `lib/crits/max_margin_crit.py` of lichengunc/MAttNet (commit 3204d07).

    Args:
        scores: `(3 N, 1)` or `(3 N,)`: pairs that fit, with other boxes, with other sentences.
    """
    fitting, other_box, other_sentence = ops.split(ops.reshape(scores, (-1,)), 3)
    return ops.mean(ops.relu(MARGIN + other_box - fitting) + ops.relu(MARGIN + other_sentence - fitting))


def attribute_loss(logits, labels, weights):
    """Sigmoid cross-entropy of the attributes, weighed by attribute; the mean over the objects that have any.

    Args:
        logits: `(N, A)`.
        labels: `(N, A)`, 0 or 1.
        weights: `(A,)`.

    Returns:
        The loss; 0 if no object has an attribute.
    """
    labels, weights = ops.cast(labels, logits.dtype), ops.cast(weights, logits.dtype)
    is_labelled = ops.cast(ops.any(labels > 0, axis=-1), logits.dtype)
    entropies = ops.mean(weights * (ops.softplus(logits) - logits * labels), axis=-1)
    return ops.sum(is_labelled * entropies) / ops.maximum(ops.sum(is_labelled), 1)


def attribute_weights(counts: np.ndarray) -> np.ndarray:
    """The weights of attributes in the loss: rare ones weigh more, from 1 to 10.

    Source: `get_attribute_weights` in `lib/loaders/gt_mrcn_loader.py` of lichengunc/MAttNet (commit 3204d07).

    Args:
        counts: How often each occurs in the data set, `(A,)`, above 0.

    Returns:
        float32 `(A,)`; ones if all occur equally often.
    """
    rarity = 1 / np.sqrt(np.asarray(counts, np.float64))
    span = np.ptp(rarity)
    shares = (rarity - rarity.min()) / span if span else np.zeros_like(rarity)
    return (1 + (LARGEST_WEIGHT - 1) * shares).astype(np.float32)


@keras.saving.register_keras_serializable(package=PACKAGE)
class RankingAccuracy(keras.metrics.Mean):
    """Share of pairs that fit whose score is above that with another box and that with another sentence.

    Call arguments:
        y_true: Not used.
        y_pred: Scores, `(3 N, 1)`, in the order of `ranking_loss`.
    """

    def __init__(self, name="ranking_accuracy", dtype=None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):
        fitting, other_box, other_sentence = ops.split(ops.reshape(y_pred, (-1,)), 3)
        super().update_state(fitting > ops.maximum(other_box, other_sentence), sample_weight)


MATTNET = MAttNetRecipe()
