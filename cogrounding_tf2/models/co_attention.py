"""Frames of a clip that look at each other."""

import keras
from keras import layers, ops

from cmpc_tf2.layers.torch_normalization import TorchBatchNormalization, at_least_float32, unit_length
from cmpc_tf2.layers.transformer import fan_in_uniform
from cogrounding_tf2.models.head import MOMENTUM
from cogrounding_tf2.models.package import PACKAGE

# Multiplies the cosines before the softmax.
SHARPNESS = 10


@keras.saving.register_keras_serializable(package=PACKAGE)
class CoAttention(layers.Layer):
    """The features of a frame, enriched by the cells of other frames that are alike.

    Each cell attends to all cells of another frame; a 1x1 convolution with norm and ReLU joins what it finds with its
    own features, and the result has unit length. The convolution is computed in two parts: the cell's own serves for
    all other frames.

    Source: `model/cogrounding_model_semantic_attn.py`, and `test_cogrounding_model_semantic_attn.py` beside it, of
    SijieSong/CVPR21-Cogrounding_semantic_attention (commit 7b0630a).

    Call arguments:
        frames: `(B, F, n, n, D)`, of unit length.
        mutual: True for pairs of frames that attend to each other, which the model is trained on; False for the middle
            frame, which attends to each of the others.

    Returns:
        `(2 B, n, n, D)` with the frames of a pair one after the other; or `(B, n, n, D)`, the mean over the others,
        which is not of unit length.
    """

    def build(self, frames_shape):
        channels = frames_shape[-1]
        self.kernel = self.add_weight((1, 1, 2 * channels, channels), fan_in_uniform(2 * channels), name="kernel")
        self.bn = TorchBatchNormalization(MOMENTUM, dtype=self.dtype_policy, name="bn")
        self.bn.build((None, None, None, channels))

    def call(self, frames, mutual=False, training=None):
        _, count, side, _, channels = frames.shape
        cells = ops.reshape(frames, (-1, count, side * side, channels))
        if mutual:
            cosines = ops.matmul(cells[:, 0], ops.swapaxes(cells[:, 1], 1, 2))
            cosines = ops.stack([cosines, ops.swapaxes(cosines, 1, 2)], axis=1)
            own, others = cells, cells[:, ::-1]
        else:
            middle = count // 2
            own = cells[:, middle : middle + 1]
            others = ops.concatenate([cells[:, :middle], cells[:, middle + 1 :]], axis=1)
            cosines = ops.matmul(own, ops.swapaxes(others, 2, 3))
        weights = ops.cast(ops.softmax(SHARPNESS * at_least_float32(cosines), axis=-1), cosines.dtype)
        of_own, of_attended = self.kernel[0, 0, :channels], self.kernel[0, 0, channels:]
        joined = ops.matmul(own, of_own) + ops.matmul(ops.matmul(weights, others), of_attended)
        joined = unit_length(ops.relu(self.bn(joined, training=training)))  # (B, frames, P, D)
        joined = joined if mutual else ops.mean(joined, axis=1)
        return ops.reshape(joined, (-1, side, side, channels))

    def compute_output_shape(self, frames_shape):
        return (None, *frames_shape[2:])
