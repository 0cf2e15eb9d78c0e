"""Sizes of BERT, as plain data."""

import dataclasses

from cmpc_tf2.fields import RANGES, FieldError, check_fields


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """Sizes of BERT; the defaults are those of bert-base-uncased.

    Attributes:
        width: Channels of a token.
        layers: Transformer layers.
        heads: Attention heads of a layer.
        intermediate: Channels inside the feed-forward networks.
        vocabulary_size: Rows of the word embedding table.
        positions: Rows of the position embedding table.
    """

    width: int = 768
    layers: int = 12
    heads: int = 12
    intermediate: int = 3072
    vocabulary_size: int = 30522
    positions: int = 512

    def __post_init__(self):
        check_fields(self, RANGES)
        if self.width % self.heads:
            raise FieldError("heads", f"expected a divisor of {self.width}, the width; received {self.heads}")

    def to_dict(self) -> dict:
        """The sizes as JSON-ready data; `from_dict` restores them."""
        return dataclasses.asdict(self)
