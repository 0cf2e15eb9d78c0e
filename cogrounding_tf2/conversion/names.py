"""Which parameter of a checkpoint is which weight.

Names are those of SijieSong/CVPR21-Cogrounding_semantic_attention (commit 7b0630a).
"""

import re

import numpy as np

from cmpc_tf2.conversion.families import common_size
from cmpc_tf2.conversion.names import darknet
from cmpc_tf2.conversion.torch_names import BATCH_COUNTS, TorchPair, batch_norm, linear, make_pairs, sentence_encoder
from cmpc_tf2.layers.spatial_grid import GRID_CHANNELS
from cogrounding_tf2.config import GRIDS, CoGroundingConfig, GroundingConfig

DARKNET = "visumodel."
FIRST_KERNEL = f"{DARKNET}module_list.0.conv_0.weight"
# Names that only checkpoints of CG-SL-Att. have.
CORRELATION = r"corr_conv\..+"
_BATCH_COUNT = "num_batches_tracked"
IGNORED = (BATCH_COUNTS,)
# Name of the layer with the positions of places, which is no module of the original.
_LOCATION = "location_scores/"


def image_pairs(config: GroundingConfig) -> list[TorchPair]:
    """The parameters and running statistics of SL-Att."""
    places = [*sentence_encoder("textmodel"), *linear("sub_attn/fc"), *linear("loc_attn/fc")]
    for name in (f"{_LOCATION}loc_embedding", f"{_LOCATION}loc_text_embedding"):
        places += [*linear(f"{name}.0"), *batch_norm(f"{name}.1")]
    for first, second in ((0, 1), (4, 5)):
        places += [*linear(f"mapping_lang.{first}"), *batch_norm(f"mapping_lang.{second}")]
    pairs = make_pairs([place for place in places if not place[0].startswith(_LOCATION)], "")
    pairs += make_pairs([place for place in places if place[0].startswith(_LOCATION)], "", _LOCATION)
    for scale in range(len(GRIDS)):
        pairs += _fusion_pairs(f"fcn_emb.{scale}.0", config.feature_dim)
        layers = [f"{name}.{scale}{end}" for name, end in _CONVOLUTIONS]
        places = [place for layer in layers for place in normalized_convolution(layer)]
        places += [(f"fcn_out.{scale}.1/kernel", "conv"), (f"fcn_out.{scale}.1/bias", "as_is")]
        pairs += make_pairs(places, "")
    return [*darknet.darknet_pairs(config.darknet, DARKNET), *pairs]


def video_pairs(config: CoGroundingConfig) -> list[TorchPair]:
    """The parameters and running statistics of CG-SL-Att.: those of SL-Att., and the attention between frames."""
    pairs = image_pairs(config)
    for layer in (f"corr_conv.{scale}.0" for scale in range(len(GRIDS))):
        pairs.append(TorchPair(f"{layer}.conv.weight", f"{layer}/kernel", "conv"))
        pairs += make_pairs(batch_norm(f"{layer}/bn"), "")
    return pairs


_CONVOLUTIONS = (("mapping_visu", ""), ("fcn_emb", ".1"), ("fcn_emb", ".2"), ("fcn_out", ".0"))


def normalized_convolution(layer: str) -> list[tuple[str, str]]:
    return [(f"{layer}/conv/kernel", "conv"), *batch_norm(f"{layer}/bn")]


def _fusion_pairs(layer: str, channels: int) -> list[TorchPair]:
    """The first convolution of the head, whose kernel is in two parts: for the picture, and for all else."""
    ends = {f"{layer}.visual": (0, channels), layer: (channels, 2 * channels + GRID_CHANNELS)}
    kernels = [TorchPair(f"{layer}.conv.weight", f"{part}/kernel", "conv", inputs) for part, inputs in ends.items()]
    return [*kernels, *make_pairs(batch_norm(f"{layer}/bn"), "")]


def infer_image_config(shapes: dict[str, tuple]) -> GroundingConfig:
    """Reads the sizes of SL-Att. off the shapes; what these do not tell is as published.

    Args:
        shapes: Shape per parameter name.
    """
    return GroundingConfig(**_infer_sizes(shapes))


def infer_video_config(shapes: dict[str, tuple]) -> CoGroundingConfig:
    """As `infer_image_config`, of CG-SL-Att."""
    return CoGroundingConfig(**_infer_sizes(shapes))


def _infer_sizes(shapes: dict[str, tuple]) -> dict:
    default, table = GroundingConfig(), ["textmodel.embedding.weight"]
    widths = [name for name in shapes if re.fullmatch(r"(sub|loc)_attn\.fc\.weight|mapping_lang\.0\.weight", name)]
    return {
        "vocabulary_size": common_size(shapes, table, 0, default.vocabulary_size),
        "feature_dim": common_size(shapes, widths, 1, 2 * default.feature_dim) // 2,
        "darknet": darknet.infer_config(shapes, DARKNET),
    }


def batch_counts(pairs: list[TorchPair]) -> dict[str, np.ndarray]:
    """The counters of batches that the original requires beside parameters and statistics: zeros."""
    norms = [pair.torch.rpartition(".")[0] for pair in pairs if pair.torch.endswith(".running_mean")]
    return {f"{norm}.{_BATCH_COUNT}": np.zeros((), np.int64) for norm in norms}


def file_content(state: dict[str, np.ndarray]) -> dict:
    """What the original's files hold: it reads all of these, and its names have the prefix of parallel training."""
    prefixed = {f"module.{name}": value for name, value in state.items()}
    return {"epoch": 0, "state_dict": prefixed, "best_loss": 0.0, "optimizer": {}}
