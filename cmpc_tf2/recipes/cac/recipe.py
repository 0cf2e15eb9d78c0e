"""The recipe of CAC."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import ClassVar

import keras
from keras import ops

from cmpc_tf2.recipes.cac.losses import total_loss
from cmpc_tf2.recipes.cac.step import TrainingStep
from cmpc_tf2.recipes.cac.targets import ANCHORS, BOXES
from cmpc_tf2.recipes.recipe import Recipe
from cmpc_tf2.recipes.sgd import StepDecay, TorchSGD
from cmpc_tf2.registration import PACKAGE

# Factor of the rate of the parts that no detector has, in training without a captioner.
NEW_FACTOR = 10.0
_NEW = ("rnn_encoder/", "filters/")
_FROZEN = ("resnet.conv1/", "resnet.layer1.")


@dataclasses.dataclass(frozen=True)
class CACRecipe(Recipe):
    """The losses of a detector whose only object is the one that a sentence refers to, by SGD with momentum.

    A batch is one picture with one sentence. In the variant `response`, the response has a loss too, and so has a
    captioner. With a captioner, all parts learn at the same rate.

    Source: `train_step` in `lib/nets/network_cycle_response.py`, and `construct_graph` in
    `lib/model/train_val_response.py` and `train_val_cycle_response.py`, of wenz116/lang2seg (commit 3af9a47).

    Attributes:
        steps: Steps of the original without a captioner; with one it takes 800,000.
        decay_steps: Steps before the rate falls to a tenth.
        momentum: The share of the momentum that a step keeps.
        weight_decay: Weight decay, of all weights but biases.
        caption_weight: Factor of the loss of the caption.
        counts: Anchors with a label at most, and boxes.
    """

    steps: int = 600_000
    decay_steps: int = 360_000
    momentum: float = 0.9
    weight_decay: float = 0.0001
    caption_weight: float = 1.0
    counts: tuple[int, int] = (ANCHORS, BOXES)

    batch_size: ClassVar[int] = 1
    learning_rate: ClassVar[float] = 0.0001
    initial_loss_scale: ClassVar[float] = 2.0**10
    logged: ClassVar[tuple[str, ...]] = (
        *("anchor_class_loss", "anchor_box_loss", "class_loss", "box_loss", "mask_loss"),
        *("response_loss", "caption_loss"),
    )
    backbone_is_trained: ClassVar[bool] = True
    data: ClassVar[str] = "cmpc_tf2.training.referent_data:ReferentData"

    def make_optimizer(self, config) -> keras.optimizers.Optimizer:
        return TorchSGD(
            StepDecay(config.initial_rate, config.decay_steps or self.decay_steps),
            momentum=self.momentum,
            decay=self.weight_decay,
            rate_factor=None if config.model.captioner else rate_factor,
            is_decayed=is_decayed,
        )

    def trained_variables(self, model, finetune_backbone: bool) -> list[keras.Variable]:
        """All but batch norms, which are frozen by themselves, and the first convolution and stage of the ResNet."""
        return [variable for variable in model.trainable_variables if not variable.path.startswith(_FROZEN)]

    def training_form(self, model) -> keras.Model:
        """A model from the call arguments of `TrainingStep` to what it returns."""
        inputs = {
            "image": keras.Input((None, None, 3), batch_size=1, dtype="float32", name="image"),
            "token_ids": keras.Input((model.config.max_words,), batch_size=1, dtype="int32", name="token_ids"),
            "box": keras.Input((4,), batch_size=1, dtype="float32", name="box"),
            "label": keras.Input((), batch_size=1, dtype="int32", name="label"),
            "mask": keras.Input((None, None), batch_size=1, dtype="uint8", name="mask"),
            "seed": keras.Input((2,), batch_size=1, dtype="int64", name="seed"),
        }
        return keras.Model(inputs, TrainingStep(model, self.counts)(inputs), name="training_form")

    def losses(self, model: Callable, inputs: dict, target, normalizer) -> Iterator[tuple]:
        """As `Recipe.losses`.

        Args:
            model: As there.
            inputs: The call arguments of `TrainingStep`.
            target: Not used: the object is one of the inputs, because targets depend on the proposals.
            normalizer: As there.
        """
        outputs = model(inputs)
        loss, parts = total_loss(outputs, inputs["token_ids"], self.caption_weight)
        yield loss, parts, self.scored(outputs)

    def make_metric(self) -> keras.metrics.Metric:
        return ForegroundAccuracy()

    def scored(self, outputs: dict):
        return {"logits": outputs["boxes"]["logits"], "labels": outputs["targets"].boxes.labels}


def rate_factor(path: str) -> float:
    """The factor of the rate of a weight, given `Variable.path`, in training without a captioner."""
    return NEW_FACTOR if path.startswith(_NEW) else 1.0


def is_decayed(path: str) -> bool:
    """Whether a weight is decayed, given `Variable.path`: all but biases are."""
    return "bias" not in path


@keras.saving.register_keras_serializable(package=PACKAGE)
class ForegroundAccuracy(keras.metrics.Mean):
    """Share of the drawn boxes of the foreground whose class has the largest logit.

    Call arguments:
        y_true: Not used.
        y_pred: A dict of `logits`, `(n, classes)`, and `labels`, `(n,)`, 0 for the background.
    """

    def __init__(self, name="foreground_accuracy", dtype=None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels = ops.cast(y_pred["labels"], "int32")
        is_right = ops.cast(ops.argmax(y_pred["logits"], axis=-1), "int32") == labels
        super().update_state(is_right, ops.cast(labels > 0, "float32"))


CAC = CACRecipe()
