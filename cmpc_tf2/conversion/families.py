"""The families of models whose checkpoints can be converted, and which of them a checkpoint belongs to."""

import collections
import dataclasses
import importlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from cmpc_tf2.conversion.tf1_names import Pair
from cmpc_tf2.conversion.tf1_reader import TF1Checkpoint
from cmpc_tf2.conversion.torch_names import TorchPair
from cmpc_tf2.errors import InputError
from cmpc_tf2.systems import SYSTEMS, System

TF1, TORCH, DARKNET = "tf1", "torch", "darknet"


@dataclasses.dataclass(frozen=True)
class Family:
    """Describes the checkpoints of a family of models to the converter.

    Attributes:
        name: Its name in reports.
        pairs: Lists the variables of a configuration.
        infer_config: Reads the sizes of a model off the shapes of its variables, a dict by name.
        file_format: `TF1`, `TORCH` or `DARKNET`. A variable of a PyTorch checkpoint is a parameter or buffer.
        sign: Pattern of a variable's name by which a checkpoint is recognized.
        unless: Pattern of a variable's name that shows a checkpoint to be another family's in spite of `sign`.
        ignored: Variables that are not converted: a pattern for the whole name, and the reason. A group `base` has to
            be the name of a converted variable.
        step: Name of the variable that counts training steps, if there is one.
        unused_variables: Variables that the original restores but does not use: arrays by name, for a configuration.
        assumed: Fields of the sizes that the shapes of its variables do not tell, as `outer.inner` within others.
        renames: Other names of its variables: patterns for the whole name and replacements, all applied in turn.
        released: Published TensorFlow 1 checkpoints by `TF1Checkpoint.fingerprint`, where those are known.
        optimizer_groups: Splits the names of the parameters, in their order in the checkpoint, into the groups of the
            original's optimizer; None if its state is not converted.
        file_content: What the original's files hold: a dict, for a state dict.
        states_sizes: Whether these files have room for the sizes of the model; not if they are a bare state dict.
        system: The system of these checkpoints; set by `load_families`.
    """

    name: str
    pairs: Callable[[Any], list[Pair] | list[TorchPair]]
    infer_config: Callable[[dict[str, tuple]], Any]
    sign: str
    file_format: str = TF1
    unless: str | None = None
    ignored: tuple[tuple[str, str], ...] = ()
    step: str | None = None
    unused_variables: Callable[[Any], dict] = lambda config: {}
    assumed: tuple[str, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    released: Mapping[str, str] = dataclasses.field(default_factory=dict)
    optimizer_groups: Callable[[list[str]], list[list[str]]] | None = None
    file_content: Callable[[dict], dict] = lambda state: {"model": state}
    states_sizes: bool = True
    system: System | None = None

    def fits(self, names: Collection[str]) -> bool:
        """Whether a checkpoint with variables of these names is one of this family."""
        has_sign = any(re.fullmatch(self.sign, name) for name in names)
        return has_sign and not (self.unless and any(re.fullmatch(self.unless, name) for name in names))


def common_size(shapes: dict[str, tuple], names: Iterable[str], axis: int, default: int) -> int:
    """The most frequent size along `axis` among variables that should agree, so that one bad shape stands out."""
    found = [shapes[name][axis] for name in names if len(shapes.get(name, ())) > axis]
    return collections.Counter(found).most_common(1)[0][0] if found else default


def load_families(file_format: str | None = None) -> dict[str, Family]:
    """The families of all systems by name. If several fit a checkpoint, the first is taken.

    Args:
        file_format: Only those with checkpoints of this format; None for all.
    """
    families = {}
    for system in SYSTEMS.values():
        for module in system.conversion:
            family = importlib.import_module(module).FAMILY
            if file_format in (None, family.file_format):
                families[family.name] = dataclasses.replace(family, system=system)
    return families


# Checkpoints with variables whose names begin so.
_REFUSED = {
    "ResNet/": "stands on a plain ResNet-101 (`-w resnet`), which is not supported; expected the form on DeepLab "
    "(`-w deeplab`)",
    "Flow/inception_i3d/": "an I3D of optical flow, which is not supported; expected that of RGB, `rgb_imagenet`",
}


def find_family(checkpoint: TF1Checkpoint) -> Family:
    """Tells by the names of its variables which family a TensorFlow 1 checkpoint belongs to.

    Raises:
        InputError: It belongs to none of them.
    """
    for start, reason in _REFUSED.items():
        if any(name.startswith(start) for name in checkpoint.shapes):
            raise InputError(f"{checkpoint.prefix}: {reason}")
    return recognize(checkpoint.prefix, checkpoint.shapes, TF1)


def recognize(path: str, names: Collection[str], file_format: str) -> Family:
    """The family whose checkpoints have variables of these names.

    Args:
        path: Path of the checkpoint, for the message.
        names: Names of its variables.
        file_format: `TF1` or `TORCH`.

    Raises:
        InputError: There is none.
    """
    families = load_families(file_format).values()
    for family in families:
        if family.fits(names):
            return family
    systems = ", ".join(dict.fromkeys(family.system.name for family in families))
    examples = ", ".join(sorted(names)[:3])
    raise InputError(
        f"{path}: not a checkpoint of {systems}: none of its {len(names)} variables is theirs (it has {examples}, ...)"
    )
