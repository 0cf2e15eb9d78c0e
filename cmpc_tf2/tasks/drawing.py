"""Colors, lines and captions of drawn answers."""

import textwrap

import numpy as np

# Distinct on photographs and for colour-blind readers (Okabe and Ito), brightest first.
COLORS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))


def color_of(index: int) -> tuple[int, int, int]:
    """The colour of the mask with this index; colours repeat."""
    return COLORS[index % len(COLORS)]


def line_width(size: tuple[int, int]) -> int:
    """Width of lines in a picture, `(h, w)`, in pixels: it grows with the picture, but leaves narrow ones visible."""
    return max(1, round(min(max(size) / 300, min(size) / 20)))


def caption_lines(captions: list[str], height: int, width: int) -> np.ndarray:
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
