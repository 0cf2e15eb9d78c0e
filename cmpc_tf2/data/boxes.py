"""Boxes of annotation files."""

import numpy as np

from cmpc_tf2.errors import InputError

# No picture is as large, in pixels.
_LARGEST = 1e9
# Pixels by which a box may reach over the edge of its picture; those of COCO do so by rounding.
_OVER_THE_EDGE = 1


def box_numbers(box) -> tuple[float, float, float, float]:
    """Checks that a value from an annotation file is four finite numbers.

    Raises:
        InputError: It is not.
    """
    values = box.tolist() if isinstance(box, np.ndarray) else box
    is_box = isinstance(values, (list, tuple)) and len(values) == 4
    if not is_box or not all(isinstance(value, (int, float)) and abs(value) < _LARGEST for value in values):
        raise InputError("expected a box of four numbers")
    return tuple(map(float, values))


def require_boxes(boxes: np.ndarray, height: int, width: int):
    """Checks boxes against the size of their pictures.

    Args:
        boxes: x1, y1, x2, y2: float64 `(n, 4)`.
        height: Rows of the pictures.
        width: Columns of the pictures.

    Raises:
        InputError: One is empty, has its corners swapped, or lies outside.
    """
    for x1, y1, x2, y2 in boxes:
        found = f"found [{x1:g}, {y1:g}, {x2:g}, {y2:g}]"
        if x1 >= x2 or y1 >= y2:
            raise InputError(f"expected a box with x1 < x2 and y1 < y2, {found}")
        edge = _OVER_THE_EDGE
        if min(x1, y1) < -edge or x2 > width + edge or y2 > height + edge:
            raise InputError(f"expected a box within its picture of {width} x {height} pixels, {found}")
