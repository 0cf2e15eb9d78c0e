"""Annotation files to references: which object of which picture, and what was said of it."""

import dataclasses
import functools
import io
import itertools
import json
import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cmpc_tf2.data.datasets import Dataset, Layout, Sources
from cmpc_tf2.errors import InputError

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Reference:
    """An object that people referred to.

    Attributes:
        name: What to call it in messages.
        image_path: Its picture.
        draw_mask: Height and width of the picture to its mask, bool `(h, w)`; raises InputError.
        expressions: What was said, in file order.
    """

    name: str
    image_path: Path
    draw_mask: Callable[[int, int], np.ndarray]
    expressions: tuple[str, ...]


def read_references(dataset: Dataset, split: str, sources: Sources) -> list[Reference]:
    """The references of a split in the order in which their samples are numbered.

    Pictures and mask files are not looked at.

    Raises:
        InputError: An annotation file is missing, damaged or of another form, or the split is empty.
    """
    read = {Layout.REFER: _read_refer, Layout.REFERIT: _read_referit, Layout.PHRASECUT: _read_phrasecut}
    main = sources.annotations[0]
    try:
        references = read[dataset.layout](dataset, split, sources)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        reason = f"{type(error).__name__} {error}"
        raise InputError(f"{main}: not annotations in the form of {dataset.layout.value}: {reason}") from error
    if not references:
        raise InputError(f"{main}: holds nothing of the split {split!r}")
    return references


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
    content = _read_file(path)
    try:
        for encoding in ("utf-8", "latin-1"):
            try:
                return _PlainDataUnpickler(io.BytesIO(content), encoding=encoding).load()
            except UnicodeDecodeError:
                continue
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # A damaged pickle can raise nearly anything.
        raise InputError(f"{path}: not a readable pickle: {error}; get it again") from error
    raise AssertionError("latin-1 decodes any bytes")


def _read_json(path: Path):
    try:
        return json.loads(_read_file(path))
    except ValueError as error:
        raise InputError(f"{path}: not readable JSON, perhaps cut off: {error}; get it again") from error


def _read_file(path: str | os.PathLike) -> bytes:
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; data/README.md says where to get the annotations")
    return path.read_bytes()


def _read_refer(dataset: Dataset, split: str, sources: Sources) -> list[Reference]:
    """RefCOCO, RefCOCO+, RefCOCOg: by ascending `ref_id`. Where an id stands twice the last one counts, as in REFER.

    Source: `build_coco_batches` in `build_batches.py` of CMPC-Refseg, and REFER's `createIndex`.
    """
    refs_path, instances_path = sources.annotations
    all_refs = read_plain_pickle(refs_path)
    refs = _by_id(refs_path, "ref_id", ((ref["ref_id"], ref) for ref in all_refs if ref["split"] == split))
    instances = _read_json(instances_path)
    try:
        annotations = ((annotation["id"], annotation["segmentation"]) for annotation in instances["annotations"])
        segmentations = _by_id(instances_path, "id", annotations)
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__} {error}"
        raise InputError(f"{instances_path}: not a COCO instances file: {reason}") from error
    return [
        Reference(
            name=f"ref {ref_id}",
            image_path=sources.images / dataset.image_name.format(image_id=ref["image_id"]),
            draw_mask=functools.partial(_draw_annotation, ref["ann_id"], segmentations.get(ref["ann_id"])),
            expressions=_strings([sentence["sent"] for sentence in ref["sentences"]]),
        )
        for ref_id, ref in sorted(refs.items())
    ]


def _by_id(path: Path, key: str, pairs) -> dict:
    found, repeated = {}, 0
    for identifier, value in pairs:
        repeated += identifier in found
        found[identifier] = value
    if repeated:
        logger.warning("%s: %d entries repeat the %s of another; the last one counts", path, repeated, key)
    return found


def _draw_annotation(annotation_id, segmentation, height: int, width: int) -> np.ndarray:
    if segmentation is None:
        raise InputError(f"annotation {annotation_id} is not in instances.json")
    return rasterize(segmentation, height, width)


