"""Annotation files to references: which object of which picture, and what was said of it."""

import collections
import dataclasses
import functools
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from cmpc_tf2.data.annotation_fields import checked, describe, field, is_plain_name
from cmpc_tf2.data.datasets import Dataset, Layout, Sources
from cmpc_tf2.data.mat_files import mat_shape, read_mat
from cmpc_tf2.data.pickles import read_plain_pickle
from cmpc_tf2.data.segmentations import rasterize
from cmpc_tf2.errors import InputError, named
from cmpc_tf2.files import read_json

logger = logging.getLogger(__name__)

_SOURCE = "data/README.md says where to get the annotations"


@dataclasses.dataclass(frozen=True)
class Reference:
    """An object that people referred to.

    Attributes:
        name: Its name in messages.
        image_path: Its picture.
        draw_mask: Height and width of the picture to its mask, bool `(h, w)`; raises InputError.
        expressions: Its expressions, in file order.
        fields: For each expression, the data set's own fields; empty if it has none.
        problem: The reason why there are no samples of it, if the annotations tell.
    """

    name: str
    image_path: Path
    draw_mask: Callable[[int, int], np.ndarray]
    expressions: tuple[str, ...]
    fields: tuple[dict, ...] = ()
    problem: str | None = None


def read_references(dataset: Dataset, split: str, sources: Sources) -> list[Reference]:
    """The references of a split in the order in which their samples are numbered.

    Pictures and mask files are not read.

    Raises:
        InputError: An annotation file is missing, damaged or of another form, or the split is empty.
    """
    parse = {Layout.REFER: _parse_refer, Layout.REFERIT: _parse_referit, Layout.PHRASECUT: _parse_phrasecut}
    main, *instances = sources.annotations
    content = read_plain_pickle(main) if dataset.layout is Layout.REFER else read_json(main, _SOURCE)
    annotations = [read_instances(path) for path in instances]
    with named(f"{main}: not annotations in the form of {dataset.layout.value}"):
        references = parse[dataset.layout](content, *annotations, dataset, split, sources)
    if not references:
        raise InputError(f"{main}: holds nothing of the split {split!r}")
    return references


def _parse_refer(
    content: object, annotations: dict[int, dict], dataset: Dataset, split: str, sources: Sources
) -> list[Reference]:
    """RefCOCO, RefCOCO+, RefCOCOg: by ascending `ref_id`. If an id occurs twice the last one counts, as in REFER.

    Source: `build_coco_batches` in `build_batches.py` of CMPC-Refseg, and REFER's `createIndex`.
    """
    references = []
    for found in _refer_objects(content, annotations, dataset, split, sources):
        draw_mask = functools.partial(draw_annotation, found.annotation_id, found.annotation)
        fields = (found.fields,) * len(found.expressions)
        references.append(Reference(found.name, found.image_path, draw_mask, found.expressions, fields))
    return references


@dataclasses.dataclass(frozen=True)
class ReferObject:
    """An object of a data set in REFER's layout.

    Attributes:
        name: Its name in messages.
        file_name: As REFER has it: the name of the picture with the id of the annotation, where the file says it.
        image_path: Its picture.
        annotation_id: Id of its annotation.
        annotation: The annotation, of any form; None if there is none.
        expressions: Its expressions, in file order.
        fields: The data set's own fields.
    """

    name: str
    file_name: str
    image_path: Path
    annotation_id: int
    annotation: dict | None
    expressions: tuple[str, ...]
    fields: dict


def read_refer_objects(dataset: Dataset, split: str, sources: Sources) -> tuple[list[ReferObject], dict[int, dict]]:
    """Reads a split in REFER's layout; errors are those of `read_references`.

    Returns:
        Its objects by ascending `ref_id`, and the annotations of all objects of the file by id, of any form.
    """
    main, instances = sources.annotations
    content, annotations = read_plain_pickle(main), read_instances(instances)
    with named(f"{main}: not annotations in the form of {dataset.layout.value}"):
        objects = list(_refer_objects(content, annotations, dataset, split, sources))
    if not objects:
        raise InputError(f"{main}: holds nothing of the split {split!r}")
    return objects, annotations


def _refer_objects(
    content: object, annotations: dict[int, dict], dataset: Dataset, split: str, sources: Sources
) -> Iterator[ReferObject]:
    refs_path = sources.annotations[0]
    entries = enumerate(checked(content, list, "the references"))
    refs = (checked(ref, dict, f"entry {number}") for number, ref in entries)
    used = by_id(refs_path, "ref_id", ((field(ref, "ref_id", int), ref) for ref in refs if ref.get("split") == split))
    categories = _count_categories(annotations)
    most_sentences = refs_path.stat().st_size  # In a pickle, many references can share one long list.
    for ref_id, ref in sorted(used.items()):
        with named(f"ref {ref_id}"):
            annotation_id = field(ref, "ann_id", int)
            image_id = field(ref, "image_id", int)
            most_sentences -= len(field(ref, "sentences", list))
            if most_sentences < 0:
                raise InputError("expected sentences of its own, found more than the file has bytes")
            sentences = [checked(sentence, dict, "a sentence") for sentence in ref["sentences"]]
            expressions = tuple(field(sentence, "sent", str) for sentence in sentences)
            image_name = dataset.image_name.format(image_id=image_id)
            file_name = field(ref, "file_name", str) if "file_name" in ref else image_name
        annotation = annotations.get(annotation_id)
        fields = {"image_id": image_id, "ref_id": ref_id}
        if same_category := categories[_category_of(annotation or {})]:
            fields["same_category"] = same_category
        image_path = sources.images / image_name
        yield ReferObject(f"ref {ref_id}", file_name, image_path, annotation_id, annotation, expressions, fields)


