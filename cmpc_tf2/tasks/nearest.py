"""Masks at other sizes by the nearest neighbour, as Pillow has it."""

import numpy as np


def resize_nearest(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """A mask at another size.

    Args:
        mask: bool or uint8 `(h, w)`.
        height: Rows of the result.
        width: Its columns.

    Returns:
        uint8 `(height, width)`.
    """
    from PIL import Image

    resized = Image.fromarray(np.ascontiguousarray(mask, np.uint8)).resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(resized)
