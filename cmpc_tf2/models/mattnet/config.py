"""Sizes of MAttNet, as plain data."""

import dataclasses

from cmpc_tf2.fields import RANGES, check_fields

# Cells of the grid that the features of a box have: 7 x 7, row by row.
CELLS = 49


@dataclasses.dataclass(frozen=True)
class MAttNetConfig:
    """Sizes of the network that matches boxes and expressions; the defaults are those of RefCOCO.

    Attributes:
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
    """

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

    def __post_init__(self):
        check_fields(self, RANGES)

    def to_dict(self) -> dict:
        """The sizes as JSON-ready data; `from_dict` restores them."""
        return dataclasses.asdict(self)
