"""What the models of boxes are trained for and tested against, in the original's precision."""

from typing import NamedTuple

import numpy as np

from cmpc_tf2.preprocessing.letterbox import Letterbox

SIZE = 256
# Cells along a side, by scale.
GRIDS = (8, 16, 32)
# Width and height in a picture of 416 pixels; three for each scale.
ANCHORS = ((373, 326), (156, 198), (116, 90), (59, 119), (62, 45), (30, 61), (33, 23), (16, 30), (10, 13))
ANCHORS_SIZE = 416
_ANCHORS_PER_SCALE = 3
_TINY = np.float32(1e-16)


class Target(NamedTuple):
    """Where a box is predicted, and by which numbers.

    Attributes:
        anchor: Index in `ANCHORS`; a third of it, rounded down, is the scale.
        row: Row of the cell in the scale's grid.
        column: Its column.
        values: tx, ty, tw, th: the place of the centre in the cell, and logarithms of the size over the anchor's,
            float32 `(4,)`.
    """

    anchor: int
    row: int
    column: int
    values: np.ndarray


def target(box: np.ndarray) -> Target:
    """The target for a box.

    Args:
        box: x1, y1, x2, y2 in pixels of the square of 256; clamped to 0..255.
    """
    x1, y1, x2, y2 = np.clip(np.asarray(box, np.float32), 0, SIZE - 1)
    centre = np.stack([(x1 + x2) / np.float32(2 * SIZE), (y1 + y2) / np.float32(2 * SIZE)])
    share = np.stack([(x2 - x1) / np.float32(SIZE), (y2 - y1) / np.float32(SIZE)])
    cells = np.repeat(np.float32(GRIDS), _ANCHORS_PER_SCALE)[:, None]
    sizes, anchors = share * cells, (np.array(ANCHORS) / (ANCHORS_SIZE / cells)).astype(np.float32)
    shared = np.minimum(sizes, anchors).prod(axis=1)
    overlap = shared / (sizes.prod(axis=1) + anchors.prod(axis=1) - shared + _TINY)
    best = int(np.argmax(overlap))
    place = centre * cells[best]
    column, row = map(int, place)
    scaled = np.log(sizes[best] / anchors[best] + _TINY)
    return Target(best, row, column, np.concatenate([place - (column, row), scaled]).astype(np.float32))


def whole_pixels(box: np.ndarray) -> np.ndarray:
    """Annotated boxes as the original reads them: corner, width and height without their fractions.

    Args:
        box: x1, y1, x2, y2 in pixels of the picture, `(..., 4)`.

    Returns:
        int64 `(..., 4)`.
    """
    box = np.asarray(box, np.float64)
    corner = np.trunc(box[..., :2])
    # Annotations have width and height, whose decimals the sum of corner and size may miss by a rounding error.
    size = np.trunc(np.round(box[..., 2:] - box[..., :2], 6))
    return np.concatenate([corner, corner + size], axis=-1).astype(np.int64)


def square_box(box: np.ndarray, place: Letterbox) -> np.ndarray:
    """Annotated boxes in the square, as the original's loader gives them: in whole pixels.

    Args:
        box: x1, y1, x2, y2 in pixels of the picture, as annotated, `(..., 4)`.
        place: The picture's place in the square.

    Returns:
        float32 `(..., 4)`.
    """
    return np.trunc(place.fit_box(whole_pixels(box))).astype(np.float32)


def true_box(box: np.ndarray, place: Letterbox) -> np.ndarray:
    """Annotated boxes as the original's test compares predictions with them: in pixels of the picture, quantized.

    The last pixel of the square is lost: boxes there are clamped to 0..255.

    Args:
        box: As `square_box`.
        place: As `square_box`.

    Returns:
        float32 `(..., 4)`.
    """
    return place.restore_box(np.clip(square_box(box, place), 0, place.size - 1))
