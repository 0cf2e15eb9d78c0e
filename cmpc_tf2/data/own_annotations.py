"""Annotations of the user's own: rows in JSON Lines or CSV, or COCO instances with captions.

`docs/own_data.md` describes the three forms. Each is read as rows with the keys `image`, `expression`, one of `mask`,
`polygons` and `segmentation`, and the data set's own fields.
"""

import collections
import csv
import functools
import io
import itertools
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from cmpc_tf2.data.annotation_fields import checked, describe, field, path_field, text_field
from cmpc_tf2.data.annotations import Reference, by_id
from cmpc_tf2.data.image_files import read_mask
from cmpc_tf2.data.json_lines import RawRow, read_json_lines
from cmpc_tf2.data.segmentations import rasterize
from cmpc_tf2.errors import InputError, named
from cmpc_tf2.files import parse_json, read_json, read_text

_MASK_KEYS = ("mask", "polygons", "segmentation")
_KEYS = ("image", "expression", *_MASK_KEYS)
# Bytes of a CSV cell: Python's default is too small for some masks.
_LONGEST_CELL = 2**31 - 1


class _Row(NamedTuple):
    """A row: path of the picture, key and value of the mask, expression, own fields; or why it cannot be used."""

    name: str
    image: str
    mask: tuple
    expression: str
    fields: dict
    problem: str | None = None


def read_own_references(path: Path, image_root: Path) -> list[Reference]:
    """Reads an annotation file of the user's own. Pictures and masks in files are not read.

    Consecutive rows of the same picture and mask become one reference. A row that cannot be used becomes a reference
    with a `problem`.

    Args:
        path: A `.jsonl`, `.csv` or COCO `.json` file.
        image_root: Folder that the paths of pictures start from. Those of masks start from the folder of `path`.

    Raises:
        InputError: The file is missing, is of another form, or has no row that can be used.
    """
    readers = {".jsonl": read_json_lines, ".csv": _read_csv, ".json": _read_coco}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: expected annotations in a file whose name ends in {', '.join(readers)}")
    rows = [_parse_row(name, content) for name, content in readers[path.suffix.lower()](path)]
    if not rows:
        raise InputError(f"{path}: holds no expressions; docs/own_data.md describes what is expected")
    if all(row.problem for row in rows):
        raise InputError(f"{path}: none of its {len(rows)} rows can be used; {rows[0].name}: {rows[0].problem}")
    groups = itertools.groupby(rows, key=lambda row: row.name if row.problem else (row.image, row.mask))
    return [_make_reference(list(group), path, image_root) for _, group in groups]


def _make_reference(rows: list[_Row], path: Path, image_root: Path) -> Reference:
    first, last = rows[0], rows[-1]
    return Reference(
        name=f"{path}, {first.name}" + (f" to {last.name}" if last is not first else ""),
        image_path=image_root / first.image,
        draw_mask=functools.partial(_draw_mask, first.mask, path.parent),
        expressions=tuple(row.expression for row in rows),
        fields=tuple(row.fields for row in rows),
        problem=first.problem,
    )


def _draw_mask(key_and_value: tuple, folder: Path, height: int, width: int) -> np.ndarray:
    key, value = key_and_value
    if key != "mask" or isinstance(value, dict):
        return rasterize(value, height, width)
    path = folder / value
    mask = read_mask(path)
    if mask.shape != (height, width):
        raise InputError(f"{path}: has {mask.shape[0]} x {mask.shape[1]} pixels, its image is {height} x {width}")
    return mask


def _parse_row(name: str, content: dict | InputError) -> _Row:
    try:
        if isinstance(content, InputError):
            raise content
        expression = text_field(content, "expression")
        fields = {key: value for key, value in content.items() if key not in _KEYS}
        return _Row(name, _image_of(content), _mask_of(content), expression, fields)
    except InputError as error:
        expression = content.get("expression") if isinstance(content, dict) else None
        shown = expression if isinstance(expression, str) else ""
        return _Row(name, "", (), shown, {}, f"{error}; correct the row or remove it")


def _image_of(row: dict) -> str:
    image = path_field(row, "image")
    path = PurePath(image)
    if path.is_absolute() or path.drive or ".." in path.parts:
        raise InputError(f"expected a path below the image root for image, found {describe(image)}")
    return image


