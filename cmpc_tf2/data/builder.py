"""From annotations to `.npz` batches: in parallel, resumable, the same bytes every time.

A split is built in a hidden folder next to its place and moved there when it is complete, with a manifest. Until then a
journal in that folder says how far the build is, so that the same command resumes where an earlier one was stopped
(`build_journal`; `publishing` lists the folders and what each means). Where the samples come from depends on the kind
of data: `ImageBuild`, and `VideoBuild` in `cmpc_video_tf2`.
"""

import contextlib
import dataclasses
import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import cmpc_tf2
from cmpc_tf2.data.annotation_fields import field
from cmpc_tf2.data.batches import (
    FIELDS,
    MANIFEST,
    list_batches,
    read_batch,
    read_manifest,
    write_batch,
)
from cmpc_tf2.data.build_journal import BuildJournal
from cmpc_tf2.data.build_settings import Annotation, BuildSettings, Dropped
from cmpc_tf2.data.publishing import (
    WHOLE,
    interrupted_merge,
    is_settled,
    part_folder,
    part_lock,
    publish,
    references_of,
    require_absent,
    require_samples,
    settle,
)
from cmpc_tf2.data.sample_fields import read_fields
from cmpc_tf2.errors import InputError, named
from cmpc_tf2.files import progress
from cmpc_tf2.processes import process_pool
from cmpc_tf2.text.vocabulary import MAX_WORDS, count_words

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class BuildResult:
    """The result of a build: how many samples were written, and why others were not.

    Attributes:
        written: Files.
        skipped: `reference`, `expression`, `reason`; and `dropped`, where the data set's protocol leaves it out.
    """

    written: int
    skipped: list[dict]

    @property
    def dropped(self) -> int:
        """How many of the skipped the data set's protocol leaves out."""
        return sum("dropped" in entry for entry in self.skipped)


def build_split(settings: BuildSettings) -> BuildResult:
    """Writes the batches of one split, or of one shard of it.

    A sample that cannot be made is named in a warning and left out; the numbers of the others have no gap.

    Raises:
        InputError: An annotation file or the vocabulary cannot be used, the split is already there, another process
            builds it, the disk is full, or a worker was killed. What was written stays, and the same call resumes
            there.
    """
    target = settings.target
    if is_settled(target):  # Otherwise it may be there because this very command was stopped at its end.
        require_absent(target, settings.overwrite)
    plan = settings.plan()
    annotations = plan.annotations[references_of(settings.shard, len(plan.annotations))]
    _warn_of_truncation(plan.annotations)
    build = {
        "dataset": settings.registered.name,
        "split": settings.split,
        "version": cmpc_tf2.__version__,
        "settings": settings.recorded(),
        "sources": [{"file": path.as_posix(), "bytes": path.stat().st_size} for path in plan.sources],
        "references": len(plan.annotations),
    }
    head = {"build": build, "shard": list(settings.shard), "steps": len(annotations)}
    with part_lock(target, settings.shard):
        journal = settle(target) if settings.shard == WHOLE else None
        if journal is None or journal.head != head:
            require_absent(target, settings.overwrite)
            journal = _open_journal(settings, head)
            if not journal.is_complete:
                _build_part(journal, annotations, plan.make_samples, settings)
            if settings.shard == WHOLE:
                _publish_samples(journal, target)
    return BuildResult(journal.written, journal.skipped)


def _warn_of_truncation(annotations: list[Annotation]):
    """Says how many expressions have more words than a file has token ids; it holds the whole sentence too."""
    lengths = [count_words(expression) for annotation in annotations for expression in annotation.expressions]
    if truncated := sum(length > MAX_WORDS for length in lengths):
        logger.warning(
            "%d of %d expressions have more than %d words: models that read whole words read only the first",
            *(truncated, len(lengths), MAX_WORDS),
        )


def _open_journal(settings: BuildSettings, head: dict) -> BuildJournal:
    target, shard = settings.target, settings.shard
    if merge := interrupted_merge(target):
        raise InputError(f"{merge.folder}: a merge was interrupted here; finish it with --merge first")
    journal = BuildJournal.open(part_folder(target, shard), head, settings.overwrite)
    if journal.is_complete and shard != WHOLE and settings.overwrite:
        return BuildJournal.start(journal.folder, head)
    return journal


def _publish_samples(journal: BuildJournal, target: Path):
    if not journal.written:
        shutil.rmtree(journal.folder)
    require_samples(target, journal.head["build"], journal.written, journal.skipped)
    publish(journal, target)


