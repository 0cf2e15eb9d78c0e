"""From pictures to the features of their places: the layers, and what every model does with them."""

import dataclasses
from typing import Any

import keras
from keras import layers

from cmpc_tf2.backbones.backbone import Backbone
from cmpc_tf2.backbones.darknet53 import DarkNet53
from cmpc_tf2.layers.normalized_convolution import NormalizedConvolution
from cmpc_tf2.layers.torch_normalization import unit_length
from cmpc_tf2.layers.transformer import fan_in_uniform
from cogrounding_tf2.config import GRIDS, GroundingConfig
from cogrounding_tf2.models.head import MOMENTUM, fusion_inputs, join_scales

SCALES = range(len(GRIDS))


@dataclasses.dataclass(frozen=True)
class VisualLayers:
    """The layers of an encoder, which other models may share.

    Attributes:
        backbone: Pictures to three maps.
        mappings: These maps to a common width; one for each scale.
        projections: The picture's share of the first convolutions of the head; one for each scale.
        correlations: Of clips, the attention between frames; one for each scale.
    """

    backbone: Backbone
    mappings: list[layers.Layer]
    projections: list[layers.Layer]
    correlations: list[layers.Layer] = dataclasses.field(default_factory=list)

    def folded(self) -> "VisualLayers":
        """The same with norms folded into kernels where they follow a convolution directly; not to be trained."""
        return dataclasses.replace(
            self,
            backbone=self.backbone.inference_form(),
            mappings=[mapping.folded_copy() for mapping in self.mappings],
        )

    def visual_maps(self, images) -> list:
        """Pictures, `(B, S, S, 3)`, to a map of each scale, `(B, n, n, D)`, whose cells have unit length."""
        taps = self.backbone(images)
        levels = self.backbone.config.levels
        return [unit_length(mapping(taps[level])) for mapping, level in zip(self.mappings, levels, strict=True)]

    def features(self, maps: list) -> dict[str, Any]:
        """The outputs of an encoder: `visual`, the places, and `projected`, their share of the head; `(B, P, D)`."""
        projected = [projection(x) for projection, x in zip(self.projections, maps, strict=True)]
        return {"visual": join_scales(maps), "projected": join_scales(projected)}


def new_layers(config: GroundingConfig) -> VisualLayers:
    """The layers of a new encoder of pictures."""
    channels = config.feature_dim
    initializer = fan_in_uniform(fusion_inputs(channels))
    return VisualLayers(
        backbone=DarkNet53(config.darknet, name="backbone"),
        mappings=[
            NormalizedConvolution(channels, 1, momentum=MOMENTUM, name=f"mapping_visu.{scale}") for scale in SCALES
        ],
        projections=[
            layers.Conv2D(channels, 1, use_bias=False, kernel_initializer=initializer, name=f"fcn_emb.{scale}.0.visual")
            for scale in SCALES
        ],
    )


def layers_of(encoder: keras.Model) -> VisualLayers:
    """The layers of an encoder."""
    found = {layer.name: layer for layer in encoder.layers}
    return VisualLayers(
        backbone=found["backbone"],
        mappings=[found[f"mapping_visu.{scale}"] for scale in SCALES],
        projections=[found[f"fcn_emb.{scale}.0.visual"] for scale in SCALES],
        correlations=[found[name] for scale in SCALES if (name := f"corr_conv.{scale}.0") in found],
    )
