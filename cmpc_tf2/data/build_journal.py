"""How far the build of a split is, so that it can be stopped at any moment."""

import json
import logging
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

from cmpc_tf2.data.batches import FIELDS, batch_name
from cmpc_tf2.errors import InputError

logger = logging.getLogger(__name__)

# The name of the journal in the folder it is about.
JOURNAL = "progress.jsonl"


class BuildJournal:
    """The journal of a folder of batches: one line per step, added after the step's files are in place.

    A step is a reference. The first line, number 0, says what is built and from what;
    line N is about step N. Every line has a checksum. Lines count up to the first that is damaged or out of order. The
    steps after it are done again, with the same result.

    Attributes:
        folder: The folder.
        head: The first line. `build` is what the manifest says of the split beyond its samples, `steps` the number of
            steps in all; the rest tells journals of different folders apart.
        steps: What each finished step has `written` (files) and `skipped` (samples left out, with reasons), and with
            `fields` the data set's own fields of each file, if it has some.
        written: Files in place.
    """

    def __init__(self, folder: Path, head: dict):
        self.folder = folder
        self.head = head
        self.steps: list[dict] = []
        self.written = 0

    @classmethod
    def open(cls, folder: Path, head: dict, overwrite: bool) -> "BuildJournal":
        """Starts to fill a folder, or takes up one that was left unfinished.

        Raises:
            InputError: What is unfinished there is of other sources or settings, and is not to be overwritten.
        """
        journal = cls.read(folder)
        if journal is not None and journal.head == head:
            journal.tidy()
            logger.info("%s: going on after %d references", folder, journal.done)
            return journal
        if journal is not None and not overwrite:
            raise InputError(
                f"{folder}: an unfinished build from other sources or settings is there; --overwrite starts anew"
            )
        return cls.start(folder, head)

    @classmethod
    def start(cls, folder: Path, head: dict) -> "BuildJournal":
        """Empties a folder, or makes it."""
        if folder.exists():
            (folder / JOURNAL).unlink(missing_ok=True)  # First: what a kill leaves of the files must not count.
            shutil.rmtree(folder)
        os.makedirs(folder)
        journal = cls(folder, head)
        journal._append(0, head)
        return journal

    @classmethod
    def read(cls, folder: Path, files_required: bool = True) -> "BuildJournal | None":
        """Reads the journal of a folder.

        Args:
            folder: The folder.
            files_required: Steps count only as long as their files are in place.

        Returns:
            The journal; None if there is none, or its first line does not count.
        """
        path = folder / JOURNAL
        if not path.exists():
            return None
        lines = path.read_bytes().splitlines(keepends=True)
        entries = _entries(lines)
        journal, present = cls(folder, next(entries, {})), set(os.listdir(folder))
        for step in entries:
            files = journal.files(journal.written, journal.written + step["written"])
            if files_required and not all(file.name in present for file in files):
                break
            journal._count(step)
        counted = 1 + journal.done if journal.head else 0
        if any(line.endswith(b"\n") for line in lines[counted:]):  # More than a line that a kill has cut off.
            logger.warning("%s: damaged, or files are missing; going on after line %d", path, counted)
        return journal if journal.head else None

    @property
    def done(self) -> int:
        """Steps that are finished."""
        return len(self.steps)

    @property
    def is_complete(self) -> bool:
        """Every step is finished."""
        return self.done == self.head["steps"]

    @property
    def skipped(self) -> list[dict]:
        """Samples left out, with reasons."""
        return [entry for step in self.steps for entry in step["skipped"]]

    @property
    def fields(self) -> Iterator[dict]:
        """The fields of each file, in order; empty for those that have none."""
        return (entry for step in self.steps for entry in step.get(FIELDS, [{}] * step["written"]))

    def files(self, first: int, last: int) -> list[Path]:
        """The final paths of the files from number `first` to before `last`."""
        build = self.head["build"]
        return [self.folder / batch_name(build["dataset"], build["split"], index) for index in range(first, last)]

    def add(self, step: dict):
        """Notes that the next step is finished."""
        self._append(self.done + 1, step)
        self._count(step)

    def tidy(self):
        """Cuts the journal after the last line that counts, and removes all files that it does not list."""
        lines = (_line(number, entry) for number, entry in enumerate([self.head, *self.steps]))
        os.truncate(self.folder / JOURNAL, sum(map(len, lines)))
        kept = {JOURNAL, *(path.name for path in self.files(0, self.written))}
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)  # Workers of a killed process may still write there.
            elif path.name not in kept:
                path.unlink()

    def _count(self, step: dict):
        self.steps.append(step)
        self.written += step["written"]

    def _append(self, number: int, entry: dict):
        with (self.folder / JOURNAL).open("ab") as file:
            file.write(_line(number, entry))


def _line(number: int, entry: dict) -> bytes:
    body = json.dumps({"number": number, **entry})[:-1].encode()
    return b'%b, "crc32": %d}\n' % (body, zlib.crc32(body))


def _entries(lines: list[bytes]) -> Iterator[dict]:
    """The entries of the lines that count. What has the right checksum was written here, and needs no other check."""
    for number, line in enumerate(lines):
        body, _, _ = line.rpartition(b', "crc32": ')
        if line != b'%b, "crc32": %d}\n' % (body, zlib.crc32(body)):
            return
        entry = json.loads(body + b"}")
        if entry.pop("number") != number:
            return
        yield entry