def _read_referit(dataset: Dataset, split: str, sources: Sources) -> list[Reference]:
    """ReferItGame, in file order. Source: `build_referit_batches` in `build_batches.py` of CMPC-Refseg."""
    queries = _read_json(sources.annotations[0])
    return [
        Reference(
            name=f"region {region}",
            image_path=sources.images / dataset.image_name.format(image_id=region.split("_", 1)[0]),
            draw_mask=functools.partial(_read_mat_mask, sources.masks / f"{region}.mat"),
            expressions=_strings(expressions),
        )
        for region, expressions in queries.items()
    ]


def _strings(values) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"expected a list of expressions, found {values!r:.60}")
    return tuple(values)


def _read_mat_mask(path: Path, height: int, width: int) -> np.ndarray:
    import scipy.io

    if not path.is_file():
        raise InputError(f"{path}: no such mask")
    try:
        labels = scipy.io.loadmat(path)["segimg_t"]
    except KeyError as error:
        raise InputError(f"{path}: has no segimg_t") from error
    except Exception as error:  # A damaged file can raise nearly anything.
        raise InputError(f"{path}: not a readable .mat file: {error}") from error
    if labels.shape != (height, width):
        raise InputError(f"{path}: segimg_t is {labels.shape}, its image is {(height, width)}")
    return labels == 0


def _read_phrasecut(dataset: Dataset, split: str, sources: Sources) -> list[Reference]:
    """VGPhraseCut, in file order. A task has one phrase and the polygons of one or more instances."""
    tasks = _read_json(sources.annotations[0])
    return [
        Reference(
            name=f"task {task['task_id']}",
            image_path=sources.images / dataset.image_name.format(image_id=task["image_id"]),
            draw_mask=functools.partial(_draw_instances, task["Polygons"]),
            expressions=_strings([task["phrase"]]),
        )
        for task in tasks
    ]


def _draw_instances(instances: list, height: int, width: int) -> np.ndarray:
    """The union of several objects, each a list of polygons, each a list of points (x, y)."""
    try:
        polygons = [
            [float(value) for value in itertools.chain.from_iterable(points)]
            for instance in instances
            for points in instance
        ]
    except (TypeError, ValueError) as error:
        raise InputError(f"has polygons of another form: {error}") from error
    return rasterize(polygons, height, width)


def rasterize(segmentation: list | dict, height: int, width: int) -> np.ndarray:
    """Draws a COCO segmentation: the union of its polygons, or its run-length encoding, compressed or not.

    What lies outside the picture is cut off; polygons of fewer than three points are left out.

    Returns:
        bool `(height, width)`.

    Raises:
        InputError: It is neither, it is of another size, or nothing of it is left.
    """
    from pycocotools import mask as coco_mask

    if isinstance(segmentation, list) and all(isinstance(polygon, list) for polygon in segmentation):
        segmentation = [polygon for polygon in segmentation if len(polygon) >= 6]
        far = 10 * max(height, width)
        try:
            is_near = all((np.abs(np.array(polygon, float)) <= far).all() for polygon in segmentation)
        except (TypeError, ValueError) as error:
            raise InputError(f"has a segmentation that cannot be drawn: {error}") from error
        if not is_near:
            raise InputError("has a segmentation with points far outside the picture")
    if not segmentation:
        raise InputError("has an empty segmentation")
    try:
        if isinstance(segmentation, dict) and isinstance(segmentation["counts"], (str, bytes)):
            encoded = [segmentation]
        else:
            encoded = coco_mask.frPyObjects(segmentation, height, width)
            encoded = encoded if isinstance(encoded, list) else [encoded]
        mask = coco_mask.decode(coco_mask.merge(encoded)).astype(bool)
    except Exception as error:  # pycocotools raises bare Exceptions.
        raise InputError(f"has a segmentation that cannot be drawn: {error}") from error
    if mask.shape != (height, width):
        raise InputError(f"has a mask of {mask.shape}, its image is {(height, width)}")
    return mask
