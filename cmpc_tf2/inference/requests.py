"""The pictures and expressions that a user asks for: folders, glob patterns, single files and lists."""

import dataclasses
import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from cmpc_tf2.data.annotation_fields import path_field, text_field
from cmpc_tf2.data.json_lines import read_json_lines
from cmpc_tf2.errors import InputError, UsageError
from cmpc_tf2.text.vocabulary import NoWordsError

# Files of a folder with other names are not pictures; `image_decoding.FORMATS` are what can be read.
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif")


@dataclasses.dataclass(frozen=True)
class Request:
    """An expression to segment in a picture.

    Attributes:
        image: The picture as the user names it.
        path: Its file.
        expression: The expression.
        fields: Further fields of its row in a list.
    """

    image: str
    path: Path
    expression: str
    fields: dict = dataclasses.field(default_factory=dict, compare=False)


def read_requests(
    sources: Iterable[str], expressions: list[str], image_root: Path | None = None, output: Path | None = None
) -> list[Request]:
    """Lists the requests for a number of sources, each once, those of a picture next to each other.

    Args:
        sources: Picture files, folders (read with their subfolders), glob patterns, and `.jsonl` files whose rows have
            an `image`, and may have an `expression`.
        expressions: The expressions for pictures that have none of their own.
        image_root: Folder that the paths in lists start from; None for the folder of each list.
        output: Folder whose files are not inputs.

    Raises:
        UsageError: There are pictures without expressions.
        InputError: A source does not exist or holds no pictures. A row cannot be used. An expression is blank.
    """
    found: dict[str, list[Request]] = {}
    for source in sources:
        for request in _requests_of(source, expressions, image_root, output):
            if not request.expression.strip():
                raise NoWordsError(request.expression)
            of_picture = found.setdefault(request.image, [])
            if request not in of_picture:
                of_picture.append(request)
    return [request for of_picture in found.values() for request in of_picture]


def _requests_of(
    source: str, expressions: list[str], image_root: Path | None, output: Path | None
) -> Iterator[Request]:
    if Path(source).suffix.lower() == ".jsonl":
        yield from _read_list(Path(source), expressions, image_root)
        return
    if not expressions:
        raise UsageError("--expression: needed for pictures that are not in a .jsonl list with expressions")
    for path in _picture_files(source, output):
        yield from (Request(str(path), path, expression) for expression in expressions)


def _read_list(path: Path, expressions: list[str], image_root: Path | None) -> Iterator[Request]:
    root, is_empty = image_root or path.parent, True
    for name, row in read_json_lines(path):
        is_empty = False
        try:
            if isinstance(row, InputError):
                raise row
            image = path_field(row, "image")
            own = [text_field(row, "expression")] if "expression" in row or not expressions else expressions
        except InputError as error:
            raise InputError(f"{path}, {name}: {error}; correct the row or remove it") from error
        fields = {key: value for key, value in row.items() if key not in ("image", "expression")}
        yield from (Request(image, root / image, expression, fields) for expression in own)
    if is_empty:
        raise InputError(f'{path}: holds no rows; expected lines such as {{"image": "a.jpg", "expression": "the dog"}}')


def _picture_files(source: str, output: Path | None) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        files = sorted(path.rglob("*"))
    elif path.exists():
        return [path]
    elif glob.has_magic(source):
        files = sorted(map(Path, glob.glob(source, recursive=True)))
    else:
        raise InputError(f"{source}: no such file or folder")
    excluded = None if output is None else Path(os.path.realpath(output))
    pictures = [file for file in files if _is_picture(file) and excluded not in Path(os.path.realpath(file)).parents]
    if not pictures:
        raise InputError(f"{source}: no pictures found; expected files whose names end in {', '.join(SUFFIXES)}")
    return pictures


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
