"""Which weights of CAC are trained, and how.

Source: `construct_graph` in `lib/model/train_val_response.py` and `train_val_cycle_response.py` of wenz116/lang2seg
(commit 3af9a47).
"""

import keras

from cmpc_tf2.recipes.sgd import StepDecay, TorchSGD

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.0001, 0.9, 0.0001
# Steps before the rate falls, of one sentence each.
STEP_SIZE = 360_000
# Factor of the rate of the parts that no detector has, in training without a captioner.
NEW_FACTOR = 10.0
_NEW = ("rnn_encoder/", "filters/")
_FROZEN = ("resnet.conv1/", "resnet.layer1.")


def trained_variables(model) -> list[keras.Variable]:
    """All but batch norms, which are frozen by themselves, and the first convolution and stage of the ResNet.

    Args:
        model: A `CAC`.
    """
    return [variable for variable in model.trainable_variables if not variable.path.startswith(_FROZEN)]


def make_optimizer(has_captioner: bool, learning_rate: float = LEARNING_RATE, step_size: int = STEP_SIZE) -> TorchSGD:
    """The original's optimizer.

    Args:
        has_captioner: Whether a captioner is trained along. Then all parts learn at the same rate.
        learning_rate: The rate at the beginning.
        step_size: Steps before it falls to a tenth.
    """
    return TorchSGD(
        StepDecay(learning_rate, step_size),
        momentum=MOMENTUM,
        decay=WEIGHT_DECAY,
        rate_factor=None if has_captioner else rate_factor,
        is_decayed=is_decayed,
    )


def rate_factor(path: str) -> float:
    """The factor of the rate of a weight, given `Variable.path`, in training without a captioner."""
    return NEW_FACTOR if path.startswith(_NEW) else 1.0


def is_decayed(path: str) -> bool:
    """Whether a weight is decayed, given `Variable.path`: all but biases are."""
    return "bias" not in path
