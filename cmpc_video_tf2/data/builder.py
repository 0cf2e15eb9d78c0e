"""Annotated frames of videos as samples."""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from cmpc_tf2.data.annotation_fields import FormError, checked
from cmpc_tf2.data.build_settings import BuildPlan, BuildSettings, Dropped
from cmpc_tf2.data.datasets import find_dataset
from cmpc_tf2.errors import InputError
from cmpc_tf2.files import read_json
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.text.vocabulary import Vocabulary
from cmpc_video_tf2.config import ANNOTATED, CLIP_FRAMES, FRAMES_READ
from cmpc_video_tf2.data.annotations import (
    NotInFrameError,
    annotated_frames,
    jhmdb_length,
    read_a2d_mask,
    read_jhmdb_mask,
    read_queries,
    read_split,
)
from cmpc_video_tf2.data.clips import clip_numbers, open_video
from cmpc_video_tf2.data.datasets import JHMDB, MOVING_SHAPES, VIDEO_DATASETS, A2DFiles, JHMDBFiles
from cmpc_video_tf2.data.moving_shapes import write_moving_shapes
from cmpc_video_tf2.data.samples import VideoSample

# Frames of a J-HMDB clip that are tested, where no list names them.
JHMDB_FRAMES = 3


@dataclasses.dataclass(frozen=True)
class VideoReference:
    """An annotated frame, and an expression for an object in it.

    Attributes:
        name: Its name in messages.
        expressions: One sentence.
        video_id: Its video.
        frame_id: Number of the annotated frame, from 1.
        read_mask: Gives the object's mask, bool `(h, w)`; raises InputError.
        problem: Why there is no sample of it, if that is known from the annotations.
    """

    name: str
    expressions: tuple[str, ...]
    video_id: str
    frame_id: int = 0
    read_mask: Callable[[], np.ndarray] | None = None
    problem: str | None = None


@dataclasses.dataclass(frozen=True)
class VideoBuild(BuildSettings):
    """A split of a data set of videos.

    Source: `build_a2d_batches` in `CMPC_video/build_A2D_batches.py` of CMPC-Refseg.

    Attributes:
        all_frames: Store all 16 frames of a clip, as the original does, and not only the five that the model reads.
    """

    all_frames: bool = False

    sample_type = VideoSample

    @property
    def dataset_name(self) -> str:
        return find_dataset(self.dataset, self.split, VIDEO_DATASETS).name

    def plan(self) -> BuildPlan:
        dataset = find_dataset(self.dataset, self.split, VIDEO_DATASETS)
        root = self.data_root / dataset.folder
        vocabulary_file = self.vocabulary or self.data_root / dataset.vocabulary
        if dataset is JHMDB:
            files = JHMDBFiles.below(root, self.image_root)
            sources, references = [files.queries], read_jhmdb(files)
            sources += [files.chosen] if files.chosen.is_file() else []
        else:
            files = A2DFiles.below(root, self.image_root)
            if dataset is MOVING_SHAPES and not files.queries.exists():
                write_moving_shapes(self.data_root)
            sources, references = [files.queries, files.splits], read_a2d(files, self.split)
        if not references:
            raise InputError(f"{files.queries}: holds nothing of the split {self.split!r}")
        frames = [folder for folder in files.frames if folder.is_dir()]
        if not frames:
            places = " nor ".join(str(folder) for folder in files.frames)
            raise InputError(f"no such folder: {places}; one should hold the videos (--image-root says where)")
        _read_clip.cache_clear()
        make_samples = functools.partial(
            _make_samples,
            vocabulary=Vocabulary.from_file(vocabulary_file),
            folders=_action_folders(frames) if dataset is JHMDB else frames,
            square=self.train_square,
            all_frames=self.all_frames,
        )
        return BuildPlan([*sources, vocabulary_file], references, make_samples)

    def recorded(self) -> dict:
        return {**super().recorded(), "all_frames": self.all_frames}


def read_a2d(files: A2DFiles, split: str) -> list[VideoReference]:
    """The references of A2D-Sentences: by line of the annotations, then by frame."""
    queries, splits = read_queries(files.queries), read_split(files.splits)
    references = []
    for query in queries:
        if splits.get(query.video_id, split) != split:
            continue
        name = f"video {query.video_id}, instance {query.instance_id}"
        frames = list(annotated_frames(files.masks / query.video_id))
        problem = None
        if query.video_id not in splits:
            problem = f"its video is not in {files.splits}"
        elif not frames:
            problem = f"no annotated frame (.h5) in {files.masks / query.video_id}"
        if problem:
            references.append(VideoReference(name, (query.expression,), query.video_id, problem=problem))
            continue
        for number, path in frames:
            read_mask = functools.partial(read_a2d_mask, path, query.instance_id)
            references.append(
                VideoReference(f"{name}, frame {number}", (query.expression,), query.video_id, number, read_mask)
            )
    return references


