"""Annotation files to references: which object of which picture, and what was said of it."""

import dataclasses
import json
import os
import pickle
from pathlib import Path

import numpy as np

from cmpc_tf2.data.datasets import Dataset
from cmpc_tf2.errors import InputError


@dataclasses.dataclass(frozen=True)
class Reference:
    """An object that people referred to.

    Attributes:
        name: What to call it in messages.
        image_path: Its picture.
        segmentation: COCO polygons or run-length encoding; None if the annotation is missing.
        expressions: What was said, in file order.
    """

    name: str
    image_path: Path
    segmentation: list | dict | None
    expressions: tuple[str, ...]


class _PlainDataUnpickler(pickle.Unpickler):
    """Reads lists, dicts, strings and numbers. Whatever else a pickle can name could run code, and is refused."""

    def find_class(self, module, name):
        raise InputError(f"names {module}.{name}; only plain lists, dicts, strings and numbers are read")

    def persistent_load(self, pid):
        raise InputError("refers to outside objects; only plain lists, dicts, strings and numbers are read")


def read_plain_pickle(path: str | os.PathLike):
    """Reads a pickle of plain data, also one written by Python 2.

    Raises:
        InputError: The file is missing, damaged, or holds anything but plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; data/README.md says where to get the annotations")
    try:
        for encoding in ("utf-8", "latin-1"):
            with path.open("rb") as file:
                try:
                    return _PlainDataUnpickler(file, encoding=encoding).load()
                except UnicodeDecodeError:
                    continue
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # A damaged pickle can raise nearly anything.
        raise InputError(f"{path}: not a readable pickle: {error}; get it again") from error
    raise AssertionError("latin-1 decodes any bytes")


def read_refer(dataset: Dataset, split: str, refer_root: Path, image_root: Path) -> list[Reference]:
    """The references of a REFER dataset (RefCOCO, RefCOCO+, RefCOCOg) in one split, by ascending `ref_id`.

    Args:
        dataset: Which.
        split: Which of its splits.
        refer_root: Folder that holds `refcoco/` and so on, as REFER ships them.
        image_root: Folder with the picture files.

    Returns:
        References; their pictures are not looked at.

    Raises:
        InputError: A file is missing, damaged or of another form, or the split is empty.
    """
    refs_path = dataset.refs_path(refer_root)
    instances_path = dataset.instances_path(refer_root)
    refs = read_plain_pickle(refs_path)
    segmentations = _read_segmentations(instances_path)
    try:
        chosen = sorted((ref for ref in refs if ref["split"] == split), key=lambda ref: ref["ref_id"])
        references = [
            Reference(
                name=f"ref {ref['ref_id']}",
                image_path=image_root / dataset.image_name.format(image_id=ref["image_id"]),
                segmentation=segmentations.get(ref["ann_id"]),
                expressions=tuple(sentence["sent"] for sentence in ref["sentences"]),
            )
            for ref in chosen
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{refs_path}: not a list of REFER references: {type(error).__name__} {error}") from error
    if not references:
        raise InputError(f"{refs_path}: no reference has the split {split!r}")
    return references


def _read_segmentations(path: Path) -> dict:
    if not path.is_file():
        raise InputError(f"{path}: no such file; data/README.md says where to get the annotations")
    try:
        annotations = json.loads(path.read_bytes())["annotations"]
        return {annotation["id"]: annotation["segmentation"] for annotation in annotations}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a COCO instances file: {type(error).__name__} {error}") from error


def rasterize(segmentation: list | dict, height: int, width: int) -> np.ndarray:
    """Draws a COCO segmentation: the union of its polygons, or its run-length encoding.

    Returns:
        bool `(height, width)`.

    Raises:
        InputError: It is neither, or it is of another size.
    """
    from pycocotools import mask as coco_mask

    if not segmentation:
        raise InputError("has an empty segmentation")
    try:
        if isinstance(segmentation, dict) and isinstance(segmentation["counts"], (str, bytes)):
            encoded = [segmentation]
        else:
            encoded = coco_mask.frPyObjects(segmentation, height, width)
            encoded = encoded if isinstance(encoded, list) else [encoded]
        mask = coco_mask.decode(encoded).any(axis=2)
    except Exception as error:  # pycocotools raises bare Exceptions.
        raise InputError(f"has a segmentation that cannot be drawn: {error}") from error
    if mask.shape != (height, width):
        raise InputError(f"has a mask of {mask.shape}, its image is {(height, width)}")
    return mask
