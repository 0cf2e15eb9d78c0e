"""Annotation files to references for two-stage models: an object, and all others of its picture."""

import collections
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cmpc_tf2.data.annotation_fields import checked, describe
from cmpc_tf2.data.annotations import draw_annotation, read_refer_objects
from cmpc_tf2.data.boxes import box_numbers, require_boxes
from cmpc_tf2.data.coco_categories import class_indices
from cmpc_tf2.data.datasets import Dataset, Sources
from cmpc_tf2.errors import InputError, named


class AnnotatedObject(NamedTuple):
    """An annotated object of a picture, as the file has it.

    Attributes:
        annotation_id: Id of its annotation.
        box: Its box, of any form.
        category: Id of its category, of any form.
    """

    annotation_id: int
    box: Any
    category: Any


@dataclasses.dataclass(frozen=True)
class ObjectReference:
    """An object that people referred to, among all objects of its picture.

    Attributes:
        name: Its name in messages.
        image_path: Its picture.
        annotation_id: Id of its annotation.
        objects: All annotated objects of the picture, in file order.
        classes: Class indices by id of the category.
        draw_mask: Height and width of the picture to its mask, bool `(h, w)`; raises InputError.
        expressions: Its expressions, in file order.
        fields: For each expression, the data set's own fields.
        attributes: Words for its attributes.
    """

    name: str
    image_path: Path
    annotation_id: int
    objects: tuple[AnnotatedObject, ...]
    classes: dict[int, int]
    draw_mask: Callable[[int, int], np.ndarray]
    expressions: tuple[str, ...]
    fields: tuple[dict, ...]
    attributes: tuple[str, ...] = ()

    def find_objects(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Checks the objects of the picture. Leaves out those with an empty box, unless the expression refers to them.

        Args:
            height: Rows of the picture.
            width: Columns of the picture.

        Returns:
            Boxes, categories and the index of the object, as `ObjectSample` has them.

        Raises:
            InputError: The object is not among those of the picture, or an annotation has no box in the picture or a
                category that is not known.
        """
        boxes, categories, numbers = [], [], []
        for one in self.objects:
            is_referred = one.annotation_id == self.annotation_id
            with named(f"annotation {one.annotation_id}"):
                with named("bbox"):
                    x, y, box_width, box_height = box_numbers(one.box)
                    if min(box_width, box_height) == 0 and not is_referred:
                        continue
                    require_boxes([[x, y, x + box_width, y + box_height]], height, width)
                category = self.classes.get(checked(one.category, int, "category_id"))
                if category is None:
                    raise InputError(f"expected a known category_id, found {describe(one.category)}")
            boxes.append([x, y, box_width, box_height])
            categories.append(category)
            numbers.append(one.annotation_id)
        if self.annotation_id not in numbers:
            raise InputError(f"annotation {self.annotation_id} is not among the objects of the picture")
        return np.array(boxes), np.array(categories), numbers.index(self.annotation_id)


def read_object_references(dataset: Dataset, split: str, sources: Sources) -> list[ObjectReference]:
    """The references of a split in REFER's layout, in the order of `annotations.read_references`.

    Raises:
        InputError: An annotation file is missing, damaged or of another form, or the split is empty.
    """
    found, annotations = read_refer_objects(dataset, split, sources)
    objects = collections.defaultdict(list)
    for number, annotation in annotations.items():
        if isinstance(image_id := annotation.get("image_id"), int):
            objects[image_id].append(AnnotatedObject(number, annotation.get("bbox"), annotation.get("category_id")))
    classes = class_indices(dataset.name)
    return [
        ObjectReference(
            one.name,
            one.image_path,
            one.annotation_id,
            tuple(objects[one.fields["image_id"]]),
            classes,
            functools.partial(draw_annotation, one.annotation_id, one.annotation),
            one.expressions,
            (one.fields,) * len(one.expressions),
        )
        for one in found
    ]
