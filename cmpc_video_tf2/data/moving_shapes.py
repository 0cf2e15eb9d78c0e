"""`moving_shapes` and `sliding_shapes`, the embedded video data sets: short clips of shapes, drawn from a seed.

They are written as A2D-Sentences is, so that they go through the same reader. There are two kinds of sentences.
Attributes ("the red circle") can be told from the annotated frame alone. Actions ("the circle that is swelling")
cannot: in that frame every shape is at rest, and the noun fits several.

The shapes of `moving_shapes` swell and shrink. Such an action shows in what a shape looks like in other frames, and
reads the same forwards and backwards. CMPC-V on R2D needs both: it sees the frames as a set, so nothing says which
comes first, and what it takes from the other frames is what was there, not where.

The shapes of `sliding_shapes` slide, roll and jump. Sliding left is sliding right played backwards, so the frames as a
set do not tell them apart.
"""

import csv
import dataclasses
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cmpc_tf2.data.annotations import rasterize
from cmpc_tf2.data.shapes import COLORS, KINDS, Shape, paint
from cmpc_tf2.files import replacing, write_bytes, write_text
from cmpc_tf2.text.vocabulary import PAD, UNKNOWN
from cmpc_video_tf2.config import CLIP_FRAMES
from cmpc_video_tf2.data.datasets import MOVING_SHAPES, SLIDING_SHAPES, A2DFiles, VideoDataset

logger = logging.getLogger(__name__)

VIDEOS = {"train": 1200, "test": 200}
SEED = 0
SIDE = 80
# Counted from 1, as in A2D; the ninth of the clip around it.
ANNOTATED_FRAME = 1 + CLIP_FRAMES // 2
RADIUS = (8.0, 10.0)
SHAPES_PER_VIDEO = (2, 3)
# Pixels and degrees a frame, and pixels.
SLIDE, TURN, JUMP = 1.8, 11.0, 12.0
# Frames before and after the annotated one in which a shape moves: with as many on both sides, a clip of
# `sliding_shapes` shows the same pictures when it is played backwards.
REACH = CLIP_FRAMES - ANNOTATED_FRAME

# A shape and the frame's number, counted from the annotated one, to the shape in that frame.
Action = Callable[[Shape, int], Shape]


@dataclasses.dataclass(frozen=True)
class DrawnClips:
    """What one of the data sets shows and says.

    Attributes:
        dataset: Its name and places.
        actions: Actions by name; a shape is at rest in the annotated frame.
        forms: Sentences about an action, without article.
        invisible: Kinds of shapes with actions that do not show in them.
        margin: Pixels around a shape in the annotated frame, whatever it does, so that its place tells nothing.
    """

    dataset: VideoDataset
    actions: dict[str, Action]
    forms: tuple[str, ...]
    invisible: tuple[tuple[str, str], ...] = ()
    margin: float = 0.0

    def action_in(self, sentence: str) -> str | None:
        """The action that a sentence names."""
        return next((action for action in self.actions if f" {action} " in f" {sentence} "), None)

    def vocabulary(self) -> list[str]:
        """All words of the sentences, after the four special ones of the other vocabularies."""
        words = {word for action in self.actions for word in action.split()}
        return [PAD, "<go>", "<eos>", UNKNOWN, *sorted({*COLORS, *KINDS, *words, "the", "that", "is", "shape"})]


def _swell(factor: float) -> Action:
    """The radius changes by a factor and back, every eight frames."""

    def at(shape: Shape, offset: int) -> Shape:
        change = abs(math.sin(2 * math.pi * offset / CLIP_FRAMES))
        return dataclasses.replace(shape, radius=shape.radius * (1 + (factor - 1) * change))

    return at


def _slide(speed: float) -> Action:
    return lambda shape, offset: dataclasses.replace(shape, x=shape.x + speed * _reached(offset))


def _roll(shape: Shape, offset: int) -> Shape:
    return dataclasses.replace(shape, turn=math.radians(TURN * _reached(offset)))


def _jump(shape: Shape, offset: int) -> Shape:
    height = JUMP * abs(math.sin(2 * math.pi * _reached(offset) / CLIP_FRAMES))
    return dataclasses.replace(shape, y=shape.y - height)


def _reached(offset: int) -> int:
    return max(-REACH, min(offset, REACH))


SWELLING = DrawnClips(
    MOVING_SHAPES,
    {"swelling": _swell(2.4), "shrinking": _swell(0.35)},
    ("{action} {noun}", "{noun} that is {action}"),
)
SLIDING = DrawnClips(
    SLIDING_SHAPES,
    {"sliding left": _slide(-SLIDE), "sliding right": _slide(SLIDE), "rolling": _roll, "jumping": _jump},
    ("{noun} {action}", "{noun} that is {action}"),
    invisible=(("circle", "rolling"),),
    margin=SLIDE * REACH,
)
DRAWN_CLIPS = {clips.dataset.name: clips for clips in (SWELLING, SLIDING)}


@dataclasses.dataclass(frozen=True)
class Actor:
    """A shape, as it is in the annotated frame, and what it does; None for nothing."""

    shape: Shape
    action: str | None
    motion: Action | None = None

    def at(self, number: int) -> Shape:
        """The shape in a frame, counted from 1."""
        return self.motion(self.shape, number - ANNOTATED_FRAME) if self.motion else self.shape


