"""The log of a training run."""

import csv
import itertools
import logging
import math
import os
from pathlib import Path

from cmpc_tf2.errors import InputError
from cmpc_tf2.files import replacing

logger = logging.getLogger(__name__)

LOG_NAME = "log.csv"


class RunLog:
    """Lines on standard error, `log.csv`, and TensorBoard events.

    A `log.csv` that cannot be read is renamed, with a warning, and so is `best.keras`, whose score was in it.

    Args:
        folder: The run's folder.
        step: Where the run starts or resumes; lines of later steps are dropped, because these are repeated.
    """

    def __init__(self, folder: Path, step: int):
        import tensorflow as tf

        self._path = folder / LOG_NAME
        self._summaries = tf.summary.create_file_writer(str(folder / "tensorboard"))
        try:
            rows = read_log(folder)
        except InputError as error:
            rows = []
            kept = [_set_aside(path) for path in (self._path, folder / "best.keras") if os.path.lexists(path)]
            logger.warning("%s; a new log is begun, what was there is kept as %s", error, ", ".join(kept))
        self._rows = [row for row in rows if int(row["step"]) <= step]
        if len(self._rows) < len(rows):
            self._save()

    def is_best(self, scores: dict) -> bool:
        """Whether the first of the scores is higher than in all entries before."""
        name, score = next(iter(scores.items()))
        earlier = [float(row[name]) for row in self._rows if row.get(name) not in (None, "")]
        return score > max(earlier, default=-1.0)

    def write(self, entry: dict, pictures: list):
        """Adds the entry of a step: numbers by name, and pictures, uint8 RGB `(h, w, 3)` each."""
        import tensorflow as tf

        self._rows.append(entry)
        self._save()
        with self._summaries.as_default(step=entry["step"]):
            for name, value in entry.items():
                tf.summary.scalar(name, value)
            for number, picture in enumerate(pictures):
                tf.summary.image(f"validation_{number}", picture[None])
            self._summaries.flush()
        logger.info("%s", ", ".join(f"{name} {value:.5g}" for name, value in entry.items()))

    def _save(self):
        """Writes all lines again, so that a run that is killed leaves no partial line."""
        names = list(dict.fromkeys(itertools.chain.from_iterable(self._rows)))
        with replacing(self._path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self._rows)


def read_log(folder: Path) -> list[dict[str, str]]:
    """The entries of a run's `log.csv`: finite numbers or empty fields; no entries if there is no such file.

    Raises:
        InputError: The file cannot be read, or is damaged.
    """
    path = folder / LOG_NAME
    try:
        with path.open(newline="", encoding="utf-8") as file:
            names, *lines = list(csv.reader(file, strict=True)) or [[]]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: damaged: not UTF-8 text") from error
    except csv.Error as error:
        raise InputError(f"{path}: damaged: {error}") from error
    if "step" not in names or len(set(names)) < len(names):
        raise InputError(f"{path}: damaged: its first line does not name the columns")
    for number, line in enumerate(lines, start=2):
        if len(line) != len(names) or not _is_whole(line[names.index("step")]) or not all(map(_is_number, line)):
            raise InputError(f"{path}: damaged: line {number} is not a number for each column")
    return [dict(zip(names, line, strict=True)) for line in lines]


def _is_whole(text: str) -> bool:
    return text.isdecimal() and len(text) < 20


def _is_number(text: str) -> bool:
    try:
        return text == "" or math.isfinite(float(text))
    except ValueError:
        return False


def _set_aside(path: Path) -> str:
    """Renames `name.suffix` to `name.old.suffix`, `name.old-2.suffix`, ...: the first that is free."""
    names = (
        f"{path.stem}.old{end}{path.suffix}" for end in itertools.chain([""], map("-{}".format, itertools.count(2)))
    )
    name = next(name for name in names if not os.path.lexists(path.with_name(name)))
    path.rename(path.with_name(name))
    return name
