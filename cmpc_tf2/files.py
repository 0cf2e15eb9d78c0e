"""Writing files so that a name never stands for half a file, and showing how far a long loop is."""

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from cmpc_tf2.errors import InputError

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary name in the same folder to write to, and renames it to `path` if the block succeeds.

    The temporary name keeps the suffix. If the block fails, it is removed and `path` is as it was.

    Raises:
        InputError: The folder does not exist.
    """
    path = Path(path)
    require_folder(path)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def require_folder(path: str | os.PathLike):
    """Checks that the folder of an output file exists, before any work is done for it.

    Raises:
        InputError: It does not.
    """
    folder = Path(path).parent
    if not folder.is_dir():
        raise InputError(f"{path}: the folder {folder} does not exist; create it first")


def write_json(path: str | os.PathLike, data):
    """Writes a JSON file, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def progress(items: Iterable, total: int, description: str) -> Iterator:
    """Passes `items` on, with a progress bar on a terminal and ten plain lines otherwise."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, total=total, desc=description)
        return
    for done, item in enumerate(items, start=1):
        yield item
        if done == total or done * 10 // total > (done - 1) * 10 // total:
            logger.info("%s: %d of %d", description, done, total)
