"""`moving_shapes`, the embedded video data set: short clips of shapes that do something, drawn from a seed.

It is written as A2D-Sentences is, so that it goes through the same reader. There are two kinds of sentences. Attributes
("the red circle") can be told from the annotated frame alone. Actions ("the circle that is jumping") cannot: in that
frame every shape is at rest, and the noun fits several.

As with people and animals, an action shows in what a shape looks like on the way, and not only in where it is. It reads
the same forwards and backwards. CMPC-V needs both: it sees the frames as a set, so nothing says which comes first, and
what it takes from the other frames is what was there, not where.
"""

import csv
import dataclasses
import logging
import math
import os
from pathlib import Path

import numpy as np

from cmpc_tf2.data.annotations import rasterize
from cmpc_tf2.data.shapes import COLORS, KINDS, Shape, paint
from cmpc_tf2.data.text import PAD, UNKNOWN
from cmpc_tf2.files import replacing
from cmpc_video_tf2.config import CLIP_FRAMES
from cmpc_video_tf2.data.datasets import MOVING_SHAPES, A2DFiles

logger = logging.getLogger(__name__)

VIDEOS = {"train": 900, "test": 150}
SEED = 0
SIDE = 96
# Counted from 1, as in A2D; the ninth of the clip around it.
ANNOTATED_FRAME = 1 + CLIP_FRAMES // 2
ACTIONS = ("jumping", "rolling", "swelling")
RADIUS = (9.0, 12.0)
SHAPES_PER_VIDEO = (2, 3)
# How far a shape goes in pixels, and how much larger, or taller and thinner, it gets.
WAY, SWELL, STRETCH = 12.0, 1.8, 1.5


@dataclasses.dataclass(frozen=True)
class StretchedShape(Shape):
    """A shape that is `tall` times as high and as much thinner."""

    tall: float = 1.0

    def outline(self) -> list[float]:
        corners = np.reshape(super().outline(), (-1, 2)) - (self.x, self.y)
        return np.round(corners * (1 / self.tall, self.tall) + (self.x, self.y), 2).ravel().tolist()


@dataclasses.dataclass(frozen=True)
class Actor:
    """A shape, as it is in the annotated frame, and what it does; None for nothing."""

    shape: StretchedShape
    action: str | None

    def at(self, number: int) -> StretchedShape:
        """The shape in a frame, counted from 1: at rest every eight frames, on its way in between."""
        swing = math.sin(2 * math.pi * (number - ANNOTATED_FRAME) / CLIP_FRAMES)
        if self.action is None or abs(swing) < 0.01:
            return self.shape
        if self.action == "rolling":
            return dataclasses.replace(self.shape, x=self.shape.x + WAY * swing, texture="striped")
        if self.action == "swelling":
            return dataclasses.replace(self.shape, radius=self.shape.radius * (1 + (SWELL - 1) * abs(swing)))
        tall = 1 + (STRETCH - 1) * abs(swing)
        return dataclasses.replace(self.shape, y=self.shape.y - WAY * abs(swing), tall=tall)

    def reach(self, number: int) -> float:
        """Radius of a circle around the shape in a frame."""
        shape = self.at(number)
        return shape.radius * shape.tall


def draw_scene(rng: np.random.Generator) -> list[Actor]:
    """Shapes that touch in no frame, of one or two kinds; no two have the same colour or do the same."""
    colors, actions = rng.permutation(list(COLORS)), rng.permutation([*ACTIONS, ""])
    kinds = rng.choice(KINDS, size=2, replace=False)
    scene: list[Actor] = []
    for color, action in zip(
        colors[: rng.integers(SHAPES_PER_VIDEO[0], SHAPES_PER_VIDEO[1] + 1)], actions, strict=False
    ):
        for _ in range(100):
            x, y = rng.uniform(0, SIDE, size=2)
            look = (str(rng.choice(kinds)), str(color), "large", "plain")
            actor = Actor(StretchedShape(*look, x, y, rng.uniform(*RADIUS)), str(action) or None)
            if _has_room(actor, scene):
                scene.append(actor)
                break
    return scene


