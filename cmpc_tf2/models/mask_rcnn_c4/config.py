"""Sizes of Mask R-CNN C4, as plain data."""

import dataclasses

from cmpc_tf2.backbones.config import ResNetC4Config
from cmpc_tf2.fields import RANGES, FieldError, check_fields, from_dict


@dataclasses.dataclass(frozen=True)
class MaskRCNNC4Config:
    """Sizes of Mask R-CNN C4; the defaults are those of the released detector of MAttNet.

    Attributes:
        backbone: Sizes of the ResNet.
        classes: Classes of objects, and the background.
        rpn_dim: Channels inside the region proposal network.
        mask_dim: Channels inside the mask head.
        shorter_side: Shorter side of a picture after scaling, in pixels.
        longer_side: Most pixels of its longer side; this bound takes precedence.
        candidates: Boxes with the best scores that non-maximum suppression chooses from.
        proposals: Boxes that it leaves at most.
        training_candidates: As `candidates`, in training.
        training_proposals: As `proposals`, in training.
    """

    backbone: ResNetC4Config = dataclasses.field(default_factory=ResNetC4Config)
    classes: int = 81
    rpn_dim: int = 512
    mask_dim: int = 256
    shorter_side: int = 600
    longer_side: int = 1000
    candidates: int = 6000
    proposals: int = 300
    training_candidates: int = 12000
    training_proposals: int = 2000

    def __post_init__(self):
        if not isinstance(self.backbone, ResNetC4Config):
            object.__setattr__(self, "backbone", from_dict(ResNetC4Config, self.backbone, "backbone"))
        check_fields(self, RANGES)
        if self.longer_side < self.shorter_side:
            reason = f"expected at least {self.shorter_side}, the shorter side; received {self.longer_side}"
            raise FieldError("longer_side", reason)

    def proposal_counts(self, training: bool) -> tuple[int, int]:
        """Boxes before and after non-maximum suppression."""
        if training:
            return self.training_candidates, self.training_proposals
        return self.candidates, self.proposals

    def to_dict(self) -> dict:
        """The sizes as JSON-ready data; `from_dict` restores them."""
        return {**dataclasses.asdict(self), "backbone": self.backbone.to_dict()}
