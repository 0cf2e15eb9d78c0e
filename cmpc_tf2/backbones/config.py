"""Sizes of the backbones, as plain data."""

import dataclasses
import reprlib
from typing import ClassVar

from cmpc_tf2.fields import RANGES, FieldError, WholeNumber, check_fields


def _check_stages(config, name: str, count: str = "four"):
    """Checks a field that holds one number per stage, and makes a tuple of it."""
    values, allowed, length = getattr(config, name), RANGES[name], {"four": 4, "six": 6}[count]
    if not isinstance(values, (list, tuple)) or len(values) != length or not all(value in allowed for value in values):
        found = reprlib.repr(values)
        raise FieldError(name, f"expected a list of {count}, one per stage, each {allowed}; received {found}")
    object.__setattr__(config, name, tuple(values))


@dataclasses.dataclass(frozen=True)
class DeepLabResNetConfig:
    """Sizes of the DeepLab-ResNet backbone; the defaults are ResNet-101.

    Attributes:
        width: Filters of the first convolution. Stage k (2 to 5) has `width * 2**(k-2)` filters inside its
            bottlenecks and four times as many after them.
        depths: Bottlenecks in stages 2, 3, 4 and 5.
    """

    width: int = 64
    depths: tuple[int, int, int, int] = (3, 4, 23, 3)

    # The maps after stages 3, 4 and 5, fine to coarse. All have one cell per 8 x 8 pixels: stride 2 three times, then
    # dilation.
    levels: ClassVar[tuple[str, ...]] = ("c3", "c4", "c5")
    stride: ClassVar[int] = 8

    def __post_init__(self):
        check_fields(self, RANGES)
        _check_stages(self, "depths")

    def stage_filters(self, stage: int) -> int:
        """Channels after stage 2, 3, 4 or 5."""
        return self.width * 2 ** (stage - 2) * 4

    def channels(self, level: str) -> int:
        """Channels of a level."""
        return self.stage_filters(int(level[1]))

    def grid(self, level: str, size: int) -> int:
        """Cells along a side of a level, for pictures of `size` pixels."""
        return size // self.stride

    def to_dict(self) -> dict:
        """The sizes as JSON-ready data; `from_dict` restores them."""
        return {"width": self.width, "depths": list(self.depths)}


@dataclasses.dataclass(frozen=True)
class ResNetC4Config:
    """Sizes of a ResNet up to its last but one stage, and of the last stage; the defaults are ResNet-101.

    Attributes:
        width: Filters of the first convolution. Stage k (1 to 4) has `width * 2**(k-1)` filters inside its bottlenecks
            and four times as many after them.
        depths: Bottlenecks in stages 1, 2, 3 and 4.
    """

    width: int = 64
    depths: tuple[int, int, int, int] = (3, 4, 23, 3)

    # The map after stage 3.
    levels: ClassVar[tuple[str, ...]] = ("c4",)
    stride: ClassVar[int] = 16

    def __post_init__(self):
        check_fields(self, RANGES)
        _check_stages(self, "depths")

    def stage_channels(self, stage: int) -> int:
        """Channels after stage 1, 2, 3 or 4."""
        return self.width * 2 ** (stage - 1) * 4

    def channels(self, level: str) -> int:
        """Channels of a level; `c5` is the output of stage 4."""
        return self.stage_channels(int(level[1]) - 1)

    def to_dict(self) -> dict:
        """The sizes as JSON-ready data; `from_dict` restores them."""
        return {"width": self.width, "depths": list(self.depths)}


