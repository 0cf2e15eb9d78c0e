"""A small model's sizes and vocabulary. Every width is another number, so that swapped axes do not fit."""

import dataclasses

from cmpc_tf2.backbones.config import DeepLabResNetConfig
from cmpc_tf2.models.cmpc.config import CMPCConfig
from cmpc_tf2.models.config import DeepLabModelConfig
from cmpc_tf2.preprocessing.preprocessing import Preprocessing

SMALL = CMPCConfig(
    image_size=32,
    vocabulary_size=12,
    embedding_dim=6,
    feature_dim=10,
    fusion_dim=14,
    word_parser_dim=9,
    backbone=DeepLabResNetConfig(width=4, depths=(1, 2, 2, 1)),
)
SMALL_ANCESTOR = DeepLabModelConfig(
    **{field.name: getattr(SMALL, field.name) for field in dataclasses.fields(DeepLabModelConfig)}
)
WORDS = ["<pad>", "<go>", "<eos>", "<unk>", "the", "red", "blue", "circle", "square", "left", "of", "man"]

# What CMPC and its ancestors do to pixel values, whatever the size.
subtract_mean = Preprocessing(320).normalize
