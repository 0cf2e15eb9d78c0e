"""A TensorFlow 1 checkpoint: its files and variables, whatever model they belong to."""

import math
import re
from pathlib import Path

from cmpc_tf2.conversion.tf1_index import fingerprint, read_checksums
from cmpc_tf2.errors import InputError, first_line


class TF1Checkpoint:
    """A TensorFlow 1 Saver checkpoint, opened for reading.

    Args:
        prefix: The checkpoint's path: without `.index` in format V2, without the number of the shard in either.

    Attributes:
        shapes: Shape per variable name.
        dtypes: NumPy type per variable name.
        stored_names: Names in the file of the variables that `rename` gave others.

    Raises:
        InputError: A file is missing, damaged or cut off.
    """

    def __init__(self, prefix: str):
        import tensorflow as tf

        self.prefix = prefix
        files = find_files(prefix)
        # TensorFlow finds the shards of format V1 by a pattern. The files exist, so this is not taken for a V2 prefix.
        is_sharded_v1 = str(files[0]).startswith(f"{prefix}-")
        self._errors = (tf.errors.OpError, RuntimeError, ValueError, IndexError, MemoryError)  # All seen of its reader.
        try:
            pattern = f"{prefix}-?????-of-{len(files):05d}" if is_sharded_v1 else prefix
            self._reader = tf.train.load_checkpoint(pattern)
            self.shapes = {name: tuple(s) for name, s in self._reader.get_variable_to_shape_map().items()}
            self.dtypes = {name: t.as_numpy_dtype for name, t in self._reader.get_variable_to_dtype_map().items()}
        except self._errors as error:
            raise InputError(f"{files[0]}: not a readable TensorFlow checkpoint: {first_line(error)}") from error
        self.stored_names: dict[str, str] = {}
        self._check_size([file for file in files if file.suffix != ".index"])

    def rename(self, renames: tuple[tuple[str, str], ...]):
        """Gives the variables other names.

        Args:
            renames: Patterns for the whole name and replacements, all applied in turn.
        """
        for name in list(self.shapes):
            renamed = name
            for pattern, replacement in renames:
                renamed = re.sub(rf"^(?:{pattern})$", replacement, renamed)
            if renamed != name:
                self.stored_names[renamed] = name
            self.shapes[renamed], self.dtypes[renamed] = self.shapes.pop(name), self.dtypes.pop(name)

    def _check_size(self, files: list[Path]):
        """Compares the data files' size with what is listed, so that a cut-off copy is found before any work."""
        import numpy as np

        # Of whole numbers V1 leaves out leading zeros, and strings have no fixed size.
        types = {name: np.dtype(dtype) for name, dtype in self.dtypes.items() if np.issubdtype(dtype, np.floating)}
        expected = sum(math.prod(self.shapes[name]) * dtype.itemsize for name, dtype in types.items())
        actual = sum(file.stat().st_size for file in files)
        if actual < expected:
            names = files[0] if len(files) == 1 else f"{files[0]} to {files[-1].name}"
            raise InputError(f"{names}: cut off: {actual} bytes, expected {expected} or more; copy it again")

    def read(self, name: str):
        """The value of a variable as a NumPy array. Format V2 has checksums, which TensorFlow compares."""
        stored = self.stored_names.get(name, name)
        try:
            return self._reader.get_tensor(stored)
        except self._errors as error:
            raise InputError(f"{self.prefix}: cannot read variable {stored}: {first_line(error)}") from error

    def fingerprint(self) -> str | None:
        """Identifies the checkpoint by the names and checksums of its variables; None of format V1."""
        index = Path(f"{self.prefix}.index")
        return fingerprint(read_checksums(index)) if index.is_file() else None

    def read_step(self, name: str) -> int:
        """The value of a variable that counts steps."""
        value = self.read(name)
        if value.shape != () or value != value // 1:
            raise InputError(f"{self.prefix}: {name}: expected a whole number, found {value!r}")
        return int(value)


def find_files(prefix: str) -> list[Path]:
    """The files of a checkpoint: of format V2 `.index` and the data files, of V1 one file or several shards.

    Raises:
        InputError: There are none, or one is missing.
    """
    if set("*?[]") & set(prefix):
        raise InputError(f"{prefix}: TensorFlow takes * ? [ ] in a prefix for wildcards; rename the files or folder")
    if re.search(r"\.(index|meta)$|-\d{5}-of-\d{5}$", prefix):
        raise InputError(f"{prefix}: give the prefix alone, without .index, .meta, .data or the number of a shard")
    index = Path(f"{prefix}.index")
    if index.is_file():
        if not (data := _find_shards(f"{prefix}.data")):
            raise InputError(f"{prefix}.data-00000-of-00001: no such file; it belongs to {index}")
        return [index, *data]
    if Path(prefix).is_file():
        return [Path(prefix)]
    if shards := _find_shards(prefix):
        return shards
    if Path(prefix).is_dir():
        raise InputError(f"{prefix}: is a folder; expected the prefix of a checkpoint's files in it")
    found = sorted(path.with_suffix("").name for path in index.parent.glob("*.index"))
    hint = f"that folder has {', '.join(found)}" if found else "expected a file of that name, or .index and .data files"
    raise InputError(f"{prefix}: no such checkpoint; {hint}")


def _find_shards(stem: str) -> list[Path]:
    """All of `<stem>-00000-of-00002`, `<stem>-00001-of-00002`; empty if there are none at all."""
    folder, name = Path(stem).parent, re.escape(Path(stem).name)
    matches = [re.fullmatch(rf"{name}-\d{{5}}-of-(\d{{5}})", path.name) for path in folder.glob("*-of-*")]
    missing = None
    for count in sorted({int(match[1]) for match in matches if match}):
        shards = [Path(f"{stem}-{number:05d}-of-{count:05d}") for number in range(count)]
        missing = next((shard for shard in shards if not shard.is_file()), None)
        if missing is None:
            return shards
    if missing is not None:
        raise InputError(f"{missing}: no such file; the checkpoint has {count} such files")
    return []
