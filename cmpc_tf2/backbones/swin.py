"""The Swin Transformer, an image backbone."""

import keras
import numpy as np
from keras import layers, ops

from cmpc_tf2.backbones.backbone import Backbone
from cmpc_tf2.backbones.config import SwinConfig
from cmpc_tf2.backbones.windows import (
    join_windows,
    pad_to_multiple,
    relative_position_index,
    roll,
    shift_mask,
    split_windows,
)
from cmpc_tf2.layers.normalization import softmax
from cmpc_tf2.layers.transformer import STANDARD_DEVIATION, FeedForward, fan_in_uniform, linear
from cmpc_tf2.registration import PACKAGE

EPSILON = 1e-5
MLP_RATIO = 4
# Drop path of the last block; that of the others grows linearly from 0.
DROP_PATH = 0.3


@keras.saving.register_keras_serializable(package=PACKAGE)
class PatchEmbedding(layers.Layer):
    """Patches of pixels to cells: a convolution whose stride is its size, and a layer norm.

    Pictures are padded with zeros to whole patches on the right and below.

    Args:
        width: Channels of a cell.
        patch_size: Side of a patch in pixels.

    Input: `(B, H, W, 3)`. Output: `(B, ceil(H / patch_size), ceil(W / patch_size), width)`.
    """

    def __init__(self, width: int, patch_size: int, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.patch_size = patch_size

    def build(self, input_shape):
        fan_in = self.patch_size**2 * input_shape[-1]
        self.proj = layers.Conv2D(
            self.width,
            self.patch_size,
            strides=self.patch_size,
            kernel_initializer=fan_in_uniform(fan_in),
            bias_initializer=fan_in_uniform(fan_in),
            dtype=self.dtype_policy,
            name="proj",
        )
        self.norm = layers.LayerNormalization(epsilon=EPSILON, dtype=self.dtype_policy, name="norm")
        self.proj.build(input_shape)
        self.norm.build((None, None, None, self.width))

    def call(self, image):
        return self.norm(self.proj(pad_to_multiple(image, self.patch_size)))

    def get_config(self):
        return {**super().get_config(), "width": self.width, "patch_size": self.patch_size}


@keras.saving.register_keras_serializable(package=PACKAGE)
class WindowAttention(layers.Layer):
    """Multi-head self-attention within windows, with a learned bias for each offset between two cells.

    Args:
        heads: Attention heads.
        window: Side of a window in cells.

    Call arguments:
        cells: `(B, windows, window^2, C)`.
        window_mask: `(windows, 1, window^2, window^2)`, added to the scores; None for no mask.

    Returns:
        The shape of `cells`.
    """

    def __init__(self, heads: int, window: int, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads
        self.window = window

    def build(self, cells_shape):
        channels = cells_shape[-1]
        self.qkv = linear(3 * channels, "qkv", dtype=self.dtype_policy)
        self.proj = linear(channels, "proj", dtype=self.dtype_policy)
        self.qkv.build(cells_shape)
        self.proj.build(cells_shape)
        self.relative_position_bias_table = self.add_weight(
            shape=((2 * self.window - 1) ** 2, self.heads),
            initializer=keras.initializers.RandomNormal(stddev=STANDARD_DEVIATION),
            name="relative_position_bias_table",
        )
        self._index = relative_position_index(self.window)

    def call(self, cells, window_mask=None):
        _, windows, size, channels = cells.shape
        head_dim = channels // self.heads
        qkv = ops.reshape(self.qkv(cells), (-1, windows, size, 3, self.heads, head_dim))
        query, key, value = ops.unstack(ops.transpose(qkv, (3, 0, 1, 4, 2, 5)), axis=0)  # (B, windows, heads, size, d)
        bias = ops.take(self.relative_position_bias_table, self._index, axis=0)  # (size, size, heads)
        scores = ops.matmul(query * head_dim**-0.5, ops.swapaxes(key, -1, -2)) + ops.transpose(bias, (2, 0, 1))
        if window_mask is not None:
            scores += ops.cast(window_mask, scores.dtype)
        attended = ops.transpose(ops.matmul(softmax(scores), value), (0, 1, 3, 2, 4))
        return self.proj(ops.reshape(attended, (-1, windows, size, channels)))

    def get_config(self):
        return {**super().get_config(), "heads": self.heads, "window": self.window}


@keras.saving.register_keras_serializable(package=PACKAGE)
class SwinBlock(layers.Layer):
    """Attention within windows, then a feed-forward network; both are residual and normalised before.

    The map is padded with zeros to whole windows, after the norm. Attention does not mask this padding. A shifted
    block moves the windows by half their side, even if the map is no larger than one window.

    Args:
        heads: Attention heads.
        window: Side of a window in cells.
        is_shifted: Whether the windows are shifted.
        drop_path: Probability that a residual branch is left out for a sample, in training.

    Input and output: `(B, h, w, C)`.
    """

    def __init__(self, heads: int, window: int, is_shifted: bool, drop_path: float, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads
        self.window = window
        self.is_shifted = is_shifted
        self.shift = window // 2 if is_shifted else 0
        self.drop_path = layers.Dropout(drop_path, noise_shape=(None, 1, 1, 1), name="drop_path")

    def build(self, input_shape):
        _, height, width, channels = input_shape
        self.norm1 = layers.LayerNormalization(epsilon=EPSILON, dtype=self.dtype_policy, name="norm1")
        self.attn = WindowAttention(self.heads, self.window, dtype=self.dtype_policy, name="attn")
        self.norm2 = layers.LayerNormalization(epsilon=EPSILON, dtype=self.dtype_policy, name="norm2")
        self.mlp = FeedForward(MLP_RATIO * channels, "gelu", dtype=self.dtype_policy, name="mlp")
        for layer in (self.norm1, self.norm2, self.mlp):
            layer.build(input_shape)
        self.attn.build((None, None, self.window**2, channels))
        self._mask = shift_mask(height, width, self.window, self.shift) if self.shift else None

    def call(self, x):
        x += self.drop_path(self._attend(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def compute_output_shape(self, input_shape):
        return input_shape

    def _attend(self, x):
        _, height, width, _ = x.shape
        x = pad_to_multiple(x, self.window)
        padded = x.shape[1:3]
        x = roll(x, -self.shift) if self.shift else x
        x = join_windows(self.attn(split_windows(x, self.window), self._mask), self.window, *padded)
        x = roll(x, self.shift) if self.shift else x
        return x[:, :height, :width]

    def get_config(self):
        sizes = {"heads": self.heads, "window": self.window, "is_shifted": self.is_shifted}
        return {**super().get_config(), **sizes, "drop_path": self.drop_path.rate}


@keras.saving.register_keras_serializable(package=PACKAGE)
class PatchMerging(layers.Layer):
    """Halves the sides of a map and doubles its channels.

    Input: `(B, h, w, C)`. Output: `(B, ceil(h / 2), ceil(w / 2), 2 C)`.
    """

    def build(self, input_shape):
        channels = input_shape[-1]
        self.norm = layers.LayerNormalization(epsilon=EPSILON, dtype=self.dtype_policy, name="norm")
        self.reduction = linear(2 * channels, "reduction", use_bias=False, dtype=self.dtype_policy)
        for layer in (self.norm, self.reduction):
            layer.build((None, None, None, 4 * channels))

    def call(self, x):
        x = pad_to_multiple(x, 2)
        _, height, width, channels = x.shape
        # Cells of even rows and columns, odd rows, odd columns, both.
        x = ops.transpose(ops.reshape(x, (-1, height // 2, 2, width // 2, 2, channels)), (0, 1, 3, 4, 2, 5))
        return self.reduction(self.norm(ops.reshape(x, (-1, height // 2, width // 2, 4 * channels))))

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return batch, -(-height // 2), -(-width // 2), 2 * channels


@keras.saving.register_keras_serializable(package=PACKAGE)
class SwinTransformer(Backbone):
    """A Swin Transformer with a layer norm at the output of each stage.

    Source: `model/backbones/swin.py` and `swin_encoder.py` of naver-ai/maskris (commit 01b54d5); Liu et al., ICCV 2021.
    Names of layers are those of its checkpoints.

    Differs from other implementations: windows stay shifted where the map is no larger than one window, and padding
    is not masked.

    Args:
        config: Sizes.
        image_size: Side of the square pictures, or their height and width, in pixels.

    Input: float32 `(B, H, W, 3)`, RGB, normalised.
    Output: dict of `f0` to `f3`: `(B, ceil(H/s), ceil(W/s), C)` with strides s of 4, 8, 16 and 32, and C of 128, 256,
        512 and 1024 at the default sizes.
    """

    title = "a Swin Transformer backbone"
    config_type = SwinConfig

    def __init__(
        self,
        config: SwinConfig | dict | None = None,
        image_size: int | tuple[int, int] = 448,
        **kwargs,
    ):
        if not isinstance(config, SwinConfig):
            config = SwinConfig(**(config or {}))
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size

        image = keras.Input((height, width, 3), name="image")
        x = PatchEmbedding(config.width, config.patch_size, name="patch_embed")(image)
        drop_path = iter(np.linspace(0, DROP_PATH, sum(config.depths)))
        taps = {}
        for stage, (depth, heads) in enumerate(zip(config.depths, config.heads, strict=True)):
            for index in range(depth):
                name, is_shifted = f"layers.{stage}.blocks.{index}", index % 2 == 1
                x = SwinBlock(heads, config.window, is_shifted, float(next(drop_path)), name=name)(x)
            taps[config.levels[stage]] = layers.LayerNormalization(epsilon=EPSILON, name=f"norm{stage}")(x)
            if stage + 1 < len(config.depths):
                x = PatchMerging(name=f"layers.{stage}.downsample")(x)
        super().__init__(inputs=image, outputs=taps, **kwargs)
        self.config = config
        self.image_size = image_size

    def finetuned_variables(self) -> list[keras.Variable]:
        """All weights."""
        return self.trainable_variables

    def get_config(self):
        return {"config": self.config.to_dict(), "image_size": self.image_size, "name": self.name}
