"""References to objects from the data sets that MAttNet's and CAC's authors prepared."""

import functools
from pathlib import Path

from cmpc_tf2.data.annotation_fields import describe, is_plain_name
from cmpc_tf2.data.annotations import draw_annotation, read_instances
from cmpc_tf2.data.coco_categories import class_indices
from cmpc_tf2.data.datasets import Dataset
from cmpc_tf2.data.mattnet_data import PreparedReference
from cmpc_tf2.data.mattnet_files import read_prepared
from cmpc_tf2.data.object_annotations import AnnotatedObject, ObjectReference
from cmpc_tf2.errors import InputError


def read_prepared_references(
    dataset: Dataset, split: str, path: Path, instances: Path, images: Path
) -> tuple[list[ObjectReference], list[Path]]:
    """Reads a split, in the order of the pictures in the file.

    CAC's files have the masks, and their ids of categories are class indices. Those of MAttNet have COCO's ids and no
    masks: these come from the instances file.

    Args:
        dataset: The data set.
        split: The split.
        path: The authors' `data.json`. The token ids of their `data.h5` are not needed.
        instances: COCO instances file.
        images: Folder of the pictures.

    Returns:
        The references, and the files that were read.

    Raises:
        InputError: A file is missing, damaged or of another form, or the split is empty.
    """
    data = read_prepared(path)
    files, classes, annotations = [path], class_indices(dataset.name), {}
    has_masks = any(reference.segmentation is not None for reference in data.references.values())
    if has_masks:
        classes = {index: index for index in classes.values()}
    else:
        files.append(instances)
        annotations = read_instances(instances)
    references = []
    for picture in data.pictures.values():
        if not is_plain_name(picture.file_name):
            raise InputError(f"{path}: expected the name of a file for file_name, found {describe(picture.file_name)}")
        boxes = {number: data.boxes[number] for number in picture.annotation_ids}
        objects = tuple(AnnotatedObject(number, box.box, box.category_id) for number, box in boxes.items())
        for number in (number for number in picture.reference_ids if data.references[number].split == split):
            found = data.references[number]
            annotation = {"segmentation": found.segmentation} if has_masks else annotations.get(found.annotation_id)
            expressions = tuple(" ".join(data.sentences[sentence].tokens) for sentence in found.sentence_ids)
            fields = _fields(number, found, objects)
            references.append(
                ObjectReference(
                    f"ref {number}",
                    images / picture.file_name,
                    found.annotation_id,
                    objects,
                    classes,
                    functools.partial(draw_annotation, found.annotation_id, annotation),
                    expressions,
                    (fields,) * len(expressions),
                    found.attributes,
                )
            )
    if not references:
        raise InputError(f"{path}: holds nothing of the split {split!r}")
    return references, files


def _fields(number: int, reference: PreparedReference, objects: tuple[AnnotatedObject, ...]) -> dict:
    """As those of `annotations.ReferObject`."""
    categories = {one.annotation_id: one.category for one in objects}
    same_category = list(categories.values()).count(categories[reference.annotation_id])
    return {"image_id": reference.image_id, "ref_id": number, "same_category": same_category}
