"""SGD as PyTorch computes it, with a rate and a decay for each weight, and a schedule that falls in steps."""

from collections.abc import Callable

import keras
from keras import ops

from cmpc_tf2.registration import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class StepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that is divided by ten once.

    The first `step_size` steps have the full rate: those with the numbers 0 to `step_size - 1`.

    Args:
        initial_rate: The full rate.
        step_size: Steps before it falls.
        factor: What the rate is multiplied by.
    """

    def __init__(self, initial_rate: float, step_size: int, factor: float = 0.1):
        self.initial_rate, self.step_size, self.factor = initial_rate, step_size, factor

    def __call__(self, step):
        has_fallen = ops.cast(step, "int64") >= self.step_size
        return ops.where(has_fallen, self.initial_rate * self.factor, self.initial_rate)

    def get_config(self):
        return {"initial_rate": self.initial_rate, "step_size": self.step_size, "factor": self.factor}


@keras.saving.register_keras_serializable(package=PACKAGE)
class TorchSGD(keras.optimizers.Optimizer):
    """SGD with momentum in PyTorch's form.

        g <- g + decay p
        v <- momentum v + g
        p <- p - lr v

    Differs from `keras.optimizers.SGD`: the rate is no part of the momentum, so that a change of the rate acts on all
    of `v`; and weight decay is added to the gradient. Tested by `tests/recipes/test_sgd.py`.

    Source: `torch.optim.SGD` of PyTorch 1.0.

    Args:
        learning_rate: A rate or a schedule.
        momentum: The share of the momentum that a step keeps.
        decay: Weight decay. (`weight_decay` is Keras' own, which is not added to the gradient.)
        rate_factor: The path of a weight to a factor of its rate; None for 1. It is not saved.
        is_decayed: The path of a weight to whether it is decayed; None for all. It is not saved.
    """

    def __init__(
        self,
        learning_rate=1e-4,
        momentum=0.9,
        decay=0.0,
        rate_factor: Callable[[str], float] | None = None,
        is_decayed: Callable[[str], bool] | None = None,
        name="sgd",
        **kwargs,
    ):
        # Keras would number a default name, but checkpoints find the variables by their paths.
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum, self.decay = momentum, decay
        self.rate_factor, self.is_decayed = rate_factor, is_decayed

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        (self._velocities,) = self.add_optimizer_variables(variables, ["momentum"])
        paths = [variable.path for variable in variables]
        self._factors = [self.rate_factor(path) if self.rate_factor else 1.0 for path in paths]
        self._decays = [self.decay if self.is_decayed is None or self.is_decayed(path) else 0.0 for path in paths]

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        velocity, rate = self._velocities[index], ops.cast(learning_rate, variable.dtype) * self._factors[index]
        gradient = ops.cast(gradient, variable.dtype) + self._decays[index] * variable
        self.assign(velocity, self.momentum * velocity + gradient)
        self.assign_sub(variable, rate * velocity)

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum, "decay": self.decay}
