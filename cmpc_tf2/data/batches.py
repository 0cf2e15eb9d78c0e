"""The `.npz` files on disk, one referring expression each. The only place that names the keys of pictures.

`<root>/<dataset>/<split>_batch/<dataset>_<split>_<n>.npz`, n from 0 without gaps. The format is the original's:
either side reads what the other wrote.
"""

import dataclasses
import hashlib
import os
import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from cmpc_tf2.data.annotation_fields import checked, field
from cmpc_tf2.errors import InputError, named
from cmpc_tf2.files import read_json
from cmpc_tf2.npz import DAMAGED, read_npz, save_stored
from cmpc_tf2.preprocessing.preprocessing import Preprocessing

_TOKEN_IDS = "text_batch"
_IMAGE = "im_batch"
_MASK = "mask_batch"
_EXPRESSION = "sent_batch"

# File in the folder of a split that the builder made.
MANIFEST = "manifest.json"
# Its key for how many samples each reference has, in order. Manifests of earlier versions do not have it.
SAMPLES_PER_REFERENCE = "samples_per_reference"
# A key of the builder's journal: the data set's own fields of each sample, which become `sample_fields.FIELDS_FILE`.
FIELDS = "fields"


class OnePicture:
    """What samples of one picture have in common: it is `image`, uint8 RGB `(h, w, 3)`."""

    input_name = "image"

    @property
    def pixels(self) -> np.ndarray:
        """The pixels that the expression refers to, uint8: samples of equal pixels share an encoding."""
        return self.image

    @property
    def digest(self) -> str:
        """Digest of the pixels, 16 hexadecimal digits: the same for all samples of a picture, and for every model."""
        return digest_of(self.pixels)

    @staticmethod
    def input_shape(size: int) -> tuple[int, ...]:
        """Shape of `fitted`."""
        return size, size, 3

    def fitted(self, preprocessing: Preprocessing) -> np.ndarray:
        """The fitted picture, before its values are normalised: uint8 RGB `(S, S, 3)`."""
        return preprocessing.fit(self.image)


@dataclasses.dataclass(frozen=True, eq=False)
class Sample(OnePicture):
    """One referring expression with its picture and ground truth.

    Attributes:
        token_ids: int64 `(T,)`, left-padded with 0.
        image: uint8 `(h, w, 3)`, RGB.
        mask: bool `(h, w)`.
        expression: The sentence as it was given.
    """

    token_ids: np.ndarray
    image: np.ndarray
    mask: np.ndarray
    expression: str

    # Whether the pictures of a train split have been resized for a model.
    stores_resized = True
    # Contents in words, the command that makes the files (also from annotations of the user's own, where it can), their
    # keys, and the name of the model's input for the pixels.
    contents = "pictures"
    builder = "python -m cmpc_tf2 build_batches"
    own_data_builder = f"{builder} --annotations FILE --image-root FOLDER"
    keys = (_TOKEN_IDS, _IMAGE, _MASK, _EXPRESSION)

    def describe(self) -> dict:
        """The part of a report's record that does not depend on the model.

        Returns:
            `expression`; `picture`, its digest; `size`, height and width of the ground truth; `area`, pixels in it.
        """
        size, area = list(self.mask.shape), int(np.count_nonzero(self.mask))
        return {"expression": self.expression, "picture": self.digest, "size": size, "area": area}

    @staticmethod
    def target_shape(size: int) -> tuple[int, ...]:
        """Shape of `target`."""
        return size, size, 1

    def target(self, preprocessing: Preprocessing) -> np.ndarray:
        """The ground truth of a sample of a train split, for losses: float32."""
        return self.mask[..., None]

    def require_train_fit(self, preprocessing: Preprocessing):
        """As `require_fit`, for training."""
        self.require_fit(preprocessing)

    def has_train_size(self, size: int) -> bool:
        """Whether the picture has the size that train splits of a model have."""
        return self.image.shape[:2] == (size, size)

    @staticmethod
    def build_options(preprocessing: Preprocessing) -> list[str]:
        """The options by which the builder makes a train split for a model with this preprocessing."""
        resizing = [] if preprocessing.resizing == "fit" else ["--resizing", preprocessing.resizing]
        return ["--image-size", str(preprocessing.size), *resizing]

    def require_fit(self, preprocessing: Preprocessing):
        """Checks that the file holds what a model needs.

        Raises:
            InputError: It does not.
        """

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the file by key."""
        return {
            _TOKEN_IDS: self.token_ids.astype(np.int64),
            _IMAGE: self.image,
            _MASK: self.mask,
            _EXPRESSION: np.array([self.expression]),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Sample":
        """The way back.

        Raises:
            InputError: An array has another type or shape; the message names its key.
        """
        token_ids, image, mask, expressions = (arrays[key] for key in (_TOKEN_IDS, _IMAGE, _MASK, _EXPRESSION))
        require_array(token_ids.ndim == 1 and token_ids.dtype.kind in "iu", _TOKEN_IDS, "integers (T,)", token_ids)
        is_image = image.ndim == 3 and image.shape[2] == 3 and image.size and image.dtype == np.uint8
        require_array(is_image, _IMAGE, "uint8 (h, w, 3)", image)
        require_array(mask.dtype == bool and mask.shape == image.shape[:2], _MASK, f"bool {image.shape[:2]}", mask)
        require_array(expressions.size == 1 and expressions.dtype.kind in "US", _EXPRESSION, "one string", expressions)
        expression = expressions.item()
        if isinstance(expression, bytes):
            expression = expression.decode("utf-8", errors="replace")
        return cls(token_ids.astype(np.int64), image, mask, expression)


def digest_of(pixels: np.ndarray) -> str:
    """Digest of pixels, 16 hexadecimal digits."""
    return hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest()[:16]


def require_array(condition: bool, key: str, expected: str, array: np.ndarray):
    """Checks an array of a file.

    Raises:
        InputError: The condition does not hold.
    """
    if not condition:
        raise InputError(f"{key}: expected {expected}, found {array.dtype} {array.shape}")


def split_folder(root: str | os.PathLike, dataset: str, split: str) -> Path:
    """The folder of the batches of a split."""
    return Path(root) / dataset / f"{split}_batch"


def batch_name(dataset: str, split: str, index: int) -> str:
    """The file name of sample number `index`."""
    return f"{dataset}_{split}_{index}.npz"


def batch_path(root: str | os.PathLike, dataset: str, split: str, index: int) -> Path:
    """The file of sample number `index`."""
    return split_folder(root, dataset, split) / batch_name(dataset, split, index)


def read_manifest(folder: Path) -> dict | None:
    """The manifest of a split: its sources, settings, counts and skipped samples. None if there is none.

    Raises:
        InputError: The manifest cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    manifest = read_json(path)
    with named(f"{path}: not a manifest of a split", "; build the split again with --overwrite"):
        checked(manifest, dict, "the manifest")
        field(manifest, "samples", int)
        if "train_size" in field(manifest, "settings", dict):  # Not where pictures keep their size.
            field(manifest["settings"], "train_size", int)
        for source in field(manifest, "sources", list):
            field(checked(source, dict, "a source"), "file", str)
            field(source, "bytes", int)
        if SAMPLES_PER_REFERENCE in manifest:
            counts = field(manifest, SAMPLES_PER_REFERENCE, list)
            if min((checked(count, int, "a count") for count in counts), default=0) < 0:
                raise InputError(f"{SAMPLES_PER_REFERENCE}: expected counts from 0, found {min(counts)}")
            if sum(counts) != manifest["samples"]:
                raise InputError(f"{SAMPLES_PER_REFERENCE}: expected {manifest['samples']} in all, found {sum(counts)}")
    return manifest


