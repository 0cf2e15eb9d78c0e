"""How a split gets to its place, even if the command that builds it is stopped.

Next to the folder of a split, `X`, there may be:

- `.X.part-I-of-N`: a shard, or the whole split with `1-of-1`. Its journal says how far the build is.
- `.X.merging`: the files of shards, numbered through. The merge is decided when its journal is complete: from then on
  files are moved here and emptied shards are removed, and only `--merge` continues, where it was stopped.
- `.X.outdated`: an older split. It is put back if there is no `X`; otherwise it becomes `.X.removed`, and is removed.
- `.X.lock-I-of-N`: held by the process that builds this part, `1-of-1` also by one that merges.

A complete folder is put in place in two steps: `X` becomes `.X.outdated`, and the folder becomes `X`. Its journal goes
with it, and is removed after `.X.outdated`. So `X` never holds an incomplete split, and a journal in `X` says that
something may be left to remove. Builds of a whole split and merges first settle what an interrupted command has left.
"""

import contextlib
import os
from pathlib import Path

from cmpc_tf2.data.batches import MANIFEST, SAMPLES_PER_REFERENCE
from cmpc_tf2.data.build_journal import JOURNAL, BuildJournal
from cmpc_tf2.data.sample_fields import write_fields
from cmpc_tf2.errors import InputError
from cmpc_tf2.files import remove, write_json
from cmpc_tf2.processes import locked

# The shard that is the whole split.
WHOLE = (1, 1)


def part_folder(target: Path, shard: tuple[int, int]) -> Path:
    """The folder in which a shard of the split that belongs to `target` is built."""
    return target.with_name(f".{target.name}.part-{shard[0]}-of-{shard[1]}")


def references_of(shard: tuple[int, int], references: int) -> slice:
    """Which of the references of a split belong to a shard of it."""
    part, parts = shard
    return slice(references * (part - 1) // parts, references * part // parts)


def merging_folder(target: Path) -> Path:
    """The folder in which shards are merged."""
    return target.with_name(f".{target.name}.merging")


def part_lock(target: Path, shard: tuple[int, int]) -> contextlib.AbstractContextManager:
    """The lock of a shard, or with `WHOLE` of the place of the split.

    Raises:
        InputError: Another process holds it.
    """
    built = target if shard == WHOLE else part_folder(target, shard)
    return locked(_lock_file(target, shard), f"{built}: another process is building it; wait until that has ended")


def is_settled(target: Path) -> bool:
    """Whether there is no sign of a command that puts a split in place, or was stopped at that."""
    return not (target / JOURNAL).exists() and not _lock_file(target, WHOLE).exists()


def require_absent(target: Path, overwrite: bool):
    """Checks that nothing is in the place of a split, unless it may be overwritten.

    Raises:
        InputError: Something is there.
    """
    if overwrite or not target.exists():
        return
    if batches := len(list(target.glob("*.npz"))):
        raise InputError(f"{target}: already holds {batches} batches; --overwrite replaces them")
    if not target.is_dir() or any(target.iterdir()):
        raise InputError(f"{target}: is already there, without batches; --overwrite replaces it")


def require_samples(target: Path, build: dict, written: int, skipped: list[dict]):
    """Checks that there is something to put in place.

    Args:
        target: The place.
        build: The fields of the manifest other than samples.
        written: Number of files.
        skipped: Samples left out, with reasons.

    Raises:
        InputError: There are no files.
    """
    if written:
        return
    if skipped:
        raise InputError(f"{target}: nothing to write: all {len(skipped)} samples were skipped")
    raise InputError(f"{build['sources'][0]['file']}: holds no references with expressions for {build['split']!r}")


def interrupted_merge(target: Path) -> BuildJournal | None:
    """The journal of a merge that was decided but not finished.

    Raises:
        InputError: Files were moved, but the journal that says where they came from is damaged.
    """
    folder = merging_folder(target)
    journal = BuildJournal.read(folder, files_required=False)
    if journal is not None and journal.is_complete:
        return journal
    if any(folder.glob("*.npz")):
        raise InputError(f"{folder / JOURNAL}: damaged; remove this folder and build the shards again, then --merge")
    return None


def publish(journal: BuildJournal, target: Path):
    """Moves a complete folder to its place, with a manifest; an older split is removed only then.

    `settle` has to be called before, and the lock of the whole split held.
    """
    journal.tidy()
    samples = {
        "samples": journal.written,
        SAMPLES_PER_REFERENCE: [step["written"] for step in journal.steps],
        "skipped": journal.skipped,
    }
    write_fields(journal.folder, journal.fields)
    write_json(journal.folder / MANIFEST, {**journal.head["build"], **samples})
    if os.path.lexists(target):
        os.replace(target, _outdated(target))
    os.replace(journal.folder, target)
    settle(target)


def settle(target: Path) -> BuildJournal | None:
    """Finishes, or takes back, what an interrupted command has left undone when it put a split in place.

    Returns:
        The journal of the split that command has put in place; None if there was nothing to finish.
    """
    outdated, removed, path = _outdated(target), target.with_name(f".{target.name}.removed"), target / JOURNAL
    remove(removed)
    if os.path.lexists(outdated) and os.path.lexists(target):
        os.replace(outdated, removed)  # Renamed first: what is put back must be whole.
        remove(removed)
    elif os.path.lexists(outdated):
        os.replace(outdated, target)
    if not path.exists():
        return None
    journal = BuildJournal.read(target, files_required=False)
    path.unlink()
    return journal


def _lock_file(target: Path, shard: tuple[int, int]) -> Path:
    return target.with_name(f".{target.name}.lock-{shard[0]}-of-{shard[1]}")


def _outdated(target: Path) -> Path:
    return target.with_name(f".{target.name}.outdated")
