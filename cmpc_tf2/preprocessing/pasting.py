"""Masks of boxes to masks of pictures."""

import numpy as np

# Grey levels above this one are in a mask.
THRESHOLD = 122
# Grey levels per unit of a logit.
_LEVELS_PER_LOGIT = 16


def clip_boxes(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes whose corners are moved into a picture.

    Args:
        boxes: x1, y1, x2, y2 in pixels, float `(..., 4)`.
        height: Rows of the picture.
        width: Its columns.
    """
    last = np.array([width - 1, height - 1, width - 1, height - 1], boxes.dtype)
    return boxes.clip(0, last)


def paste_mask(probabilities: np.ndarray, box: np.ndarray, height: int, width: int) -> np.ndarray:
    """The mask of a box in its picture, bool `(height, width)`: `paste_levels` above the threshold."""
    return paste_levels(probabilities, box, height, width) > THRESHOLD


def paste_levels(probabilities: np.ndarray, box: np.ndarray, height: int, width: int) -> np.ndarray:
    """The mask of a box in its picture, as grey levels.

    The original resizes the mask as a picture of 256 grey levels, which it stretches to them: the lowest value becomes
    0 and the highest 255. So the threshold is relative to the range of each mask.

    Source: `lib/utils/mask_utils.py` of lichengunc/mask-faster-rcnn (commit 45e2818), with the `imresize` of old SciPy.
    The resampling is Pillow's bilinear, which averages where it shrinks; versions differ by single levels.

    Args:
        probabilities: The mask within the box, float32 `(h, w)`.
        box: x1, y1, x2, y2 in pixels of the picture, `(4,)`; it may lie outside, with swapped corners.
        height: Rows of the picture.
        width: Its columns.

    Returns:
        uint8 `(height, width)`; 0 outside of the box.
    """
    from PIL import Image

    x1, y1, x2, y2 = clip_boxes(np.asarray(box), height, width)
    rows, columns, top, left = int(y2 - y1 + 1), int(x2 - x1 + 1), int(y1), int(x1)
    levels = Image.fromarray(stretch_levels(probabilities)).resize((columns, rows), Image.Resampling.BILINEAR)
    pasted = np.zeros((height, width), np.uint8)
    pasted[top : top + rows, left : left + columns] = levels
    return pasted


def paste_logits(probabilities: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask of a box in its picture as logits: float32 `(h, w)`, from 0 on where `paste_mask` is true.

    Args:
        probabilities: The mask within the box.
        box: x1, y1, x2, y2 in pixels of the picture.
        size: Height and width of the picture.
    """
    return (np.float32(paste_levels(probabilities, box, *size)) - (THRESHOLD + 0.5)) / _LEVELS_PER_LOGIT


def stretch_levels(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities as grey levels, uint8, from 0 for the lowest to 255 for the highest; zeros if all are equal."""
    levels = probabilities * np.float32(255)
    lowest, highest = levels.min(), levels.max()
    scale = np.float32(255 / (float(highest - lowest) or 1.0))
    return ((levels - lowest) * scale + np.float32(0.5)).astype(np.uint8)