def list_batches(
    root: str | os.PathLike,
    dataset: str,
    split: str,
    sample_type: type[Sample] = Sample,
    options: Callable[[], list[str]] = list,
) -> list[Path]:
    """The files of a split in order.

    Args:
        root: Holds the datasets' folders.
        dataset: Name of the dataset.
        split: Name of the split.
        sample_type: Class of the samples.
        options: Gives the further options of the command that builds the split; called only for an error message.

    Raises:
        InputError: There are none, a number is missing, or there are not as many as the manifest says.
    """
    folder = split_folder(root, dataset, split)
    pattern = re.compile(rf"{re.escape(dataset)}_{re.escape(split)}_(0|[1-9]\d*)\.npz")
    numbers = sorted(int(m[1]) for p in folder.glob("*.npz") if (m := pattern.fullmatch(p.name)))
    if not numbers:
        command = " ".join([sample_type.builder, "-d", dataset, "-t", split, *options()])
        raise InputError(f"{folder}: no batches of {dataset} {split}; make them with `{command}`")
    if numbers[-1] != len(numbers) - 1:
        missing = next(expected for expected, number in enumerate(numbers) if number != expected)
        raise InputError(f"{folder}: batches 0 to {numbers[-1]} expected, the first missing: {missing}; build it again")
    manifest = read_manifest(folder)
    if manifest is not None and manifest["samples"] != len(numbers):
        raise InputError(f"{folder}: {len(numbers)} batches, its {MANIFEST} says {manifest['samples']}; build it again")
    return [batch_path(root, dataset, split, number) for number in numbers]


def write_batch(path: str | os.PathLike, sample: Sample, compress: bool = False):
    """Writes a sample to a new file; the builder writes under temporary names and renames.

    Args:
        path: The file.
        sample: The sample.
        compress: Write a compressed file; it holds the same and is read alike.
    """
    if compress:
        np.savez_compressed(path, **sample.to_arrays())
    else:
        save_stored(path, sample.to_arrays())


def read_batch(path: str | os.PathLike, sample_type: type[Sample] = Sample) -> Sample:
    """Reads a sample, written by this project or by the original.

    Raises:
        InputError: The file is missing, cut off, holds pickled objects, or is not such a batch.
    """
    with named(path, "; build the split again"):
        try:
            arrays = read_npz(Path(path).read_bytes())
        except FileNotFoundError as error:
            raise InputError("no such batch") from error
        _require_keys(arrays, sample_type)
        return sample_type.from_arrays(arrays)


def check_batches(paths: list[Path], sample_type: type[Sample] = Sample):
    """Checks the table of contents of every file, so that a bad file is found before hours of work.

    Raises:
        InputError: Naming the first bad file.
    """
    for path in paths:
        with named(path, "; build the split again"):
            _require_keys(read_keys(path), sample_type)


def read_keys(path: Path) -> list[str]:
    """The keys of a file, by its table of contents.

    Raises:
        InputError: The file is damaged; the message does not name it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [name[:-4] for name in archive.namelist() if name.endswith(".npy")]
    except DAMAGED as error:
        raise InputError("not a readable .npz file: cut off or damaged") from error


def _require_keys(keys: Iterable[str], sample_type: type[Sample]):
    if missing := sorted(set(sample_type.keys) - set(keys)):
        raise InputError(f"not a batch of {sample_type.contents}: no {', '.join(missing)}")
