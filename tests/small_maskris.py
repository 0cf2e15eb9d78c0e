"""Sizes of a small MaskRIS, in which no two that could be confused are equal."""

from cmpc_tf2.backbones.config import SwinConfig
from cmpc_tf2.models.maskris.config import MaskRISConfig
from cmpc_tf2.text.config import BertConfig

SWIN = SwinConfig(width=8, depths=(1, 2, 1, 1), heads=(2, 1, 4, 2), window=3)
BERT = BertConfig(width=64, layers=2, heads=1, intermediate=24, vocabulary_size=30, positions=22)
SMALL = MaskRISConfig(
    image_size=32,
    vocabulary_size=30,
    swin=SWIN,
    bert=BERT,
    feature_dim=64,
    output_dim=6,
    decoder_layers=1,
    head_dim=3,
    points=2,
    mlp_dim=10,
    prompts=2,
)
