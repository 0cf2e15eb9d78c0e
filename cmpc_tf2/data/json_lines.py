"""JSON Lines: a text file with one JSON object per line."""

from collections.abc import Iterator
from pathlib import Path

from cmpc_tf2.data.annotation_fields import checked
from cmpc_tf2.errors import InputError
from cmpc_tf2.files import parse_json, read_text

# The name of a row in messages, and its values by key, or the reason why there are none.
RawRow = tuple[str, dict | InputError]


def read_json_lines(path: Path) -> Iterator[RawRow]:
    """Reads the rows of a file; blank lines are left out, but counted.

    Raises:
        InputError: The file is missing, or not UTF-8 text.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield f"row {number}", checked(parse_json(line), dict, "the row")
        except InputError as error:
            yield f"row {number}", error
