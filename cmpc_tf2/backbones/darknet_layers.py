"""The numbers that `yolov3.cfg` gives to the layers of DarkNet-53."""

from typing import NamedTuple

from cmpc_tf2.backbones.config import DarkNet53Config

# Blocks of the five stages.
BLOCKS = (1, 2, 8, 8, 4)
# The first convolution of each level, behind the joined maps.
FIRST = {"t0": 75, "t1": 87, "t2": 99}
# Name of the layer that holds the unused convolutions.
HEADS = "unused_heads"


class Head(NamedTuple):
    """A convolution whose output nothing reads: its number, channels, kernel, and whether it has a batch norm."""

    number: int
    inputs: int
    filters: int
    kernel_size: int
    has_norm: bool = True


def layer_name(number: int) -> str:
    """Name of the layer with a number."""
    return f"module_list.{number}"


def sublayer_names(number: int) -> tuple[str, str]:
    """Names of the convolution and of the batch norm in this layer."""
    return f"conv_{number}", f"batch_norm_{number}"


def convolution_numbers() -> list[int]:
    """The numbers of all 75 convolutions."""
    numbers, number = [0], 1
    for blocks in BLOCKS:
        numbers.append(number)
        for block in range(blocks):  # Two convolutions and a shortcut.
            numbers += [number + 3 * block + 1, number + 3 * block + 2]
        number += 1 + 3 * blocks
    for level, first in FIRST.items():
        reducing = [] if level == "t0" else [first - 3]
        numbers += [*reducing, *range(first, first + 7)]
    return numbers


def unused_heads(config: DarkNet53Config) -> list[Head]:
    """The convolutions of the detection heads, in order."""
    _, _, eighth, quarter, half, full = config.widths
    outputs = config.output_filters
    return [
        Head(80, half, full, 3),
        Head(81, full, outputs, 1, has_norm=False),
        Head(92, quarter, half, 3),
        Head(93, half, outputs, 1, has_norm=False),
        Head(103, quarter, eighth, 1),
        Head(104, eighth, quarter, 3),
        Head(105, quarter, outputs, 1, has_norm=False),
    ]
