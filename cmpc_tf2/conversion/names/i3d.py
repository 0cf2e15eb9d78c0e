"""The I3D backbone: checkpoints of Kinetics."""

import re

from cmpc_tf2.backbones.config import I3DConfig
from cmpc_tf2.backbones.i3d import all_units, layer_names
from cmpc_tf2.conversion.families import Family
from cmpc_tf2.conversion.tf1_names import SCOPE, Pair

RGB = "RGB/inception_i3d/"
_STEM = "Conv3d_1a_7x7/conv_3d/w"
IGNORED = (
    (rf"({RGB})?Logits/Conv3d_0c_1x1/conv_3d/[wb]", "the classifier of Kinetics, which CMPC-V does not use"),
    (r"(?P<base>.+)/Momentum", "slot of the optimizer, not a weight"),
)


def i3d_pairs(config: I3DConfig, scope: str = RGB) -> list[Pair]:
    """The 228 variables of a backbone.

    Args:
        config: Its sizes.
        scope: What their names begin with.
    """
    pairs = []
    for unit in all_units():
        convolution, norm = layer_names(unit.name)
        pairs.append(Pair(f"{scope}{unit.name}/conv_3d/w", f"{convolution}/kernel"))
        for parameter in ("beta", "moving_mean", "moving_variance"):
            pairs.append(Pair(f"{scope}{unit.name}/batch_norm/{parameter}", f"{norm}/{parameter}"))
    return pairs


def infer_config(shapes: dict[str, tuple]) -> I3DConfig:
    """Reads the width off the shape of the first kernel."""
    stem = next((shape for name, shape in shapes.items() if name.endswith(_STEM)), ())
    return I3DConfig(width=stem[4] if len(stem) == 5 else I3DConfig().width)


FAMILY = Family(
    name="i3d",
    pairs=i3d_pairs,
    infer_config=infer_config,
    sign=rf"({RGB}|Flow/inception_i3d/)?{re.escape(_STEM)}",
    unless=rf"{SCOPE}/.*",
    ignored=IGNORED,
)
