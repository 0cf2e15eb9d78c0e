"""Annotations of A2D-Sentences and J-HMDB-Sentences: which expression means what in which frame."""

import csv
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cmpc_tf2.errors import InputError


class NotInFrameError(InputError):
    """The object is not in the frame: nothing is wrong, there is just no sample."""


@dataclasses.dataclass(frozen=True)
class VideoQuery:
    """One line of an annotation file.

    Attributes:
        video_id: Name of the video.
        instance_id: Which of its objects is meant; None where the dataset has one per video.
        expression: The sentence, in lower case.
    """

    video_id: str
    instance_id: int | None
    expression: str


def read_queries(path: Path) -> list[VideoQuery]:
    """Reads `a2d_annotation.txt` or `jhmdb_annotation.txt`: CSV with a head line, the sentence in the last column.

    Raises:
        InputError: The file is missing, or a line has another form; the message names it.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such annotation file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable CSV file: {error}") from error
    if not rows or rows[0] not in (["video_id", "instance_id", "query"], ["video_id", "query"]):
        raise InputError(f"{path}: expected a head line of video_id, (instance_id,) query; found {rows[:1]}")
    columns = len(rows[0])
    queries = []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != columns or not row[0]:
            raise InputError(
                f"{path}: line {number}: expected {columns} columns, found {len(row)}; "
                "a sentence with commas has to stand in quotes"
            )
        instance_id = None
        if columns == 3:
            # One line of the released file has `1 (copy)`.
            found = re.fullmatch(r"(\d+)( \(copy\))?", row[1])
            if not found:
                raise InputError(f"{path}: line {number}: instance_id is {row[1]!r}, expected a number")
            instance_id = int(found[1])
        queries.append(VideoQuery(row[0], instance_id, row[-1].lower()))
    return queries


def read_split(path: Path) -> dict[str, str]:
    """Reads A2D's `videoset.csv`: `train` or `test` by video id, from its last column (1 is test).

    Raises:
        InputError: The file is missing or of another form.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {row[0]: "test" if int(row[-1]) == 1 else "train" for row in csv.reader(file) if row}
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; it comes with the A2D dataset (Release/videoset.csv)") from error
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise InputError(f"{path}: expected lines that start with a video id and end with a number: {error}") from error


def annotated_frames(folder: Path) -> Iterator[tuple[int, Path]]:
    """Number and file of a video's annotated frames, in order: `00030.h5`, ..."""
    return ((int(path.stem), path) for path in sorted(folder.glob("*.h5")) if path.stem.isdigit())


def read_a2d_mask(path: Path, instance_id: int) -> np.ndarray:
    """The mask of one instance in one annotated frame.

    With one instance in the file its id is not compared; with several, the masks of all that have the asked id are
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
            instances, masks = np.ravel(file["instance"][()]), file["reMask"][()]
    except InputError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:  # What h5py raises for damaged files.
        raise InputError(f"{path}: not a readable HDF5 file: {error}; get it again") from error
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
    import scipy.io

    try:
        masks = scipy.io.loadmat(path)["part_mask"]
    except Exception as error:  # The reader's own errors have no common class.
        raise InputError(f"{path}: not a .mat file with part_mask: {error}") from error
    if not 1 <= number <= masks.shape[-1]:
        raise InputError(f"{path}: has {masks.shape[-1]} masks, none of frame {number}")
    return masks[..., number - 1] > 0


def jhmdb_length(path: Path) -> int:
    """The number of frames that a `puppet_mask.mat` has masks of.

    Raises:
        InputError: The file is damaged or lacks `part_mask`.
    """
    import scipy.io

    try:
        shapes = {name: shape for name, shape, _ in scipy.io.whosmat(path)}
        return shapes["part_mask"][-1]
    except Exception as error:  # As above.
        raise InputError(f"{path}: not a .mat file with part_mask: {error}") from error
