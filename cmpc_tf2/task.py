"""What the commands have to know of a kind of data: pictures here, clips in `cmpc_video_tf2`.

Everything heavy is loaded when it is asked for.
"""

import abc

from cmpc_tf2.config import TrainConfig
from cmpc_tf2.data.datasets import DATASETS, dataset_names
from cmpc_tf2.systems import systems_of


class Task(abc.ABC):
    """Referring segmentation of one kind of data.

    Attributes:
        name: As in the table of systems.
        datasets: Registered data sets.
        train_config: Describes a training run.
        thresholds: IoU values for the precision.
        average_precision: Whether the mean over these is a score of its own.
    """

    name: str
    datasets: tuple
    train_config: type[TrainConfig]
    thresholds: tuple[float, ...]
    average_precision: bool

    @property
    @abc.abstractmethod
    def sample_type(self) -> type:
        """What the files of a split hold."""

    @property
    def model_types(self) -> dict[str, type]:
        """The classes of its models, by name."""
        return {name: system.model_type for name, system in systems_of(self.name).items()}

    def dataset_names(self) -> str:
        """All data sets, for help and messages."""
        return dataset_names(self.datasets)


class ImageTask(Task):
    """Referring image segmentation."""

    name = "image"
    datasets = DATASETS
    train_config = TrainConfig
    thresholds = (0.5, 0.6, 0.7, 0.8, 0.9)
    average_precision = False

    @property
    def sample_type(self) -> type:
        from cmpc_tf2.data.batches import Sample

        return Sample


IMAGES = ImageTask()
