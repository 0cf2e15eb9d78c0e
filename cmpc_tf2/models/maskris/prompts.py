"""Prompts: vectors that BERT and the decoder see like words."""

import keras
import numpy as np
from keras import layers, ops

from cmpc_tf2.layers.transformer import linear
from cmpc_tf2.registration import PACKAGE


def pooling_matrix(length: int, bins: int) -> np.ndarray:
    """Weights that average a line in bins, which overlap where `bins` does not divide `length`.

    Source: `AdaptiveAvgPool2d` of PyTorch.

    Args:
        length: Number of input values.
        bins: Number of output values.

    Returns:
        float32 `(bins, length)`; every row sums to 1.
    """
    matrix = np.zeros((bins, length), "float32")
    for index in range(bins):
        start, end = index * length // bins, -(-(index + 1) * length // bins)
        matrix[index, start:end] = 1 / (end - start)
    return matrix


def pool(x, bins: int):
    """Averages a map over a grid of `bins` x `bins` cells: `(B, h, w, C)` to `(B, bins^2, C)`, row by row."""
    _, height, width, channels = x.shape
    x = ops.matmul(ops.cast(pooling_matrix(width, bins), x.dtype), x)  # (B, h, bins, C)
    x = ops.matmul(ops.cast(pooling_matrix(height, bins), x.dtype), ops.reshape(x, (-1, height, bins * channels)))
    return ops.reshape(x, (-1, bins * bins, channels))


@keras.saving.register_keras_serializable(package=PACKAGE)
class ConditionalPrompts(layers.Layer):
    """The prompts that BERT sees: learned vectors plus projections of the pooled picture.

    Source: `ConditionalPrompt` in `model/backbones/backbones.py` of naver-ai/maskris (commit 01b54d5).

    Args:
        grids: Sides of the grids that the picture is pooled to; every cell makes one prompt.
        width: Channels of a prompt.

    Input: `(B, h, w, C)`, the coarsest map of the backbone. Output: `(B, prompts, width)`.
    """

    def __init__(self, grids: tuple[int, ...], width: int, **kwargs):
        super().__init__(**kwargs)
        self.grids = tuple(grids)
        self.width = width

    def build(self, input_shape):
        count = sum(side * side for side in self.grids)
        initializer = keras.initializers.RandomNormal(stddev=1.0)
        self.lang_prompts = layers.Embedding(
            count, self.width, initializer, dtype=self.dtype_policy, name="lang_prompts"
        )
        self.lang_prompts.build()
        self.lang_prompts_norm = layers.LayerNormalization(
            epsilon=1e-5, dtype=self.dtype_policy, name="lang_prompts_norm"
        )
        self.lang_prompts_norm.build((None, count, self.width))
        self.in_linears, self.out_linears = (
            [linear(self.width, f"{name}.{index}", dtype=self.dtype_policy) for index in range(len(self.grids))]
            for name in ("in_linears", "out_linears")
        )
        for in_linear, out_linear in zip(self.in_linears, self.out_linears, strict=True):
            in_linear.build((None, None, input_shape[-1]))
            out_linear.build((None, None, self.width))

    def call(self, x):
        prompts = [
            out_linear(ops.relu(in_linear(pool(x, side))))
            for side, in_linear, out_linear in zip(self.grids, self.in_linears, self.out_linears, strict=True)
        ]
        return self.lang_prompts_norm(ops.concatenate(prompts, axis=1) + self.lang_prompts.embeddings)

    def get_config(self):
        return {**super().get_config(), "grids": self.grids, "width": self.width}


@keras.saving.register_keras_serializable(package=PACKAGE)
class AppendPrompts(layers.Layer):
    """Appends learned vectors to the words of a sentence.

    Args:
        count: Number of vectors.

    Input: `(B, T, C)`. Output: `(B, T + count, C)`.
    """

    def __init__(self, count: int, **kwargs):
        super().__init__(**kwargs)
        self.count = count

    def build(self, input_shape):
        initializer = keras.initializers.RandomNormal(stddev=1.0)
        self.embeddings = self.add_weight((self.count, input_shape[-1]), initializer, name="embeddings")

    def call(self, words):
        prompts = ops.broadcast_to(self.embeddings, (ops.shape(words)[0], self.count, words.shape[-1]))
        return ops.concatenate([words, prompts], axis=1)

    def get_config(self):
        return {**super().get_config(), "count": self.count}
