"""Sizes of the video model, as plain data."""

import dataclasses
from typing import ClassVar

from cmpc_tf2.fields import FieldError
from cmpc_tf2.models.cmpc.config import CMPCConfig
from cmpc_tf2.text.word_types import WordType
from cmpc_tf2.training.config import TrainConfig

# The frames of a clip that the model reads; the third is the annotated one.
CLIP_FRAMES = 16
FRAMES_READ = (0, 4, 8, 12, 15)
ANNOTATED = 2


@dataclasses.dataclass(frozen=True)
class CMPCVideoConfig(CMPCConfig):
    """Sizes of CMPC-V; the defaults are those of the released checkpoints. Attributes: as `CMPCConfig`."""

    # The classes of the word parser, in the order of its outputs.
    word_types = (WordType.ENTITY, WordType.ATTRIBUTE, WordType.RELATION, WordType.ACTION, WordType.UNNECESSARY)

    def __post_init__(self):
        super().__post_init__()
        if self.without:
            raise FieldError("without", "no part of the video model can be left out; expected an empty list")


@dataclasses.dataclass(frozen=True)
class VideoTrainConfig(TrainConfig):
    """A training run of the video model. Attributes: as `TrainConfig`."""

    medium: ClassVar[str] = "clips"
