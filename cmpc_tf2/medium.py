"""The media that expressions are about: pictures here, clips in `cmpc_video_tf2`.

Heavy modules are imported on first use.
"""

import abc

from cmpc_tf2.data.datasets import DATASETS, dataset_names
from cmpc_tf2.systems import systems_of
from cmpc_tf2.tasks.masks.task import MaskTask
from cmpc_tf2.training.config import TrainConfig


class Medium(abc.ABC):
    """What the commands need to know about a medium.

    Attributes:
        name: As in the table of systems.
        datasets: Registered data sets.
        train_config: Describes a training run.
        task: The output of models of this medium, and how it is scored.
    """

    name: str
    datasets: tuple
    train_config: type[TrainConfig]
    task: MaskTask

    @property
    @abc.abstractmethod
    def sample_type(self) -> type:
        """The class of the samples in a split's files."""

    @property
    def model_types(self) -> dict[str, type]:
        """The classes of its models, by name."""
        return {name: system.model_type for name, system in systems_of(self.name).items()}

    def dataset_names(self) -> str:
        """All data sets, for help and messages."""
        return dataset_names(self.datasets)


class Pictures(Medium):
    """Single pictures."""

    name = "pictures"
    datasets = DATASETS
    train_config = TrainConfig
    task = MaskTask()

    @property
    def sample_type(self) -> type:
        from cmpc_tf2.data.batches import Sample

        return Sample


PICTURES = Pictures()
