"""Sizes of MaskRIS, as plain data."""

import dataclasses

from cmpc_tf2.backbones.config import SwinConfig
from cmpc_tf2.fields import FieldError, from_dict
from cmpc_tf2.models.config import ReferringConfig
from cmpc_tf2.text.config import BertConfig

# Levels of the backbone that the decoder attends to, coarse to fine. The finest one, f0, is added to its output.
DECODER_LEVELS = ("f3", "f2", "f1")
# Sides of the grids that the coarsest level is pooled to; every cell makes one of the prompts that BERT sees.
PROMPT_GRIDS = (1, 2)


@dataclasses.dataclass(frozen=True)
class MaskRISConfig(ReferringConfig):
    """Sizes of MaskRIS and CARIS; the defaults are those of the published training scripts.

    Attributes: as `ReferringConfig`, and:
        swin: Sizes of the backbone.
        bert: Sizes of the language encoder; its `vocabulary_size` is that of the model, and may be left out of a
            dictionary.
        feature_dim: Channels of cells and words in the decoder.
        output_dim: Channels of the final features of cells and words, whose products are the logits.
        decoder_layers: Layers of the decoder.
        decoder_heads: Heads of all attention in the decoder.
        head_dim: Channels of one head, except in deformable attention, where it is `feature_dim / decoder_heads`.
        points: Cells that a head of deformable attention samples in each level.
        mlp_dim: Channels inside the feed-forward networks of the decoder.
        groups: Groups of the group norms.
        prompts: Learned tokens that the decoder adds to the words; their mean stands for the background.
    """

    image_size: int = 448
    vocabulary_size: int = 30522
    swin: SwinConfig = dataclasses.field(default_factory=SwinConfig)
    bert: BertConfig = dataclasses.field(default_factory=dict)  # `__post_init__` makes a BertConfig of it.
    feature_dim: int = 256
    output_dim: int = 256
    decoder_layers: int = 6
    decoder_heads: int = 8
    head_dim: int = 128
    points: int = 4
    mlp_dim: int = 1024
    groups: int = 32
    prompts: int = 5

    def __post_init__(self):
        if isinstance(self.bert, dict):
            object.__setattr__(self, "bert", {"vocabulary_size": self.vocabulary_size, **self.bert})
        for name, kind in (("swin", SwinConfig), ("bert", BertConfig)):
            if not isinstance(getattr(self, name), kind):
                object.__setattr__(self, name, from_dict(kind, getattr(self, name), name))
        super().__post_init__()
        if self.bert.vocabulary_size != self.vocabulary_size:
            reason = f"expected {self.vocabulary_size}, that of the model; received {self.bert.vocabulary_size}"
            raise FieldError("bert.vocabulary_size", reason)
        if self.max_words > self.bert.positions:
            reason = f"expected at most {self.bert.positions}, the positions of BERT; received {self.max_words}"
            raise FieldError("max_words", reason)
        # The position of a cell is described by sines and cosines of its row and of its column.
        for name, divisor in (("decoder_heads", self.decoder_heads), ("groups", self.groups), ("", 4)):
            if self.feature_dim % divisor:
                what = f"{divisor} ({name})" if name else divisor
                raise FieldError("feature_dim", f"expected a multiple of {what}, received {self.feature_dim}")

    def to_dict(self) -> dict:
        """As `ReferringConfig.to_dict`."""
        return {**super().to_dict(), "swin": self.swin.to_dict(), "bert": self.bert.to_dict()}