def read_jhmdb(files: JHMDBFiles) -> list[VideoReference]:
    """The references of J-HMDB-Sentences: by line of the annotations, some frames of each clip.

    If the list published with MTTR is next to the annotations, its frames are taken, otherwise three spread evenly.
    """
    masks = {path.parent.name: path for path in files.masks.glob("*/*/puppet_mask.mat")}
    chosen = read_chosen(files.chosen) if files.chosen.is_file() else None
    references = []
    for query in read_queries(files.queries):
        name, path = f"video {query.video_id}", masks.get(query.video_id)
        if path is None:
            problem = f"no puppet_mask.mat of it below {files.masks}"
            references.append(VideoReference(name, (query.expression,), query.video_id, problem=problem))
            continue
        try:
            numbers = _spread(jhmdb_length(path)) if chosen is None else chosen.get(query.video_id)
            if numbers is None:
                raise InputError(f"{files.chosen} does not list it")
        except InputError as error:
            references.append(VideoReference(name, (query.expression,), query.video_id, problem=str(error)))
            continue
        for number in numbers:
            read_mask = functools.partial(read_jhmdb_mask, path, number)
            references.append(
                VideoReference(f"{name}, frame {number}", (query.expression,), query.video_id, number, read_mask)
            )
    return references


def _spread(length: int) -> list[int]:
    """Frames in the middle of equal parts of a clip."""
    return sorted({1 + (2 * part + 1) * length // (2 * JHMDB_FRAMES) for part in range(JHMDB_FRAMES)})


def read_chosen(path: Path) -> dict[str, list[int]]:
    """The frames of each video, from a list of [video, path of a frame, ...]."""
    chosen: dict[str, list[int]] = {}
    try:
        for number, entry in enumerate(checked(read_json(path), list, "the file")):
            match checked(entry, list, f"entry {number}"):
                case [str(video_id), str(frame), *_] if re.fullmatch(r"\d{1,9}", Path(frame).stem):
                    chosen.setdefault(video_id, []).append(int(Path(frame).stem))
                case _:
                    raise FormError(f"entry {number} has another form")
    except FormError as error:
        raise InputError(f"{path}: expected a list of [video, path of a frame, ...]: {error}") from None
    return chosen


def _action_folders(roots: list[Path]) -> list[Path]:
    return [folder for root in roots for folder in sorted(root.iterdir()) if folder.is_dir()]


def _make_samples(
    reference: VideoReference,
    vocabulary: Vocabulary,
    folders: list[Path],
    square: Preprocessing | None,
    all_frames: bool,
) -> Iterator[tuple[str, VideoSample | str]]:
    (expression,) = reference.expressions
    token_ids = vocabulary.encode_words(expression)
    try:
        if reference.problem:
            raise InputError(reference.problem)
        if token_ids is None:
            raise InputError("has no words")
        mask = reference.read_mask()
        if not mask.any():
            raise NotInFrameError("its mask has no pixel")
        shape, frames = _read_clip(tuple(folders), reference.video_id, reference.frame_id, square, all_frames)
        if mask.shape != shape:
            raise InputError(f"its mask is {mask.shape}, its frame {shape}")
    except NotInFrameError as error:
        yield expression, Dropped(error)
        return
    except InputError as error:
        yield expression, str(error)
        return
    if square:
        mask = square.fit_mask(mask)
    image = frames[FRAMES_READ[ANNOTATED] if all_frames else ANNOTATED]
    yield expression, VideoSample(token_ids, image, mask, expression, frames, reference.frame_id)


@functools.lru_cache(maxsize=8)
def _read_clip(
    folders: tuple[Path, ...], video_id: str, frame_id: int, square: Preprocessing | None, all_frames: bool
) -> tuple[tuple[int, int], np.ndarray]:
    """Height and width of a video, and the frames around one as they are stored; its sentences share the work."""
    video = open_video(folders, video_id)
    numbers = clip_numbers(frame_id, video.last)
    if frame_id > video.last:
        raise InputError(f"{video.path}: has {video.last} frames, but frame {frame_id} is annotated")
    frames = video.read([numbers[index] for index in (range(CLIP_FRAMES) if all_frames else FRAMES_READ)])
    sizes = {frame.shape[:2] for frame in frames}
    if len(sizes) > 1:
        raise InputError(f"{video.path}: its frames have different sizes: {sorted(sizes)}")
    return sizes.pop(), np.stack([square.fit(frame) if square else frame for frame in frames])
