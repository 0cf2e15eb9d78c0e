"""A PyTorch or safetensors checkpoint: its tensors and the state of its optimizer, whatever model they belong to."""

import itertools
import os
import re
from pathlib import Path

import numpy as np

from cmpc_tf2.conversion.torch_modules import MODULE_CLASSES, state_dict
from cmpc_tf2.conversion.torch_pickle import Module
from cmpc_tf2.conversion.torch_reader import find_format, read_safetensors, read_torch_file
from cmpc_tf2.errors import InputError, named

SUFFIXES = (".pth", ".pt", ".tar", ".bin", ".safetensors")
# Names of the moments in PyTorch's Adam and AdamW.
MOMENTS, STEP = ("exp_avg", "exp_avg_sq"), "step"
# Where checkpoints hold the weights, from outside in; without these entries they are a state dict themselves. Old ones
# hold a whole module there.
_WEIGHTS = ("state_dict", "model")


def is_torch_file(path: str | os.PathLike) -> bool:
    """Whether a file is a PyTorch or safetensors file: by its content, or if that is damaged by its name."""
    return find_format(path) is not None or Path(path).suffix in SUFFIXES


class TorchCheckpoint:
    """A checkpoint, opened for reading.

    Args:
        path: A file of `torch.save` or a safetensors file.

    Attributes:
        path: The file.
        tensors: Parameters and buffers by name, without the `module.` of parallel training.
        sizes: Sizes of the model, as `pytorch.convert_back` writes them; None in all other files.

    Raises:
        InputError: The file is missing, damaged, or holds no state dict.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = str(path)
        file_format = find_format(path) or Path(path).suffix.removeprefix(".")
        is_safetensors = file_format == "safetensors"
        content = read_safetensors(path) if is_safetensors else read_torch_file(path, MODULE_CLASSES)
        self.sizes = content.get("sizes")
        self._optimizer = content.get("optimizer")
        weights = content
        for key in _WEIGHTS:
            inner = weights.get(key)
            if isinstance(inner, Module):
                with named(path):
                    inner = state_dict(inner)
            weights = inner if isinstance(inner, dict) else weights
        for name, value in weights.items():
            if not isinstance(value, np.ndarray):
                raise InputError(
                    f"{path}: expected a state dict, alone or as `model` or `state_dict`; {name!r:.80} is a "
                    f"{type(value).__name__}, not a tensor"
                )
        if not weights or not all(isinstance(name, str) for name in weights):
            raise InputError(f"{path}: expected tensors by name, found {len(weights)} tensors; save the state dict")
        self.tensors: dict[str, np.ndarray] = weights
        self.rename(((r"module\.(.+)", r"\1"),))

    @property
    def shapes(self) -> dict[str, tuple]:
        """Shape per name."""
        return {name: value.shape for name, value in self.tensors.items()}

    def rename(self, renames: tuple[tuple[str, str], ...]):
        """Gives tensors other names. Each pattern that fits a whole name is applied, one after the other.

        Raises:
            InputError: Two tensors would have the same name.
        """
        renamed: dict[str, np.ndarray] = {}
        for name, value in self.tensors.items():
            for pattern, replacement in renames:
                if match := re.fullmatch(pattern, name):
                    name = match.expand(replacement)
            if name in renamed:
                raise InputError(f"{self.path}: has two tensors for {name!r:.80}; remove one")
            renamed[name] = value
        self.tensors = renamed

    def read_adamw(self, groups: list[list[str]]) -> dict[str, dict[str, np.ndarray]]:
        """Reads the state of AdamW.

        Args:
            groups: Names of the parameters in each group of the optimizer, in its order.

        Returns:
            For each parameter that was updated, by name: the moments `exp_avg` and `exp_avg_sq`, and `step`, the number
            of updates.

        Raises:
            InputError: The file holds no such state, or one for other groups.
        """
        try:
            state = self._optimizer["state"]
            found = [group["params"] for group in self._optimizer["param_groups"]]
            if (lengths := list(map(len, found))) != list(map(len, groups)):
                raise InputError(
                    f"{self.path}: the optimizer has groups of {lengths} parameters, expected {list(map(len, groups))}"
                )
            names = dict(zip(itertools.chain(*found), itertools.chain(*groups), strict=True))
            return {
                names[index]: {key: np.asarray(entry[key]) for key in (*MOMENTS, STEP)}
                for index, entry in state.items()
            }
        except (TypeError, KeyError, AttributeError):
            raise InputError(
                f"{self.path}: not a training checkpoint: it holds no state of AdamW; convert it without --optimizer"
            ) from None
