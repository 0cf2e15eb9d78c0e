"""DarkNet-53 with the neck of YOLOv3: the parameters of a `.weights` file, in its order.

The file has no names. Those here are what PyTorch checkpoints of grounding models have for the same parameters.
"""

import os
import struct
from pathlib import Path

from cmpc_tf2.backbones.config import DarkNet53Config
from cmpc_tf2.backbones.darknet_layers import HEADS, convolution_numbers, layer_name, sublayer_names, unused_heads
from cmpc_tf2.conversion.families import DARKNET, Family, common_size
from cmpc_tf2.conversion.torch_names import TorchPair, batch_norm, make_pairs


def darknet_pairs(config: DarkNet53Config, prefix: str = "") -> list[TorchPair]:
    """The parameters and running statistics: 366.

    Args:
        config: Its sizes.
        prefix: Beginning of the names.
    """
    heads = {head.number: head for head in unused_heads(config)}
    pairs = []
    for number in convolution_numbers():
        convolution, norm = sublayer_names(number)
        scope = f"{HEADS}/" if number in heads else ""
        layer = f"{scope}{layer_name(number)}"
        if number in heads and not heads[number].has_norm:
            places = [(f"{layer}/{convolution}/bias", "as_is")]
        else:
            places = batch_norm(f"{layer}/{norm}")
        pairs += make_pairs([*places, (f"{layer}/{convolution}/kernel", "conv")], prefix, scope)
    return pairs


# Header of `yolov3.weights`: three numbers of the version, two of the pictures seen.
HEADER = struct.pack("<5i", 0, 2, 0, 32013312, 0)
_VERSION = HEADER[:12]


def is_darknet_file(path: str | os.PathLike) -> bool:
    """Whether a file is one of darknet: by the version at its beginning, or if that is another by its name."""
    try:
        with open(path, "rb") as file:
            has_version = file.read(len(_VERSION)) == _VERSION
    except OSError:
        has_version = False
    return has_version or Path(path).suffix == ".weights"


def infer_config(shapes: dict[str, tuple], prefix: str = "") -> DarkNet53Config:
    """Reads the sizes off the shapes.

    Args:
        shapes: Shape per parameter name.
        prefix: Beginning of the names.
    """
    default = DarkNet53Config()

    def filters(number: int, usual: int) -> int:
        name = f"{prefix}{layer_name(number)}.{sublayer_names(number)[0]}.weight"
        return common_size(shapes, [name], 0, usual)

    # The first convolution, and that of each stage.
    strided = (0, 1, 5, 12, 37, 62)
    widths = [filters(number, width) for number, width in zip(strided, default.widths, strict=True)]
    return DarkNet53Config(tuple(widths), filters(81, default.output_filters))


FAMILY = Family(
    name="darknet",
    file_format=DARKNET,
    pairs=darknet_pairs,
    infer_config=infer_config,
    sign="",
)
