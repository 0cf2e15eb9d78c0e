"""The I3D backbone: checkpoints of Kinetics."""

from cmpc_tf2.backbones.config import I3DConfig
from cmpc_tf2.backbones.i3d import all_units, layer_names
from cmpc_tf2.conversion.families import Family
from cmpc_tf2.conversion.tf1_names import SCOPE, Pair

RGB = "RGB/inception_i3d/"
_STEM = "Conv3d_1a_7x7/conv_3d/w"
IGNORED = (
    (rf"{RGB}Logits/Conv3d_0c_1x1/conv_3d/[wb](/Momentum)?", "the classifier of Kinetics, which CMPC-V does not use"),
    (r"(?P<base>.+)/Momentum", "slot of the optimizer, not a weight"),
)
# By the checksums in the index files of kinetics-i3d (commit 0667e889).
RELEASED = {
    "1303a716313a8f6a56b144fc7ec0819b36c78ddfd2a954415d69c200d03b8dd5": "rgb_imagenet",
    "6727546691ed268724d330fe7522b5c7d0a38c933b7481ea4a5eb3b4bef285f3": "rgb_scratch",
    "a23cf0fa07eadc856bc372c1b15b86f2d1cface0b13a4effe2f0b24048e97eb5": "rgb_scratch_kin600",
}


def i3d_pairs(config: I3DConfig) -> list[Pair]:
    """The 228 variables of a backbone."""
    pairs = []
    for unit in all_units():
        convolution, norm = layer_names(unit.name)
        pairs.append(Pair(f"{RGB}{unit.name}/conv_3d/w", f"{convolution}/kernel"))
        for parameter in ("beta", "moving_mean", "moving_variance"):
            name = f"{RGB}{unit.name}/batch_norm/{parameter}"
            pairs.append(Pair(name, f"{norm}/{parameter}", may_have_leading_ones=True))
    return pairs


def infer_config(shapes: dict[str, tuple]) -> I3DConfig:
    """Reads the width off the shape of the first kernel."""
    stem = next((shape for name, shape in shapes.items() if name.endswith(_STEM)), ())
    return I3DConfig(width=stem[4] if len(stem) == 5 else I3DConfig().width)


FAMILY = Family(
    name="i3d",
    pairs=i3d_pairs,
    infer_config=infer_config,
    sign=rf"({RGB})?{_STEM}",
    unless=rf"{SCOPE}/.*",
    ignored=IGNORED,
    renames=((rf"(?!{RGB})(.+)", rf"{RGB}\1"),),  # The checkpoint of 600 classes has no scope.
    released=RELEASED,
)
