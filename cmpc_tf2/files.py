"""Reading text and JSON, writing whole files or none, and showing the progress of long loops."""

import contextlib
import json
import logging
import os
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from cmpc_tf2.errors import InputError, named

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary name in the same folder to write to, and renames it to `path` if the block succeeds.

    The temporary name keeps the suffix. If the block fails, it is removed and `path` is as it was.

    Raises:
        InputError: The folder does not exist, or `path` cannot be the name of a file.
    """
    _require_file_name(Path(path))
    # A link stays a link to the new file.
    with _renaming(Path(os.path.realpath(path))) as partial:
        yield partial


@contextlib.contextmanager
def making_folder(path: Path) -> Iterator[Path]:
    """Gives a temporary folder next to `path` to fill, and renames it to `path` if the block succeeds.

    If the block fails, the temporary folder is removed.
    """
    with _renaming(path) as partial:
        partial.mkdir()
        yield partial


@contextlib.contextmanager
def _renaming(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside `path`. What the block puts there is renamed to `path`, or removed if it fails."""
    partial = _temporary_name(path)
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        if error.filename is None or str(error.filename).startswith(str(partial)):  # Some libraries give none.
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):
            remove(partial)


def remove(path: Path):
    """Removes a file, a link, or a folder with everything in it; nothing if it does not exist."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
    _require_file_name(path)
    if os.path.realpath(path) in {os.path.realpath(other) for other in others}:
        raise InputError(f"{path}: stands for two files, one of which would replace the other; give another name")
    with _as_unwritable(path):
        _try_to_write(Path(os.path.realpath(path)).parent)


def require_new_folder(path: Path):
    """Checks that an output folder does not exist and can be made, before any work is done for it.

    Raises:
        InputError: It exists, or cannot be made.
    """
    if os.path.lexists(path):
        raise InputError(f"{path}: already exists; give the name of a new folder")
    require_writable(path)


def require_folder(path: str | os.PathLike):
    """Checks that files can be written to an output folder, which may exist, before any work is done for it.

    Raises:
        InputError: It cannot be made or written to.
    """
    path = Path(path)
    with _as_unwritable(path):
        nearest = next(folder for folder in (path, *path.absolute().parents) if _is_taken(folder))
        if not nearest.is_dir():
            found = "a file" if nearest == path else f"the file {nearest} in its path"
            raise InputError(f"{path}: expected a folder, found {found}; give another name")
        _try_to_write(nearest)


def write_bytes(path: str | os.PathLike, content: bytes):
    """Writes a file, whole or not at all."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(path: str | os.PathLike, text: str):
    """Writes a text file in UTF-8, whole or not at all, with the same bytes on every platform."""
    write_bytes(path, text.encode())


def read_text(path: str | os.PathLike, source: str = "") -> str:
    """Reads a text file in UTF-8, with or without a byte-order mark.

    Args:
        path: The file.
        source: Source of the file, for the message that it is missing.

    Raises:
        InputError: The file is missing or not such text.
    """
    try:
        return read_bytes(path, source).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: expected UTF-8 text, found another encoding at byte {error.start}; save it as UTF-8"
        ) from error


def read_json(path: str | os.PathLike, source: str = "") -> object:
    """Reads a JSON file; arguments as for `read_text`.

    Raises:
        InputError: The file is missing or not JSON.
    """
    content = read_bytes(path, source)
    with named(path, "; correct it or get it again"):
        return parse_json(content)


def parse_json(content: str | bytes) -> object:
    """Parses JSON.

    Raises:
        InputError: It is something else. The message does not name the file.
    """
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        problem = f", perhaps cut off: {error}"
    except RecursionError:
        problem = ": too deeply nested"
    except ValueError:
        problem = ": not UTF-8 text, or a number with thousands of digits"
    raise InputError(f"not readable JSON{problem}")


def read_bytes(path: str | os.PathLike, source: str = "") -> bytes:
    """Reads a file; arguments as for `read_text`.

    Raises:
        InputError: The file is missing.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file{source and f'; {source}'}") from None


def write_json(path: str | os.PathLike, data):
    """Writes a JSON file, whole or not at all."""
    write_text(path, json.dumps(data, indent=1) + "\n")


def _temporary_name(path: Path) -> Path:
    """A hidden name next to `path`. It is short: that of `path` may be as long as names can be."""
    return path.with_name(f".{secrets.token_hex(4)}.partial{path.suffix[:16]}")


def _require_file_name(path: Path):
    with _as_unwritable(path):
        if not path.parent.is_dir():
            raise InputError(f"{path}: the folder {path.parent} does not exist; create it first")
        if _is_taken(path) and path.exists() and not path.is_file():
            raise InputError(f"{path}: is not a file but a folder or device; expected the name of a file")
        if path.exists() and not os.access(path, os.W_OK):
            raise InputError(f"{path}: cannot be written: no permission")


def _is_taken(path: Path) -> bool:
    """As `os.path.lexists`, but a name that is too long raises OSError."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _try_to_write(folder: Path):
    probe = _temporary_name(folder / "probe")
    probe.touch(exist_ok=False)
    probe.unlink()


@contextlib.contextmanager
def _as_unwritable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}; give another name") from error


def is_quiet() -> bool:
    """Whether information for the user is switched off for the whole process, as by `--quiet` of the commands."""
    return logging.root.manager.disable >= logging.INFO


def progress(items: Iterable, total: int, description: str, done: int = 0) -> Iterator:
    """Yields `items`, with a progress bar on a terminal and ten plain lines otherwise, or with neither if `is_quiet`.

    Args:
        items: What remains to be done.
        total: Items in all.
        description: What is being done.
        done: Items that were done before.
    """
    if is_quiet():
        yield from items
        return
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, total=total, desc=description, initial=done)
        return
    for item in items:
        yield item
        done += 1
        if done * 10 // total > (done - 1) * 10 // total:
            logger.info("%s: %d of %d", description, done, total)
