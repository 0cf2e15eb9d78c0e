"""References to `.npz` batches."""

import dataclasses
import logging
import os
from pathlib import Path

import numpy as np

from cmpc_tf2.data.annotations import Reference, rasterize, read_refer
from cmpc_tf2.data.batches import Sample, batch_path, split_folder, write_batch
from cmpc_tf2.data.datasets import Dataset, find_dataset
from cmpc_tf2.data.image_ops import fit_image, read_image, resize_and_pad
from cmpc_tf2.data.text import Vocabulary
from cmpc_tf2.errors import InputError
from cmpc_tf2.files import progress

logger = logging.getLogger(__name__)

TRAIN_SIZE = 320


@dataclasses.dataclass(frozen=True)
class BuildSettings:
    """What to build, from where, to where; paths default as the command's.

    Attributes:
        dataset: Name or alias.
        split: Name of a split. One whose name contains `train` gets pictures and masks of 320 x 320, the others keep
            the original size.
        data_root: Holds the vocabularies, and by default `refer/` and `coco/`.
        refer_root: Holds `refcoco/` and so on.
        image_root: Holds the picture files.
        output_root: Where `<dataset>/<split>_batch/` is made.
        vocabulary: Vocabulary file, if it is elsewhere.
        overwrite: Replace a split that is already there.
    """

    dataset: str
    split: str
    data_root: Path = Path("data")
    refer_root: Path | None = None
    image_root: Path | None = None
    output_root: Path = Path(".")
    vocabulary: Path | None = None
    overwrite: bool = False


@dataclasses.dataclass(frozen=True)
class BuildResult:
    """What became of the samples: files written, and why others were not."""

    written: int
    skipped: list[str]


def build_split(settings: BuildSettings) -> BuildResult:
    """Writes the batches of one split.

    A sample that cannot be made is named in a warning and left out; the numbers of the others have no gap.

    Source: `build_coco_batches` in `build_batches.py` of CMPC-Refseg.

    Raises:
        InputError: An annotation file or the vocabulary cannot be used, or the split is already there.
    """
    dataset = find_dataset(settings.dataset, settings.split)
    refer_root = settings.refer_root or settings.data_root / "refer"
    image_root = settings.image_root or settings.data_root / dataset.image_folder
    vocabulary = Vocabulary.from_file(settings.vocabulary or settings.data_root / dataset.vocabulary_file)
    references = read_refer(dataset, settings.split, Path(refer_root), Path(image_root))
    if not Path(image_root).is_dir():
        raise InputError(f"{image_root}: no such folder; it should hold the images (--image-root says where they are)")
    _prepare_folder(dataset, settings)

    written, skipped = 0, []
    for reference in progress(references, len(references), f"{dataset.name} {settings.split}"):
        for outcome in _samples(reference, vocabulary, "train" in settings.split):
            if isinstance(outcome, str):
                skipped.append(outcome)
                logger.warning("skipped: %s", outcome)
            else:
                write_batch(batch_path(settings.output_root, dataset.name, settings.split, written), outcome)
                written += 1
    return BuildResult(written, skipped)


def _prepare_folder(dataset: Dataset, settings: BuildSettings):
    folder = split_folder(settings.output_root, dataset.name, settings.split)
    existing = list(folder.glob(f"{dataset.name}_{settings.split}_*.npz"))
    if existing and not settings.overwrite:
        raise InputError(f"{folder}: already holds {len(existing)} batches; --overwrite replaces them")
    for path in existing:
        path.unlink()
    os.makedirs(folder, exist_ok=True)


def _samples(reference: Reference, vocabulary: Vocabulary, is_train: bool):
    """Yields a sample, or the reason why there is none, for each expression of a reference."""
    try:
        if reference.segmentation is None:
            raise InputError("has no annotation in instances.json")
        image = read_image(reference.image_path)
        mask = rasterize(reference.segmentation, *image.shape[:2])
    except InputError as error:
        for expression in reference.expressions:
            yield f"{reference.name} {expression!r}: {error}"
        return
    if is_train:
        image = fit_image(image, TRAIN_SIZE)
        mask = resize_and_pad(mask.astype(np.float64), TRAIN_SIZE, TRAIN_SIZE) > 0
    for expression in reference.expressions:
        try:
            token_ids = vocabulary.encode(expression)
            if not token_ids.any():
                raise InputError("has no words")
        except InputError:
            yield f"{reference.name} {expression!r}: the expression has no words"
            continue
        yield Sample(token_ids, image, mask, expression)
