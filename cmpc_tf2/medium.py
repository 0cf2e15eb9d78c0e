"""The media that expressions are about: pictures here, clips in `cmpc_video_tf2`.

Heavy modules are imported on first use.
"""

import dataclasses
from pathlib import Path

from cmpc_tf2.data.datasets import DATASETS
from cmpc_tf2.errors import InputError
from cmpc_tf2.systems import System, import_object, systems_of
from cmpc_tf2.tasks.masks.task import MaskTask
from cmpc_tf2.tasks.task import Task
from cmpc_tf2.training.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Medium:
    """What the commands need to know about a medium.

    Attributes:
        name: As in the table of systems.
        datasets: Registered data sets.
        train_config: The class that describes a training run.
        task: The output of models of this medium, and how it is scored.
        sample: The class of the samples in a split's files, as `module:name`.
        size_options: Fields of a model's sizes that are options of `train`, and their choices, the default first.
        more_samples: Other classes that a split's files can hold, in the same form.
        siblings: Names of other media that the same commands serve; the data or the model decides between them.
    """

    name: str
    datasets: tuple
    train_config: type[TrainConfig]
    task: Task
    sample: str
    size_options: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    more_samples: tuple[str, ...] = ()
    siblings: tuple[str, ...] = ()

    @property
    def sample_type(self) -> type:
        """The class of the samples in a split's files."""
        return import_object(self.sample)

    def sample_type_of(self, path: Path) -> type:
        """The class of the sample in a file, by its keys; `sample_type` if they fit no class."""
        from cmpc_tf2.data.batches import read_keys

        try:
            keys = set(read_keys(path))
        except InputError:
            return self.sample_type
        types = [self.sample_type, *map(import_object, self.more_samples)]
        return next((found for found in types if keys.issuperset(found.keys)), self.sample_type)

    def of_system(self, system: System) -> "Medium":
        """The medium with the class of samples that a system is trained on."""
        return dataclasses.replace(self, sample=system.samples, more_samples=()) if system.samples else self

    @property
    def system_names(self) -> list[str]:
        """Names of the systems that the commands of this medium train."""
        return [name for medium in (self.name, *self.siblings) for name in systems_of(medium)]

    @property
    def model_types(self) -> dict[str, type]:
        """The classes of its models, by name."""
        return {name: system.model_type for name, system in systems_of(self.name).items()}


PICTURES = Medium(
    "pictures",
    DATASETS,
    TrainConfig,
    MaskTask(),
    sample="cmpc_tf2.data.batches:Sample",
    more_samples=("cmpc_tf2.data.objects:ObjectSample",),
)