@dataclasses.dataclass(frozen=True)
class I3DConfig:
    """Sizes of the I3D backbone; the default is the original.

    Attributes:
        width: Filters of the first convolution, a multiple of 8; all others are in proportion.
    """

    width: int = 64

    # The maps before each spatial halving, with strides of 8, 16 and 32 in space and of 2, 4 and 8 in time.
    levels: ClassVar[tuple[str, ...]] = ("c3", "c4", "c5")
    # Of the finest level, in space.
    stride: ClassVar[int] = 8

    def __post_init__(self):
        allowed = WholeNumber(8, 1000, multiple_of=8)
        if self.width not in allowed:
            raise FieldError("width", f"expected {allowed}, received {reprlib.repr(self.width)}")

    def scaled(self, filters: int) -> int:
        """Filters of a convolution that has `filters` at full width."""
        return filters * self.width // 64

    def channels(self, level: str) -> int:
        """Channels of a level."""
        return self.scaled({"c3": 480, "c4": 832, "c5": 1024}[level])

    def grid(self, level: str, size: int) -> int:
        """Cells along a side of a level, for frames of `size` pixels; incomplete cells count."""
        return -(-size // 2 ** int(level[1]))

    def to_dict(self) -> dict:
        """The sizes as JSON-ready data; `from_dict` restores them."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class SwinConfig:
    """Sizes of a Swin Transformer; the defaults are Swin-B with windows of 7 x 7 cells.

    Attributes:
        width: Channels of the first stage. Every later stage has twice as many as the one before.
        depths: Blocks of the four stages.
        heads: Attention heads of the four stages.
        window: Side of the attention windows, in cells.
    """

    width: int = 128
    depths: tuple[int, int, int, int] = (2, 2, 18, 2)
    heads: tuple[int, int, int, int] = (4, 8, 16, 32)
    window: int = 7

    # The maps after the stages, fine to coarse, with strides of 4, 8, 16 and 32.
    levels: ClassVar[tuple[str, ...]] = ("f0", "f1", "f2", "f3")
    # Side of a patch, which becomes a cell of the first stage, in pixels.
    patch_size: ClassVar[int] = 4

    def __post_init__(self):
        check_fields(self, RANGES)
        for name in ("depths", "heads"):
            _check_stages(self, name)
        for level, heads in zip(self.levels, self.heads, strict=True):
            if self.channels(level) % heads:
                reason = f"expected a divisor of {self.channels(level)}, the channels of {level}; received {heads}"
                raise FieldError("heads", reason)

    def channels(self, level: str) -> int:
        """Channels of a level."""
        return self.width * 2 ** int(level[1])

    def grids(self, height: int, width: int) -> dict[str, tuple[int, int]]:
        """Rows and columns of each level for pictures of `height` x `width` pixels; incomplete cells count."""
        strides = {level: self.patch_size * 2 ** int(level[1]) for level in self.levels}
        return {level: (-(-height // stride), -(-width // stride)) for level, stride in strides.items()}

    def to_dict(self) -> dict:
        """The sizes as JSON-ready data; `from_dict` restores them."""
        return {**dataclasses.asdict(self), "depths": list(self.depths), "heads": list(self.heads)}


@dataclasses.dataclass(frozen=True)
class DarkNet53Config:
    """Sizes of DarkNet-53 with the neck of YOLOv3; the defaults are those of `yolov3.cfg`.

    Attributes:
        widths: Filters of the first convolution and of the five stages. Inside its blocks, a stage has the filters of
            the one before.
        output_filters: Filters of the three detection heads, which nothing reads.
    """

    widths: tuple[int, int, int, int, int, int] = (32, 64, 128, 256, 512, 1024)
    output_filters: int = 255

    # The maps before the detection heads, coarse to fine, with strides of 32, 16 and 8.
    levels: ClassVar[tuple[str, ...]] = ("t0", "t1", "t2")

    def __post_init__(self):
        check_fields(self, RANGES)
        _check_stages(self, "widths", "six")

    def channels(self, level: str) -> int:
        """Channels of a level."""
        return self.widths[5 - int(level[1])]

    def grid(self, level: str, size: int) -> int:
        """Cells along a side of a level, for pictures of `size` pixels, a multiple of 32."""
        return size // 2 ** (5 - int(level[1]))

    def to_dict(self) -> dict:
        """The sizes as JSON-ready data; `from_dict` restores them."""
        return {**dataclasses.asdict(self), "widths": list(self.widths)}


SWIN_PRESETS = {
    "tiny": SwinConfig(width=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24)),
    "small": SwinConfig(width=96, heads=(3, 6, 12, 24)),
    "base": SwinConfig(),
    "large": SwinConfig(width=192, heads=(6, 12, 24, 48)),
}
