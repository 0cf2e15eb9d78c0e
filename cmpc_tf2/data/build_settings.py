"""The settings of a build, and the plan that a data set makes of them."""

import abc
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from cmpc_tf2.data.batches import Sample, split_folder
from cmpc_tf2.data.datasets import DATASETS, find_dataset
from cmpc_tf2.errors import UsageError
from cmpc_tf2.fields import RANGES, check_fields
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.text.vocabulary import MAX_WORDS

# The original's.
IMAGE_SIZE = 320


class Dropped(str):
    """A reason why the data set's own protocol leaves out a sample: recorded, but not an error."""


class Annotation(Protocol):
    """An object or region with its expressions.

    `name` is its name in messages; `fields` are the data set's own fields of each expression, empty if it has none.
    """

    name: str
    expressions: tuple[str, ...]
    fields: tuple[dict, ...]


@dataclasses.dataclass(frozen=True)
class BuildPlan:
    """The contents of a split.

    Attributes:
        sources: The files that decide which samples there are.
        annotations: Objects with expressions, in the order in which their samples are numbered.
        make_samples: Gives for each expression of an annotation its sample, or the reason why there is none. It is sent
            to worker processes.
    """

    sources: list[Path]
    annotations: list[Annotation]
    make_samples: Callable[[Annotation], Iterator[tuple[str, Sample | str]]]


@dataclasses.dataclass(frozen=True)
class BuildSettings(abc.ABC):
    """What to build, from where, to where; paths have the defaults of the command.

    Attributes:
        dataset: Name or alias.
        split: Name of a split. One whose name contains `train` gets square pictures and masks, the others keep the
            original size.
        data_root: Holds the vocabularies, and by default everything else.
        image_root: Holds the picture files.
        output_root: Where `<dataset>/<split>_batch/` is made.
        vocabulary: Vocabulary file, if it is elsewhere.
        overwrite: Replace a split or a shard that is already there, or an unfinished build of other sources.
        workers: Processes. The result does not depend on their number.
        shard: Which part of how many to build, counted from 1; `merge_shards` puts the parts together.
        compress: Write compressed `.npz` files: smaller, slower, with the same contents.
        image_size: Side of a train split's pictures and masks in pixels.
        resizing: How these are resized, as in `Preprocessing`.
    """

    dataset: str
    split: str
    data_root: Path = Path("data")
    image_root: Path | None = None
    output_root: Path = Path(".")
    vocabulary: Path | None = None
    overwrite: bool = False
    workers: int = 1
    shard: tuple[int, int] = (1, 1)
    compress: bool = False
    image_size: int = IMAGE_SIZE
    resizing: str = "fit"

    # Registered data sets, and the class of the samples in the files.
    datasets = DATASETS
    sample_type = Sample

    def __post_init__(self):
        part, parts = self.shard
        if not 1 <= part <= parts:
            raise UsageError(f"--shard: expected a part from 1/{max(parts, 1)} on, received {part}/{parts}")
        check_fields(self, RANGES)

    @property
    def registered(self):
        """The data set, as it is registered.

        Raises:
            UsageError: There is no such data set, or it has no such split.
        """
        return find_dataset(self.dataset, self.split, self.datasets)

    @abc.abstractmethod
    def plan(self) -> BuildPlan:
        """Reads the annotations.

        Raises:
            InputError: They, or the vocabulary, cannot be used.
        """

    def recorded(self) -> dict:
        """Settings that decide what the files hold, for the manifest."""
        return {
            "train_size": self.image_size,
            "resizing": self.resizing,
            "max_words": MAX_WORDS,
            "compress": self.compress,
        }

    @property
    def train_square(self) -> Preprocessing | None:
        """Resizes the pictures and masks; None if they keep their size."""
        return Preprocessing(self.image_size, self.resizing) if "train" in self.split else None

    @property
    def target(self) -> Path:
        """The split's folder."""
        return split_folder(self.output_root, self.registered.name, self.split)
