"""References to pictures as samples."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from cmpc_tf2.data.annotations import Reference, read_references
from cmpc_tf2.data.batches import Sample
from cmpc_tf2.data.build_settings import Annotation, BuildPlan, BuildSettings
from cmpc_tf2.data.datasets import Dataset, Layout, Sources, find_dataset, own_dataset
from cmpc_tf2.data.image_files import read_image
from cmpc_tf2.data.own_annotations import read_own_references
from cmpc_tf2.data.shapes import write_shapes
from cmpc_tf2.errors import InputError
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.text.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class ImageBuild(BuildSettings):
    """A split of a data set of pictures.

    Source: `build_coco_batches` and `build_referit_batches` in `build_batches.py` of CMPC-Refseg.

    Attributes:
        refer_root: Holds `refcoco/` and so on.
        annotations: Annotations of the user's own, for a data set that is not registered.
    """

    refer_root: Path | None = None
    annotations: Path | None = None

    @property
    def registered(self) -> Dataset:
        if self.annotations is None:
            advice = "; for your own data, give --annotations FILE (docs/own_data.md)"
            return find_dataset(self.dataset, self.split, self.datasets, advice)
        return own_dataset(self.dataset, self.split, self.datasets)

    @property
    def sources(self) -> Sources:
        """Where the files of the split are looked for. Nothing is checked."""
        dataset, root = self.registered, self.data_root
        if dataset.layout is Layout.REFER:
            root = self.refer_root or root / "refer"
        if self.annotations is None:
            annotations = tuple(root / name.format(split=self.split) for name in dataset.annotations)
            images = self.data_root / dataset.images
        else:
            annotations, images = (self.annotations,), self.annotations.parent
        return Sources(
            annotations=annotations,
            images=self.image_root or images,
            masks=self.data_root / dataset.masks if dataset.masks else None,
            vocabulary=self.vocabulary or self.data_root / dataset.vocabulary,
        )

    def plan(self) -> BuildPlan:
        dataset, sources = self.registered, self.sources
        if dataset.name == "shapes" and self.refer_root is None and not sources.annotations[0].exists():
            write_shapes(self.data_root)
        vocabulary = Vocabulary.from_file(sources.vocabulary)
        references, files = self.read_references(sources)
        if not sources.images.is_dir():
            raise InputError(f"{sources.images}: no such folder; it should hold the images (--image-root says where)")
        return BuildPlan([*files, sources.vocabulary], references, self.sample_maker(vocabulary))

    def read_references(self, sources: Sources) -> tuple[list[Annotation], list[Path]]:
        """The references of the split, in order, and the files that they come from; errors are those of `plan`."""
        if self.annotations is None:
            return read_references(self.registered, self.split, sources), list(sources.annotations)
        return read_own_references(self.annotations, sources.images), [self.annotations]

    def sample_maker(self, vocabulary: Vocabulary) -> Callable[[Annotation], Iterator[tuple[str, Sample | str]]]:
        """`make_samples` of the plan."""
        _read_picture.cache_clear()
        return functools.partial(_make_samples, vocabulary=vocabulary, square=self.train_square)


def _make_samples(
    reference: Reference, vocabulary: Vocabulary, square: Preprocessing | None
) -> Iterator[tuple[str, Sample | str]]:
    try:
        if reference.problem:
            raise InputError(reference.problem)
        height, width, image = _read_picture(reference.image_path, square)
        mask = reference.draw_mask(height, width)
        if not mask.any():
            raise InputError("its mask has no pixel inside the picture")
    except InputError as error:
        for expression in reference.expressions:
            yield expression, str(error)
        return
    if square:
        mask = square.fit_mask(mask)
    for expression in reference.expressions:
        token_ids = vocabulary.encode_words(expression)
        yield expression, "has no words" if token_ids is None else Sample(token_ids, image, mask, expression)


@functools.lru_cache(maxsize=4)
def _read_picture(path: Path, square: Preprocessing | None) -> tuple[int, int, np.ndarray]:
    """Height and width of a picture, and its pixels as they are stored; the references of one share the work."""
    image = read_image(path)
    height, width = image.shape[:2]
    return height, width, square.fit(image) if square else image
