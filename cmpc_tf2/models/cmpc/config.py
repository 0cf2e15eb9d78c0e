"""Sizes of CMPC, as plain data."""

import dataclasses
import reprlib

from cmpc_tf2.fields import FieldError
from cmpc_tf2.models.config import DeepLabModelConfig
from cmpc_tf2.text.word_types import WordType

# MUTAN's rank: the number of products that are summed.
MUTAN_HEADS = 5

# Parts of the model that can be left out, to measure their effect.
ABLATIONS = ("word_types", "relation_graph", "exchange")


@dataclasses.dataclass(frozen=True)
class CMPCConfig(DeepLabModelConfig):
    """Sizes of CMPC-I; the defaults are those of the released checkpoints.

    Attributes: as `DeepLabModelConfig`, with word vectors of 300 (GloVe), and:
        word_parser_dim: Hidden units of the word-type classifier.
        without: Parts left out, of `ABLATIONS`. Such a model has no counterpart in the original.
    """

    embedding_dim: int = 300
    word_parser_dim: int = 500
    without: tuple[str, ...] = ()

    # The classes of the word parser, in the order of its outputs.
    word_types = (WordType.ENTITY, WordType.ATTRIBUTE, WordType.RELATION, WordType.UNNECESSARY)

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.without, (list, tuple)) or not all(part in ABLATIONS for part in self.without):
            found = reprlib.repr(self.without)
            raise FieldError("without", f"expected a list of some of {', '.join(ABLATIONS)}, received {found}")
        object.__setattr__(self, "without", tuple(self.without))

    def to_dict(self) -> dict:
        """As `DeepLabModelConfig.to_dict`."""
        return {**super().to_dict(), "without": list(self.without)}
