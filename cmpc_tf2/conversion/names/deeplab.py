"""The DeepLab-ResNet backbone as RMI and the LSTM baseline name it, with Caffe's batch norm; also bare."""

import re

import numpy as np

from cmpc_tf2.backbones.config import DeepLabResNetConfig
from cmpc_tf2.backbones.deeplab_resnet import bottleneck_names, convolution_and_norm
from cmpc_tf2.conversion.families import Family
from cmpc_tf2.conversion.names.backbone import config_of
from cmpc_tf2.conversion.tf1_names import SCOPE, Pair
from cmpc_tf2.models.config import DeepLabModelConfig

IGNORED = ((r"DeepLab/fc1_voc12/conv[0-3]/(DW|biases)", "DeepLab's own classifier, which feeds nothing"),)


def deeplab_pairs(config: DeepLabResNetConfig) -> list[Pair]:
    """The variables of a backbone."""
    pairs = _layer("group_1/conv1", "group_1/bn_conv1", "conv1")
    for stage, depth in zip((2, 3, 4, 5), config.depths, strict=True):
        for index, name in enumerate(bottleneck_names(stage, depth)):
            blocks = {"block_1": "2a", "block_2": "2b", "block_3": "2c"} | ({} if index else {"block_add": "1"})
            for block, branch in blocks.items():
                scope = f"group_{stage}_{index}/{block}"
                pairs += _layer(f"{scope}/conv", f"{scope}/bn", f"{name}_branch{branch}")
    return pairs


def _layer(convolution: str, norm: str, suffix: str) -> list[Pair]:
    keras_convolution, keras_norm = convolution_and_norm(suffix)
    factor = f"DeepLab/{norm}/factor"
    return [
        Pair(f"DeepLab/{convolution}/DW", f"{keras_convolution}/kernel"),
        *(Pair(f"DeepLab/{norm}/{p}", f"{keras_norm}/{p}") for p in ("beta", "gamma")),
        *(Pair(f"DeepLab/{norm}/{p}", f"{keras_norm}/moving_{p}", factor=factor) for p in ("mean", "variance")),
    ]


def unused_variables(config: DeepLabModelConfig) -> dict[str, np.ndarray]:
    """What RMI and the baseline restore beside the weights: factors of 1, and a classifier of zeros."""
    found = {pair.factor: np.ones(1, np.float32) for pair in deeplab_pairs(config.backbone) if pair.factor}
    for number in range(4):
        scope = f"DeepLab/fc1_voc12/conv{number}"
        found[f"{scope}/DW"] = np.zeros((3, 3, config.backbone.stage_filters(5), 21), np.float32)
        found[f"{scope}/biases"] = np.zeros(21, np.float32)
    return found


def infer_config(shapes: dict[str, tuple]) -> DeepLabResNetConfig:
    """Reads the sizes off the names of the bottlenecks and the shape of the first kernel."""
    found = [match for name in shapes if (match := re.match(r"DeepLab/group_([2-5])_(\d+)/", name))]
    blocks = [(int(match[1]), int(match[2])) for match in found]
    return config_of(blocks, shapes.get("DeepLab/group_1/conv1/DW", ()))


FAMILY = Family(
    name="deeplab",
    pairs=deeplab_pairs,
    infer_config=infer_config,
    sign=r"DeepLab/group_1/conv1/DW",
    unless=rf"{SCOPE}/.*",
    ignored=IGNORED,
)
