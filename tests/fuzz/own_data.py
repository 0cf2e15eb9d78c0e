"""Annotations and masks of the user's own."""

import contextlib
import io
import json
from pathlib import Path

from PIL import Image

from cmpc_tf2.data.image_files import read_image, read_mask
from cmpc_tf2.data.own_annotations import read_own_references
from cmpc_tf2.errors import InputError
from fuzz.annotations import HEIGHT, MASK, WIDTH
from fuzz.targets import Target
from own_data import row, write_rows
from refer_layout import POLYGON

_ENCODING = {"size": [HEIGHT, WIDTH], "counts": [5, 7, 1, 0, 100, 7]}
_ROWS = [row("the café", box=[1, 2, 3, 4]), row(mask="masks/a.png", box=[]), row(segmentation=_ENCODING, box=[0])]


def own_json_lines(folder: Path) -> Target:
    """Rows in JSON Lines."""
    return _rows(folder / "my.jsonl")


def own_csv(folder: Path) -> Target:
    """Rows in CSV."""
    return _rows(folder / "my.csv")


def own_coco(folder: Path) -> Target:
    """COCO instances with captions of annotations and of images."""
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg", "caption": "left"}]
    annotations = [
        {"id": 1, "image_id": 1, "caption": ["man", "the café"], "segmentation": POLYGON},
        {"id": 2, "image_id": 2, "segmentation": _ENCODING},
    ]
    path = folder / "my.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return Target([path.read_bytes()], lambda content: _read(path, content))


def png_mask(folder: Path) -> Target:
    """Masks in PNG files: grey, with a palette, of single bits, and in color."""
    grey, originals = Image.fromarray(MASK.astype("uint8")), []
    for mode in ("L", "P", "1", "RGBA", "I;16"):
        stream = io.BytesIO()
        grey.convert(mode).save(stream, "PNG")
        originals.append(stream.getvalue())
    path = folder / "a.png"

    def read(content: bytes):
        path.write_bytes(content)
        read_mask(path)

    return Target(originals, read)


def _rows(path: Path) -> Target:
    return Target([write_rows(path, _ROWS).read_bytes()], lambda content: _read(path, content))


def _read(path: Path, content: bytes):
    path.write_bytes(content)
    for reference in read_own_references(path, path.parent):
        json.dumps(reference.fields)
        if reference.problem:
            continue
        with contextlib.suppress(InputError):
            read_image(reference.image_path)
        with contextlib.suppress(InputError):
            reference.draw_mask(HEIGHT, WIDTH)
