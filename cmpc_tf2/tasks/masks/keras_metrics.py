"""Metrics of masks for `model.compile`: overall IoU and mean IoU of the logits at the model's size.

`evaluate` scores masks at the size of the picture instead; see `protocol.py`.
"""

import keras
from keras import ops

from cmpc_tf2.registration import PACKAGE


def intersections_and_unions(y_true, y_pred) -> tuple:
    """Pixels in both masks, and in either, for each sample.

    Args:
        y_true: Masks, `(B, H, W, 1)` or `(B, H, W)`; foreground above 0.5.
        y_pred: Logits, `(B, H, W, 1)`; foreground from 0 on.

    Returns:
        Two tensors, float32 `(B,)`.
    """
    pixels = (ops.shape(y_pred)[0], -1)
    predicted = ops.reshape(ops.convert_to_tensor(y_pred) >= 0, pixels)
    actual = ops.reshape(ops.cast(y_true, "float32") > 0.5, pixels)
    masks = ops.logical_and(predicted, actual), ops.logical_or(predicted, actual)
    return tuple(ops.sum(ops.cast(mask, "float32"), axis=1) for mask in masks)


def _iou(intersection, union):
    """Intersection over union; 1 if both masks are empty."""
    return ops.where(union > 0, intersection / ops.maximum(union, 1), 1.0)


@keras.saving.register_keras_serializable(package=PACKAGE)
class OverallIoU(keras.metrics.Metric):
    """Overall IoU (oIoU): the sum of all intersections divided by the sum of all unions.

    ```python
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True), metrics=[OverallIoU(), MeanIoU()])
    ```

    Call arguments:
        y_true: Masks, `(B, H, W, 1)` or `(B, H, W)`; foreground above 0.5.
        y_pred: Logits, `(B, H, W, 1)`; foreground from 0 on.
        sample_weight: Weights of the samples, `(B,)`.
    """

    def __init__(self, name="overall_iou", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.intersection = self.add_variable((), "zeros", name="intersection")
        self.union = self.add_variable((), "zeros", name="union")

    def update_state(self, y_true, y_pred, sample_weight=None):
        counts = intersections_and_unions(y_true, y_pred)
        weight = 1.0 if sample_weight is None else ops.cast(sample_weight, "float32")
        for total, count in zip((self.intersection, self.union), counts, strict=True):
            total.assign_add(ops.sum(count * weight))

    def result(self):
        return _iou(self.intersection, self.union)


@keras.saving.register_keras_serializable(package=PACKAGE)
class MeanIoU(keras.metrics.Mean):
    """Mean IoU (mIoU): the mean over the samples of each one's IoU; 1 where both masks are empty.

    Differs from `keras.metrics.MeanIoU`: that one averages over classes.

    Call arguments: as `OverallIoU`.
    """

    def __init__(self, name="mean_iou", dtype=None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(_iou(*intersections_and_unions(y_true, y_pred)), sample_weight)
