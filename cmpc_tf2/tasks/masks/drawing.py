"""Masks drawn over their picture."""

import numpy as np

from cmpc_tf2.preprocessing.interpolation import row_bands
from cmpc_tf2.tasks.drawing import caption_lines, color_of, line_width

FILL = 0.45


def draw_masks(
    image: np.ndarray, masks: list[np.ndarray], captions: list[str] | None = None, target: np.ndarray | None = None
) -> np.ndarray:
    """Fills each mask with its own translucent colour, draws its contour, and adds captions below.

    Args:
        image: uint8 RGB `(h, w, 3)`; left as it is.
        masks: bool `(h, w)` each.
        captions: A caption for each mask, added below the picture; None adds none.
        target: Ground truth, bool `(h, w)`; its contour is drawn in white.

    Returns:
        uint8 RGB `(h, w, 3)`, with captions `(h + n, w, 3)`.
    """
    drawn = np.empty(image.shape, np.uint8)
    contours = [_contour(mask) for mask in masks]
    target_contour = None if target is None else _contour(target)
    for rows in row_bands(*image.shape[:2]):
        band = image[rows].astype(np.float32)
        for index, (mask, contour) in enumerate(zip(masks, contours, strict=True)):
            color = np.array(color_of(index), np.float32)
            band[mask[rows]] = (1 - FILL) * band[mask[rows]] + FILL * color
            band[contour[rows]] = color
        if target_contour is not None:
            band[target_contour[rows]] = 255
        drawn[rows] = band
    return drawn if captions is None else np.concatenate([drawn, caption_lines(captions, *image.shape[:2])])


def draw_layer(mask: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """A mask alone, filled and with a contour as in `draw_masks`, to lay over its picture.

    Args:
        mask: bool `(h, w)`.
        color: RGB.

    Returns:
        uint8 RGBA `(h, w, 4)`, transparent outside the mask.
    """
    drawn = np.zeros((*mask.shape, 4), np.uint8)
    drawn[mask] = (*color, round(255 * FILL))
    drawn[_contour(mask)] = (*color, 255)
    return drawn


def _contour(mask: np.ndarray) -> np.ndarray:
    """Pixels of the mask within a line's width of its edge."""
    from scipy.ndimage import binary_erosion

    return mask & ~binary_erosion(mask, iterations=line_width(mask.shape), border_value=1)
