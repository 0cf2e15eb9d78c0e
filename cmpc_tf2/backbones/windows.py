"""Windows of the Swin Transformer: cutting maps, offsets within a window, and the mask of shifted windows."""

import numpy as np
from keras import ops

# Added to the scores of pairs of cells that are neighbours in a shifted window, but not in the map.
MASKED_SCORE = -100.0
# The parameter of the cubic kernel that PyTorch resizes with.
CUBIC = -0.75


def pad_to_multiple(x, side: int):
    """Pads a map with zeros on the right and below: `(B, h, w, C)`, with `h` and `w` multiples of `side` after it."""
    _, height, width, _ = x.shape
    padding = [[0, 0], [0, -height % side], [0, -width % side], [0, 0]]
    return ops.pad(x, padding) if height % side or width % side else x


def roll(x, shift: int):
    """Moves a map down and to the right; what leaves it returns at the opposite border: `(B, h, w, C)`.

    As `keras.ops.roll`, whose operation TFLite does not have.
    """
    for axis in (1, 2):
        before, after = ops.split(x, [-shift % x.shape[axis]], axis=axis)
        x = ops.concatenate([after, before], axis=axis)
    return x


def split_windows(x, side: int):
    """Cuts a map into windows, row by row: `(B, h, w, C)` to `(B, windows, side^2, C)`."""
    _, height, width, channels = x.shape
    rows, columns = height // side, width // side
    x = ops.transpose(ops.reshape(x, (-1, rows, side, columns, side, channels)), (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, rows * columns, side * side, channels))


def join_windows(x, side: int, height: int, width: int):
    """The reverse of `split_windows`: `(B, windows, side^2, C)` to `(B, height, width, C)`."""
    x = ops.reshape(x, (-1, height // side, width // side, side, side, x.shape[-1]))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, height, width, x.shape[-1]))


def relative_position_index(side: int) -> np.ndarray:
    """The row of the bias table for each pair of cells in a window.

    Args:
        side: Side of the window in cells.

    Returns:
        int32 `(side^2, side^2)`: query cell, key cell.
    """
    cells = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1).reshape(-1, 2)
    offsets = cells[:, None] - cells[None, :] + side - 1
    return (offsets[..., 0] * (2 * side - 1) + offsets[..., 1]).astype("int32")


def shift_mask(height: int, width: int, side: int, shift: int) -> np.ndarray:
    """The mask of shifted windows, which separates cells that came together from opposite borders of the map.

    Args:
        height: Rows of the map, before padding.
        width: Columns of the map, before padding.
        side: Side of a window in cells.
        shift: Cells that windows are shifted by.

    Returns:
        float32 `(windows, 1, side^2, side^2)`: 0, or `MASKED_SCORE` for separated cells.
    """
    bands = []
    for length in (height + -height % side, width + -width % side):
        starts = [length - side, length - shift]
        bands.append(np.searchsorted(starts, np.arange(length), side="right"))
    region = len(bands[0]) * bands[0][:, None] + bands[1][None, :]
    rows, columns = (len(band) // side for band in bands)
    region = region.reshape(rows, side, columns, side).transpose(0, 2, 1, 3).reshape(-1, 1, side * side)
    is_separate = region[..., :, None] != region[..., None, :]
    return np.where(is_separate, MASKED_SCORE, 0.0).astype("float32")


def resize_bias_table(table: np.ndarray, side: int) -> np.ndarray:
    """The biases of another size of windows: bicubic resizing of each head's square of offsets.

    Source: `model/mmcv_custom/checkpoint.py` of naver-ai/maskris (commit 01b54d5), which uses PyTorch's bicubic
    interpolation.

    Args:
        table: float32 `((2 s - 1)^2, heads)`, the biases for windows of side s.
        side: Side of the new windows in cells.

    Returns:
        float32 `((2 side - 1)^2, heads)`.
    """
    source, target = round(len(table) ** 0.5), 2 * side - 1
    weights = _bicubic_matrix(source, target)
    square = table.reshape(source, source, -1).astype("float64")
    resized = np.einsum("yi,xj,ijh->yxh", weights, weights, square)
    return resized.reshape(target * target, -1).astype("float32")


def _bicubic_matrix(source: int, target: int) -> np.ndarray:
    """Weights that resize a line: half-pixel centres, border repeated; `(target, source)`."""
    position = (np.arange(target) + 0.5) * (source / target) - 0.5
    matrix = np.zeros((target, source))
    for step in (-1, 0, 1, 2):
        index = np.floor(position) + step
        distance = np.abs(position - index)
        near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance**2 + 1
        far = CUBIC * (((distance - 5) * distance + 8) * distance - 4)
        weight = np.where(distance <= 1, near, far)
        np.add.at(matrix, (np.arange(target), np.clip(index, 0, source - 1).astype(int)), weight)
    return matrix
