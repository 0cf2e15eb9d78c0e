"""Facts about each dataset, in one table."""

import dataclasses
from pathlib import Path

from cmpc_tf2.errors import InputError


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Where a dataset's annotations and pictures lie, as its authors ship them.

    Attributes:
        name: Its name on the command line and in the batches' path.
        alias: A second name that is understood.
        splits: Names of its splits.
        refer_folder: Folder under the REFER root.
        refs_file: Python 2 pickle of references in that folder.
        vocabulary_file: Under the data root.
        image_folder: Under the data root.
        image_name: Pattern of a picture's file name, given `image_id`.
    """

    name: str
    alias: str
    splits: tuple[str, ...]
    refer_folder: str
    refs_file: str
    vocabulary_file: str = "vocabulary_Gref.txt"
    image_folder: str = "coco/images/train2014"
    image_name: str = "COCO_train2014_{image_id:012d}.jpg"

    def refs_path(self, refer_root: Path) -> Path:
        return refer_root / self.refer_folder / self.refs_file

    def instances_path(self, refer_root: Path) -> Path:
        return refer_root / self.refer_folder / "instances.json"


_UNC_SPLITS = ("train", "val", "testA", "testB")

DATASETS = (
    Dataset("unc", "refcoco", _UNC_SPLITS, "refcoco", "refs(unc).p"),
    Dataset("unc+", "refcoco+", _UNC_SPLITS, "refcoco+", "refs(unc).p"),
    Dataset("Gref", "refcocog", ("train", "val"), "refcocog", "refs(google).p"),
)


def find_dataset(name: str, split: str) -> Dataset:
    """The dataset of that name or alias.

    Raises:
        InputError: There is no such dataset, or it has no such split.
    """
    for dataset in DATASETS:
        if name in (dataset.name, dataset.alias):
            if split not in dataset.splits:
                raise InputError(f"{dataset.name} has no split {split!r}; it has {', '.join(dataset.splits)}")
            return dataset
    known = ", ".join(f"{dataset.name} ({dataset.alias})" for dataset in DATASETS)
    raise InputError(f"unknown dataset {name!r}; known: {known}")
