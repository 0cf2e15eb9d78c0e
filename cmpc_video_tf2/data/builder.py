"""Annotated frames of videos as samples."""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from cmpc_tf2.data.annotation_fields import checked
from cmpc_tf2.data.build_settings import BuildPlan, BuildSettings, Dropped
from cmpc_tf2.errors import InputError, named
from cmpc_tf2.files import read_json
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.text.vocabulary import Vocabulary
from cmpc_video_tf2.config import ANNOTATED, CLIP_FRAMES, R2D_FRAMES
from cmpc_video_tf2.data.annotations import (
    NotInFrameError,
    VideoQuery,
    annotated_frames,
    jhmdb_length,
    read_a2d_mask,
    read_jhmdb_mask,
    read_queries,
    read_split,
)
from cmpc_video_tf2.data.clips import clip_numbers, open_video
from cmpc_video_tf2.data.datasets import JHMDB, VIDEO_DATASETS, A2DFiles, JHMDBFiles
from cmpc_video_tf2.data.moving_shapes import DRAWN_CLIPS, write_clips
from cmpc_video_tf2.data.samples import VideoSample

# Frames of a J-HMDB clip that are tested, where no list names them.
JHMDB_FRAMES = 3
# The number of a frame, from 1, and what reads the mask of the object in it.
AnnotatedFrame = tuple[int, Callable[[], np.ndarray]]


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
        fields: As `cmpc_tf2.data.annotations.Reference`.
    """

    name: str
    expressions: tuple[str, ...]
    video_id: str
    frame_id: int = 0
    read_mask: Callable[[], np.ndarray] | None = None
    problem: str | None = None
    fields: tuple[dict, ...] = ()


@dataclasses.dataclass(frozen=True)
class VideoBuild(BuildSettings):
    """A split of a data set of videos.

    Source: `build_a2d_batches` in `CMPC_video/build_A2D_batches.py` of CMPC-Refseg.

    Attributes:
        all_frames: Store all 16 frames of a clip, as the original does and I3D needs, not only the five that R2D reads.
    """

    all_frames: bool = False

    datasets = VIDEO_DATASETS
    sample_type = VideoSample

    def plan(self) -> BuildPlan:
        dataset = self.registered
        root = self.data_root / dataset.folder
        vocabulary_file = self.vocabulary or self.data_root / dataset.vocabulary
        if dataset is JHMDB:
            files = JHMDBFiles.below(root, self.image_root)
            sources, references = [files.queries], read_jhmdb(files)
            sources += [files.chosen] if files.chosen.is_file() else []
        else:
            files = A2DFiles.below(root, self.image_root)
            if dataset.name in DRAWN_CLIPS and not files.queries.exists():
                write_clips(DRAWN_CLIPS[dataset.name], self.data_root)
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

    def find_frames(query: VideoQuery) -> list[AnnotatedFrame]:
        if query.video_id not in splits:
            raise InputError(f"its video is not in {files.splits}")
        frames = list(annotated_frames(files.masks / query.video_id))
        if not frames:
            raise InputError(f"no annotated frame (.h5) in {files.masks / query.video_id}")
        return [(number, functools.partial(read_a2d_mask, path, query.instance_id)) for number, path in frames]

    return _references((query for query in queries if splits.get(query.video_id, split) == split), find_frames)


def read_jhmdb(files: JHMDBFiles) -> list[VideoReference]:
    """The references of J-HMDB-Sentences: by line of the annotations, some frames of each clip.

    If the list published with MTTR is next to the annotations, its frames are taken, otherwise three spread evenly.
    """
    masks = {path.parent.name: path for path in files.masks.glob("*/*/puppet_mask.mat")}
    chosen = read_chosen(files.chosen) if files.chosen.is_file() else None

    def find_frames(query: VideoQuery) -> list[AnnotatedFrame]:
        path = masks.get(query.video_id)
        if path is None:
            raise InputError(f"no puppet_mask.mat of it below {files.masks}")
        numbers = _spread(jhmdb_length(path)) if chosen is None else chosen.get(query.video_id)
        if numbers is None:
            raise InputError(f"{files.chosen} does not list it")
        return [(number, functools.partial(read_jhmdb_mask, path, number)) for number in numbers]

    return _references(read_queries(files.queries), find_frames)


def _references(
    queries: Iterable[VideoQuery], find_frames: Callable[[VideoQuery], list[AnnotatedFrame]]
) -> list[VideoReference]:
    """A reference for each annotated frame of each query, or one with the reason if `find_frames` raises InputError."""
    references = []
    for query in queries:
        instance = "" if query.instance_id is None else f", instance {query.instance_id}"
        name, about = f"video {query.video_id}{instance}", ((query.expression,), query.video_id)
        try:
            for number, read_mask in find_frames(query):
                fields = ({"video_id": query.video_id, "frame_id": number},)
                references.append(VideoReference(f"{name}, frame {number}", *about, number, read_mask, fields=fields))
        except InputError as error:
            references.append(VideoReference(name, *about, problem=str(error)))
    return references


def _spread(length: int) -> list[int]:
    """Frames in the middle of equal parts of a clip."""
    return sorted({1 + (2 * part + 1) * length // (2 * JHMDB_FRAMES) for part in range(JHMDB_FRAMES)})


def read_chosen(path: Path) -> dict[str, list[int]]:
    """The frames of each video, from a list of [video, path of a frame, ...]."""
    chosen: dict[str, list[int]] = {}
    content = read_json(path)
    with named(f"{path}: expected a list of [video, path of a frame, ...]"):
        for number, entry in enumerate(checked(content, list, "the file")):
            match checked(entry, list, f"entry {number}"):
                case [str(video_id), str(frame), *_] if re.fullmatch(r"\d{1,9}", Path(frame).stem):
                    chosen.setdefault(video_id, []).append(int(Path(frame).stem))
                case _:
                    raise InputError(f"entry {number} has another form")
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
    except InputError as error:
        yield expression, Dropped(error) if isinstance(error, NotInFrameError) else str(error)
        return
    if square:
        mask = square.fit_mask(mask)
    image = frames[_stored(all_frames).index(ANNOTATED)]
    yield expression, VideoSample(token_ids, image, mask, expression, frames, reference.frame_id)


def _stored(all_frames: bool) -> tuple[int, ...]:
    """Indices of the frames that a file holds."""
    return tuple(range(CLIP_FRAMES)) if all_frames else R2D_FRAMES


@functools.lru_cache(maxsize=8)
def _read_clip(
    folders: tuple[Path, ...], video_id: str, frame_id: int, square: Preprocessing | None, all_frames: bool
) -> tuple[tuple[int, int], np.ndarray]:
    """Height and width of a video, and the frames around one as they are stored; its sentences share the work."""
    video = open_video(folders, video_id)
    numbers = clip_numbers(frame_id, video.last)
    if frame_id > video.last:
        raise InputError(f"{video.path}: has {video.last} frames, but frame {frame_id} is annotated")
    frames = video.read([numbers[index] for index in _stored(all_frames)])
    sizes = {frame.shape[:2] for frame in frames}
    if len(sizes) > 1:
        raise InputError(f"{video.path}: its frames have different sizes: {sorted(sizes)}")
    return sizes.pop(), np.stack([square.fit(frame) if square else frame for frame in frames])
