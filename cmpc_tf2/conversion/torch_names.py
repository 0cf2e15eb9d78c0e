"""Parts of the maps of names: names in PyTorch checkpoints on the left, `Variable.path` on the right."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class TorchPair:
    """One PyTorch parameter and its place in the Keras model.

    Attributes:
        torch: Name of the parameter.
        keras: Path of the weight.
        transform: How the axes differ: `linear`, `(out, in)` in PyTorch and `(in, out)` in Keras; `conv`, `(out, in, h,
            w)` in PyTorch and `(h, w, in, out)` in Keras; `as_is`, not at all.
    """

    torch: str
    keras: str
    transform: Literal["linear", "conv", "as_is"]
