"""Where boxes are, in their picture and among each other, as the numbers that MAttNet reads.

Boxes are x, y, width and height in pixels, float64 `(n, 4)`, all of one picture.

Source: `lib/loaders/gt_mrcn_loader.py` of lichengunc/MAttNet (commit 3204d07).
"""

import numpy as np

# Boxes of the same category whose places, seen from a box, are features of it.
NEIGHBOURS = 5
# Numbers that describe the place of a box.
PLACE_NUMBERS = 5


def location_features(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """The places of boxes in their picture.

    Args:
        boxes: `(n, 4)`.
        height: Rows of the picture.
        width: Columns of the picture.

    Returns:
        float32 `(n, 5)`: left, upper, right and lower edge, and area, as shares of the picture. The edges are those of
        whole pixels: the right one is at x + width - 1.
    """
    x, y, box_width, box_height = _columns(boxes)
    right, lower = x + box_width - 1, y + box_height - 1
    shares = [x / width, y / height, right / width, lower / height, box_width * box_height / (width * height)]
    return np.stack(shares, axis=-1).astype(np.float32)


def neighbours(boxes: np.ndarray, categories: np.ndarray, count: int = NEIGHBOURS) -> np.ndarray:
    """The nearest boxes of the same category, for each box.

    Args:
        boxes: `(n, 4)`.
        categories: int `(n,)`.
        count: How many are wanted.

    Returns:
        int64 `(n, count)`: numbers of boxes, nearest first; -1 where there are fewer.
    """
    is_same = _is_same(categories)
    return _nearest(boxes, np.where(is_same, 0, 1), count, groups=1)


def contexts(boxes: np.ndarray, categories: np.ndarray, count: int) -> np.ndarray:
    """The boxes that each box can stand in relation to: those of other categories, then those of its own.

    Args:
        boxes: `(n, 4)`.
        categories: int `(n,)`.
        count: How many are wanted.

    Returns:
        int64 `(n, count)`: numbers of boxes, nearest first within both groups; -1 where there are fewer.
    """
    is_same = _is_same(categories)
    return _nearest(boxes, np.where(is_same, 1, 0), count, groups=2)


def relative_features(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The places of other boxes, seen from each box.

    Args:
        boxes: `(n, 4)`.
        others: `(n, k)`, numbers of boxes, as `neighbours` and `contexts` return them.

    Returns:
        float32 `(n, k, 5)`: left, upper, right and lower edge of the other box, as distances from the centre of the box
        by its width and height, and the ratio of the areas; zeros where there is no other.
    """
    x, y, width, height = _columns(boxes[:, None])
    other_x, other_y, other_width, other_height = _columns(boxes[others])
    centre_x, centre_y = x + width / 2, y + height / 2
    numbers = [
        (other_x - centre_x) / width,
        (other_y - centre_y) / height,
        (other_x + other_width - centre_x) / width,
        (other_y + other_height - centre_y) / height,
        other_width * other_height / (width * height),
    ]
    return np.where(others[..., None] >= 0, np.stack(numbers, axis=-1), 0).astype(np.float32)


def neighbour_features(boxes: np.ndarray, categories: np.ndarray) -> np.ndarray:
    """The places of the nearest boxes of the same category, seen from each box: float32 `(n, 25)`."""
    return relative_features(boxes, neighbours(boxes, categories)).reshape(len(boxes), -1)


def context_features(cell_means: np.ndarray, others: np.ndarray) -> np.ndarray:
    """What other boxes show.

    Args:
        cell_means: `(n, C)`, the features of each box, averaged over its cells.
        others: `(n, k)`, as `contexts` returns them.

    Returns:
        `(n, k, C)`; zeros where there is no other.
    """
    return np.where(others[..., None] >= 0, cell_means[others], 0).astype(cell_means.dtype)


def _columns(boxes: np.ndarray) -> np.ndarray:
    """x, y, width and height, each `(...)`, as float64."""
    return np.moveaxis(np.asarray(boxes, np.float64), -1, 0)


def _is_same(categories: np.ndarray) -> np.ndarray:
    """Whether two boxes are of the same category, bool `(n, n)`."""
    categories = np.asarray(categories)
    return categories[:, None] == categories


def _nearest(boxes: np.ndarray, groups_of: np.ndarray, count: int, groups: int) -> np.ndarray:
    """The others by group, then by the squared distance of their centres.

    At equal distances the later box comes first: the original's order says of either that it is nearer.

    Args:
        boxes: `(n, 4)`.
        groups_of: The group of each other box for each box, `(n, n)`.
        count: How many are wanted.
        groups: Groups that count, from 0.
    """
    x, y, width, height = _columns(boxes)
    centres = np.stack([x + width / 2, y + height / 2])
    squares = (centres[:, :, None] - centres[:, None]) ** 2
    numbers = np.arange(len(boxes))
    groups_of = np.where(numbers[:, None] == numbers, groups, groups_of)  # Not the box itself.
    later_first = np.broadcast_to(-numbers, groups_of.shape)
    order = np.lexsort((later_first, squares[0] + squares[1], groups_of), axis=-1)[:, :count]
    nearest = np.where(np.take_along_axis(groups_of, order, axis=-1) < groups, order, -1)
    return np.pad(nearest, [(0, 0), (0, count - nearest.shape[1])], constant_values=-1)
