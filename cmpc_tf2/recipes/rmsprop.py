"""RMSprop as PyTorch computes it, and a schedule by epochs."""

from collections.abc import Callable

import keras
from keras import ops

from cmpc_tf2.registration import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class EpochPolynomialDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that falls from epoch to epoch, and is constant within one.

        rate(step) = r (1 - epoch / epochs)^power,    epoch = floor(step epochs / total_steps)

    Args:
        initial_rate: The rate of the first epoch, `r`.
        total_steps: Steps of all epochs.
        epochs: Their number.
        power: The power.
    """

    def __init__(self, initial_rate: float, total_steps: int, epochs: int = 100, power: float = 0.9):
        self.initial_rate, self.total_steps, self.epochs, self.power = initial_rate, total_steps, epochs, power

    def __call__(self, step):
        # In whole numbers: float32 would round at the borders of epochs.
        epoch = ops.minimum(ops.cast(step, "int64") * self.epochs // self.total_steps, self.epochs)
        remaining = 1 - ops.cast(epoch, "float32") / self.epochs
        return self.initial_rate * ops.power(remaining, self.power)

    def get_config(self):
        return {
            "initial_rate": self.initial_rate,
            "total_steps": self.total_steps,
            "epochs": self.epochs,
            "power": self.power,
        }


@keras.saving.register_keras_serializable(package=PACKAGE)
class TorchRMSprop(keras.optimizers.Optimizer):
    """RMSprop in PyTorch's form, without momentum and not centered.

        g <- g + decay p
        s <- 0.99 s + 0.01 g^2
        p <- p - lr g / (sqrt(s) + epsilon)

    As `s` begins at 0, the first step is 10 times the rate for every weight.

    Differs from `keras.optimizers.RMSprop`: epsilon is added to the root, and weight decay to the gradient. Tested by
    `tests/cogrounding/test_training.py`.

    Source: `torch.optim.RMSprop` of PyTorch 0.4.1.

    Args:
        learning_rate: A rate or a schedule.
        decay: Weight decay. (`weight_decay` is Keras' own, which is not added to the gradient.)
        rate_factor: The path of a weight to a factor of its rate; None for 1. It is not saved.
    """

    def __init__(
        self,
        learning_rate=1e-4,
        decay=0.0,
        rho=0.99,
        epsilon=1e-8,
        rate_factor: Callable[[str], float] | None = None,
        name="rmsprop",
        **kwargs,
    ):
        # Keras would number a default name, but checkpoints find the variables by their paths.
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.decay, self.rho, self.epsilon, self.rate_factor = decay, rho, epsilon, rate_factor

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        (self._squares,) = self.add_optimizer_variables(variables, ["velocity"])
        self._factors = [self.rate_factor(variable.path) if self.rate_factor else 1.0 for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        squares = self._squares[index]
        rate = ops.cast(learning_rate, variable.dtype) * self._factors[index]
        gradient = ops.cast(gradient, variable.dtype) + self.decay * variable
        self.assign_add(squares, (ops.square(gradient) - squares) * (1 - self.rho))
        self.assign_sub(variable, rate * gradient / (ops.sqrt(squares) + self.epsilon))

    def get_config(self):
        return {**super().get_config(), "decay": self.decay, "rho": self.rho, "epsilon": self.epsilon}
