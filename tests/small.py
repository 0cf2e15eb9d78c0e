"""A small model's sizes and vocabulary. Every width is another number, so that swapped axes do not fit."""

import dataclasses

from cmpc_tf2.config import BackboneConfig, ModelConfig, ReferringConfig

SMALL = ModelConfig(
    image_size=32,
    vocabulary_size=12,
    embedding_dim=6,
    feature_dim=10,
    fusion_dim=14,
    word_parser_dim=9,
    backbone=BackboneConfig(width=4, depths=(1, 2, 2, 1)),
)
SMALL_ANCESTOR = ReferringConfig(
    **{field.name: getattr(SMALL, field.name) for field in dataclasses.fields(ReferringConfig)}
)
WORDS = ["<pad>", "<go>", "<eos>", "<unk>", "the", "red", "blue", "circle", "square", "left", "of", "man"]
