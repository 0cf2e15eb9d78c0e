"""Adam with the elements of the gradient clipped, and a schedule that falls at every step."""

import keras
from keras import ops

from cmpc_tf2.recipes.optimizers import FastAdam, dense_gradient, device_count, sum_over_devices
from cmpc_tf2.registration import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class LateExponentialDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A constant rate that falls to a tenth every so many steps from a step on, a little at every step.

        rate(i) = r                                   up to i = start
        rate(i) = r 0.1^((i - start) / every)         after it

    The original sets the rate of iteration i after that iteration, so that the next one uses it. Hence i is the number
    of the step from 0, less one.

    Source: `main` in `tools/train.py` of lichengunc/MAttNet (commit 3204d07).

    Args:
        initial_rate: The rate of the first steps, `r`.
        start: The last iteration before the rate falls.
        every: Iterations in which it falls to a tenth.
    """

    def __init__(self, initial_rate: float, start: int = 8000, every: int = 8000):
        self.initial_rate, self.start, self.every = initial_rate, start, every

    def __call__(self, step):
        passed = ops.maximum(ops.cast(step, "float32") - 1 - self.start, 0.0)
        return self.initial_rate * ops.power(0.1, passed / self.every)

    def get_config(self):
        return {"initial_rate": self.initial_rate, "start": self.start, "every": self.every}


@keras.saving.register_keras_serializable(package=PACKAGE)
class ClippedAdam(FastAdam):
    """Adam in the form of PyTorch 0.2, which first clips every element of the gradient.

    Dense: vectors of words that are not in the sentence keep moving by their momentum.

    Differs from `clipvalue` of Keras: it is the gradient of the whole batch that is clipped, also on several devices.

    Source: `clip_gradient` in `lib/models/utils.py` of lichengunc/MAttNet (commit 3204d07); `torch.optim.Adam` of
    PyTorch 0.2, which adds epsilon where Keras does.

    Args:
        learning_rate: A rate or a schedule.
        clip: The largest absolute value of an element.
    """

    def __init__(self, learning_rate=0.0004, clip=0.1, name="adam", **kwargs):
        # Keras would number a default name, but checkpoints find the variables by their paths.
        defaults = {"beta_1": 0.8, "beta_2": 0.999, "epsilon": 1e-8}
        super().__init__(learning_rate=learning_rate, name=name, **{**defaults, **kwargs})
        self.clip = clip

    def apply(self, grads, trainable_variables=None):
        whole = sum_over_devices([dense_gradient(gradient) for gradient in grads])
        # Keras adds up the shares of the devices.
        shares = [ops.clip(gradient, -self.clip, self.clip) / device_count() for gradient in whole]
        return super().apply(shares, trainable_variables)

    def get_config(self):
        return {**super().get_config(), "clip": self.clip}
