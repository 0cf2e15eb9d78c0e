"""Pictures: reading, resizing exactly as the original does, and the network's input form."""

import os
from pathlib import Path

import numpy as np

from cmpc_tf2.errors import InputError
from cmpc_tf2.files import replacing

# Caffe's mean of ImageNet, in the order blue, green, red.
BGR_MEAN = np.array([104.00698793, 116.66876762, 122.67891434], dtype=np.float32)


def read_image(path: str | os.PathLike, upright: bool = False) -> np.ndarray:
    """Reads a picture of any usual kind: grey, palette, RGB, RGBA (alpha is dropped), CMYK, 16-bit grey.

    Args:
        path: The file.
        upright: True turns the picture as its EXIF orientation says, as viewers do. Data sets are annotated on the
            stored pixels, so their pictures are read without.

    Returns:
        uint8 `(h, w, 3)`, RGB.

    Raises:
        InputError: The file is missing, or is not a whole picture.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such image" if not path.exists() else f"{path}: is not a file")
    try:
        with Image.open(path) as image:
            image.load()
            if upright:
                image = ImageOps.exif_transpose(image)
            if image.mode == "F":
                raise InputError(f"{path}: holds floating-point pixels; expected 8 or 16 bits per channel")
            if image.mode.startswith("I"):  # 16 bits, or 16 bits held in 32
                values = np.asarray(image, dtype=np.float64)
                image = Image.fromarray(np.clip(np.rint(values / 257), 0, 255).astype(np.uint8))
            return np.asarray(image.convert("RGB"))
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: too many pixels to read: {error}") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: not a readable image: {error}") from error


def write_image(path: str | os.PathLike, image: np.ndarray):
    """Writes a picture, whole or not at all.

    Args:
        path: The file; `.png`, or `.jpg` for pictures.
        image: uint8 RGB `(h, w, 3)`, or a mask, bool `(h, w)`, written as 0 and 255.

    Raises:
        InputError: The folder does not exist, or the name ends otherwise.
    """
    from PIL import Image

    pixels = image.astype(np.uint8) * 255 if image.dtype == bool else image
    require_image_name(path, lossless=image.dtype == bool)
    with replacing(path) as partial:
        Image.fromarray(pixels).save(partial)


def require_image_name(path: str | os.PathLike, lossless: bool = False):
    """Checks that a name ends in `.png`, or in `.jpg` where the pixels need not be exact.

    Raises:
        InputError: It does not.
    """
    allowed = (".png",) if lossless else (".png", ".jpg", ".jpeg")
    if Path(path).suffix.lower() not in allowed:
        raise InputError(f"{path}: expected a name that ends in {' or '.join(allowed)}")


def resize_and_pad(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Fits a picture or mask into a rectangle: scaled to the largest size that fits, centred on black.

    Source: `resize_and_pad` in `util/im_processing.py` of CMPC-Refseg, with scikit-image 0.13's `resize`: bilinear,
    half-pixel centres, zero outside the image, no anti-aliasing.

    Differs from TF1: a side never becomes shorter than one pixel; the original fails there.

    Args:
        image: `(h, w)` or `(h, w, C)`; uint8 is scaled to 0..1, floats are kept.
        height: Rows of the result.
        width: Columns of the result.

    Returns:
        float64 `(height, width)` or `(height, width, C)`.
    """
    source_height, source_width = image.shape[:2]
    scale = min(height / source_height, width / source_width)
    resized_height = max(1, int(np.round(source_height * scale)))
    resized_width = max(1, int(np.round(source_width * scale)))
    top = (height - resized_height) // 2
    left = (width - resized_width) // 2
    padded = np.zeros((height, width, *image.shape[2:]))
    padded[top : top + resized_height, left : left + resized_width] = _resize(image, resized_height, resized_width)
    return padded


def resize_and_crop(image: np.ndarray, height: int, width: int, border: str = "constant") -> np.ndarray:
    """The way back from `resize_and_pad`: scaled to the smallest size that covers the rectangle, centre cut out.

    Source: `resize_and_crop` in `util/im_processing.py` of CMPC-Refseg.

    Args:
        image: `(h, w)` or `(h, w, C)`.
        height: Rows of the result.
        width: Columns of the result.
        border: What lies outside the image: `constant` (zero, the original's) or `edge` (the nearest pixel).

    Returns:
        float64 `(height, width)` or `(height, width, C)`.
    """
    source_height, source_width = image.shape[:2]
    scale = max(height / source_height, width / source_width)
    resized_height = int(np.round(source_height * scale))
    resized_width = int(np.round(source_width * scale))
    top = (resized_height - height) // 2
    left = (resized_width - width) // 2
    window = (slice(top, top + height), slice(left, left + width))
    return _resize(image, resized_height, resized_width, border, window)


def fit_image(image: np.ndarray, size: int) -> np.ndarray:
    """A picture as the model sees it: `resize_and_pad`, rounded back to whole levels.

    Args:
        image: uint8 `(h, w, 3)`.
        size: Side of the result.

    Returns:
        uint8 `(size, size, 3)`.
    """
    return np.rint(resize_and_pad(image, size, size) * 255).astype(np.uint8)


def subtract_mean(image: np.ndarray) -> np.ndarray:
    """The network's input: float32, blue first, minus the mean; not scaled.

    Args:
        image: uint8 RGB `(..., 3)`.

    Returns:
        float32 BGR `(..., 3)`.
    """
    return image[..., ::-1].astype(np.float32) - BGR_MEAN


def _resize(
    image: np.ndarray,
    height: int,
    width: int,
    border: str = "constant",
    window: tuple[slice, slice] = (slice(None), slice(None)),
) -> np.ndarray:
    """scikit-image 0.13's `resize`, axis by axis instead of pixel by pixel: the same sums in the same order.

    Like it, clips to the range of the input, except for zeros that come from outside the image. Of the result only the
    rows and columns of the window are computed.
    """
    image = image / 255 if image.dtype == np.uint8 else image.astype(np.float64)
    if image.shape[:2] == (height, width):
        return image[window]
    per_row = (-1, *[1] * (image.ndim - 1))
    per_column = (1, -1, *[1] * (image.ndim - 2))
    padded = np.pad(image, [(1, 1), (1, 1), *[(0, 0)] * (image.ndim - 2)], mode=border)

    column, weight = (values[window[1]] for values in _source_positions(image.shape[1], width))
    weight = weight.reshape(per_column)
    lines = (1 - weight) * padded[:, column] + weight * padded[:, column + 1]
    row, weight = (values[window[0]] for values in _source_positions(image.shape[0], height))
    weight = weight.reshape(per_row)
    resized = (1 - weight) * lines[row] + weight * lines[row + 1]

    low, high = image.min(), image.max()
    if low <= 0 <= high:
        return resized.clip(low, high)
    return np.where(resized == 0, 0, resized.clip(low, high))


def _source_positions(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """For each output position the lower of its two neighbours, counted in an input padded by one, and the share of
    the upper one."""
    position = (np.arange(target) + 0.5) * (source / target) - 0.5
    lower = np.floor(position)
    return lower.astype(np.intp) + 1, position - lower
