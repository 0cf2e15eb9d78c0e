"""The optimizer of MaskRIS and CARIS: AdamW as PyTorch computes it, with groups of parameters, and its schedule."""

import math
import re

import keras
from keras import ops

from cmpc_tf2.recipes.optimizers import PerStepAdam, sum_over_devices
from cmpc_tf2.registration import PACKAGE

WARMUP_RATIO = 0.001
DECAY_POWER = 0.9
CLIP_NORM = 1.0


@keras.saving.register_keras_serializable(package=PACKAGE)
class WarmupPolynomialDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up from a thousandth of the rate, then a fall to 0 with power 0.9.

        rate(0) = r
        rate(t) = r (0.001 + 0.999 t / warmup_steps)    up to warmup_steps
        rate(t) = r (1 - t / total_steps)^0.9           behind it

    Step 0 runs at the full rate, before the warm-up: the original's scheduler takes effect behind the first step only.
    The two parts do not join.

    Source: `WarmUpPolyLRScheduler` in `utils.py` of naver-ai/maskris (commit 01b54d5).

    Args:
        initial_rate: The full rate, `r`.
        total_steps: Steps until the rate is 0.
        warmup_steps: Steps of the warm-up.
    """

    def __init__(self, initial_rate: float, total_steps: int, warmup_steps: int):
        self.initial_rate = initial_rate
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        step = ops.cast(step, "float32")
        warmup = WARMUP_RATIO + (1 - WARMUP_RATIO) * step / self.warmup_steps
        # Not 1 - t / total, which cancels at the end.
        remaining = ops.maximum(self.total_steps - step, 0.0) / self.total_steps
        factor = ops.where(step > self.warmup_steps, ops.power(remaining, DECAY_POWER), warmup)
        return self.initial_rate * ops.where(step == 0, 1.0, factor)

    def get_config(self):
        return {
            "initial_rate": self.initial_rate,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
        }


@keras.saving.register_keras_serializable(package=PACKAGE)
class GroupedAdamW(PerStepAdam):
    """AdamW in PyTorch's form, with gradients clipped to global norm 1 and a rate and decay for each group.

        p <- p - lr decay p - lr m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon)

    Differs from `keras.optimizers.AdamW`: epsilon is added behind the bias correction; the norm of the gradient is that
    of the whole batch, also on several devices, and the factor is `1 / (norm + 1e-6)`. Tested by
    `tests/recipes/test_maskris_training.py`.

    Source: `torch.optim.AdamW` and `torch.nn.utils.clip_grad_norm_` of PyTorch 1.11.

    Args:
        learning_rate: A rate or a schedule.
        decay: Weight decay of the groups that are decayed. (`weight_decay` is Keras' own, the same for all.)
    """

    def __init__(self, learning_rate=1e-4, decay=0.01, name="adamw", **kwargs):
        # Keras would number a default name, but checkpoints find the variables by their paths.
        super().__init__(learning_rate=learning_rate, name=name, **{"epsilon": 1e-8, **kwargs})
        self.decay = decay

    def build(self, variables):
        super().build(variables)
        self._groups = [parameter_group(variable.path) for variable in variables]

    def apply(self, grads, trainable_variables=None):
        norm = ops.sqrt(sum(ops.sum(ops.square(gradient)) for gradient in sum_over_devices(grads)))
        factor = ops.minimum(CLIP_NORM / (norm + 1e-6), 1.0)
        return super().apply([gradient * factor for gradient in grads], trainable_variables)

    def step_values(self, learning_rate, step):
        """By factor of the rate, the share that decays and the rate of the momentum; 1 - beta_2^t; and constants."""
        # Not 1 - beta^t itself: in float32, 1 - 0.999 has only three digits.
        correction_1, correction_2 = (-ops.expm1(step * math.log(beta)) for beta in (self.beta_1, self.beta_2))
        rates = {factor: learning_rate * factor for factor, _ in self._groups}
        by_factor = {factor: (rate * self.decay, rate / correction_1) for factor, rate in rates.items()}
        return by_factor, correction_2, *self.constants(step.dtype)

    def update_step(self, gradient, variable, step_values):
        by_factor, correction_2, share_1, share_2, epsilon = step_values
        index = self._get_variable_index(variable)
        factor, is_decayed = self._groups[index]
        decay, rate = by_factor[factor]
        momentum, velocity = self._momentums[index], self._velocities[index]
        self.assign_add(momentum, (gradient - momentum) * share_1)
        self.assign_add(velocity, (ops.square(gradient) - velocity) * share_2)
        if is_decayed:
            self.assign_sub(variable, variable * decay)
        self.assign_sub(variable, rate * momentum / (ops.sqrt(velocity / correction_2) + epsilon))

    def get_config(self):
        return {**super().get_config(), "decay": self.decay}


def parameter_group(path: str) -> tuple[float, bool]:
    """The factor of the learning rate of a weight, and whether it is decayed.

    Swin and BERT learn at a tenth of the rate. Norms, embeddings, tables of relative positions and prompts are not
    decayed. Biases are, and so are group norms, which the original calls `gn`.

    Source: `params_to_optimize` in `model/models/maskris.py` of naver-ai/maskris (commit 01b54d5).

    Args:
        path: `Variable.path` in `MaskRIS`.
    """
    if path.startswith("lang_encoder/"):
        return 0.1, not re.search("Norm|embeddings", path)
    if re.match(r"patch_embed/|layers\.|norm\d/", path):
        return 0.1, not re.search("norm|relative_position_bias_table", path)
    return 1.0, not re.search("[nN]orm|lang_prompts|vis_prompts", path)
