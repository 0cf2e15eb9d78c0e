"""Sizes of CAC, as plain data."""

import dataclasses
import reprlib
from typing import ClassVar

from cmpc_tf2.fields import RANGES, FieldError, check_fields, from_dict
from cmpc_tf2.models.config import ReferringConfig
from cmpc_tf2.models.mask_rcnn_c4.config import MaskRCNNC4Config

# How the sentence weights the map: one raw filter; seven filters of regions, raw; the same through a sigmoid.
VARIANTS = ("baseline", "spatial", "response")


@dataclasses.dataclass(frozen=True)
class CaptionerConfig:
    """Sizes of the captioner; the defaults are those of the released ones.

    Attributes:
        units: Width of the LSTM and of a cell of the picture.
        word_dim: Width of a word.
        attention_dim: Channels inside the attention.
    """

    units: int = 512
    word_dim: int = 512
    attention_dim: int = 512

    def __post_init__(self):
        check_fields(self, RANGES)

    def to_dict(self) -> dict:
        """The sizes as JSON-ready data; `from_dict` restores them."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class CACConfig(ReferringConfig):
    """Sizes of CAC; the defaults are those of the original on RefCOCO, without a captioner.

    The captioner is part of the model, although only training uses it: checkpoints of the original's "cycle" variants
    hold it, and training continues with it.

    Attributes:
        image_size: Shorter side of a picture after scaling, in pixels; that of the detector, whatever is given.
        variant: One of `VARIANTS`. The full model of the paper is `response` with a captioner.
        vocabulary_size: Rows of the word embedding table (1999 for RefCOCO, 3349 for RefCOCOg).
        max_words: Word slots of a sentence (10 for RefCOCO and RefCOCO+, 20 for RefCOCOg).
        embedding_dim: Width of a row of that table.
        word_dim: Width of a word in front of the LSTM.
        lstm_units: Width of a direction of the LSTM.
        detector: Sizes of Mask R-CNN.
        captioner: Sizes of the captioner; None for a model without one.
    """

    image_size: int = 600
    variant: str = "response"
    vocabulary_size: int = 1999
    max_words: int = 10
    embedding_dim: int = 512
    word_dim: int = 512
    lstm_units: int = 512
    detector: MaskRCNNC4Config = dataclasses.field(default_factory=MaskRCNNC4Config)
    captioner: CaptionerConfig | None = None

    # Classes of parts that are sizes themselves.
    parts: ClassVar[dict[str, type]] = {"detector": MaskRCNNC4Config, "captioner": CaptionerConfig}

    def __post_init__(self):
        for name, kind in self.parts.items():
            part = getattr(self, name)
            if not isinstance(part, kind) and not (name == "captioner" and part is None):
                object.__setattr__(self, name, from_dict(kind, part, name))
        object.__setattr__(self, "image_size", self.detector.shorter_side)
        super().__post_init__()
        if self.variant not in VARIANTS:
            reason = f"expected one of {', '.join(VARIANTS)}; received {reprlib.repr(self.variant)}"
            raise FieldError("variant", reason)
        if self.variant == "baseline" and self.captioner:
            raise FieldError("captioner", "expected none in the variant `baseline`")

    def with_detector(self, detector: MaskRCNNC4Config) -> "CACConfig":
        """The sizes of the same model on another detector."""
        return dataclasses.replace(self, detector=detector)

    def to_dict(self) -> dict:
        """As `ReferringConfig.to_dict`."""
        return {**super().to_dict(), "detector": self.detector.to_dict()}
