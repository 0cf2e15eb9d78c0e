"""The DeepLab-ResNet backbone as CMPC and RRN name it; also bare, `deeplab_resnet_init.ckpt`."""

import re
from collections.abc import Iterable

from cmpc_tf2.backbones.config import DeepLabResNetConfig
from cmpc_tf2.backbones.deeplab_resnet import bottleneck_names, convolution_and_norm
from cmpc_tf2.conversion.families import Family
from cmpc_tf2.conversion.tf1_names import SCOPE, Pair


def backbone_pairs(config: DeepLabResNetConfig) -> list[Pair]:
    """The variables of a backbone."""
    suffixes = ["conv1"]
    for stage, depth in zip((2, 3, 4, 5), config.depths, strict=True):
        for index, name in enumerate(bottleneck_names(stage, depth)):
            branches = ["2a", "2b", "2c"] if index else ["1", "2a", "2b", "2c"]
            suffixes += [f"{name}_branch{branch}" for branch in branches]
    pairs = []
    for suffix in suffixes:
        convolution, norm = convolution_and_norm(suffix)
        pairs.append(Pair(f"{convolution}/weights", f"{convolution}/kernel"))
        pairs += [Pair(f"{norm}/{p}", f"{norm}/{p}") for p in ("beta", "gamma", "moving_mean", "moving_variance")]
    return pairs


def infer_config(shapes: dict[str, tuple]) -> DeepLabResNetConfig:
    """Reads the sizes off the names of the bottlenecks and the shape of the first kernel."""
    found = [match for name in shapes if (match := re.match(r"res([2-5])([a-z])(\d*)_branch", name))]
    # The blocks are 2a 2b 2c, but 3a 3b1 3b2.
    blocks = [(int(match[1]), int(match[3] or ord(match[2]) - ord("a"))) for match in found]
    return config_of(blocks, shapes.get("conv1/weights", ()))


def config_of(blocks: Iterable[tuple[int, int]], stem: tuple[int, ...]) -> DeepLabResNetConfig:
    """The sizes of a backbone.

    Args:
        blocks: Stage, from 2 to 5, and index of its bottlenecks. The last of a stage tells how many there are, even if
            one in between is missing.
        stem: Shape of the first kernel.
    """
    default = DeepLabResNetConfig()
    depths = dict(zip((2, 3, 4, 5), default.depths, strict=True))
    depths |= {stage: index + 1 for stage, index in sorted(blocks)}
    return DeepLabResNetConfig(width=stem[3] if len(stem) == 4 else default.width, depths=tuple(depths.values()))


FAMILY = Family(
    name="backbone",
    pairs=backbone_pairs,
    infer_config=infer_config,
    sign=r"conv1/weights",
    unless=rf"{SCOPE}/.*",
    ignored=((r"fc1_voc12_c[0-3]/(weights|biases)", "DeepLab's own classifier, which CMPC does not use"),),
)
