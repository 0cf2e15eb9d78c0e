"""Annotations of A2D-Sentences and J-HMDB-Sentences: expressions, and masks of objects in frames."""

import csv
import dataclasses
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cmpc_tf2.data.annotation_fields import describe, is_plain_name
from cmpc_tf2.data.mat_files import mat_shape, read_mat
from cmpc_tf2.errors import InputError
from cmpc_tf2.files import read_text

# Bytes of the masks of a frame: those of 30 objects in 2560 x 1440 pixels have fewer.
_LARGEST_MASKS = 2**27


class NotInFrameError(InputError):
    """The object is not in the frame: nothing is wrong, there is just no sample."""


@dataclasses.dataclass(frozen=True)
class VideoQuery:
    """One line of an annotation file.

    Attributes:
        video_id: Name of the video.
        instance_id: Id of the object; None where the dataset has one per video.
        expression: The sentence, in lower case.
    """

    video_id: str
    instance_id: int | None
    expression: str


def read_queries(path: Path) -> list[VideoQuery]:
    """Reads `a2d_annotation.txt` or `jhmdb_annotation.txt`: CSV with a head line, the sentence in the last column.

    A byte-order mark and blank lines are skipped; a sentence has to stand on one line.

    Raises:
        InputError: The file is missing, or a line has another form; the message names it.
    """
    rows = _numbered_rows(path, "data/README.md says where to get it")
    _, head = next(rows, (1, []))
    if head not in (["video_id", "instance_id", "query"], ["video_id", "query"]):
        raise InputError(
            f"{path}: expected a head line of video_id, (instance_id,) query; found {','.join(head)!r:.60}"
        )
    queries = []
    for number, row in rows:
        if len(row) != len(head):
            raise InputError(
                f"{path}: line {number}: expected {len(head)} columns, found {len(row)}; "
                "a sentence with commas has to stand in quotes"
            )
        if not is_plain_name(row[0]):
            raise InputError(f"{path}: line {number}: expected the name of a video, found {describe(row[0])}")
        instance_id = None
        if len(head) == 3:
            # One line of the released file has `1 (copy)`.
            found = re.fullmatch(r"(\d{1,9})( \(copy\))?", row[1])
            if not found:
                raise InputError(f"{path}: line {number}: instance_id is {describe(row[1])}, expected a number")
            instance_id = int(found[1])
        queries.append(VideoQuery(row[0], instance_id, row[-1].lower()))
    return queries


def read_split(path: Path) -> dict[str, str]:
    """Reads A2D's `videoset.csv`: `train` or `test` by video id, from its last column (1 is test).

    Raises:
        InputError: The file is missing or of another form; the message names the line.
    """
    splits = {}
    for number, row in _numbered_rows(path, "it comes with the A2D dataset (Release/videoset.csv)"):
        if not re.fullmatch(r" *-?\d{1,9} *", row[-1]):
            raise InputError(
                f"{path}: line {number}: expected lines that start with a video id and end with a number, "
                f"found {describe(row[-1])} at the end"
            )
        splits[row[0]] = "test" if int(row[-1]) == 1 else "train"
    return splits


def _numbered_rows(path: Path, source: str) -> Iterator[tuple[int, list[str]]]:
    """Line number, from 1, and columns of each line of a CSV file that is not blank. No column goes over lines."""
    for number, line in enumerate(io.StringIO(read_text(path, source), newline=None), start=1):
        try:
            if row := next(csv.reader([line.rstrip("\n")], strict=True)):
                yield number, row
        except csv.Error as error:
            raise InputError(
                f"{path}: line {number}: a quote is not closed on its line, or stands amid a quoted sentence; "
                "put the sentence in quotes on one line, and double the quotes within it"
            ) from error


def annotated_frames(folder: Path) -> Iterator[tuple[int, Path]]:
    """Number and file of a video's annotated frames, in order: `00030.h5`, ..."""
    return ((int(path.stem), path) for path in sorted(folder.glob("*.h5")) if path.stem.isdigit())


def read_a2d_mask(path: Path, instance_id: int) -> np.ndarray:
    """The mask of one instance in one annotated frame.

    If the file has one instance, its id is not compared; if it has several, the masks of all with the given id are
    joined.

    Source: `get_masks` in `CMPC_video/build_A2D_batches.py` of CMPC-Refseg.

    Args:
        path: An `.h5` file with `instance` and `reMask`; masks are stored transposed.
        instance_id: The instance.

    Returns:
        bool `(h, w)`.

    Raises:
        InputError: The file is damaged or lacks a data set.
        NotInFrameError: The instance is not in it.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            missing = [name for name in ("instance", "reMask") if name not in file]
            if missing:
                raise InputError(f"{path}: has no {' and no '.join(missing)}; not an annotation of A2D-Sentences")
            for name in ("instance", "reMask"):
                _require_numbers(file[name], f"{path}: {name}")
            instances, masks = np.ravel(file["instance"][()]), file["reMask"][()]
    except InputError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:  # What h5py raises for damaged files.
        raise InputError(f"{path}: not a readable HDF5 file; get it again") from error
    if masks.ndim not in (2, 3):
        raise InputError(f"{path}: reMask: expected masks (n, w, h) or one (w, h), found {masks.shape}")
    if masks.ndim == 2:
        masks = masks[None]
    if len(masks) != len(instances):
        raise InputError(f"{path}: {len(instances)} instances, but {len(masks)} masks")
    if len(instances) > 1:
        masks = masks[instances == instance_id]
        if not len(masks):
            raise NotInFrameError(f"{path}: has no instance {instance_id}; it has {sorted(set(instances.tolist()))}")
    return (masks.sum(axis=0) > 0).T


def _require_numbers(entry, name: str):
    """Checks an entry of an HDF5 file before its values are read."""
    kind = getattr(getattr(entry, "dtype", None), "kind", None)  # A group has no type.
    if kind is None or kind not in "biuf":
        raise InputError(f"{name}: expected an array of numbers, found {'text' if kind in ('O', 'S') else 'others'}")
    if entry.nbytes > _LARGEST_MASKS:
        raise InputError(f"{name}: expected at most {_LARGEST_MASKS} bytes of masks, found {entry.nbytes}")


def read_jhmdb_mask(path: Path, number: int) -> np.ndarray:
    """The mask of one frame of a J-HMDB clip.

    Args:
        path: A `puppet_mask.mat` with `part_mask`, `(h, w, frames)`.
        number: The frame, from 1.

    Returns:
        bool `(h, w)`.

    Raises:
        InputError: The file is damaged or lacks `part_mask`, or that has no such frame.
    """
    masks = read_mat(path, "part_mask")
    if not 1 <= number <= masks.shape[-1]:
        raise InputError(f"{path}: has {masks.shape[-1]} masks, none of frame {number}")
    return masks[..., number - 1] > 0


def jhmdb_length(path: Path) -> int:
    """The number of frames that a `puppet_mask.mat` has masks of.

    Raises:
        InputError: The file is damaged or lacks `part_mask`.
    """
    return mat_shape(path, "part_mask")[-1]
