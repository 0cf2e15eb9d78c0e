"""How far the build of a split is, so that it can be stopped at any moment."""

import contextlib
import json
import logging
import os
import shutil
from pathlib import Path

from cmpc_tf2.errors import InputError
from cmpc_tf2.files import write_json

logger = logging.getLogger(__name__)

# Stands in a part's folder when the part is complete; the journal stands there until then.
PART_REPORT = "part.json"
_JOURNAL = "progress.jsonl"


class BuildJournal:
    """How far the build of a part is: a line per reference, written after the reference's files are in place.

    The first line says from what the part is built. A line that was cut off by a kill is dropped; its files are
    written again, with the same bytes.

    Attributes:
        folder: The part's folder.
        done: References that are finished.
        written: Files that are in place.
        skipped: Samples left out, with reasons.
        is_complete: Every reference is done.
    """

    def __init__(self, folder: Path, head: dict):
        self.folder = folder
        self.head = head
        self.done = self.written = 0
        self.skipped: list[dict] = []
        self.is_complete = False

    @classmethod
    def open(cls, folder: Path, head: dict, overwrite: bool) -> "BuildJournal":
        """Starts a part, or takes up one that was left unfinished.

        Raises:
            InputError: The unfinished part is of other sources or settings.
        """
        journal = cls(folder, head)
        found = None
        with contextlib.suppress(FileNotFoundError):
            found = journal._read()
        if found is not None and found != head:
            if not overwrite:
                raise InputError(
                    f"{folder}: an unfinished build from other sources or settings is there; --overwrite starts anew"
                )
            journal = cls(folder, head)
            found = None
        if found is None:
            shutil.rmtree(folder, ignore_errors=True)
            os.makedirs(folder)
            (folder / _JOURNAL).write_text(json.dumps(head) + "\n", encoding="utf-8", newline="\n")
        elif journal.done or journal.is_complete:
            logger.info("%s: going on after %d references", folder, journal.done)
        return journal

    def _read(self) -> dict | None:
        if (self.folder / PART_REPORT).exists():
            report = json.loads((self.folder / PART_REPORT).read_bytes())
            self.written, self.skipped, self.is_complete = report.pop("samples"), report.pop("skipped"), True
            return report
        lines = (self.folder / _JOURNAL).read_bytes().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]
        if not whole:
            return None
        (self.folder / _JOURNAL).write_bytes(b"".join(whole))
        for line in whole[1:]:
            entry = json.loads(line)
            self.done += 1
            self.written += entry["written"]
            self.skipped += entry["skipped"]
        return json.loads(whole[0])

    def add(self, written: int, skipped: list[dict]):
        """Notes that the next reference is finished."""
        with (self.folder / _JOURNAL).open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps({"written": written, "skipped": skipped}) + "\n")
        self.done += 1
        self.written += written
        self.skipped += skipped

    def finish(self):
        """Replaces the journal by the part's report."""
        write_json(self.folder / PART_REPORT, {**self.head, "samples": self.written, "skipped": self.skipped})
        (self.folder / _JOURNAL).unlink()
        self.is_complete = True
