"""Mask R-CNN C4: names are those of lichengunc/mask-faster-rcnn (commit 45e2818), whose files are state dicts."""

import re

import numpy as np

from cmpc_tf2.backbones.config import ResNetC4Config
from cmpc_tf2.conversion.families import TORCH, Family, common_size
from cmpc_tf2.conversion.torch_names import BATCH_COUNTS, TorchPair, batch_norm, convolution, linear, make_pairs
from cmpc_tf2.models.mask_rcnn_c4.config import MaskRCNNC4Config

# Outputs of the classifier of the ResNet.
_IMAGENET_CLASSES = 1000


def mask_rcnn_pairs(config: MaskRCNNC4Config, prefix: str = "") -> list[TorchPair]:
    """The parameters and running statistics.

    Args:
        config: Sizes.
        prefix: Beginning of the names.
    """
    places = _normalized("resnet.conv1", "resnet.bn1")
    for stage, depth in enumerate(config.backbone.depths, start=1):
        for block in range(depth):
            name = f"resnet.layer{stage}.{block}"
            for number in (1, 2, 3):
                places += _normalized(f"{name}.conv{number}", f"{name}.bn{number}")
            if block == 0:
                places += _normalized(f"{name}.downsample.0", f"{name}.downsample.1")
    for name in ("rpn_net", "rpn_cls_score_net", "rpn_bbox_pred_net", "mask_up_sampling", "mask_pred_net"):
        # A transposed convolution has inputs and outputs the other way round, in Keras as in PyTorch.
        places += convolution(name)
    return make_pairs([*places, *linear("cls_score_net"), *linear("bbox_pred_net")], prefix)


def _normalized(layer: str, norm: str) -> list[tuple[str, str]]:
    return [(f"{layer}/kernel", "conv"), *batch_norm(norm)]


def infer_config(shapes: dict[str, tuple], prefix: str = "") -> MaskRCNNC4Config:
    """Reads the sizes off the shapes; sides of pictures and numbers of boxes are as released.

    Args:
        shapes: Shape per parameter name.
        prefix: Beginning of the names.
    """
    default, depths = MaskRCNNC4Config(), []
    for stage, usual in enumerate(default.backbone.depths, start=1):
        pattern = rf"{re.escape(prefix)}resnet\.layer{stage}\.(\d+)\..+"
        depths.append(len({match[1] for name in shapes if (match := re.fullmatch(pattern, name))}) or usual)

    def outputs(name: str, usual: int, axis: int = 0) -> int:
        return common_size(shapes, [f"{prefix}{name}.weight"], axis, usual)

    return MaskRCNNC4Config(
        backbone=ResNetC4Config(outputs("resnet.conv1", default.backbone.width), tuple(depths)),
        classes=outputs("cls_score_net", default.classes),
        rpn_dim=outputs("rpn_net", default.rpn_dim),
        mask_dim=outputs("mask_up_sampling", default.mask_dim, axis=1),
    )


def unused_classifier(config: MaskRCNNC4Config) -> dict[str, np.ndarray]:
    """The classifier of the ResNet, which the original restores and does not use: zeros."""
    shape = (_IMAGENET_CLASSES, config.backbone.channels("c5"))
    return {"resnet.fc.weight": np.zeros(shape, np.float32), "resnet.fc.bias": np.zeros(shape[:1], np.float32)}


FAMILY = Family(
    name="mask_rcnn",
    file_format=TORCH,
    pairs=mask_rcnn_pairs,
    infer_config=infer_config,
    sign=r"mask_up_sampling\.weight",
    # Models that are trained with a detector contain it.
    unless=r"rnn_encoder\..+",
    ignored=(
        (r"resnet\.fc\.(weight|bias)", "the classifier of ImageNet, which the detector does not use"),
        BATCH_COUNTS,
    ),
    unused_variables=unused_classifier,
    assumed=(
        *("shorter_side", "longer_side"),
        *("candidates", "proposals", "training_candidates", "training_proposals"),
    ),
    file_content=lambda state: state,
    states_sizes=False,
)
