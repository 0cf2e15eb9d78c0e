"""Masks drawn over their picture."""

import numpy as np

# Distinct on photographs and for colour-blind readers (Okabe and Ito), brightest first.
COLORS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
FILL = 0.45


def draw_masks(image: np.ndarray, masks: list[np.ndarray], target: np.ndarray | None = None) -> np.ndarray:
    """Fills each mask with its own translucent colour and draws its contour.

    Args:
        image: uint8 RGB `(h, w, 3)`; left as it is.
        masks: bool `(h, w)` each.
        target: Ground truth, bool `(h, w)`; its contour is drawn in white.

    Returns:
        uint8 RGB `(h, w, 3)`.
    """
    drawn = image.astype(np.float32)
    for index, mask in enumerate(masks):
        color = np.array(COLORS[index % len(COLORS)], np.float32)
        drawn[mask] = (1 - FILL) * drawn[mask] + FILL * color
        drawn[_contour(mask)] = color
    if target is not None:
        drawn[_contour(target)] = 255
    return drawn.astype(np.uint8)


def _contour(mask: np.ndarray) -> np.ndarray:
    """Pixels of the mask within a line's width of its edge; the line grows with the picture."""
    from scipy.ndimage import binary_erosion

    width = max(1, round(max(mask.shape) / 300))
    return mask & ~binary_erosion(mask, iterations=width, border_value=1)
