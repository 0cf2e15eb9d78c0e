"""Position features of the cells of a map."""

import numpy as np

GRID_CHANNELS = 8


def spatial_grid(height: int, width: int) -> np.ndarray:
    """The eight position features of every cell.

    Channels: xmin, ymin, xmax, ymax, xcentre, ycentre of the cell in coordinates from -1 to 1, then `1 / width` and
    `1 / height`.

    Source: `generate_spatial_batch` in `util/processing_tools.py` of CMPC-Refseg.

    Args:
        height: Rows of cells.
        width: Columns of cells.

    Returns:
        float32 `(height, width, 8)`.
    """
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    xmin, xmax = 2 * x / width - 1, 2 * (x + 1) / width - 1
    ymin, ymax = 2 * y / height - 1, 2 * (y + 1) / height - 1
    channels = [
        xmin,
        ymin,
        xmax,
        ymax,
        (xmin + xmax) / 2,
        (ymin + ymax) / 2,
        np.full_like(xmin, 1 / width),
        np.full_like(ymin, 1 / height),
    ]
    return np.stack(channels, axis=-1).astype("float32")
