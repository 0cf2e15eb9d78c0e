"""The families of models whose checkpoints can be converted, and which of them a checkpoint belongs to."""

import dataclasses
import importlib
import re
from collections.abc import Callable, Collection

from cmpc_tf2.backbones.config import DeepLabResNetConfig
from cmpc_tf2.conversion.tf1_names import Pair
from cmpc_tf2.conversion.tf1_reader import TF1Checkpoint
from cmpc_tf2.errors import InputError
from cmpc_tf2.models.config import DeepLabModelConfig
from cmpc_tf2.systems import SYSTEMS, System

Config = DeepLabModelConfig | DeepLabResNetConfig


@dataclasses.dataclass(frozen=True)
class Family:
    """Describes the checkpoints of a family of models to the converter.

    Attributes:
        name: Its name in reports.
        pairs: Lists the variables of a configuration.
        infer_config: Reads the sizes of a model off the shapes of its variables, a dict by name.
        sign: Pattern of a variable's name by which a checkpoint is recognized.
        unless: Pattern of a variable's name that shows a checkpoint to be another family's in spite of `sign`.
        ignored: Variables that are not converted: a pattern for the whole name, and the reason. A group `base` has to
            be the name of a converted variable.
        step: Name of the variable that counts training steps, if there is one.
        unused_variables: Variables that the original restores but does not use: arrays by name, for a configuration.
        system: The system of these checkpoints; set by `load_families`.
    """

    name: str
    pairs: Callable[[Config], list[Pair]]
    infer_config: Callable[[dict[str, tuple]], Config]
    sign: str
    unless: str | None = None
    ignored: tuple[tuple[str, str], ...] = ()
    step: str | None = None
    unused_variables: Callable[[Config], dict] = lambda config: {}
    system: System | None = None

    def fits(self, names: Collection[str]) -> bool:
        """Whether a checkpoint with variables of these names is one of this family."""
        has_sign = any(re.fullmatch(self.sign, name) for name in names)
        return has_sign and not (self.unless and any(re.fullmatch(self.unless, name) for name in names))


def load_families() -> dict[str, Family]:
    """The families of all systems by name. If several fit a checkpoint, the first is taken."""
    families = {}
    for system in SYSTEMS.values():
        for module in system.conversion:
            family = importlib.import_module(module).FAMILY
            families[family.name] = dataclasses.replace(family, system=system)
    return families


def find_family(checkpoint: TF1Checkpoint) -> Family:
    """Tells by the names of its variables which family a checkpoint belongs to.

    Raises:
        InputError: It belongs to none of them.
    """
    names = checkpoint.shapes
    if any(name.startswith("ResNet/") for name in names):
        raise InputError(
            f"{checkpoint.prefix}: stands on a plain ResNet-101 (`-w resnet`), which is not supported; "
            "expected the form on DeepLab (`-w deeplab`)"
        )
    for family in load_families().values():
        if family.fits(names):
            return family
    examples = ", ".join(sorted(names)[:3])
    raise InputError(
        f"{checkpoint.prefix}: not a checkpoint of {', '.join(SYSTEMS)}: none of its {len(names)} variables is theirs "
        f"(it has {examples}, ...)"
    )
