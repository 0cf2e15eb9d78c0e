"""The Swin Transformer in files of its own, such as `swin_base_patch4_window7_224_22k.pth`.

Names are those of microsoft/Swin-Transformer.
"""

import math
import re

from cmpc_tf2.backbones.config import SwinConfig
from cmpc_tf2.conversion.families import TORCH, Family, common_size
from cmpc_tf2.conversion.torch_names import TorchPair, convolution, feed_forward, linear, make_pairs, norm

# Reason why buffers of the attention are not converted.
RECOMPUTED = "follows from the size of the windows"


def swin_pairs(config: SwinConfig, prefix: str = "") -> list[TorchPair]:
    """The parameters of a Swin Transformer.

    Args:
        config: Its sizes.
        prefix: Beginning of the names in the checkpoint: empty in a file of its own.
    """
    places = [*convolution("patch_embed/proj"), *norm("patch_embed/norm")]
    for stage, depth in enumerate(config.depths):
        for block in (f"layers.{stage}.blocks.{index}" for index in range(depth)):
            places += [*norm(f"{block}/norm1"), (f"{block}/attn/relative_position_bias_table", "as_is")]
            places += [*linear(f"{block}/attn/qkv"), *linear(f"{block}/attn/proj")]
            places += [*norm(f"{block}/norm2"), *feed_forward(f"{block}/mlp")]
        if stage + 1 < len(config.depths):
            merging = f"layers.{stage}.downsample"
            places += [*norm(f"{merging}/norm"), (f"{merging}/reduction/kernel", "linear")]
        places += norm(f"norm{stage}")
    return make_pairs(places, prefix)


def swin_file_pairs(config: SwinConfig) -> list[TorchPair]:
    """The parameters of a Swin Transformer without the norms of its outputs, which start at 1 and 0."""
    return [pair for pair in swin_pairs(config) if not re.match(r"norm\d", pair.torch)]


def infer_config(shapes: dict[str, tuple], prefix: str = "") -> SwinConfig:
    """Reads the sizes off the shapes.

    Args:
        shapes: Shape per parameter name.
        prefix: Beginning of the names.
    """
    default = SwinConfig()
    depths, heads, tables = [], [], []
    for stage in range(len(default.depths)):
        pattern = rf"{re.escape(prefix)}layers\.{stage}\.blocks\.(\d+)\..+"
        blocks = {match[1] for name in shapes if (match := re.fullmatch(pattern, name))}
        names = [f"{prefix}layers.{stage}.blocks.{block}.attn.relative_position_bias_table" for block in sorted(blocks)]
        depths.append(len(blocks) or default.depths[stage])
        heads.append(common_size(shapes, names, 1, default.heads[stage]))
        tables += names
    rows = common_size(shapes, tables, 0, (2 * default.window - 1) ** 2)
    return SwinConfig(
        width=common_size(shapes, [f"{prefix}patch_embed.proj.weight"], 0, default.width),
        depths=tuple(depths),
        heads=tuple(heads),
        window=(math.isqrt(rows) + 1) // 2,
    )


FAMILY = Family(
    name="swin",
    file_format=TORCH,
    pairs=swin_file_pairs,
    infer_config=infer_config,
    sign=r"patch_embed\.proj\.weight",
    ignored=(
        (r"layers\.\d+\.blocks\.\d+\.(attn\.relative_position_index|attn_mask)", RECOMPUTED),
        (r"norm\.(weight|bias)", "the norm before the classifier; the outputs have norms of their own"),
        (r"head\.(weight|bias)", "the classifier of ImageNet"),
    ),
)
