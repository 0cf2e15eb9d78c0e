"""Reading text and JSON, writing whole files or none, and showing the progress of long loops."""

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
        InputError: The folder does not exist, or cannot be written to.
    """
    require_writable(path)
    path = Path(os.path.realpath(path))  # A link stays a link to the new file.
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        error.filename = str(path)  # Not the temporary name, or, from some libraries, none.
        raise
    finally:
        partial.unlink(missing_ok=True)


def require_writable(path: str | os.PathLike, others: Iterable[str | os.PathLike] = ()):
    """Checks that an output file can be written, before any work is done for it.

    Args:
        path: The file.
        others: Inputs and other outputs, which it must not replace.

    Raises:
        InputError: Its folder does not exist or cannot be written to, the name is not a file's, or it is one of the
            others.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist; create it first")
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is not a file but a folder or device; expected the name of a file")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"{path}: cannot be written: no permission")
    if os.path.realpath(path) in {os.path.realpath(other) for other in others}:
        raise InputError(f"{path}: stands for two files, one of which would replace the other; give another name")


def require_folder(path: str | os.PathLike):
    """Checks that files can be written to a folder, which need not exist yet, before any work is done for it.

    Raises:
        InputError: It, or a part of its path, is not a folder or cannot be written to.
    """
    path = Path(path)
    nearest = next(folder for folder in (path, *path.absolute().parents) if os.path.lexists(folder))
    if not nearest.is_dir():
        raise InputError(f"{path}: expected a folder, but {nearest} is not one; give another name")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be written: no permission for {nearest}")


def read_text(path: str | os.PathLike, source: str = "") -> str:
    """Reads a text file in UTF-8, with or without a byte-order mark.

    Args:
        path: The file.
        source: Where to get the file, for the message that it is missing.

    Raises:
        InputError: The file is missing or not such text.
    """
    try:
        return _read_bytes(path, source).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: expected UTF-8 text, found another encoding at byte {error.start}; save it as UTF-8"
        ) from error


def read_json(path: str | os.PathLike, source: str = "") -> object:
    """Reads a JSON file; arguments as for `read_text`.

    Raises:
        InputError: The file is missing or not JSON.
    """
    content = _read_bytes(path, source)
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not readable JSON, perhaps cut off: {error}; correct it or get it again") from error
    except (RecursionError, ValueError) as error:
        reason = (
            "too deeply nested"
            if isinstance(error, RecursionError)
            else "not UTF-8 text, or a number with thousands of digits"
        )
        raise InputError(f"{path}: not readable JSON: {reason}; correct it or get it again") from None


def _read_bytes(path: str | os.PathLike, source: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file{source and f'; {source}'}") from None


def write_json(path: str | os.PathLike, data):
    """Writes a JSON file, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def progress(items: Iterable, total: int, description: str, done: int = 0) -> Iterator:
    """Passes `items` on, with a progress bar on a terminal and ten plain lines otherwise.

    Args:
        items: What remains to be done.
        total: Items in all.
        description: What is being done.
        done: Items that were done before.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, total=total, desc=description, initial=done)
        return
    for item in items:
        yield item
        done += 1
        if done * 10 // total > (done - 1) * 10 // total:
            logger.info("%s: %d of %d", description, done, total)