def _mask_of(row: dict) -> tuple:
    given = [key for key in _MASK_KEYS if row.get(key) is not None]
    if len(given) != 1:
        raise InputError(f"expected one of {', '.join(_MASK_KEYS)}, found {' and '.join(given) or 'none'}")
    (key,) = given
    mask = row[key]
    if key == "mask" and isinstance(mask, str):
        path_field(row, key)
    elif key == "mask" and not isinstance(mask, dict):
        raise InputError(f"expected the path of a PNG file or run lengths for mask, found {describe(mask)}")
    return key, mask


def _read_csv(path: Path) -> Iterator[RawRow]:
    """Rows below a header with the names of the columns; the header is row 1."""
    csv.field_size_limit(_LONGEST_CELL)
    reader, header, number = csv.reader(io.StringIO(read_text(path), newline=""), strict=True), None, 0
    try:
        for number, cells in enumerate(reader, start=1):
            if not any(map(str.strip, cells)):
                continue
            if header is None:
                header = _parse_header(path, cells)
                continue
            try:
                yield f"row {number}", _parse_cells(header, cells)
            except InputError as error:
                yield f"row {number}", error
    except csv.Error as error:
        raise InputError(
            f"{path}, row {number + 1}: not readable CSV: {error}; put quotes around cells, and double those in them"
        ) from error


def _parse_header(path: Path, cells: list[str]) -> list[str]:
    header = list(map(str.strip, cells))
    if not {"image", "expression"} <= set(header) or not set(_MASK_KEYS) & set(header):
        raise InputError(
            f"{path}: expected a header with the columns image, expression and one of {', '.join(_MASK_KEYS)}, "
            f"separated by commas; found {', '.join(map(describe, header))}"
        )
    if repeated := [name for name, count in collections.Counter(header).items() if count > 1]:
        raise InputError(f"{path}: expected columns of different names, found {describe(repeated[0])} twice")
    return header


def _parse_cells(header: list[str], cells: list[str]) -> dict:
    """The values of a row; those of masks that are not paths are JSON. An empty cell is no mask."""
    if len(cells) != len(header):
        raise InputError(f"expected {len(header)} cells as in the header, found {len(cells)}")
    row = {name: cell for name, cell in zip(header, cells, strict=True) if cell or name not in _MASK_KEYS}
    for key in set(_MASK_KEYS) & set(row):
        if key != "mask" or row[key].startswith("{"):
            with named(key):
                row[key] = parse_json(row[key])
    return row


def _read_coco(path: Path) -> Iterator[RawRow]:
    """The annotations of a COCO file that have a caption: their own, or that of an image with no other annotation.

    The rest of an annotation are the data set's own fields.
    """
    content = read_json(path)
    with named(f"{path}: not COCO instances", "; rows belong in a .jsonl or .csv file"):
        images = field(checked(content, dict, "the file"), "images", list)
        annotations = [checked(entry, dict, "an annotation") for entry in field(content, "annotations", list)]
    images = (image for image in images if isinstance(image, dict) and isinstance(image.get("id"), (int, str)))
    images = by_id(path, "id", ((image["id"], image) for image in images))
    counts = collections.Counter(repr(annotation.get("image_id")) for annotation in annotations)
    for number, annotation in enumerate(annotations):
        name = f"annotation {describe(annotation['id']) if 'id' in annotation else f'number {number}'}"
        try:
            image_id = annotation.get("image_id")
            image = images.get(image_id) if isinstance(image_id, (int, str)) else None
            if image is None:
                raise InputError(f"expected the id of an image for image_id, found {describe(image_id)}")
            captions = _captions_of(annotation, image, counts[repr(image_id)])
        except InputError as error:
            yield name, error
            continue
        fields = {key: value for key, value in annotation.items() if key not in (*_KEYS, "caption")}
        row = {"image": image.get("file_name"), "segmentation": annotation.get("segmentation"), **fields}
        for caption in captions:
            yield name, {**row, "expression": caption}


def _captions_of(annotation: dict, image: dict, count: int) -> list:
    """The captions of an annotation; `count` is the number of annotations of its image."""
    captions = annotation.get("caption")
    if captions is None:
        captions = image.get("caption")
        if captions is not None and count > 1:
            raise InputError(f"expected a caption of its own, found that of an image with {count} annotations")
    if captions is None or isinstance(captions, list):
        return captions or []
    return [captions]
