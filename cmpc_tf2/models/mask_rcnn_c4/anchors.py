"""The boxes that proposals start from: twelve around every cell of the feature map."""

import numpy as np
from keras import ops

# Pixels per cell.
STRIDE = 16
RATIOS = (0.5, 1.0, 2.0)
SCALES = (4, 8, 16, 32)
# Boxes around a cell.
COUNT = len(RATIOS) * len(SCALES)


def cell_anchors() -> np.ndarray:
    """The boxes around the first cell: float32 `(12, 4)`, x1, y1, x2, y2 in pixels, the scales of a ratio together.

    Sides are rounded at the smallest scale, so the ratios are not exact.
    """
    boxes, center = [], (STRIDE - 1) / 2
    for ratio in RATIOS:
        width = round((STRIDE**2 / ratio) ** 0.5)
        height = round(width * ratio)
        for scale in SCALES:
            x, y = (width * scale - 1) / 2, (height * scale - 1) / 2
            boxes.append((center - x, center - y, center + x, center + y))
    return np.array(boxes, np.float32)


def anchors(rows, columns):
    """The boxes of a feature map.

    Args:
        rows: Rows of the map.
        columns: Its columns.

    Returns:
        float32 `(rows * columns * 12, 4)`, in the order row, column, box.
    """
    x, y = (ops.cast(ops.arange(count), "float32") * STRIDE for count in (columns, rows))
    x, y = ops.meshgrid(x, y)
    shifts = ops.stack([x, y, x, y], axis=-1)[:, :, None]  # (rows, columns, 1, 4)
    return ops.reshape(shifts + cell_anchors(), (-1, 4))