def draw_scene(clips: DrawnClips, rng: np.random.Generator) -> list[Actor]:
    """Shapes that touch in no frame, of one or two kinds; no two have the same colour or do the same."""
    colors, actions = rng.permutation(list(COLORS)), rng.permutation([*clips.actions, ""])
    kinds = rng.choice(KINDS, size=2, replace=False)
    scene: list[Actor] = []
    count = rng.integers(SHAPES_PER_VIDEO[0], SHAPES_PER_VIDEO[1] + 1)
    for color, action in zip(colors[:count], actions[:count], strict=True):
        for _ in range(100):
            x, y = rng.uniform(0, SIDE, size=2)
            shape = Shape(str(rng.choice(kinds)), str(color), "large", "plain", x, y, rng.uniform(*RADIUS))
            actor = Actor(shape, str(action) or None, clips.actions.get(str(action)))
            if (shape.kind, action) not in clips.invisible and _has_room(actor, scene, clips.margin):
                scene.append(actor)
                break
    return scene


def _has_room(actor: Actor, scene: list[Actor], margin: float) -> bool:
    if not _is_inside(actor.shape, margin):
        return False
    for number in range(1, CLIP_FRAMES + 1):
        shape = actor.at(number)
        if not _is_inside(shape):
            return False
        for there in (other.at(number) for other in scene):
            if math.hypot(shape.x - there.x, shape.y - there.y) < shape.radius + there.radius + 3:
                return False
    return True


def _is_inside(shape: Shape, margin: float = 0.0) -> bool:
    reach = shape.radius + margin
    return reach < min(shape.x, shape.y) and max(shape.x, shape.y) < SIDE - reach


def describe(clips: DrawnClips, actor: Actor, scene: list[Actor], rng: np.random.Generator) -> list[str]:
    """Sentences for a shape: by its colour, and by its action where the noun alone fits several that could do it."""
    article = "the " if rng.random() < 0.5 else ""
    sentences = [f"{article}{actor.shape.color} {rng.choice([actor.shape.kind, 'shape'])}"]
    able = [other for other in scene if (other.shape.kind, actor.action) not in clips.invisible]
    if actor.action and len(able) > 1:
        same_kind = [other for other in scene if other.shape.kind == actor.shape.kind]
        noun = actor.shape.kind if len(same_kind) > 1 else "shape"
        form = rng.choice(clips.forms)
        sentences.append(article + form.format(action=actor.action, noun=noun))
    return [str(sentence) for sentence in sentences]


def compose(
    clips: DrawnClips, index: int, frames: int = CLIP_FRAMES, seed: int = SEED
) -> tuple[list[Actor], list[np.ndarray], list[list[str]]]:
    """Draws one video. It depends on the seed and its number alone.

    Args:
        clips: The data set.
        index: Its number in the data set.
        frames: How many frames.
        seed: The data set's.

    Returns:
        The actors, the frames, uint8 RGB `(h, w, 3)`, and the sentences for each actor.
    """
    rng = np.random.default_rng([seed, index])
    scene = draw_scene(clips, rng)
    background = int(rng.integers(2**32))
    pixels = [
        paint([actor.at(number) for actor in scene], SIDE, SIDE, np.random.default_rng(background))
        for number in range(1, frames + 1)
    ]
    return scene, pixels, [describe(clips, actor, scene, rng) for actor in scene]


def write_clips(
    clips: DrawnClips, data_root: str | os.PathLike, videos: dict[str, int] | None = None, seed: int = SEED
):
    """Draws a data set below the data root, as A2D-Sentences lies on disk.

    `a2d_annotation.txt` comes last: where it is, the data set is complete.

    Args:
        clips: The data set.
        data_root: The data root.
        videos: How many for each split.
        seed: Another seed gives other videos; the same one gives the same bytes.
    """
    import cv2
    import h5py

    videos = VIDEOS if videos is None else videos
    root = Path(data_root) / clips.dataset.folder
    files = A2DFiles.below(root)
    logger.info("drawing %d videos of moving shapes below %s", sum(videos.values()), root)
    os.makedirs(files.splits.parent, exist_ok=True)
    queries, splits = [], []
    names = [split for split, count in videos.items() for _ in range(count)]
    for index, split in enumerate(names):
        scene, frames, sentences = compose(clips, index, seed=seed)
        video_id = f"video_{index:05d}"
        folder = files.frames[0] / video_id
        os.makedirs(folder, exist_ok=True)
        for number, pixels in enumerate(frames, start=1):
            _, encoded = cv2.imencode(".png", pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
            write_bytes(folder / f"{number:05d}.png", encoded.tobytes())  # Another command may be reading it.
        masks = np.stack([rasterize([actor.at(ANNOTATED_FRAME).outline()], SIDE, SIDE).T for actor in scene])
        os.makedirs(files.masks / video_id, exist_ok=True)
        mask_file = files.masks / video_id / f"{ANNOTATED_FRAME:05d}.h5"
        with replacing(mask_file) as partial, h5py.File(partial, "w") as file:
            file["instance"] = np.arange(len(scene), dtype=np.int64)
            file["reMask"] = (masks if len(scene) > 1 else masks[0]).astype(np.uint8)
        queries += [(video_id, instance, sentence) for instance, about in enumerate(sentences) for sentence in about]
        # As in A2D: label, first and last second, height, width, frames, annotated frames, split.
        splits.append((video_id, 0, 0, 0, SIDE, SIDE, CLIP_FRAMES, 1, int(split == "test")))
    write_text(Path(data_root) / clips.dataset.vocabulary, "\n".join(clips.vocabulary()) + "\n")
    for path, rows in ((files.splits, splits), (files.queries, [("video_id", "instance_id", "query"), *queries])):
        with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
