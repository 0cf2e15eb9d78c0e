"""Augmentation of pictures and clips with boxes: mirrored, brighter or darker, and moved by a random affine map.

Every random number is an argument, so that the original's draws give the original's results.

Source: the loaders of SijieSong/CVPR21-Cogrounding_semantic_attention (commit 7b0630a).
"""

import math
import random
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cmpc_tf2.preprocessing.letterbox import Letterbox
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.preprocessing.resizing import LETTERBOX_COLOR, RESIZINGS
from cogrounding_tf2.data.truths import whole_pixels

# Largest change of brightness, as a share.
BRIGHTNESS = 0.5
# Largest angles of turning and shearing, in degrees.
ANGLE, SHEAR = 5.0, 2.0
# Largest change of the size, and largest shift as a share of the size.
SCALE, SHIFT = 0.1, 0.1


class Augmented(NamedTuple):
    """A training sample.

    Attributes:
        images: uint8 RGB `(S, S, 3)`, of clips `(F, S, S, 3)`.
        boxes: x1, y1, x2, y2 in pixels of the square: float64 `(4,)`, of clips `(F, 4)`.
        expression: The sentence, in lower case.
        matrix: The affine map of the letterboxed picture: float64 `(3, 3)`, of clips `(F, 3, 3)`.
    """

    images: np.ndarray
    boxes: np.ndarray
    expression: str
    matrix: np.ndarray

    def fitted(self, preprocessing: Preprocessing) -> np.ndarray:
        """As `BoxSample.fitted`: the pictures are in the square already."""
        return self.images

    def target(self, preprocessing: Preprocessing) -> np.ndarray:
        """As `BoxSample.target`, float32."""
        return self.boxes.astype(np.float32)


def draws_of(rng: random.Random) -> Iterator[float]:
    """An endless stream of numbers from 0 to 1."""
    return iter(rng.random, None)


def augment(image: np.ndarray, box: np.ndarray, expression: str, size: int, draws: Iterator[float]) -> Augmented:
    """Augments a picture.

    Args:
        image: uint8 RGB `(h, w, 3)`.
        box: x1, y1, x2, y2 in pixels of the picture, as annotated.
        expression: The sentence.
        size: Side of the square that the model sees.
        draws: Numbers from 0 to 1; nine are taken.
    """
    images, boxes, expression, matrices = augment_clip([image], [box], expression, size, draws)
    return Augmented(images[0], boxes[0], expression, matrices[0])


def augment_clip(frames, boxes, expression: str, size: int, draws: Iterator[float]) -> Augmented:
    """Augments a clip: its frames are mirrored together, but each is changed by draws of its own otherwise.

    Args:
        frames: uint8 RGB `(h, w, 3)` each.
        boxes: The box in each, as `augment`.
        expression: The sentence.
        size: Side of the square that the model sees.
        draws: Numbers from 0 to 1; one is taken, and eight for each frame.
    """
    boxes, expression = whole_pixels(np.asarray(boxes)), expression.lower()
    if next(draws) > 0.5:
        width = frames[0].shape[1]
        frames = [frame[:, ::-1] for frame in frames]
        boxes[:, 0], boxes[:, 2] = width - boxes[:, 2] - 1, width - boxes[:, 0] - 1
        expression = swap_sides(expression)
    fitted = [RESIZINGS["letterbox"].resize_image(change_brightness(frame, draws), size) for frame in frames]
    places = [Letterbox.of(*frame.shape[:2], size) for frame in frames]
    boxes = [np.trunc(place.fit_box(box)) for place, box in zip(places, boxes, strict=True)]
    moved = [move(image, box, draws) for image, box in zip(fitted, boxes, strict=True)]
    images, boxes, matrices = map(np.stack, zip(*moved, strict=True))
    return Augmented(images, boxes, expression, matrices)


def swap_sides(expression: str) -> str:
    """Exchanges "left" and "right", also within words: the original makes "upleft" of "upright"."""
    return re.sub("left|right", lambda side: {"left": "right", "right": "left"}[side[0]], expression)


def change_brightness(image: np.ndarray, draws: Iterator[float]) -> np.ndarray:
    """Makes a picture brighter or darker, by the value of its colors.

    The original draws a factor for the saturation too, but does not use it.

    Args:
        image: uint8 RGB `(h, w, 3)`.
        draws: Numbers from 0 to 1; two are taken.
    """
    import cv2

    next(draws)
    factor = 1 + BRIGHTNESS * (2 * next(draws) - 1)
    colors = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV)
    colors[..., 2] = np.minimum(colors[..., 2].astype(np.float32) * factor, 255)
    return cv2.cvtColor(colors, cv2.COLOR_HSV2RGB)


def move(image: np.ndarray, box: np.ndarray, draws: Iterator[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turns, scales, shifts and shears a square picture.

    The box becomes the bounding box of its moved corners, a little smaller where the picture is turned, and is clipped
    to the square.

    Args:
        image: uint8 RGB `(S, S, 3)`.
        box: x1, y1, x2, y2 in its pixels.
        draws: Numbers from 0 to 1; six are taken.

    Returns:
        The picture, its box, float64 `(4,)`, and the matrix of the map, float64 `(3, 3)`.
    """
    import cv2

    size = len(image)
    turn, scale, shift_x, shift_y, shear_x, shear_y = (2 * next(draws) - 1 for _ in range(6))
    rotation, shift, shear = np.eye(3), np.eye(3), np.eye(3)
    rotation[:2] = cv2.getRotationMatrix2D((size / 2, size / 2), ANGLE * turn, 1 + SCALE * scale)
    shift[:2, 2] = SHIFT * size * shift_x, SHIFT * size * shift_y
    shear[0, 1], shear[1, 0] = math.tan(math.radians(SHEAR * shear_x)), math.tan(math.radians(SHEAR * shear_y))
    matrix = shear @ shift @ rotation
    moved = cv2.warpPerspective(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=LETTERBOX_COLOR)
    x1, y1, x2, y2 = box
    corners = np.array([(x1, y1, 1), (x2, y2, 1), (x1, y2, 1), (x2, y1, 1)]) @ matrix[:2].T
    lowest, highest = corners.min(axis=0), corners.max(axis=0)
    angle = math.radians(ANGLE * turn)
    share = math.sqrt(max(abs(math.sin(angle)), abs(math.cos(angle))))
    centre, half = (lowest + highest) / 2, (highest - lowest) / 2 * share
    return moved, np.clip(np.concatenate([centre - half, centre + half]), 0, size), matrix
