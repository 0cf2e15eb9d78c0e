"""Picture files."""

import io
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cmpc_tf2.data.image_decoding import decode_image, decode_mask
from cmpc_tf2.errors import InputError
from cmpc_tf2.files import replacing

# Longest side of a JPEG file in pixels, by Pillow's encoder.
JPEG_LONGEST_SIDE = 65_500


def read_image(path: str | os.PathLike, upright: bool = False) -> np.ndarray:
    """Reads a picture file; `image_decoding.decode_image` says which kinds.

    Args:
        path: The file.
        upright: Turn the picture as its metadata says, as viewers do. Data sets are annotated on the stored pixels,
            so their pictures are read without.

    Returns:
        uint8 `(h, w, 3)`, RGB.

    Raises:
        InputError: The file is missing, cannot be opened, or does not hold a picture that can be used.
    """
    with _opened(Path(path), "image") as file:
        return decode_image(file, str(path), upright)


def read_mask(path: str | os.PathLike) -> np.ndarray:
    """Reads a mask from a PNG file: the pixels that are not zero.

    Returns:
        bool `(h, w)`.

    Raises:
        InputError: The file is missing, cannot be opened, or is not a PNG file that can be used.
    """
    with _opened(Path(path), "mask") as file:
        return decode_mask(file, str(path))


def _opened(path: Path, contents: str) -> BinaryIO:
    try:
        if not path.is_file():
            raise InputError(f"{path}: no such {contents}" if not path.exists() else f"{path}: is not a file")
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}") from error


def write_image(path: str | os.PathLike, image: np.ndarray):
    """Writes a picture, whole or not at all.

    Args:
        path: The file; `.png`, or `.jpg` for pictures.
        image: uint8 RGB `(h, w, 3)`, RGBA `(h, w, 4)` for `.png`, or a mask, bool `(h, w)`, written as 0 and 255.

    Raises:
        InputError: The folder does not exist, the name ends otherwise, or the picture is too large for JPEG.
    """
    from PIL import Image

    pixels = image.astype(np.uint8) * 255 if image.dtype == bool else image
    require_image_name(path, lossless=image.dtype == bool)
    height, width = image.shape[:2]
    if Path(path).suffix.lower() != ".png" and max(height, width) > JPEG_LONGEST_SIDE:
        raise InputError(
            f"{path}: JPEG holds at most {JPEG_LONGEST_SIDE} pixels a side, found {width} x {height}; write a .png file"
        )
    with replacing(path) as partial:
        Image.fromarray(pixels).save(partial)


def encode_image(image: np.ndarray, file_format: str = "PNG") -> bytes:
    """Encodes a picture as the content of a file.

    Args:
        image: uint8 RGB `(h, w, 3)` or grey `(h, w)`, or a mask, bool `(h, w)`.
        file_format: As Pillow names it.
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, file_format)
    return file.getvalue()


def require_image_name(path: str | os.PathLike, lossless: bool = False):
    """Checks that a name ends in `.png`, or in `.jpg` where the pixels need not be exact.

    Raises:
        InputError: It does not.
    """
    allowed = (".png",) if lossless else (".png", ".jpg", ".jpeg")
    if Path(path).suffix.lower() not in allowed:
        raise InputError(f"{path}: expected a name that ends in {' or '.join(allowed)}")
