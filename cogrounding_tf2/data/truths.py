"""The boxes that the models are trained for and tested against, in the original's precision."""

import numpy as np

from cmpc_tf2.preprocessing.letterbox import Letterbox


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