def check_split(settings: BuildSettings) -> int:
    """Verifies a built split against its manifest: every file is read whole, with its checksums.

    Returns:
        The number of samples.

    Raises:
        InputError: Naming what differs.
    """
    target = settings.target
    manifest = read_manifest(target)
    if manifest is None:
        raise InputError(
            f"{target / MANIFEST}: no such file; the split was not built by this command, or not to its end"
        )
    if settings.train_square:
        with named(f"{target / MANIFEST}: not a manifest of a train split", "; build the split again with --overwrite"):
            size = field(manifest["settings"], "train_size", int)
    for source in manifest["sources"]:
        path = source["file"]
        found = os.path.getsize(path) if os.path.exists(path) else source["bytes"]
        if found != source["bytes"]:
            raise InputError(f"{path}: {found} bytes, it had {source['bytes']} when the split was built")
    paths = list_batches(settings.output_root, settings.registered.name, settings.split, settings.sample_type)
    read_fields(target, len(paths))
    for path in progress(paths, len(paths), "check"):
        sample = read_batch(path, settings.sample_type)
        if settings.train_square and sample.image.shape[:2] != (size, size):
            raise InputError(f"{path}: {sample.image.shape[:2]}, expected {size} x {size}")
    return len(paths)


def _build_part(journal: BuildJournal, annotations: list[Annotation], make_samples: Callable, settings: BuildSettings):
    scratch = journal.folder / f"tmp-{os.getpid()}"
    scratch.mkdir()
    worker = _Worker(make_samples, settings.compress, scratch)
    description = f"{settings.registered.name} {settings.split}, objects"
    remaining = annotations[journal.done :]
    try:
        with _map_in_order(worker, remaining, journal.done, settings.workers) as outcomes:
            for files, step in progress(outcomes, len(annotations), description, done=journal.done):
                destinations = journal.files(journal.written, journal.written + len(files))
                for path, destination in zip(files, destinations, strict=True):
                    os.replace(path, destination)
                for entry in (entry for entry in step["skipped"] if "dropped" not in entry):
                    logger.warning("skipped: %s %r: %s", entry["reference"], entry["expression"], entry["reason"])
                journal.add(step)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(_disk_full(journal, annotations, settings)) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _disk_full(journal: BuildJournal, annotations: list[Annotation], settings: BuildSettings) -> str:
    sizes = [path.stat().st_size for path in journal.folder.glob("*.npz")]
    each = sum(sizes) / len(sizes) if sizes else 4 * settings.image_size**2
    left = sum(len(annotation.expressions) for annotation in annotations[journal.done :])
    missing = max(0, int(left * each) - shutil.disk_usage(journal.folder).free)
    return (
        f"{journal.folder}: the disk is full: about {missing} bytes are missing for the {left} samples left; "
        "make room and run the same command again, it resumes from there"
    )


@contextlib.contextmanager
def _map_in_order(worker: "_Worker", annotations: list[Annotation], first: int, workers: int) -> Iterator[Iterator]:
    """Runs the worker over all annotations, in processes if there are several; the results come in order."""
    numbered = list(enumerate(annotations, start=first))
    if workers == 1:
        yield map(worker, numbered)
        return
    with process_pool(workers, hint="; it resumes from there") as pool:
        # Neighbours share pictures: in chunks they meet in one process.
        yield pool.map(worker, numbered, chunksize=8)


@dataclasses.dataclass(frozen=True)
class _Worker:
    """Makes the files of one annotation under temporary names, and its step of the journal."""

    make_samples: Callable
    compress: bool
    scratch: Path

    def __call__(self, numbered: tuple[int, Annotation]) -> tuple[list[Path], dict]:
        number, annotation = numbered
        files, skipped, fields = [], [], []
        for index, (expression, outcome) in enumerate(self.make_samples(annotation)):
            if not isinstance(outcome, str):
                path = self.scratch / f"{number}-{len(files)}.npz"
                write_batch(path, outcome, compress=self.compress)
                files.append(path)
                fields += annotation.fields[index : index + 1]
            else:
                entry = {"reference": annotation.name, "expression": expression, "reason": str(outcome)}
                skipped.append({**entry, "dropped": True} if isinstance(outcome, Dropped) else entry)
        step = {"written": len(files), "skipped": skipped}
        return files, {**step, FIELDS: fields} if fields else step
