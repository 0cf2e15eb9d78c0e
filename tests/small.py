"""The sizes and the vocabulary of small models. All widths differ, so that swapped axes do not fit."""

import dataclasses

import numpy as np

from cmpc_tf2.backbones.config import DarkNet53Config, DeepLabResNetConfig, SwinConfig
from cmpc_tf2.models.cmpc.config import CMPCConfig
from cmpc_tf2.models.config import DeepLabModelConfig
from cmpc_tf2.models.maskris.config import MaskRISConfig
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.text.config import BertConfig
from cmpc_video_tf2.config import CMPCVideoConfig
from cogrounding_tf2.config import CoGroundingConfig, GroundingConfig

SMALL = CMPCConfig(
    image_size=32,
    vocabulary_size=12,
    embedding_dim=6,
    feature_dim=10,
    fusion_dim=14,
    word_parser_dim=9,
    backbone=DeepLabResNetConfig(width=4, depths=(1, 2, 2, 1)),
)
# For what needs any model: the parts that it leaves out take most of the time.
CHEAP = dataclasses.replace(SMALL, without=("relation_graph", "exchange"))
SMALL_ANCESTOR = DeepLabModelConfig(
    **{field.name: getattr(SMALL, field.name) for field in dataclasses.fields(DeepLabModelConfig)}
)
SMALL_MASKRIS = MaskRISConfig(
    image_size=64,
    vocabulary_size=12,
    swin=SwinConfig(width=8, depths=(1, 2, 1, 1), heads=(1, 2, 2, 4), window=3),
    bert=BertConfig(width=12, layers=2, heads=3, intermediate=20, vocabulary_size=12, positions=22),
    feature_dim=16,
    output_dim=10,
    decoder_layers=2,
    decoder_heads=2,
    head_dim=6,
    points=2,
    mlp_dim=18,
    groups=4,
    prompts=3,
)
SMALL_GROUNDING = GroundingConfig(
    vocabulary_size=12, feature_dim=10, darknet=DarkNet53Config((3, 4, 5, 6, 7, 9), output_filters=8)
)
# By type of configuration, for tests that take every system.
SMALL_SIZES = {
    CMPCConfig: SMALL,
    DeepLabModelConfig: SMALL_ANCESTOR,
    CMPCVideoConfig: CMPCVideoConfig(**SMALL.to_dict()),
    MaskRISConfig: SMALL_MASKRIS,
    GroundingConfig: SMALL_GROUNDING,
    CoGroundingConfig: CoGroundingConfig(**SMALL_GROUNDING.to_dict(), clip_frames=3),
}
WORDS = ["<pad>", "<go>", "<eos>", "<unk>", "the", "red", "blue", "circle", "square", "left", "of", "man"]
# The word pieces of MaskRIS.
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "man", "with", "a", "fris", "##bee", "red", ","]

# What CMPC and its ancestors do to pixel values, at any size.
subtract_mean = Preprocessing(320).normalize


def weights_of(model) -> dict[str, np.ndarray]:
    """The values of a model's variables by path."""
    return {variable.path: variable.numpy() for variable in model.variables}


def assert_same_weights(expected: dict, found: dict, tolerance: float):
    """Compares all weights but biases that a softmax cancels: Adam amplifies the rounding noise of their gradients."""
    for path, value in expected.items():
        if not path.endswith("/key/bias"):
            np.testing.assert_allclose(found[path], value, rtol=0, atol=tolerance, err_msg=path)
