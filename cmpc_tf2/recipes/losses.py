"""Losses of the originals."""

import keras
from keras import ops

from cmpc_tf2.layers.upsampling import LegacyBilinearResize
from cmpc_tf2.registration import PACKAGE

WEIGHT_DECAY = 0.0005
# Weights of the classes in MaskRIS and CARIS.
BACKGROUND_WEIGHT, FOREGROUND_WEIGHT = 0.9, 1.1


@keras.saving.register_keras_serializable(package=PACKAGE)
class SummedCrossEntropy(keras.losses.Loss):
    """Sigmoid cross-entropy, summed over the pixels of a mask and averaged over the batch.

    Source: `weighed_logistic_loss` in `util/loss.py` of CMPC-Refseg, with weights of 1.

    Call arguments:
        y_true: float32 `(B, H, W, 1)`, 0 or 1.
        y_pred: float32 `(B, H, W, 1)`, logits.
    """

    def __init__(self, name="summed_cross_entropy", reduction="sum_over_batch_size", dtype="float32"):
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def call(self, y_true, y_pred):
        # max(x, 0) - x z + log(1 + exp(-|x|)), which does not overflow
        loss = ops.relu(y_pred) - y_pred * y_true + ops.log1p(ops.exp(-ops.abs(y_pred)))
        return ops.sum(loss, axis=(1, 2, 3))


@keras.saving.register_keras_serializable(package=PACKAGE)
class WeightedCrossEntropy(keras.losses.Loss):
    """Sigmoid cross-entropy with a weight for each class, averaged over pixels and batch.

        -1.1 y log sigmoid(x) - 0.9 (1 - y) log(1 - sigmoid(x))

    This is the cross-entropy of the softmax over two classes whose logits differ by `x`.

    Source: `SegCELoss` in `criterion.py` of naver-ai/maskris (commit 01b54d5). There, targets that are classes divide
    the sum by the sum of their weights: divide by the mean of `pixel_weights`. Targets that are probabilities do not.

    Call arguments:
        y_true: float32 `(B, H, W, 1)`, probabilities of the foreground.
        y_pred: `(B, H, W, 1)`, logits of the foreground minus those of the background.
    """

    def __init__(self, name="weighted_cross_entropy", reduction="sum_over_batch_size", dtype="float32"):
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def call(self, y_true, y_pred):
        foreground = FOREGROUND_WEIGHT * y_true * ops.softplus(-y_pred)
        background = BACKGROUND_WEIGHT * (1 - y_true) * ops.softplus(y_pred)
        return ops.mean(foreground + background, axis=(1, 2, 3))


def pixel_weights(target):
    """The weight of each pixel of a mask in `WeightedCrossEntropy`, in the shape of the mask."""
    return BACKGROUND_WEIGHT + (FOREGROUND_WEIGHT - BACKGROUND_WEIGHT) * target


def resize_target(target, size: int):
    """A mask for an output of another size: float32 `(B, H, W, 1)` to `(B, size, size, 1)`, by the legacy bilinear."""
    return target if target.shape[1] == size else LegacyBilinearResize(size)(target)


def weight_decay(kernel):
    """The L2 weight decay of a kernel, `0.0005 * sum(w^2) / 2`; of those with `is_decayed` it is added to the loss."""
    return WEIGHT_DECAY / 2 * ops.sum(ops.square(kernel))


def is_decayed(path: str) -> bool:
    """Whether the weight at a path is decayed, if it is trained: the kernels that the original calls `DW` or `weights`.

    Those are the convolutions outside the recurrent layers and, where the backbone is trained, its own. Biases, LSTM
    and ConvLSTM kernels, embeddings, layer norms and peepholes are not decayed.

    Source: `reg_var_list` in `CMPC_model.py` of CMPC-Refseg.
    """
    return path.endswith("/kernel") and not path.endswith("lstm/kernel")
