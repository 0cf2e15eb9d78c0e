"""`moving_shapes`, the embedded video data set: short clips of shapes that swell and shrink, drawn from a seed.

It is written as A2D-Sentences is, so that it goes through the same reader. There are two kinds of sentences. Attributes
("the red circle") can be told from the annotated frame alone. Actions ("the circle that is swelling") cannot: in that
frame every shape is at rest, and the noun fits several.

An action shows in what a shape looks like in other frames, and reads the same forwards and backwards. CMPC-V needs
both: it sees the frames as a set, so nothing says which comes first, and what it takes from the other frames is what
was there, not where.
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
from cmpc_tf2.files import replacing, write_bytes, write_text
from cmpc_tf2.text.vocabulary import PAD, UNKNOWN
from cmpc_video_tf2.config import CLIP_FRAMES
from cmpc_video_tf2.data.datasets import MOVING_SHAPES, A2DFiles

logger = logging.getLogger(__name__)

VIDEOS = {"train": 1200, "test": 200}
SEED = 0
SIDE = 80
# Counted from 1, as in A2D; the ninth of the clip around it.
ANNOTATED_FRAME = 1 + CLIP_FRAMES // 2
# Actions, and by how much the radius of a shape changes.
ACTIONS = {"swelling": 2.4, "shrinking": 0.35}
RADIUS = (8.0, 10.0)
SHAPES_PER_VIDEO = (2, 3)


@dataclasses.dataclass(frozen=True)
class Actor:
    """A shape, as it is in the annotated frame, and what it does; None for nothing."""

    shape: Shape
    action: str | None

    def at(self, number: int) -> Shape:
        """The shape in a frame, counted from 1: at rest every eight frames, changed most in between."""
        if self.action is None:
            return self.shape
        change = abs(math.sin(2 * math.pi * (number - ANNOTATED_FRAME) / CLIP_FRAMES))
        return dataclasses.replace(self.shape, radius=self.shape.radius * (1 + (ACTIONS[self.action] - 1) * change))


def draw_scene(rng: np.random.Generator) -> list[Actor]:
    """Shapes that touch in no frame, of one or two kinds; no two have the same colour or do the same."""
    colors, actions = rng.permutation(list(COLORS)), rng.permutation([*ACTIONS, ""])
    kinds = rng.choice(KINDS, size=2, replace=False)
    scene: list[Actor] = []
    count = rng.integers(SHAPES_PER_VIDEO[0], SHAPES_PER_VIDEO[1] + 1)
    for color, action in zip(colors[:count], actions[:count], strict=True):
        for _ in range(100):
            x, y = rng.uniform(0, SIDE, size=2)
            shape = Shape(str(rng.choice(kinds)), str(color), "large", "plain", x, y, rng.uniform(*RADIUS))
            actor = Actor(shape, str(action) or None)
            if _has_room(actor, scene):
                scene.append(actor)
                break
    return scene


def _has_room(actor: Actor, scene: list[Actor]) -> bool:
    for number in range(1, CLIP_FRAMES + 1):
        shape = actor.at(number)
        if not (shape.radius < min(shape.x, shape.y) and max(shape.x, shape.y) < SIDE - shape.radius):
            return False
        for there in (other.at(number) for other in scene):
            if math.hypot(shape.x - there.x, shape.y - there.y) < shape.radius + there.radius + 3:
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


def compose(
    index: int, frames: int = CLIP_FRAMES, seed: int = SEED
) -> tuple[list[Actor], list[np.ndarray], list[list[str]]]:
    """Draws one video. It depends on the seed and its number alone.

    Args:
        index: Its number in the data set.
        frames: How many frames.
        seed: The data set's.

    Returns:
        The actors, the frames, uint8 RGB `(h, w, 3)`, and the sentences for each actor.
    """
    rng = np.random.default_rng([seed, index])
    scene = draw_scene(rng)
    background = int(rng.integers(2**32))
    pixels = [
        paint([actor.at(number) for actor in scene], SIDE, SIDE, np.random.default_rng(background))
        for number in range(1, frames + 1)
    ]
    return scene, pixels, [describe(actor, scene, rng) for actor in scene]


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
        scene, frames, sentences = compose(index, seed=seed)
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
    write_text(Path(data_root) / MOVING_SHAPES.vocabulary, "\n".join(vocabulary()) + "\n")
    for path, rows in ((files.splits, splits), (files.queries, [("video_id", "instance_id", "query"), *queries])):
        with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