def _has_room(actor: Actor, scene: list[Actor]) -> bool:
    for number in range(1, CLIP_FRAMES + 1):
        shape, reach = actor.at(number), actor.reach(number)
        if not (reach < min(shape.x, shape.y) and max(shape.x, shape.y) < SIDE - reach):
            return False
        for other in scene:
            there = other.at(number)
            if math.hypot(shape.x - there.x, shape.y - there.y) < reach + other.reach(number) + 3:
                return False
    return True


def describe(actor: Actor, scene: list[Actor], rng: np.random.Generator) -> list[str]:
    """Sentences for a shape: by its colour, and by its action where the noun alone fits several shapes."""
    article = "the " if rng.random() < 0.5 else ""
    sentences = [f"{article}{actor.shape.color} {rng.choice([actor.shape.kind, 'shape'])}"]
    if actor.action and len(scene) > 1:
        same_kind = [other for other in scene if other.shape.kind == actor.shape.kind]
        noun = actor.shape.kind if len(same_kind) > 1 else "shape"
        sentences.append(rng.choice([f"{article}{actor.action} {noun}", f"{article}{noun} that is {actor.action}"]))
    return [str(sentence) for sentence in sentences]


def vocabulary() -> list[str]:
    """All words of the sentences, after the four special ones of the other vocabularies."""
    return [PAD, "<go>", "<eos>", UNKNOWN, *sorted({*COLORS, *KINDS, *ACTIONS, "the", "that", "is", "shape"})]


def write_moving_shapes(data_root: str | os.PathLike, videos: dict[str, int] | None = None, seed: int = SEED):
    """Draws the data set below the data root, as A2D-Sentences lies on disk.

    `a2d_annotation.txt` comes last: where it is, the data set is complete.

    Args:
        data_root: The data root.
        videos: How many for each split.
        seed: Another seed gives other videos; the same one gives the same bytes.
    """
    import cv2
    import h5py

    videos = VIDEOS if videos is None else videos
    root = Path(data_root) / MOVING_SHAPES.folder
    files = A2DFiles.below(root)
    logger.info("drawing %d videos of moving shapes below %s", sum(videos.values()), root)
    os.makedirs(files.splits.parent, exist_ok=True)
    queries, splits = [], []
    names = [split for split, count in videos.items() for _ in range(count)]
    for index, split in enumerate(names):
        rng = np.random.default_rng([seed, index])
        video_id = f"video_{index:05d}"
        scene = draw_scene(rng)
        background = int(rng.integers(2**32))
        folder = files.frames[0] / video_id
        os.makedirs(folder, exist_ok=True)
        for number in range(1, CLIP_FRAMES + 1):
            pixels = paint([actor.at(number) for actor in scene], SIDE, SIDE, np.random.default_rng(background))
            _, encoded = cv2.imencode(".png", pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
            (folder / f"{number:05d}.png").write_bytes(encoded.tobytes())
        masks = np.stack([rasterize([actor.at(ANNOTATED_FRAME).outline()], SIDE, SIDE).T for actor in scene])
        os.makedirs(files.masks / video_id, exist_ok=True)
        with h5py.File(files.masks / video_id / f"{ANNOTATED_FRAME:05d}.h5", "w") as file:
            file["instance"] = np.arange(len(scene), dtype=np.int64)
            file["reMask"] = (masks if len(scene) > 1 else masks[0]).astype(np.uint8)
        queries += [
            (video_id, instance, sentence)
            for instance, actor in enumerate(scene)
            for sentence in describe(actor, scene, rng)
        ]
        # As in A2D: label, first and last second, height, width, frames, annotated frames, split.
        splits.append((video_id, 0, 0, 0, SIDE, SIDE, CLIP_FRAMES, 1, int(split == "test")))
    with replacing(Path(data_root) / MOVING_SHAPES.vocabulary) as partial:
        partial.write_text("\n".join(vocabulary()) + "\n")
    for path, rows in ((files.splits, splits), (files.queries, [("video_id", "instance_id", "query"), *queries])):
        with replacing(path) as partial, partial.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
