"""Annotations to references: which box of which picture or clip, and what was said of it."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

import numpy as np

from cmpc_tf2.data.annotation_fields import describe
from cmpc_tf2.data.annotations import ReferObject, draw_annotation, rasterize, read_refer_objects
from cmpc_tf2.data.boxes import box_numbers
from cmpc_tf2.data.datasets import Dataset, Sources
from cmpc_tf2.data.segmentations import tight_box
from cmpc_tf2.errors import InputError, named
from cmpc_video_tf2.config import CLIP_FRAMES
from cmpc_video_tf2.data.annotations import read_queries, read_split
from cmpc_video_tf2.data.datasets import A2DFiles
from cmpc_video_tf2.data.moving_shapes import DRAWN_CLIPS, SEED, Actor, draw_scene
from cogrounding_tf2.data.original_files import ListedBox, read_videos
from cogrounding_tf2.data.original_files import read_split as read_listed_split

# Frames of a drawn video that are annotated: shapes differ most from their size at rest, are at rest, and
# are in between.
MOVING_FRAMES = (5, 9, 11)


@dataclasses.dataclass(frozen=True)
class BoxReference:
    """An object that people referred to, in a picture or in some frames of a video.

    Attributes:
        name: Its name in messages.
        files: The picture, or the frames.
        annotated: Index of the frame that the expressions are about.
        find_boxes: Height and width of the pictures to the box in each: float64 `(F, 4)`; raises InputError.
        expressions: Its expressions, in order.
        fields: For each expression, the data set's own fields; empty if it has none.
    """

    name: str
    files: tuple[Path, ...]
    annotated: int
    find_boxes: Callable[[int, int], np.ndarray]
    expressions: tuple[str, ...]
    fields: tuple[dict, ...] = ()


def read_refer(dataset: Dataset, split: str, sources: Sources) -> list[BoxReference]:
    """The references of a split in REFER's layout, in the original's order: by file name.

    Raises:
        InputError: An annotation file is missing, damaged or of another form, or the split is empty.
    """
    objects, _ = read_refer_objects(dataset, split, sources)
    return [
        BoxReference(
            found.name,
            (found.image_path,),
            0,
            functools.partial(_box_of_object, found),
            found.expressions,
            (found.fields,) * len(found.expressions),
        )
        for found in sorted(objects, key=lambda found: found.file_name)
    ]


def _box_of_object(found: ReferObject, height: int, width: int) -> np.ndarray:
    """The annotated box of an object, or the box of its mask where the annotation has none."""
    box = (found.annotation or {}).get("bbox")
    if box is None:
        mask = draw_annotation(found.annotation_id, found.annotation, height, width)
        return box_of_mask(mask)[None]
    with named(f"annotation {found.annotation_id}: bbox"):
        x, y, box_width, box_height = box_numbers(box)
    return np.array([[x, y, x + box_width, y + box_height]])


def box_of_mask(mask: np.ndarray) -> np.ndarray:
    """The smallest box around a mask, bool `(h, w)`: x1, y1, x2, y2, float64 `(4,)`.

    Raises:
        InputError: The mask is empty.
    """
    box = tight_box(mask)
    if box is None:
        raise InputError("its mask has no pixel inside the picture")
    return np.array(box, np.float64)


def read_listed(path: Path, images: Path) -> list[BoxReference]:
    """The references of an authors' list of pictures, in its order.

    Args:
        path: The list.
        images: Folder of the pictures.
    """
    return [
        BoxReference(
            f"entry {number} ({describe(entry.file_name)})",
            (images / entry.file_name,),
            0,
            functools.partial(_listed_boxes, (entry.box,)),
            (entry.sentence,),
        )
        for number, entry in enumerate(read_listed_split(path))
    ]


def _listed_boxes(boxes: tuple, height: int, width: int) -> np.ndarray:
    return np.array(boxes, np.float64)


def window(number: int, length: int, frames: int) -> list[int]:
    """Indices of the frames of a clip around frame `number`, which is at index `frames // 2`.

    Beyond the ends of the video its first or last frame is repeated, so that a video of one frame is a clip too.
    """
    first = number - frames // 2
    return [min(max(index, 0), length - 1) for index in range(first, first + frames)]


def read_vid(path: Path, images: Path | None, frames: int) -> list[BoxReference]:
    """The references of an authors' list of videos: one for each frame, in the list's order.

    Args:
        path: The list.
        images: Folder in which the frames are looked for; None for the paths of the list as they are.
        frames: Frames of a clip.
    """
    return [
        reference
        for number, video in enumerate(read_videos(path))
        for reference in _references_of_video(number, video, images, frames)
    ]


def _references_of_video(
    number: int, video: list[ListedBox], images: Path | None, frames: int
) -> Iterator[BoxReference]:
    files = _locate([frame.file_name for frame in video], images)
    names = [f"{PurePath(frame.file_name).parent.name}/{PurePath(frame.file_name).stem}" for frame in video]
    for index, frame in enumerate(video):
        clip = window(index, len(video), frames)
        folder, _, name = names[index].rpartition("/")
        fields = {"video_id": folder, "frame_id": name, "clip": [names[other] for other in clip]}
        yield BoxReference(
            f"video {number}, frame {names[index]}",
            tuple(files[other] for other in clip),
            frames // 2,
            functools.partial(_listed_boxes, tuple(video[other].box for other in clip)),
            (frame.sentence,),
            (fields,),
        )


def _locate(paths: list[str], images: Path | None) -> list[Path]:
    """The frames of a video. The paths are those of the authors' disk: their end is looked for in the folder.

    What the first frame's path has to lose at its start, the others lose too. Nothing is looked for below a folder of
    frames, whose file names are those of all videos.
    """
    if images is None or not paths:
        return list(map(Path, paths))
    parts = [[part for part in PurePath(path).parts if part not in ("/", "..")] for path in paths]
    first = parts[0]
    start = next((n for n in range(max(1, len(first) - 1)) if images.joinpath(*first[n:]).is_file()), 0)
    return [images.joinpath(*part[start:]) for part in parts]


def read_drawn_clips(dataset: str, files: A2DFiles, split: str, frames: int) -> list[BoxReference]:
    """The references of a drawn data set: by sentence, then by frame. Boxes are those of the drawn outlines.

    Args:
        dataset: Name of the data set.
        files: Its files, drawn with its own seed.
        split: The split.
        frames: Frames of a clip.
    """
    splits, references = read_split(files.splits), []
    for query in (query for query in read_queries(files.queries) if splits.get(query.video_id) == split):
        folder = files.frames[0] / query.video_id
        for number in MOVING_FRAMES:
            clip = tuple(index + 1 for index in window(number - 1, CLIP_FRAMES, frames))
            names = [f"{query.video_id}/{other:05d}" for other in clip]
            references.append(
                BoxReference(
                    f"video {query.video_id}, instance {query.instance_id}, frame {number}",
                    tuple(folder / f"{other:05d}.png" for other in clip),
                    frames // 2,
                    functools.partial(_moving_boxes, dataset, query.video_id, query.instance_id, clip),
                    (query.expression,),
                    ({"video_id": query.video_id, "frame_id": f"{number:05d}", "clip": names},),
                )
            )
    return references


def _moving_boxes(
    dataset: str, video_id: str, instance: int, numbers: tuple[int, ...], height: int, width: int
) -> np.ndarray:
    actor = _scene(dataset, int(video_id.rpartition("_")[2]))[instance]
    return np.stack([box_of_mask(rasterize([actor.at(number).outline()], height, width)) for number in numbers])


@functools.lru_cache(maxsize=8)
def _scene(dataset: str, index: int) -> list[Actor]:
    """The shapes of a drawn video; as `moving_shapes.compose`, without painting them."""
    return draw_scene(DRAWN_CLIPS[dataset], np.random.default_rng([SEED, index]))
