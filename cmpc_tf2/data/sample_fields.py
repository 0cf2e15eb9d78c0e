"""Facts about the samples of a split that the `.npz` files do not hold: `fields.jsonl` next to them.

The file has one JSON object per sample, in order. The builder writes it if the annotations say something about their
objects: the ids of picture, reference and video, the number of objects of the same category, columns of own data.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from cmpc_tf2.data.json_lines import read_json_lines
from cmpc_tf2.errors import InputError
from cmpc_tf2.files import write_text

FIELDS_FILE = "fields.jsonl"
_ADVICE = "build the split again with --overwrite"


def write_fields(folder: Path, fields: Iterable[dict]):
    """Writes the file of a split; nothing if every sample's fields are empty."""
    lines = [json.dumps(one) + "\n" for one in fields]
    if any(line != "{}\n" for line in lines):
        write_text(folder / FIELDS_FILE, "".join(lines))


def read_fields(folder: Path, samples: int) -> list[dict]:
    """Reads the fields of each sample of a split, in order.

    Args:
        folder: Folder of the split.
        samples: Number of its samples.

    Returns:
        A dictionary for each sample; empty ones if there is no file.

    Raises:
        InputError: The file does not have an object for each sample.
    """
    path = folder / FIELDS_FILE
    if not path.is_file():
        return [{} for _ in range(samples)]
    rows = list(read_json_lines(path))
    if len(rows) != samples:
        raise InputError(f"{path}: expected {samples} lines, one for each sample, found {len(rows)}; {_ADVICE}")
    for name, content in rows:
        if isinstance(content, InputError):
            raise InputError(f"{path}, {name}: {content}; {_ADVICE}")
    return [content for _, content in rows]
