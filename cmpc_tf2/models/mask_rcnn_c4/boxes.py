"""Boxes from the offsets that the network predicts. Boxes are x1, y1, x2, y2 in pixels, both corners included."""

import numpy as np
from keras import ops

# Factors of the offsets of classes; the network predicts numbers of about the same variance.
OFFSET_SCALES = np.float32([0.1, 0.1, 0.2, 0.2])


def decode(boxes, offsets):
    """Boxes that are shifted and scaled.

    The size of a box counts both corners. As in the original, the corners of the result are one pixel too far apart for
    that.

    Args:
        boxes: `(..., 4)`.
        offsets: `(..., 4)`: shifts of the centre in x and y as shares of the size, logarithms of the factors of width
            and height.

    Returns:
        `(..., 4)`.
    """
    x1, y1, x2, y2 = ops.unstack(boxes, axis=-1)
    shift_x, shift_y, log_width, log_height = ops.unstack(offsets, axis=-1)
    width, height = x2 - x1 + 1, y2 - y1 + 1
    x = shift_x * width + (x1 + 0.5 * width)
    y = shift_y * height + (y1 + 0.5 * height)
    half_width, half_height = 0.5 * (ops.exp(log_width) * width), 0.5 * (ops.exp(log_height) * height)
    return ops.stack([x - half_width, y - half_height, x + half_width, y + half_height], axis=-1)


def clip(boxes, height, width):
    """Boxes whose corners are moved into a picture.

    Args:
        boxes: `(..., 4)`.
        height: Rows of the picture.
        width: Its columns.
    """
    return ops.minimum(ops.maximum(boxes, 0.0), _last_pixel(height, width))


def refine(boxes, offsets, height, width):
    """The boxes of all classes.

    Their left and upper sides are kept from lying left of or above the picture, the others from lying right of or below
    it. A box that lies outside has its corners swapped afterwards.

    Args:
        boxes: Proposals in pixels of the picture, `(n, 4)`.
        offsets: From the box head, `(n, classes, 4)`.
        height: Rows of the picture.
        width: Its columns.

    Returns:
        `(n, classes, 4)`.
    """
    refined = decode(boxes[:, None], offsets * OFFSET_SCALES)
    corner = ops.minimum(refined[..., 2:], _last_pixel(height, width)[2:])
    return ops.concatenate([ops.maximum(refined[..., :2], 0.0), corner], axis=-1)


def _last_pixel(height, width):
    x, y = (ops.cast(side, "float32") - 1 for side in (width, height))
    return ops.stack([x, y, x, y])
