"""Sizes of MAttNet, as plain data."""

import dataclasses

from cmpc_tf2.fields import from_dict
from cmpc_tf2.models.config import ReferringConfig
from cmpc_tf2.models.mask_rcnn_c4.config import MaskRCNNC4Config

# Cells of the grid that the features of a box have: 7 x 7, row by row.
CELLS = 49


@dataclasses.dataclass(frozen=True)
class MAttNetConfig(ReferringConfig):
    """Sizes of MAttNet; the defaults are those of RefCOCO.

    Attributes:
        image_size: Shorter side of a picture after scaling, in pixels; that of the detector, whatever is given.
        vocabulary_size: Rows of the word embedding table (1999 for RefCOCO, 3349 for RefCOCOg).
        max_words: Word slots of an expression (10 for RefCOCO and RefCOCO+, 20 for RefCOCOg).
        attributes: Attributes that a box is classified by.
        contexts: Other boxes that a box can stand in relation to.
        embedding_dim: Width of the word embedding table (the original's `word_embedding_size`).
        word_dim: Width of a word vector (`word_vec_size`).
        lstm_units: Width of a direction of the LSTM (`rnn_hidden_size`).
        joint_dim: Width of the space in which boxes and phrases are compared (`jemb_dim`).
        pool5_dim: Channels of a box's features from the third stage of the detector.
        fc7_dim: Channels of those from its last stage.
        detector: Sizes of the detector.
    """

    image_size: int = 600

    vocabulary_size: int = 1999
    max_words: int = 10
    attributes: int = 50
    contexts: int = 5
    embedding_dim: int = 512
    word_dim: int = 512
    lstm_units: int = 512
    joint_dim: int = 512
    pool5_dim: int = 1024
    fc7_dim: int = 2048
    detector: MaskRCNNC4Config = dataclasses.field(default_factory=MaskRCNNC4Config)

    def __post_init__(self):
        if not isinstance(self.detector, MaskRCNNC4Config):
            object.__setattr__(self, "detector", from_dict(MaskRCNNC4Config, self.detector, "detector"))
        object.__setattr__(self, "image_size", self.detector.shorter_side)
        super().__post_init__()

    def with_detector(self, detector: MaskRCNNC4Config) -> "MAttNetConfig":
        """The sizes of the same model on another detector."""
        widths = {"pool5_dim": detector.backbone.channels("c4"), "fc7_dim": detector.backbone.channels("c5")}
        return dataclasses.replace(self, detector=detector, **widths)

    def to_dict(self) -> dict:
        return {**super().to_dict(), "detector": self.detector.to_dict()}
