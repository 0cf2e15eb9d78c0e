"""Decodes pictures, by the same rules for files, uploads and frames of clips."""

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from cmpc_tf2.data.image_metadata import without_metadata
from cmpc_tf2.errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
# Several pictures in a file of these formats are an animation. Elsewhere the first one is the picture, and the others
# are its previews (MPO, which cameras write as JPEG) or smaller copies (TIFF).
ANIMATED_FORMATS = ("PNG", "WEBP", "GIF", "AVIF")
# Pillow opens no picture with more pixels.
MAX_PIXELS = 178_956_970
# The first bytes of a PNG file.
_PNG = b"\x89PNG\r\n\x1a\n"
# TIFF's codes: kinds of values (unsigned, unspecified), and grey from white to black.
_UNSIGNED = {1, 4}
_WHITE_IS_ZERO = 0
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class TooManyPixelsError(InputError):
    """A picture has more pixels than may be decoded."""


class _UnreadableError(InputError):
    """A decoder cannot read a file."""


def decode_image(
    file: BinaryIO, name: str, upright: bool = False, max_pixels: int = MAX_PIXELS, shortest_side: int = 1
) -> np.ndarray:
    """Decodes a JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF file that holds one picture.

    Grey values of 16 bits are scaled to 8. CMYK is converted to RGB, transparency is ignored, and so is damaged
    metadata.

    Args:
        file: Its content.
        name: Its name in messages.
        upright: Turn the picture as its metadata says. Otherwise the pixels are returned as they are stored.
        max_pixels: The most pixels that are decoded.
        shortest_side: The least height and width, in pixels.

    Returns:
        uint8 `(h, w, 3)`, RGB.

    Raises:
        TooManyPixelsError: It has more than `max_pixels`.
        InputError: It has another format, is damaged, animated or too small, or its values have no meaning in 8 bits.
    """
    try:
        return _decode(file, name, upright, max_pixels, shortest_side)
    except _UnreadableError:
        with _decoding(name, max_pixels):
            file.seek(0)
            content = file.read()
        bare = without_metadata(content)
        if bare is None:
            raise
        return _decode(io.BytesIO(bare), name, upright, max_pixels, shortest_side)


def _decode(file: BinaryIO, name: str, upright: bool, max_pixels: int, shortest_side: int) -> np.ndarray:
    with _decoding(name, max_pixels):
        image = Image.open(file, formats=FORMATS)
        is_animated = image.format in ANIMATED_FORMATS and image.is_animated
    width, height = image.size
    if width * height > max_pixels:
        raise TooManyPixelsError(f"{name}: expected at most {max_pixels} pixels, found {width} x {height}")
    if min(width, height) < shortest_side:
        raise InputError(f"{name}: expected sides of at least {shortest_side} pixels, found {width} x {height}")
    if is_animated:
        raise InputError(f"{name}: is animated; save one frame of it as PNG or JPEG, and use that")
    tags = getattr(image, "tag_v2", {})  # Only TIFF files have them.
    if image.mode in ("I", "F") or not _UNSIGNED.issuperset(tags.get(TiffImagePlugin.SAMPLEFORMAT, ())):
        raise InputError(
            f"{name}: expected unsigned values of 8 or 16 bits, found signed, 32-bit or floating-point ones; "
            "convert it to 8 bits"
        )
    is_16_bit = image.mode.startswith("I;16")
    levels = _levels_of_8_bits(tags) if is_16_bit else None
    with _decoding(name, max_pixels):
        if image.format == "TIFF":
            image.load_end = lambda: None  # Pillow would turn the picture here, and fail on damaged metadata.
        image.load()
        image._size = image.im.size  # Pillow has swapped the sides of TIFF files that it would have turned.
        turn = _TURNS.get(_orientation(image)) if upright else None
        if is_16_bit:  # Pillow's conversion would clip.
            image = image.convert("I").point(levels, "L")
        if image.mode != "RGB":
            image = image.convert("RGB")
        return np.asarray(image if turn is None else image.transpose(turn))


def decode_mask(file: BinaryIO, name: str) -> np.ndarray:
    """Decodes a PNG file as a mask.

    Args:
        file: Its content.
        name: Its name in messages.

    Returns:
        bool `(h, w)`: the pixels whose value, palette index or color is not zero. Transparency is ignored.

    Raises:
        InputError: It is not a PNG file, or is damaged, animated or too large.
    """
    if file.read(len(_PNG)) != _PNG:
        raise InputError(f"{name}: expected a mask in a PNG file, found something else; save it as PNG")
    file.seek(0)
    with _decoding(name, MAX_PIXELS):
        image = Image.open(file, formats=("PNG",))
        if not image.is_animated:
            values = np.asarray(image)
    if image.is_animated:
        raise InputError(f"{name}: is animated; save one frame of it as PNG, and use that")
    if values.ndim == 2:
        return values != 0
    colors = values[..., :-1] if image.mode in ("LA", "RGBA") else values
    return colors.any(axis=2)


@contextlib.contextmanager
def _decoding(name: str, max_pixels: int) -> Iterator[None]:
    """Reports all exceptions of Pillow as errors of the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of damaged metadata.
            yield
    except Image.DecompressionBombError as error:
        raise TooManyPixelsError(f"{name}: expected at most {max_pixels} pixels, found more") from error
    except UnidentifiedImageError as error:
        raise _UnreadableError(
            f"{name}: not a readable image; expected a whole JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF file, "
            "with unsigned values of 8 or 16 bits"
        ) from error
    except MemoryError as error:
        raise InputError(f"{name}: not a readable image: decoding it takes more memory than there is") from error
    except Exception as error:  # Decoders raise almost anything: RuntimeError, struct.error, TypeError, ...
        reason = f": {' '.join(str(error).split())}" if isinstance(error, OSError) else ""
        raise _UnreadableError(f"{name}: not a readable image: damaged or cut off{reason}") from error


def _orientation(image: Image.Image) -> int:
    """How a loaded picture is to be turned, from 1 (not at all) to 8; 1 if its metadata is too damaged to tell."""
    try:
        tags = image.tag_v2 if image.format == "TIFF" else image.getexif()
        return tags.get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow's reader of metadata raises almost anything, too.
        return 1


def _levels_of_8_bits(tags: Mapping) -> list[float]:
    """The 8-bit grey value of each 16-bit one.

    Args:
        tags: Those of a TIFF file. They say whether it uses only 12 of the bits, and whether zero is white.
    """
    (bits,) = tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))
    is_inverted = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO
    levels = np.interp(np.arange(2**16), (0, 2 ** int(bits) - 1), (255, 0) if is_inverted else (0, 255))
    return np.rint(levels).tolist()
