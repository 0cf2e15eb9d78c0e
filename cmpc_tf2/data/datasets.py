"""Facts about each dataset, in one table."""

import dataclasses
import enum
import re
import shlex
from pathlib import Path

from cmpc_tf2.errors import UsageError
from cmpc_tf2.preprocessing.preprocessing import Preprocessing

_OWN_NAME = re.compile(r"[^\W_][\w.+-]{0,99}")


class Layout(enum.Enum):
    """How a dataset's annotations lie on disk."""

    REFER = "REFER"
    REFERIT = "ReferIt"
    PHRASECUT = "PhraseCut"
    OWN = "JSON Lines, CSV or COCO"


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The locations of a dataset's annotations and pictures, as its authors ship them.

    Attributes:
        name: Its name on the command line and in the batches' path.
        aliases: Other names that are understood.
        splits: Names of its splits.
        layout: How the annotations are read.
        annotations: Annotation files, the main one first; `{split}` stands for the split. Below the REFER root for
            that layout, below the data root for the others.
        images: Folder of the pictures, below the data root.
        image_name: File name of a picture, given `image_id`.
        masks: Folder of mask files, below the data root, for layouts that have them.
        vocabulary: Vocabulary file, below the data root.
        objects: COCO instances file of all objects of the pictures, below the REFER root; None if there is none.
    """

    name: str
    aliases: tuple[str, ...]
    splits: tuple[str, ...]
    layout: Layout
    annotations: tuple[str, ...]
    images: str = "coco/images/train2014"
    image_name: str = "COCO_train2014_{image_id:012d}.jpg"
    masks: str | None = None
    vocabulary: str = "vocabulary_Gref.txt"
    objects: str | None = None


def _refer(name, aliases, splits, folder, split_by, objects="instances.json", **more) -> Dataset:
    files = (f"{folder}/refs({split_by}).p", f"{folder}/instances.json")
    return Dataset(name, aliases, splits, Layout.REFER, files, objects=f"{folder}/{objects}", **more)


_UNC_SPLITS = ("train", "val", "testA", "testB")

DATASETS = (
    _refer("unc", ("refcoco",), _UNC_SPLITS, "refcoco", "unc"),
    _refer("unc+", ("refcoco+",), _UNC_SPLITS, "refcoco+", "unc"),
    _refer("Gref", ("refcocog", "refcocog_google"), ("train", "val"), "refcocog", "google"),
    _refer("Gref_umd", ("refcocog_umd",), ("train", "val", "test"), "refcocog", "umd"),
    Dataset(
        "referit",
        ("refclef",),
        ("train", "val", "trainval", "test"),
        Layout.REFERIT,
        ("referit_query_{split}.json",),
        images="referit/images",
        image_name="{image_id}.jpg",
        masks="referit/mask",
        vocabulary="vocabulary_referit.txt",
    ),
    Dataset(
        "phrasecut",
        (),
        ("train", "val", "test", "miniv"),
        Layout.PHRASECUT,
        ("phrasecut/refer_{split}.json",),
        images="phrasecut/images",
        image_name="{image_id}.jpg",
    ),
    _refer(
        "shapes",
        (),
        _UNC_SPLITS,
        "shapes",
        "shapes",
        objects="objects.json",
        images="shapes/images",
        image_name="shapes_{image_id:06d}.png",
        vocabulary="vocabulary_shapes.txt",
    ),
)


@dataclasses.dataclass(frozen=True)
class Sources:
    """The files one split of a dataset is made from.

    Attributes:
        annotations: Annotation files, the main one first.
        images: Folder of the pictures.
        masks: Folder of mask files, if the layout has them.
        vocabulary: Vocabulary file.
    """

    annotations: tuple[Path, ...]
    images: Path
    masks: Path | None
    vocabulary: Path


def find_dataset(name: str, split: str, datasets: tuple = DATASETS, advice: str = ""):
    """The dataset of that name or alias.

    Args:
        name: A name or alias.
        split: A split that it has to have.
        datasets: Where to look.
        advice: The end of the message about an unknown data set.

    Raises:
        UsageError: There is no such dataset, or it has no such split.
    """
    for dataset in datasets:
        if name == dataset.name or name in dataset.aliases:
            if split not in dataset.splits:
                raise UsageError(f"{dataset.name} has no split {split!r}; it has {', '.join(dataset.splits)}")
            return dataset
    raise UsageError(f"unknown dataset {name!r}; known: {dataset_names(datasets)}{advice}")


def own_dataset(name: str, split: str, datasets: tuple = DATASETS) -> Dataset:
    """A data set of the user's own.

    Args:
        name: Its name.
        split: A split of it.
        datasets: Data sets whose names are taken.

    Raises:
        UsageError: The name is taken, or the name of the data set or of the split cannot be part of a file's name.
    """
    for option, text in (("-d", name), ("-t", split)):
        if not _OWN_NAME.fullmatch(text):
            raise UsageError(
                f"{option}: expected a letter or digit, then at most 99 letters, digits or characters of '_-+.', "
                f"received {text!r:.120}"
            )
    if is_known(name, datasets):
        raise UsageError(f"-d: {name} is the name of a known data set; give your own data (--annotations) another one")
    return Dataset(name, (), (split,), Layout.OWN, (), vocabulary=f"vocabulary_{name}.txt")


def is_known(name: str, datasets: tuple) -> bool:
    """Whether a name is one of a known data set, in upper or lower case: some file systems do not tell them apart."""
    taken = (known for dataset in datasets for known in (dataset.name, *dataset.aliases))
    return name.casefold() in map(str.casefold, taken)


def rebuild_command(folder: Path, sample_type: type, preprocessing: Preprocessing) -> str:
    """The command that builds the split in a folder again, for a model.

    Args:
        folder: `<root>/<dataset>/<split>_batch`.
        sample_type: Class of its samples, a `batches.Sample`.
        preprocessing: That of the model.
    """
    root, dataset = folder.parent.parent, folder.parent.name
    is_own = sample_type.own_data_builder and not is_known(dataset, DATASETS)
    builder = sample_type.own_data_builder if is_own else sample_type.builder
    place = [] if root == Path(".") else ["--output-root", str(root)]  # Or --overwrite would replace another split.
    words = ["-d", dataset, "-t", folder.name.removesuffix("_batch"), *sample_type.build_options(preprocessing), *place]
    return f"{builder} {shlex.join(words)} --overwrite"


def dataset_names(datasets: tuple) -> str:
    """All names with their aliases, for help and messages."""
    return ", ".join(
        f"{dataset.name} ({', '.join(dataset.aliases)})" if dataset.aliases else dataset.name for dataset in datasets
    )
