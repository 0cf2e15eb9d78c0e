"""Boxes drawn over their picture."""

import numpy as np

from cmpc_tf2.tasks.drawing import caption_lines, color_of, line_width

TARGET_COLOR = (255, 255, 255)


def draw_boxes(
    image: np.ndarray,
    boxes: list[np.ndarray],
    captions: list[str] | None = None,
    target: np.ndarray | None = None,
) -> np.ndarray:
    """Draws each box in its own color, and adds captions below.

    Args:
        image: uint8 RGB `(h, w, 3)`; left as it is.
        boxes: x1, y1, x2, y2 in pixels, `(4,)` each.
        captions: A caption for each box, added below the picture; None adds none.
        target: Ground truth, as a box; it is drawn in white, below the others.

    Returns:
        uint8 RGB `(h, w, 3)`, with captions `(h + n, w, 3)`.
    """
    drawn = image.copy()
    if target is not None:
        _draw(drawn, target, TARGET_COLOR)
    for index, box in enumerate(boxes):
        _draw(drawn, box, color_of(index))
    return drawn if captions is None else np.concatenate([drawn, caption_lines(captions, *image.shape[:2])])


def _draw(image: np.ndarray, box: np.ndarray, color: tuple[int, int, int]):
    import cv2

    height, width = image.shape[:2]
    thickness = 2 * line_width((height, width)) - 1  # Odd, so that the line is centred on the edge.
    x1, y1, x2, y2 = np.round(np.asarray(box, np.float64)).astype(int)
    corners = (int(np.clip(x1, 0, width - 1)), int(np.clip(y1, 0, height - 1)))
    opposite = (int(np.clip(x2 - 1, 0, width - 1)), int(np.clip(y2 - 1, 0, height - 1)))
    cv2.rectangle(image, corners, opposite, color, thickness)
