"""Shards of a split put together."""

import contextlib
import os
import re
import shutil
from pathlib import Path

from cmpc_tf2.data.build_journal import BuildJournal
from cmpc_tf2.data.build_settings import BuildSettings
from cmpc_tf2.data.builder import BuildResult
from cmpc_tf2.data.publishing import (
    WHOLE,
    interrupted_merge,
    merging_folder,
    part_folder,
    part_lock,
    publish,
    references_of,
    require_absent,
    require_samples,
    settle,
)
from cmpc_tf2.errors import InputError


def merge_shards(settings: BuildSettings) -> BuildResult:
    """Puts the shards of a split together: numbers their files through and writes the manifest.

    Args:
        settings: As for `build_split`; `shard` is ignored.

    Raises:
        InputError: A shard is missing or unfinished, the shards were not built from the same sources, or they have no
            samples. They stay as they are.
    """
    target = settings.target
    if not target.parent.is_dir():
        raise _no_shards(settings)
    with part_lock(target, WHOLE):
        journal = settle(target)
        if journal is None or "merged" not in journal.head:
            # Released before `publish`: after it, this command does not come back to the shards.
            with contextlib.ExitStack() as locks:
                journal = interrupted_merge(target)
                if journal is None:
                    require_absent(target, settings.overwrite)
                    journal = _start(settings, locks)
                else:
                    for part in range(1, 1 + journal.head["merged"]):
                        locks.enter_context(part_lock(target, (part, journal.head["merged"])))
                _move_files(journal, target)
            publish(journal, target)
    return BuildResult(journal.written, journal.skipped)


def _start(settings: BuildSettings, locks: contextlib.ExitStack) -> BuildJournal:
    """Decides what is merged: makes a complete journal of it, with the steps of all shards."""
    target = settings.target
    shards = _find_shards(settings, locks)
    build, parts = shards[0].head["build"], len(shards)
    skipped = [entry for shard in shards for entry in shard.skipped]
    require_samples(target, build, sum(shard.written for shard in shards), skipped)
    steps = [step for shard in shards for step in shard.steps]
    journal = BuildJournal.start(merging_folder(target), {"build": build, "merged": parts, "steps": len(steps)})
    for step in steps:
        journal.add(step)
    return journal


def _find_shards(settings: BuildSettings, locks: contextlib.ExitStack) -> list[BuildJournal]:
    """The journals of the complete shards, which are locked."""
    target = settings.target
    name = re.compile(rf"\.{re.escape(target.name)}\.part-\d+-of-(\d+)")
    numbers = {int(match[1]) for path in target.parent.iterdir() if (match := name.fullmatch(path.name))} - {1}
    if not numbers:
        raise _no_shards(settings)
    complete, problems = [], []
    for parts in sorted(numbers):
        try:
            complete.append(_read_shards(target, parts, locks))
        except InputError as error:
            problems.append(error)
    if len(complete) > 1:
        choices = " and of ".join(str(len(shards)) for shards in complete)
        raise InputError(f"{target.parent}: complete shards of {choices} parts are there; remove all but one set")
    if not complete:
        raise problems[0]
    return complete[0]


def _no_shards(settings: BuildSettings) -> InputError:
    name = f"{settings.registered.name} {settings.split}"
    return InputError(f"{settings.target.parent}: no shards of {name}; build them with --shard")


def _read_shards(target: Path, parts: int, locks: contextlib.ExitStack) -> list[BuildJournal]:
    shards = []
    for part in range(1, parts + 1):
        folder = part_folder(target, (part, parts))
        locks.enter_context(part_lock(target, (part, parts)))
        shard = BuildJournal.read(folder)
        if shard is None or not shard.is_complete or shard.head["shard"] != [part, parts]:
            raise InputError(f"{folder}: this shard is not there or not complete; build it with --shard {part}/{parts}")
        shards.append(shard)
    if any(shard.head["build"] != shards[0].head["build"] for shard in shards):
        raise InputError(f"{target.parent}: the shards were built from different sources or with different settings")
    return shards


def _move_files(journal: BuildJournal, target: Path):
    """Moves the files that a merge which was stopped has not moved, and removes what it makes needless."""
    number, parts = 0, journal.head["merged"]
    for part in range(1, 1 + parts):
        shard = part_folder(target, (part, parts))
        written = sum(step["written"] for step in journal.steps[references_of((part, parts), journal.done)])
        names = [path.name for path in journal.files(0, written)]
        for name, destination in zip(names, journal.files(number, number + written), strict=True):
            source = shard / name
            if source.exists():
                os.replace(source, destination)
            elif not destination.exists():
                raise InputError(
                    f"{destination}: missing, and so is {source}; remove {journal.folder} and build the shards again"
                )
        number += written
        if shard.exists():
            shutil.rmtree(shard)
    unfinished = BuildJournal.read(part_folder(target, WHOLE))
    if unfinished is not None and unfinished.head["build"] == journal.head["build"]:
        shutil.rmtree(unfinished.folder)