def read_instances(path: Path) -> dict[int, dict]:
    """The annotations of a COCO instances file by id. They can be of any form: few of them may be used."""
    content = read_json(path, _SOURCE)
    with named(f"{path}: not a COCO instances file"):
        annotations = field(checked(content, dict, "the file"), "annotations", list)
    entries = (entry for entry in annotations if isinstance(entry, dict) and isinstance(entry.get("id"), (int, float)))
    return by_id(path, "id", ((entry["id"], entry) for entry in entries))


def _count_categories(annotations: dict[int, dict]) -> collections.Counter:
    """The number of annotated objects by picture and category; 0 for None."""
    counts = collections.Counter(map(_category_of, annotations.values()))
    counts.pop(None, None)
    return counts


def _category_of(annotation: dict) -> tuple[int, int] | None:
    """Ids of the picture and the category of an object; None if the annotation does not say them."""
    ids = annotation.get("image_id"), annotation.get("category_id")
    return ids if all(isinstance(one, int) for one in ids) else None


def by_id(path: Path, key: str, pairs: Iterable[tuple]) -> dict:
    """A dict of pairs of an id and an entry. If an id occurs twice, the last one counts, with a warning."""
    found, repeated = {}, 0
    for identifier, value in pairs:
        repeated += identifier in found
        found[identifier] = value
    if repeated:
        logger.warning("%s: %d entries repeat the %s of another; the last one counts", path, repeated, key)
    return found


def draw_annotation(annotation_id: int, annotation: dict | None, height: int, width: int) -> np.ndarray:
    """The mask of an annotation of COCO, bool `(h, w)`.

    Raises:
        InputError: There is no annotation, or its segmentation cannot be drawn.
    """
    if annotation is None:
        raise InputError(f"annotation {annotation_id} is not in instances.json")
    if annotation.get("segmentation") is None:
        raise InputError(f"annotation {annotation_id} has no segmentation")
    return rasterize(annotation["segmentation"], height, width)


def _parse_referit(content: object, dataset: Dataset, split: str, sources: Sources) -> list[Reference]:
    """ReferItGame, in file order. Source: `build_referit_batches` in `build_batches.py` of CMPC-Refseg."""
    references = []
    for region, expressions in checked(content, dict, "the file").items():
        if not is_plain_name(region):
            raise InputError(f"expected names of regions like '38100_1', found {describe(region)}")
        image_path = sources.images / dataset.image_name.format(image_id=region.split("_", 1)[0])
        draw_mask = functools.partial(_read_region, sources.masks / f"{region}.mat")
        with named(f"region {region}"):
            texts = tuple(checked(text, str, "an expression") for text in checked(expressions, list, "its expressions"))
        references.append(Reference(f"region {region}", image_path, draw_mask, texts))
    return references


def _read_region(path: Path, height: int, width: int) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"{path}: no such mask")
    shape = mat_shape(path, "segimg_t")
    if shape != (height, width):
        raise InputError(f"{path}: segimg_t is {shape}, its image is {(height, width)}")
    return read_mat(path, "segimg_t") == 0


def _parse_phrasecut(content: object, dataset: Dataset, split: str, sources: Sources) -> list[Reference]:
    """VGPhraseCut, in file order. A task has one phrase and the polygons of one or more instances."""
    references = []
    for number, entry in enumerate(checked(content, list, "the file")):
        task = checked(entry, dict, f"entry {number}")
        with named(f"entry {number}"):
            task_id = field(task, "task_id", str)
        with named(f"task {describe(task_id)}"):
            image_id = field(task, "image_id", int)
            draw_mask = functools.partial(_draw_instances, field(task, "Polygons", list))
            expressions = (field(task, "phrase", str),)
        image_path = sources.images / dataset.image_name.format(image_id=image_id)
        fields = ({"image_id": image_id, "task_id": task_id},)
        references.append(Reference(f"task {task_id}", image_path, draw_mask, expressions, fields))
    return references


def _draw_instances(instances: list, height: int, width: int) -> np.ndarray:
    """The union of several objects, each a list of polygons, each a list of points (x, y)."""
    polygons = [polygon for instance in instances for polygon in _listed(instance)]
    points = [[_listed(point) for point in _listed(polygon)] for polygon in polygons]
    return rasterize([list(itertools.chain.from_iterable(polygon)) for polygon in points], height, width)


def _listed(value) -> list:
    if not isinstance(value, list):
        raise InputError(f"has polygons of another form: expected lists of points [x, y], found {describe(value)}")
    return value
