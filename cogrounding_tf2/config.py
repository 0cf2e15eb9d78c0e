"""Sizes of the grounding models, and descriptions of their training runs, as plain data."""

import dataclasses
import reprlib
from typing import ClassVar

from cmpc_tf2.backbones.config import DarkNet53Config
from cmpc_tf2.fields import FieldError, WholeNumber, from_dict
from cmpc_tf2.models.config import ReferringConfig
from cmpc_tf2.training.config import TrainConfig

IMAGE_SIZE = 256
# Cells along a side of the three scales, coarse to fine, and of all three together.
GRIDS = (8, 16, 32)
PLACES = sum(side**2 for side in GRIDS)
# Width and height of the anchors in a picture of 416 pixels, three for each scale.
ANCHORS = ((373, 326), (156, 198), (116, 90), (59, 119), (62, 45), (30, 61), (33, 23), (16, 30), (10, 13))
ANCHORS_SIZE = 416
# Boxes that each place proposes, and numbers that describe one: x, y, w, h and confidence.
PROPOSED, ENTRIES = len(ANCHORS) // len(GRIDS), 5
# Boxes of a clip that post-processing chooses from: as many as frames, in the original.
CANDIDATES = 5


@dataclasses.dataclass(frozen=True)
class GroundingConfig(ReferringConfig):
    """Sizes of SL-Att.; the defaults are those of the published training scripts.

    Attributes: as `ReferringConfig`, and:
        image_size: 256, to which the width of a layer is bound.
        feature_dim: Channels of cells and words; even.
        darknet: Sizes of the backbone.
    """

    image_size: int = IMAGE_SIZE
    vocabulary_size: int = 12099
    max_words: int = 20
    feature_dim: int = 512
    darknet: DarkNet53Config = dataclasses.field(default_factory=DarkNet53Config)

    def __post_init__(self):
        if not isinstance(self.darknet, DarkNet53Config):
            object.__setattr__(self, "darknet", from_dict(DarkNet53Config, self.darknet, "darknet"))
        super().__post_init__()
        if self.image_size != IMAGE_SIZE:
            grids = " + ".join(f"{side}²" for side in GRIDS)
            reason = f"expected {IMAGE_SIZE}: the width of a layer, {PLACES} = {grids}, is bound to it"
            raise FieldError("image_size", f"{reason}; received {self.image_size}")
        if self.feature_dim % 2:
            raise FieldError("feature_dim", f"expected a multiple of 2, received {self.feature_dim}")

    def to_dict(self) -> dict:
        """As `ReferringConfig.to_dict`."""
        return {**super().to_dict(), "darknet": self.darknet.to_dict()}


@dataclasses.dataclass(frozen=True)
class CoGroundingConfig(GroundingConfig):
    """Sizes of CG-SL-Att.

    Attributes: as `GroundingConfig`, and:
        clip_frames: Frames of a clip; odd. The box is that of the middle one.
    """

    clip_frames: int = 5

    def __post_init__(self):
        super().__post_init__()
        allowed = WholeNumber(3, 99)
        if self.clip_frames not in allowed or self.clip_frames % 2 == 0:
            found = reprlib.repr(self.clip_frames)
            raise FieldError("clip_frames", f"expected {allowed}, odd, received {found}")

    @property
    def frames(self) -> tuple[int, ...]:
        return tuple(range(self.clip_frames))


@dataclasses.dataclass(frozen=True)
class GroundingTrainConfig(TrainConfig):
    """A training run of the image model. Attributes: as `TrainConfig`."""

    medium: ClassVar[str] = "grounding"


@dataclasses.dataclass(frozen=True)
class CoGroundingTrainConfig(TrainConfig):
    """A training run of the video model. Attributes: as `TrainConfig`."""

    medium: ClassVar[str] = "grounding_clips"
