"""Fuzzing targets: whole files, and the reader that gets damaged copies of them."""

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path

# Modules of this folder, and the names of their targets; each has a function of that name that makes it.
NAMES: dict[str, tuple[str, ...]] = {
    "building": ("shard_journal", "merge_journal", "manifest"),
    "pictures": ("jpeg", "mpo", "png", "webp", "tiff", "bmp", "gif", "avif"),
    "annotations": (
        "batches",
        "embeddings",
        "glove",
        "refs",
        "instances",
        "segmentations",
        "run_lengths",
        "regions",
        "phrases",
        "phrase_tasks",
        "phrase_pictures",
        "phrase_words",
        "queries",
        "video_splits",
        "chosen_frames",
        "a2d_masks",
        "mat_masks",
    ),
    "objects": ("object_files", "object_instances", "prepared_objects"),
    "own_data": ("own_json_lines", "own_csv", "own_coco", "png_mask"),
    "archives": ("keras_file", "keras_config", "optimizer_npz", "tf1_index", "tf1_v1"),
    "torch_checkpoints": ("torch_zip", "torch_pickle", "torch_legacy", "safetensors"),
    "runs": ("run_config", "sizes", "run_log"),
}


@dataclasses.dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        originals: Whole files that it reads.
        read: Reads the content of a file; `InputError` is the one error that may come out.
    """

    originals: list[bytes]
    read: Callable[[bytes], object]


def find_target(name: str, folder: Path) -> Target:
    """Makes the target of that name; it writes its files to `folder`."""
    module = next(module for module, names in NAMES.items() if name in names)
    return getattr(importlib.import_module(f"fuzz.{module}"), name)(folder)
