"""From a clip to the levels of a backbone, with the time steps as batch."""

import keras
from keras import ops

from cmpc_tf2.backbones.backbone import Backbone
from cmpc_tf2.backbones.deeplab_resnet import DeepLabResNet
from cmpc_tf2.backbones.i3d import InceptionI3D
from cmpc_tf2.preprocessing.preprocessing import CAFFE_MEAN
from cmpc_video_tf2.config import CMPCVideoConfig


def build_backbone(config: CMPCVideoConfig) -> Backbone:
    """The backbone of a model, with the name `backbone`."""
    backbone_type = {"r2d": DeepLabResNet, "i3d": InceptionI3D}[config.backbone_type]
    return backbone_type(config.backbone, name="backbone")


def clip_taps(config: CMPCVideoConfig, backbone: Backbone, clip) -> dict[str, keras.KerasTensor]:
    """The levels of a clip.

    Args:
        config: Sizes of the model.
        backbone: Its backbone.
        clip: `(B, 16, S, S, 3)`, BGR, 0 to 255, minus the mean.

    Returns:
        By level `(B * steps, h, w, C)`.
    """
    if config.backbone_type == "r2d":
        read = ops.stack([clip[:, index] for index in config.frames], axis=1)
        return backbone(ops.reshape(read, (-1, *clip.shape[2:])))
    # I3D takes RGB from -1 to 1.
    rgb = (clip + ops.convert_to_tensor(CAFFE_MEAN, clip.dtype))[..., ::-1] / 127.5 - 1
    taps = backbone(rgb)
    sides = {level: config.level_grid(level) for level in taps}
    return {level: ops.reshape(tap, (-1, sides[level], sides[level], tap.shape[-1])) for level, tap in taps.items()}
