"""What MAttNet is trained on: referred objects with their sentences, each with a box and a sentence that do not fit.

Source: `GtMRCNLoader.getBatch` in `lib/loaders/gt_mrcn_loader.py` of lichengunc/MAttNet (commit 3204d07).
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from cmpc_tf2.data.mattnet_data import PreparedData

PICTURES, SENTENCES = 15, 3
# How often what does not fit is of the same category, if there is such an object.
SAME_CATEGORY = 0.3


@dataclasses.dataclass(frozen=True)
class TrainingBatch:
    """N pairs of a box and a sentence, and what does not fit them, as ids; all lists are as long.

    Attributes:
        references: The referred objects, as references.
        boxes: Their boxes.
        sentences: Sentences about them.
        other_boxes: Boxes that the sentences do not refer to.
        other_sentences: Sentences that do not refer to the boxes.
    """

    references: list[int]
    boxes: list[int]
    sentences: list[int]
    other_boxes: list[int]
    other_sentences: list[int]


def batches_of(pictures: Sequence[int], size: int = PICTURES, start: int = 0) -> Iterator[list[int]]:
    """The pictures of one step after another, in their order again and again; there is no end.

    Args:
        pictures: Ids of pictures.
        size: Pictures of a step.
        start: Steps to leave out.
    """
    for first in itertools.count(start * size, size):
        yield [pictures[number % len(pictures)] for number in range(first, first + size)]


def draw_batch(
    data: PreparedData, pictures: Sequence[int], rng: np.random.Generator, sentences: int = SENTENCES
) -> TrainingBatch:
    """Draws a batch: all referred objects of some pictures, each with several sentences.

    Args:
        data: The data set.
        pictures: Ids of the pictures.
        rng: Draws sentences and what does not fit.
        sentences: Sentences of each object.
    """
    batch = TrainingBatch([], [], [], [], [])
    for reference_id in (number for picture in pictures for number in data.pictures[picture].reference_ids):
        reference = data.references[reference_id]
        batch.references.extend([reference_id] * sentences)
        batch.boxes.extend([reference.annotation_id] * sentences)
        batch.sentences.extend(draw_sentences(reference.sentence_ids, sentences, rng))
        others = Others.of(data, reference.annotation_id)
        for _ in range(sentences):
            batch.other_boxes.append(others.draw_box(rng))
            batch.other_sentences.append(others.draw_sentence(rng))
    return batch


def draw_sentences(sentence_ids: Sequence[int], count: int, rng: np.random.Generator) -> list[int]:
    """Draws sentences without repeats; if there are fewer than `count`, takes all, and repeats some at random."""
    if len(sentence_ids) >= count:
        return rng.permutation(sentence_ids)[:count].tolist()
    return [*sentence_ids, *rng.choice(sentence_ids, count - len(sentence_ids)).tolist()]


@dataclasses.dataclass(frozen=True, eq=False)
class Others:
    """The other objects of the picture of an object.

    Attributes:
        data: The data set.
        same: Those of its category, as ids of boxes.
        different: Those of other categories.
        referred: Ids of references by those of their boxes.
    """

    data: PreparedData
    same: list[int]
    different: list[int]
    referred: dict[int, int]

    @classmethod
    def of(cls, data: PreparedData, box_id: int) -> "Others":
        """The others of a box."""
        box = data.boxes[box_id]
        picture = data.pictures[box.image_id]
        others = [other for other in picture.annotation_ids if other != box_id]
        is_same = [data.boxes[other].category_id == box.category_id for other in others]
        return cls(
            data=data,
            same=list(itertools.compress(others, is_same)),
            different=[other for other, same in zip(others, is_same, strict=True) if not same],
            referred={data.references[number].annotation_id: number for number in picture.reference_ids},
        )

    def draw_box(self, rng: np.random.Generator) -> int:
        """A box that does not fit; any of the data set, if the picture has none to draw from."""
        return _draw(self.same, self.different, self.data.boxes, rng)

    def draw_sentence(self, rng: np.random.Generator) -> int:
        """A sentence that does not fit, of another referred object; any of the data set, if the picture has none."""
        same, different = ([self.referred[box] for box in boxes if box in self.referred] for boxes in self._groups)
        reference = self.data.references[_draw(same, different, self.data.references, rng)]
        return int(rng.choice(reference.sentence_ids))

    @property
    def _groups(self) -> tuple[list[int], list[int]]:
        return self.same, self.different


def _draw(same: list[int], different: list[int], everything: dict[int, object], rng: np.random.Generator) -> int:
    """One of those of the same category, at times; otherwise of the others; one of everything, if there is none."""
    if same and rng.random() < SAME_CATEGORY:
        return int(rng.choice(same))
    return int(rng.choice(different or list(everything)))
