"""Sizes of the video model, as plain data."""

import dataclasses
import reprlib
from typing import ClassVar

from cmpc_tf2.backbones.config import DeepLabResNetConfig, I3DConfig
from cmpc_tf2.fields import FieldError
from cmpc_tf2.models.cmpc.config import CMPCConfig
from cmpc_tf2.text.word_types import WordType
from cmpc_tf2.training.config import TrainConfig

# Frames of a clip, and the index of the annotated one.
CLIP_FRAMES = 16
ANNOTATED = CLIP_FRAMES // 2


@dataclasses.dataclass(frozen=True)
class ClipBackbone:
    """What a backbone makes of a clip.

    Attributes:
        config_type: The class of its sizes.
        frames: Indices of the frames that it reads.
        centres: By level, the index of the frame that each time step is centred on.
    """

    config_type: type
    frames: tuple[int, ...]
    centres: dict[str, tuple[int, ...]]


R2D_FRAMES = (0, 4, 8, 12, 15)
CLIP_BACKBONES = {
    # DeepLab-ResNet, frame by frame.
    "r2d": ClipBackbone(DeepLabResNetConfig, R2D_FRAMES, dict.fromkeys(DeepLabResNetConfig.levels, R2D_FRAMES)),
    "i3d": ClipBackbone(
        I3DConfig,
        tuple(range(CLIP_FRAMES)),
        {"c3": tuple(range(1, CLIP_FRAMES, 2)), "c4": tuple(range(3, CLIP_FRAMES, 4)), "c5": (5, 13)},
    ),
}
# How features of the annotated frame are made of those of the time steps.
ANNOTATED_FEATURES = ("step", "mean", "interpolation")


@dataclasses.dataclass(frozen=True)
class CMPCVideoConfig(CMPCConfig):
    """Sizes of CMPC-V; the defaults are those of the released checkpoints.

    Attributes: as `CMPCConfig`, and:
        backbone_type: `r2d`, DeepLab-ResNet on five frames, or `i3d`, Inception-3D on all 16.
        backbone: Sizes of the backbone; None for its full size.
        annotated_features: How features of the annotated frame are made of those of the time steps: `step` takes the
            middle one, `mean` their mean, `interpolation` interpolates between the two whose centres are nearest.
    """

    backbone_type: str = "r2d"
    backbone: DeepLabResNetConfig | I3DConfig | None = None
    annotated_features: str = "step"

    # The classes of the word parser, in the order of its outputs.
    word_types = (WordType.ENTITY, WordType.ATTRIBUTE, WordType.RELATION, WordType.ACTION, WordType.UNNECESSARY)

    def __post_init__(self):
        for name, allowed in (("backbone_type", CLIP_BACKBONES), ("annotated_features", ANNOTATED_FEATURES)):
            if getattr(self, name) not in allowed:
                expected, found = ", ".join(allowed), reprlib.repr(getattr(self, name))
                raise FieldError(name, f"expected one of {expected}, received {found}")
        if self.backbone is None:
            object.__setattr__(self, "backbone", self.backbone_config_type())
        super().__post_init__()
        if self.without:
            raise FieldError("without", "no part of the video model can be left out; expected an empty list")

    @property
    def clip_backbone(self) -> ClipBackbone:
        """What the backbone makes of a clip."""
        return CLIP_BACKBONES[self.backbone_type]

    @property
    def backbone_config_type(self) -> type:
        return self.clip_backbone.config_type

    @property
    def frames(self) -> tuple[int, ...]:
        return self.clip_backbone.frames

    def steps(self, level: str) -> int:
        """Time steps of a level."""
        return len(self.clip_backbone.centres[level])

    def annotated_weights(self, level: str) -> list[float]:
        """The weight of each time step of a level in the features of the annotated frame."""
        centres = self.clip_backbone.centres[level]
        if self.annotated_features == "mean":
            return [1 / len(centres)] * len(centres)
        if self.annotated_features == "step":
            return [float(index == len(centres) // 2) for index in range(len(centres))]
        upper = next(index for index, centre in enumerate(centres) if centre >= ANNOTATED)
        gap = centres[upper] - centres[upper - 1]
        share = (centres[upper] - ANNOTATED) / gap
        return [{upper - 1: share, upper: 1 - share}.get(index, 0.0) for index in range(len(centres))]


@dataclasses.dataclass(frozen=True)
class VideoTrainConfig(TrainConfig):
    """A training run of the video model. Attributes: as `TrainConfig`."""

    medium: ClassVar[str] = "clips"
