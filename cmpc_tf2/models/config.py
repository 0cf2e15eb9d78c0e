"""Sizes that several families share, as plain data."""

import dataclasses
from typing import ClassVar

from cmpc_tf2.backbones.config import DeepLabResNetConfig
from cmpc_tf2.fields import RANGES, check_fields, from_dict


@dataclasses.dataclass(frozen=True)
class ReferringConfig:
    """Sizes that every referring model has.

    Attributes:
        image_size: Side of the square input in pixels, a multiple of 8.
        vocabulary_size: Rows of the word embedding table.
        max_words: Word slots of an expression.
    """

    image_size: int = 320
    vocabulary_size: int = 12112
    max_words: int = 20

    # Indices of the frames of a clip that the model reads; None for models of pictures.
    frames: ClassVar[tuple[int, ...] | None] = None

    def __post_init__(self):
        check_fields(self, RANGES)

    def to_dict(self) -> dict:
        """The sizes as JSON-ready data; `from_dict` restores them."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class DeepLabModelConfig(ReferringConfig):
    """Sizes of a model on DeepLab-ResNet; the defaults are those of the released RRN, RMI and LSTM checkpoints.

    Attributes: as `ReferringConfig`, and:
        image_size: A ConvLSTM's peepholes are bound to it.
        embedding_dim: Width of a word vector.
        feature_dim: Width of visual and language features (the original's `v_emb_dim` and `rnn_size`).
        fusion_dim: Width of fused features and of the ConvLSTM (the original's `mlp_dim`).
        backbone: Sizes of the backbone.
    """

    embedding_dim: int = 1000
    feature_dim: int = 1000
    fusion_dim: int = 500
    backbone: DeepLabResNetConfig = dataclasses.field(default_factory=DeepLabResNetConfig)

    @property
    def backbone_config_type(self) -> type:
        """The class of the sizes of the backbone."""
        return DeepLabResNetConfig

    def __post_init__(self):
        kind = self.backbone_config_type
        if not isinstance(self.backbone, kind):
            object.__setattr__(self, "backbone", from_dict(kind, self.backbone, "backbone"))
        super().__post_init__()

    @property
    def grid_size(self) -> int:
        """Cells along one side of the feature maps."""
        return self.image_size // self.backbone.stride

    def level_grid(self, level: str) -> int:
        """Cells along one side of a level of the backbone."""
        return self.backbone.grid(level, self.image_size)

    def to_dict(self) -> dict:
        return {**super().to_dict(), "backbone": self.backbone.to_dict()}
