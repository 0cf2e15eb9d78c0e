"""The original's Adam and its schedule."""

import keras
from keras import ops

from cmpc_tf2.registration import PACKAGE

INITIAL_RATE = 0.00025
FINAL_RATE = 0.00001
DECAY_POWER = 0.9
BETA_1, BETA_2 = 0.9, 0.999
# Path of the step counter among the optimizer's variables.
ITERATION = "adam/iteration"


def polynomial_schedule(initial_rate: float, decay_steps: int) -> keras.optimizers.schedules.PolynomialDecay:
    """The learning rate by step: from the initial one to 0.00001, with power 0.9; step 0 uses the initial one."""
    return keras.optimizers.schedules.PolynomialDecay(initial_rate, decay_steps, FINAL_RATE, DECAY_POWER)


class PerStepAdam(keras.optimizers.Adam):
    """An Adam that computes what is the same for all weights once per step. Keras computes it for each weight.

    `update_step` gets what `step_values` returns in place of the learning rate. All weights have the same dtype.
    """

    def step_values(self, learning_rate, step):
        """Tensors that every weight needs, given the learning rate of the step and its number from 1."""
        raise NotImplementedError

    def constants(self, dtype: str) -> list:
        """1 - beta of both moments, and epsilon, as tensors."""
        return [ops.convert_to_tensor(x, dtype) for x in (1 - self.beta_1, 1 - self.beta_2, self.epsilon)]

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        dtype = trainable_variables[0].dtype
        values = self.step_values(ops.cast(learning_rate, dtype), ops.cast(self.iterations + 1, dtype))
        super()._backend_update_step(grads, trainable_variables, values)


class FastAdam(PerStepAdam):
    """Adam as Keras computes it, to the bit, with fewer operations in the graph. It has no `amsgrad`."""

    def step_values(self, learning_rate, step):
        """The rate, corrected for the bias of both moments, and constants."""
        power_1, power_2 = (ops.power(ops.cast(beta, step.dtype), step) for beta in (self.beta_1, self.beta_2))
        return learning_rate * ops.sqrt(1 - power_2) / (1 - power_1), *self.constants(step.dtype)

    def update_step(self, gradient, variable, step_values):
        rate, share_1, share_2, epsilon = step_values
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index], self._velocities[index]
        gradient = ops.cast(gradient, variable.dtype)
        self.assign_add(momentum, (gradient - momentum) * share_1)
        self.assign_add(velocity, (ops.square(gradient) - velocity) * share_2)
        self.assign_sub(variable, momentum * rate / (ops.sqrt(velocity) + epsilon))


@keras.saving.register_keras_serializable(package=PACKAGE)
class BiasDoublingAdam(FastAdam):
    """Adam as the original uses it: epsilon 1e-8, dense, and the gradients of biases doubled before it.

    Dense: vectors of words that are not in the sentence keep moving by their momentum. Keras does not change them.

    Adam divides by the size of the gradients, so doubling them almost cancels; the original does it nevertheless. It
    doubles the gradients of the biases of convolutions (`biases` there), not of the LSTM's.

    Source: `train_op` in `CMPC_model.py` of CMPC-Refseg; `tf.train.AdamOptimizer` of TensorFlow 1.5, whose epsilon is
    the "epsilon hat" of the Adam paper, as in Keras.

    Args:
        learning_rate: A rate or a schedule.
        epsilon: Added to the root of the second moment.
    """

    def __init__(self, learning_rate=INITIAL_RATE, epsilon=1e-8, name="adam", **kwargs):
        # Keras would number a default name, but checkpoints find the variables by their paths.
        betas = {"beta_1": BETA_1, "beta_2": BETA_2, **kwargs}
        super().__init__(learning_rate=learning_rate, epsilon=epsilon, name=name, **betas)

    def apply(self, grads, trainable_variables=None):
        variables = self._trainable_variables if trainable_variables is None else trainable_variables
        grads = [
            2 * gradient if gradient is not None and is_doubled(variable.path) else gradient
            for gradient, variable in zip(map(dense_gradient, grads), variables, strict=True)
        ]
        return super().apply(grads, trainable_variables)


def slot_paths(weight: str, optimizer: str = "adam") -> tuple[str, str]:
    """Paths of Adam's momentum and velocity of a weight among the variables of an optimizer of that name."""
    name = weight.replace("/", "_")
    return f"{optimizer}/{name}_momentum", f"{optimizer}/{name}_velocity"


def dense_gradient(gradient):
    """A gradient as a tensor; TensorFlow gives that of a table by its rows. None stays None."""
    if gradient is not None and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.convert_to_tensor(gradient)
    return gradient


def sum_over_devices(gradients: list) -> list:
    """The gradients of the whole batch, of which each device has its share."""
    if keras.backend.backend() != "tensorflow":
        return gradients
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)


def device_count() -> int:
    """How many devices a batch is shared by."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def is_doubled(path: str) -> bool:
    """Whether the weight at a path is one that the original calls `biases`."""
    return path.endswith("/bias") and not path.endswith("lstm/bias")
