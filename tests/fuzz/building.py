"""Damaged state of a build: the split comes out right, or the damage is refused; there is never a gap."""

import dataclasses
import logging
import os
import shutil
from pathlib import Path

from cmpc_tf2.data.builder import build_split, check_split
from cmpc_tf2.data.image_builder import ImageBuild
from cmpc_tf2.data.merging import merge_shards
from cmpc_tf2.errors import InputError
from fuzz.targets import Target
from killing import killed_at
from refer_layout import make_refer

REFERENCES = [
    {"ref_id": 1, "split": "train", "sentences": ["red man", "", "left"]},
    {"ref_id": 2, "split": "train", "sentences": ["man"]},
    {"ref_id": 3, "split": "train", "sentences": ["man", "left"]},
]


def shard_journal(folder: Path) -> Target:
    """The journal of a complete shard."""
    settings = _settings(folder)
    state = _prepare(settings, _build_shards)
    return _merge_target(settings, state, ".train_batch.part-2-of-2/progress.jsonl")


def merge_journal(folder: Path) -> Target:
    """The journal of a merge that was stopped after it had moved two files."""
    settings = _settings(folder)
    state = _prepare(settings, _build_shards)
    with killed_at(state, 20):
        merge_shards(dataclasses.replace(settings, output_root=state))
    assert len(list(state.glob("unc/.train_batch.merging/*.npz"))) == 2
    return _merge_target(settings, state, ".train_batch.merging/progress.jsonl")


def manifest(folder: Path) -> Target:
    """The manifest of a split that is checked. It has no checksum: not every change shows."""
    settings = _settings(folder)
    state = _prepare(settings, build_split)

    def read(data: bytes):
        check_split(_damage(settings, state, "train_batch/manifest.json", data))

    return Target([(state / "unc/train_batch/manifest.json").read_bytes()], read)


def _merge_target(settings: ImageBuild, state: Path, name: str) -> Target:
    """Merges; if that is refused, doing what the message says has to help."""

    def read(data: bytes):
        damaged = _damage(settings, state, name, data)
        try:
            merge_shards(damaged)
        except InputError:
            shutil.rmtree(damaged.output_root / "unc" / ".train_batch.merging", ignore_errors=True)
            _build_shards(damaged)
            merge_shards(damaged)
            raise
        finally:
            _require_whole(damaged)

    return Target([(state / "unc" / name).read_bytes()], read)


def _settings(folder: Path) -> ImageBuild:
    source = folder / "source"
    make_refer(source, REFERENCES)
    logging.getLogger("cmpc_tf2").setLevel(logging.ERROR)
    return ImageBuild(
        "unc", "train", refer_root=source / "refer", image_root=source / "images", vocabulary=source / "words.txt",
        output_root=folder / "output", image_size=16,
    )  # fmt: skip


def _build_shards(settings: ImageBuild):
    for part in (1, 2):
        build_split(dataclasses.replace(settings, shard=(part, 2)))


def _prepare(settings: ImageBuild, build) -> Path:
    """A folder with the output of `build`, and the complete split to compare with."""
    state = settings.output_root.with_name("state")
    build(dataclasses.replace(settings, output_root=state))
    build_split(dataclasses.replace(settings, output_root=settings.output_root.with_name("whole")))
    return state


def _damage(settings: ImageBuild, state: Path, name: str, data: bytes) -> ImageBuild:
    shutil.rmtree(settings.output_root, ignore_errors=True)
    shutil.copytree(state, settings.output_root, copy_function=os.link)
    path = settings.output_root / "unc" / name
    path.unlink()
    path.write_bytes(data)
    return settings


def _require_whole(settings: ImageBuild):
    found, expected = (
        {path.name: path.read_bytes() for path in (root / "unc" / "train_batch").iterdir()}
        for root in (settings.output_root, settings.output_root.with_name("whole"))
    )
    assert found == expected
    assert len(list((settings.output_root / "unc").iterdir())) == 1
