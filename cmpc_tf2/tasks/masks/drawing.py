"""Masks drawn over their picture."""

import textwrap

import numpy as np

from cmpc_tf2.preprocessing.interpolation import row_bands

# Distinct on photographs and for colour-blind readers (Okabe and Ito), brightest first.
COLORS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
FILL = 0.45


def color_of(index: int) -> tuple[int, int, int]:
    """The colour of the mask with this index; colours repeat."""
    return COLORS[index % len(COLORS)]


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
    return drawn if captions is None else np.concatenate([drawn, _caption_lines(captions, *image.shape[:2])])


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
    """Pixels of the mask within a line's width of its edge; the line grows with the picture, but leaves narrow ones
    visible."""
    from scipy.ndimage import binary_erosion

    width = max(1, round(min(max(mask.shape) / 300, min(mask.shape) / 20)))
    return mask & ~binary_erosion(mask, iterations=width, border_value=1)


def _caption_lines(captions: list[str], height: int, width: int) -> np.ndarray:
    """Captions on white below a picture, each behind a bar of its mask's colour: uint8 `(n, width, 3)`."""
    from PIL import Image, ImageDraw, ImageFont

    font_size = max(10, round(min(width / 32, height / 4)))  # In proportion to panoramas, too.
    font = ImageFont.load_default(font_size)
    line_height, bar = round(1.4 * font_size), max(2, font_size // 3)
    columns = max(1, int((width - 3 * bar) / font.getlength("abcdefghijklmnopqrstuvwxyz ") * 27))
    wrapped = [textwrap.wrap(caption, columns) or [""] for caption in captions]
    strip = Image.new("RGB", (width, line_height * sum(map(len, wrapped)) + bar), "white")
    draw = ImageDraw.Draw(strip)
    top = bar // 2
    for index, lines in enumerate(wrapped):
        draw.rectangle((0, top, bar, top + line_height * len(lines) - 2), fill=color_of(index))
        for line in lines:
            draw.text((2 * bar, top), line, fill="black", font=font)
            top += line_height
    return np.asarray(strip)
