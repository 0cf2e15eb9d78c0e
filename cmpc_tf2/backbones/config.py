"""Sizes of the backbones, as plain data."""

import dataclasses
import reprlib
from typing import ClassVar

from cmpc_tf2.fields import RANGES, FieldError, check_fields


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
        allowed, is_list = RANGES["depths"], isinstance(self.depths, (list, tuple))
        if not is_list or len(self.depths) != 4 or not all(depth in allowed for depth in self.depths):
            found = reprlib.repr(self.depths)
            raise FieldError("depths", f"expected a list of four, one per stage, each {allowed}; received {found}")
        object.__setattr__(self, "depths", tuple(self.depths))

    def stage_filters(self, stage: int) -> int:
        """Channels after stage 2, 3, 4 or 5."""
        return self.width * 2 ** (stage - 2) * 4

    def channels(self, level: str) -> int:
        """Channels of a level."""
        return self.stage_filters(int(level[1]))

    def to_dict(self) -> dict:
        """The sizes as JSON-ready data; `from_dict` restores them."""
        return {"width": self.width, "depths": list(self.depths)}
