"""References to objects as samples for two-stage models."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

from cmpc_tf2.data.datasets import Sources, dataset_names
from cmpc_tf2.data.file_samples import read_picture_file
from cmpc_tf2.data.image_builder import ImageBuild
from cmpc_tf2.data.object_annotations import ObjectReference, read_object_references
from cmpc_tf2.data.objects import ObjectSample
from cmpc_tf2.data.prepared_objects import read_prepared_references
from cmpc_tf2.data.segmentations import run_lengths
from cmpc_tf2.errors import InputError, UsageError
from cmpc_tf2.text.vocabulary import MAX_WORDS, Vocabulary


@dataclasses.dataclass(frozen=True)
class ObjectBuild(ImageBuild):
    """A split of a data set of pictures with all their objects. Pictures are stored as they are, whatever the split.

    Attributes: as `ImageBuild`, and:
        prepro: Folder of the data set as MAttNet's or CAC's authors prepared it, which is read in place of REFER's
            references.
    """

    prepro: Path | None = None

    sample_type = ObjectSample

    @property
    def registered(self):
        dataset = super().registered
        if dataset.objects is None:
            known = dataset_names(tuple(one for one in self.datasets if one.objects))
            raise UsageError(f"--objects: expected a data set in REFER's layout: {known}; received {self.dataset}")
        if self.prepro is not None and dataset.name == "shapes":
            raise UsageError("--prepro: expected a data set that the authors prepared; received shapes")
        return dataset

    @property
    def sources(self) -> Sources:
        sources, dataset = super().sources, self.registered
        root = self.refer_root or self.data_root / "refer"
        return dataclasses.replace(sources, annotations=(sources.annotations[0], root / dataset.objects))

    @property
    def train_square(self) -> None:
        return None

    def recorded(self) -> dict:
        return {"objects": True, "max_words": MAX_WORDS, "compress": self.compress}

    def read_references(self, sources: Sources) -> tuple[list[ObjectReference], list[Path]]:
        dataset, (_, objects) = self.registered, sources.annotations
        if self.prepro is not None:
            path = self.prepro / "data.json"
            return read_prepared_references(dataset, self.split, path, objects, sources.images)
        if dataset.name == "shapes" and self.refer_root is None and not objects.exists():
            raise InputError(f"{objects}: no such file; remove {objects.parent} to have the data set drawn again")
        return read_object_references(dataset, self.split, sources), list(sources.annotations)

    def sample_maker(self, vocabulary: Vocabulary) -> Callable[[ObjectReference], Iterator]:
        read_picture_file.cache_clear()
        return functools.partial(_make_samples, vocabulary=vocabulary)


def _make_samples(reference: ObjectReference, vocabulary: Vocabulary) -> Iterator[tuple[str, ObjectSample | str]]:
    try:
        height, width, file = read_picture_file(reference.image_path)
        boxes, categories, index = reference.find_objects(height, width)
        mask = reference.draw_mask(height, width)
        if not mask.any():
            raise InputError("its mask has no pixel inside the picture")
    except InputError as error:
        for expression in reference.expressions:
            yield expression, str(error)
        return
    facts = (file, boxes, categories, index, mask.shape, run_lengths(mask), reference.attributes)
    for expression in reference.expressions:
        token_ids = vocabulary.encode_words(expression)
        yield expression, "has no words" if token_ids is None else ObjectSample(token_ids, *facts, expression)
