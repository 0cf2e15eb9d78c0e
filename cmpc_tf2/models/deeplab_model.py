"""Models on DeepLab-ResNet: CMPC and its ancestors."""

from typing import ClassVar

import keras

from cmpc_tf2.backbones.backbone import Backbone
from cmpc_tf2.backbones.deeplab_resnet import DeepLabResNet
from cmpc_tf2.models.config import DeepLabModelConfig
from cmpc_tf2.models.referring_model import ReferringModel


def level_input(level: str, config: DeepLabModelConfig):
    """The input of a projection for one level of the backbone: `(B, h, w, C)`."""
    size = config.level_grid(level)
    return keras.Input((size, size, config.backbone.channels(level)), name=level)


class DeepLabModel(ReferringModel):
    """A model whose encoder is DeepLab-ResNet and a projection of its levels.

    Args: as `ReferringModel`.
    """

    config_type: ClassVar[type] = DeepLabModelConfig

    @staticmethod
    def build_visual_projection(config) -> keras.Model:
        """Levels of the backbone, by name, to the encoder's outputs."""
        raise NotImplementedError

    @classmethod
    def build_image_encoder(cls, config) -> keras.Model:
        return cls.connect_encoder(config, cls.build_backbone(config), cls.build_visual_projection(config))

    @staticmethod
    def build_backbone(config) -> Backbone:
        """The backbone, with the name `backbone`."""
        return DeepLabResNet(config.backbone, name="backbone")

    @staticmethod
    def connect_encoder(config, backbone: Backbone, projection: keras.Model) -> keras.Model:
        """The encoder: pictures to the outputs of a projection, which may use some levels of the backbone only."""
        image = keras.Input((config.image_size, config.image_size, 3), name="image")
        taps = backbone(image)
        return keras.Model(image, projection({level: taps[level] for level in projection.input}), name="image_encoder")

    def get_backbone(self) -> Backbone:
        """The backbone with its trained weights. (Not a property: Keras would save it under that name too.)"""
        return self.image_encoder.get_layer("backbone")

    def inference_encoder(self) -> keras.Model:
        """A faster copy of the encoder with folded batch norms: same outputs up to rounding; not to be trained."""
        backbone = self.get_backbone().inference_form(self.config.image_size)
        return self.connect_encoder(self.config, backbone, self.inference_projection())

    def inference_projection(self) -> keras.Model:
        """What comes behind the backbone in `inference_encoder`."""
        return self.image_encoder.get_layer("visual_projection")
