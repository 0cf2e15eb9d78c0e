"""The description of a model in its `.keras` file, read without Keras."""

import errno
import json
import os
import zipfile
from pathlib import Path

from cmpc_tf2.errors import InputError

# Members that Keras writes, without compression.
_MEMBERS = ["config.json", "metadata.json", "model.weights.h5"]


def read_config(path: Path) -> dict:
    """Reads the description of a model from its file.

    The whole file is read, to verify its checksums before it is used: Keras may read weights in pieces, and then newer
    versions of Python verify none.

    Returns:
        `class_name`, `registered_name`, `config` and whatever else Keras writes about a model.

    Raises:
        InputError: The file is not one of Keras', or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            problem = _find_problem(archive, os.path.getsize(path))
            described = None if problem else json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # A seek to before the beginning of the file.
            raise
        raise InputError(f"{path}: not a .keras file, or cut off; convert or copy it again") from error
    if problem:
        raise InputError(f"{path}: {problem}")
    if not (isinstance(described, dict) and isinstance(described.get("config"), dict)):
        raise InputError(f"{path}: config.json in it does not describe a model")
    return described


def _find_problem(archive: zipfile.ZipFile, size: int) -> str | None:
    """The problem of an archive of `size` bytes; None if there is none."""
    names = sorted(archive.namelist())
    if names != _MEMBERS:
        return f"expected {', '.join(_MEMBERS)} in it, found {names}"
    members = archive.infolist()
    # Otherwise a small file could fill the memory.
    if any(member.compress_type for member in members) or sum(member.file_size for member in members) > size:
        return "expected members without compression, as Keras writes them"
    if damaged := archive.testzip():
        return f"{damaged} in it is damaged; convert or copy it again"
    return None


def holds_object(value) -> bool:
    """Whether Keras would create an object of any class from this configuration or a part of it."""
    pending = [value]  # No recursion: a file may be nested too deeply for it.
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                return True
            pending += value.values()
        elif isinstance(value, list):
            pending += value
    return False
