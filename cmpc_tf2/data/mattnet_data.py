"""Data sets as MAttNet's authors prepare them: pictures with all annotated boxes, and sentences about some of them."""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class PreparedBox:
    """An annotated object.

    Attributes:
        image_id: Its picture.
        category_id: Its category.
        box: x, y, width and height in pixels.
        row: Its row in files of features (the original's `h5_id`).
    """

    image_id: int
    category_id: int
    box: tuple[float, float, float, float]
    row: int


@dataclasses.dataclass(frozen=True)
class PreparedReference:
    """An object that sentences refer to.

    Attributes:
        image_id: Its picture.
        annotation_id: The object.
        split: Its split.
        sentence_ids: The sentences about it.
        attributes: Its attribute words.
        segmentation: Its mask as COCO has it, of any form; None if the data set has no masks, as that of MAttNet.
    """

    image_id: int
    annotation_id: int
    split: str
    sentence_ids: tuple[int, ...]
    attributes: tuple[str, ...]
    segmentation: Any = None


@dataclasses.dataclass(frozen=True)
class PreparedPicture:
    """A picture.

    Attributes:
        file_name: Its file.
        height: Rows.
        width: Columns.
        annotation_ids: Its annotated objects.
        reference_ids: Those that sentences refer to, as references; one at least.
    """

    file_name: str
    height: int
    width: int
    annotation_ids: tuple[int, ...]
    reference_ids: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class PreparedSentence:
    """A sentence.

    Attributes:
        tokens: Its words.
        row: Its row among the token ids (the original's `h5_id`).
    """

    tokens: tuple[str, ...]
    row: int


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedData:
    """A prepared data set; everything is in the order of the file.

    Attributes:
        pictures: By id.
        boxes: Annotated objects by id.
        references: By id.
        sentences: By id.
        words: The vocabulary by token id.
        attributes: Attribute words by number.
        attribute_counts: How often each occurs, int64 `(A,)`.
        categories: Names of the categories by id.
        max_words: Word slots of a sentence.
        token_ids: int32 `(sentences, max_words)`, padded on the right with 0; None if they were not read.
    """

    pictures: dict[int, PreparedPicture]
    boxes: dict[int, PreparedBox]
    references: dict[int, PreparedReference]
    sentences: dict[int, PreparedSentence]
    words: list[str]
    attributes: list[str]
    attribute_counts: np.ndarray
    categories: dict[int, str]
    max_words: int
    token_ids: np.ndarray | None

    def pictures_of(self, split: str) -> list[int]:
        """Ids of the pictures of a split, which is that of their first reference."""
        return [
            number
            for number, picture in self.pictures.items()
            if self.references[picture.reference_ids[0]].split == split
        ]

    def attribute_labels(self, reference_id: int) -> np.ndarray:
        """The attributes of a referred object: float32 `(A,)`, 0 or 1."""
        return np.float32([word in self.references[reference_id].attributes for word in self.attributes])
