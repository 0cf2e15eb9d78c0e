"""The table of systems: every model that the project can train, load and convert.

Whatever depends on which systems there are asks this table. It loads the standard library alone, and the modules of a
system when they are needed.
"""

import dataclasses
import importlib


@dataclasses.dataclass(frozen=True)
class System:
    """A model that the commands know by name.

    Attributes:
        name: Name on the command line and in reports.
        task: `image` or `video`; None for a part that other models start from.
        registered_name: What Keras calls its class in model files.
        model: Its class, as `module:name`.
        config: The class of its sizes, as `module:name`.
        decay_steps: Steps over which the learning rate of the original falls.
        conversion: Modules with a `FAMILY`: each says what the variables of the original's checkpoints are called.
    """

    name: str
    task: str | None
    registered_name: str
    model: str
    config: str
    decay_steps: int | None = None
    conversion: tuple[str, ...] = ()

    @property
    def model_type(self) -> type:
        """Its class."""
        return _import(self.model)

    @property
    def config_type(self) -> type:
        """The class of its sizes."""
        return _import(self.config)

    @property
    def usage(self) -> str:
        """The commands that take its model files, for messages."""
        return {
            "image": f"`python -m cmpc_tf2` (to train it: --model-name {self.name})",
            "video": "`python -m cmpc_video_tf2`",
            None: "`python -m cmpc_tf2 train --backbone`",
        }[self.task]


def _import(path: str) -> type:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


_SIZES = "cmpc_tf2.config:ReferringConfig"
_NAMES = "cmpc_tf2.conversion.names"
SYSTEMS = {
    system.name: system
    for system in (
        System(
            name="cmpc",
            task="image",
            registered_name="cmpc>CMPC",
            model="cmpc_tf2.models.cmpc:CMPC",
            config="cmpc_tf2.config:ModelConfig",
            decay_steps=800_000,
            conversion=(f"{_NAMES}.cmpc",),
        ),
        System(
            name="cmpc_video",
            task="video",
            registered_name="cmpc_video>CMPCVideo",
            model="cmpc_video_tf2.models.cmpc_video:CMPCVideo",
            config="cmpc_video_tf2.config:VideoModelConfig",
            decay_steps=400_000,
            conversion=("cmpc_video_tf2.conversion",),
        ),
        System(
            name="rrn",
            task="image",
            registered_name="cmpc>RRN",
            model="cmpc_tf2.models.rrn:RRN",
            config=_SIZES,
            decay_steps=800_000,
            conversion=(f"{_NAMES}.rrn",),
        ),
        System(
            name="rmi",
            task="image",
            registered_name="cmpc>RMI",
            model="cmpc_tf2.models.rmi:RMI",
            config=_SIZES,
            decay_steps=750_000,
            conversion=(f"{_NAMES}.rmi",),
        ),
        System(
            name="lstm",
            task="image",
            registered_name="cmpc>LSTMBaseline",
            model="cmpc_tf2.models.lstm_baseline:LSTMBaseline",
            config=_SIZES,
            decay_steps=750_000,
            conversion=(f"{_NAMES}.lstm_baseline",),
        ),
        System(
            name="backbone",
            task=None,
            registered_name="cmpc>DeepLabResNet",
            model="cmpc_tf2.models.backbone:DeepLabResNet",
            config="cmpc_tf2.config:BackboneConfig",
            # CMPC's and RRN's checkpoints have other names for it than those of RMI and the LSTM baseline.
            conversion=(f"{_NAMES}.backbone", f"{_NAMES}.deeplab"),
        ),
    )
}


def systems_of(task: str) -> dict[str, System]:
    """The systems of a task by name, the default one first."""
    return {name: system for name, system in SYSTEMS.items() if system.task == task}


def find_system(registered_name: str) -> System | None:
    """The system whose class has a registered name; None if there is none."""
    return next((system for system in SYSTEMS.values() if system.registered_name == registered_name), None)
