"""From features of the places and the sentence to boxes with confidences."""

import keras
from keras import layers, ops

from cmpc_tf2.layers.normalized_convolution import NormalizedConvolution
from cmpc_tf2.layers.spatial_grid import GRID_CHANNELS
from cmpc_tf2.layers.torch_normalization import TorchBatchNormalization
from cmpc_tf2.layers.transformer import fan_in_uniform
from cmpc_tf2.precision import exact_dtype
from cogrounding_tf2.config import ENTRIES, GRIDS, PROPOSED
from cogrounding_tf2.models.location import place_features
from cogrounding_tf2.models.package import PACKAGE

# The share of the new value in the running statistics of all norms behind the backbone but those of words and places.
MOMENTUM = 0.999


def fusion_inputs(channels: int) -> int:
    """Input channels of the first convolution behind picture and sentence: both, and the position."""
    return 2 * channels + GRID_CHANNELS


@keras.saving.register_keras_serializable(package=PACKAGE)
class LanguageFusion(layers.Layer):
    """A 1x1 convolution of picture, sentence and position, with norm and ReLU. The picture's share is already computed.

    Call arguments:
        projected: `(B, n, n, D)`, the picture's share, or batch 1 for any number of sentences.
        language: `(B, D)`.

    Returns:
        `(B, n, n, D)`.
    """

    def build(self, projected_shape, language_shape):
        _, side, _, channels = projected_shape
        inputs = language_shape[-1] + GRID_CHANNELS
        initializer = fan_in_uniform(fusion_inputs(channels))
        self.kernel = self.add_weight((1, 1, inputs, channels), initializer, name="kernel")
        self.bn = TorchBatchNormalization(MOMENTUM, dtype=self.dtype_policy, name="bn")
        self.bn.build(projected_shape)
        self._features = place_features(side).reshape(side, side, GRID_CHANNELS)

    def call(self, projected, language, training=None):
        of_language, of_position = self.kernel[0, 0, :-GRID_CHANNELS], self.kernel[0, 0, -GRID_CHANNELS:]
        position = ops.matmul(ops.convert_to_tensor(self._features, projected.dtype), of_position)
        x = projected + ops.matmul(language, of_language)[:, None, None] + position
        return ops.relu(self.bn(x, training=training))

    def compute_output_shape(self, projected_shape, language_shape):
        return (language_shape[0], *projected_shape[1:])


@keras.saving.register_keras_serializable(package=PACKAGE)
class SubjectScores(layers.Layer):
    """How well each place fits the subject of the sentence.

    Call arguments:
        visual: `(B, P, D)`, of unit length, or batch 1 for any number of sentences.
        subject: `(B, D)`, of unit length.

    Returns:
        The scores, `(B, P)`, and `visual` repeated for all sentences, `(B, P, D)`.
    """

    def call(self, visual, subject):
        scores = ops.matmul(visual, subject[..., None])[..., 0]
        return scores, ops.broadcast_to(visual, (ops.shape(subject)[0], *visual.shape[1:]))


def split_scales(x) -> list:
    """Places of all scales, `(B, P, ...)`, to a map per scale, `(B, n, n, ...)`."""
    maps, start = [], 0
    for side in GRIDS:
        maps.append(ops.reshape(x[:, start : start + side**2], (-1, side, side, *x.shape[2:])))
        start += side**2
    return maps


def join_scales(maps: list):
    """The reverse of `split_scales`."""
    return ops.concatenate([ops.reshape(x, (-1, x.shape[1] * x.shape[2], *x.shape[3:])) for x in maps], axis=1)


def propose_boxes(projected, language, channels: int) -> list:
    """What every place proposes.

    Args:
        projected: The picture's share of the first convolutions, `(B, P, D)`.
        language: `(B, D)`.
        channels: D.

    Returns:
        For each scale `(B, n, n, 3, 5)`: x, y, w, h and raw confidence of three anchors, float32 or float64.
    """
    proposals = []
    for scale, x in enumerate(split_scales(projected)):
        x = LanguageFusion(name=f"fcn_emb.{scale}.0")(x, language)
        for name, filters, kernel_size in (
            (f"fcn_emb.{scale}.1", channels, 3),
            (f"fcn_emb.{scale}.2", channels, 1),
            (f"fcn_out.{scale}.0", channels // 2, 1),
        ):
            x = NormalizedConvolution(filters, kernel_size, momentum=MOMENTUM, name=name)(x)
        initializers = {name: fan_in_uniform(x.shape[-1]) for name in ("kernel_initializer", "bias_initializer")}
        numbers = PROPOSED * ENTRIES
        x = layers.Conv2D(numbers, 1, **initializers, dtype=exact_dtype(), name=f"fcn_out.{scale}.1")(x)
        proposals.append(ops.reshape(x, (-1, *x.shape[1:3], PROPOSED, ENTRIES)))
    return proposals


def weigh_confidences(proposals: list, weights):
    """Multiplies the confidences of all anchors of a place by its weight.

    Args:
        proposals: As `propose_boxes` returns them.
        weights: `(B, P)`.

    Returns:
        `(B, 3 P, 5)`, in the order scale, anchor, row, column.
    """
    boxes = []
    for numbers, weight in zip(proposals, split_scales(weights), strict=True):
        confidence = numbers[..., 4:] * weight[..., None, None]
        weighted = ops.concatenate([numbers[..., :4], confidence], axis=-1)
        boxes.append(
            ops.reshape(ops.transpose(weighted, (0, 3, 1, 2, 4)), (-1, PROPOSED * weight.shape[1] ** 2, ENTRIES))
        )
    return ops.concatenate(boxes, axis=1)
