"""Annotated boxes as samples of pictures and of clips."""

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cmpc_tf2.data.boxes import require_boxes
from cmpc_tf2.data.build_settings import BuildPlan, BuildSettings
from cmpc_tf2.data.datasets import Sources
from cmpc_tf2.data.file_samples import read_picture_file
from cmpc_tf2.data.shapes import write_shapes
from cmpc_tf2.errors import InputError, UsageError
from cmpc_tf2.text.grounding import GroundingTokenizer
from cmpc_tf2.text.vocabulary import MAX_WORDS, NoWordsError
from cmpc_video_tf2.data.datasets import A2DFiles
from cmpc_video_tf2.data.moving_shapes import DRAWN_CLIPS, write_clips
from cogrounding_tf2.data.annotations import (
    BoxReference,
    read_drawn_clips,
    read_listed,
    read_refer,
    read_vid,
)
from cogrounding_tf2.data.datasets import CLIP_DATASETS, LISTED, PICTURE_DATASETS, VID
from cogrounding_tf2.data.original_files import read_words
from cogrounding_tf2.data.samples import TRAIN_FRAMES, BoxClipSample, BoxSample

# Frames of a clip in splits that are not for training.
TEST_FRAMES = 5


@dataclasses.dataclass(frozen=True)
class BoxBuild(BuildSettings):
    """A split of a data set of boxes. Pictures are stored as they are, whatever the split.

    Attributes: as `BuildSettings`, and:
        split_root: Holds the authors' lists and vocabulary, `<dataset>/<dataset>_<split>.pth` and so on.
    """

    split_root: Path | None = None

    @property
    def train_square(self) -> None:
        return None

    def recorded(self) -> dict:
        return {"max_words": MAX_WORDS, "compress": self.compress}

    def _plan(self, sources: list[Path], vocabulary_file: Path, references: list[BoxReference]) -> BuildPlan:
        if not references:
            raise InputError(f"{sources[0]}: holds nothing of the split {self.split!r}")
        tokenizer = GroundingTokenizer(read_words(vocabulary_file), MAX_WORDS)
        read_picture_file.cache_clear()
        make_samples = functools.partial(_make_samples, tokenizer=tokenizer, sample_type=self.sample_type)
        return BuildPlan([*sources, vocabulary_file], references, make_samples)


@dataclasses.dataclass(frozen=True)
class PictureBoxBuild(BoxBuild):
    """A split of a data set of pictures, from REFER's annotations or from an authors' list.

    Attributes: as `BoxBuild`, and:
        refer_root: Holds `refcoco/` and so on.
    """

    refer_root: Path | None = None

    datasets = PICTURE_DATASETS
    sample_type = BoxSample

    def plan(self) -> BuildPlan:
        dataset, name = self.registered, self.registered.name
        if self.split_root is not None and name not in LISTED:
            raise UsageError(f"--split-root: expected -d {' or '.join(LISTED)}; received {name}")
        refer_root = self.refer_root or self.data_root / "refer"
        annotations = tuple(refer_root / file for file in dataset.annotations)
        images = self.image_root or self.data_root / dataset.images
        vocabulary_file = self.vocabulary or self.data_root / dataset.vocabulary
        if name == "shapes" and self.refer_root is None and not annotations[0].exists():
            write_shapes(self.data_root)
        if self.split_root is None:
            sources = Sources(annotations, images, None, vocabulary_file)
            references = read_refer(dataset, self.split, sources)
        else:
            folder = self.split_root / name
            annotations = (folder / f"{name}_{self.split}.pth",)
            vocabulary_file = self.vocabulary or folder / "corpus.pth"
            references = read_listed(annotations[0], images)
        if not images.is_dir():
            raise InputError(f"{images}: no such folder; it should hold the images (--image-root says where)")
        return self._plan(list(annotations), vocabulary_file, references)


@dataclasses.dataclass(frozen=True)
class ClipBoxBuild(BoxBuild):
    """A split of a data set of clips: one for each annotated frame.

    Attributes: as `BoxBuild`, and:
        frames: Frames of a clip: 2, the previous and the annotated one, for training; 5, two on either side, to test.
            None for what the split is for.
    """

    frames: int | None = None

    datasets = CLIP_DATASETS
    sample_type = BoxClipSample

    @property
    def clip_frames(self) -> int:
        """Frames of a clip."""
        return self.frames or (TRAIN_FRAMES if "train" in self.split else TEST_FRAMES)

    def plan(self) -> BuildPlan:
        dataset = self.registered
        vocabulary_file = self.vocabulary or self.data_root / dataset.vocabulary
        if dataset is VID:
            folder = (self.split_root or self.data_root) / dataset.folder
            vocabulary_file = self.vocabulary or folder / "corpus.pth"
            sources = [folder / f"VID_video_level_{self.split}.pth"]
            references = read_vid(sources[0], self.image_root, self.clip_frames)
        else:
            files = A2DFiles.below(self.data_root / dataset.folder, self.image_root)
            if self.split_root is not None:
                raise UsageError(f"--split-root: expected -d {VID.name}, received {dataset.name}")
            if not files.queries.exists():
                write_clips(DRAWN_CLIPS[dataset.name], self.data_root)
            sources = [files.queries, files.splits]
            references = read_drawn_clips(dataset.name, files, self.split, self.clip_frames)
        return self._plan(sources, vocabulary_file, references)

    def recorded(self) -> dict:
        return {**super().recorded(), "frames": self.clip_frames}


def _make_samples(
    reference: BoxReference, tokenizer: GroundingTokenizer, sample_type: type
) -> Iterator[tuple[str, BoxSample | BoxClipSample | str]]:
    try:
        pictures = [read_picture_file(path) for path in reference.files]
        sizes = {picture[:2] for picture in pictures}
        if len(sizes) > 1:
            raise InputError(f"expected frames of one size, found {sorted(sizes)}")
        boxes = reference.find_boxes(*pictures[0][:2])
        require_boxes(boxes, *pictures[0][:2])
    except InputError as error:
        for expression in reference.expressions:
            yield expression, str(error)
        return
    contents = [content for _, _, content in pictures]
    for expression in reference.expressions:
        try:
            token_ids = tokenizer.encode(expression)["token_ids"].astype(np.int64)
        except NoWordsError:
            yield expression, "has no words"
            continue
        if sample_type is BoxSample:
            yield expression, BoxSample(token_ids, contents[0], boxes[0], expression)
        else:
            lengths = np.array(list(map(len, contents)))
            file = np.concatenate(contents)
            yield expression, BoxClipSample(token_ids, file, lengths, boxes, reference.annotated, expression)
