"""Pictures and masks to the square that a model sees, and back, exactly as the original does it."""

from collections.abc import Iterator

import numpy as np

# Pixels of a large picture that are processed at once.
BAND_PIXELS = 2**19


def fit_image(image: np.ndarray, size: int) -> np.ndarray:
    """A picture as the model sees it: scaled to the largest size that fits a square, centred on black.

    Source: `resize_and_pad` in `util/im_processing.py` of CMPC-Refseg, then `img_as_ubyte`. The resampling is that of
    scikit-image 0.13: bilinear, half-pixel centres, black outside the picture, no anti-aliasing. OpenCV's differs
    outside the picture only, where it repeats the edge; a factor per row and column corrects for that.

    Differs from TF1: up to one level, on less than a tenth of the values, by rounding; and a side never becomes shorter
    than one pixel, where the original fails. Tested by `tests/preprocessing/test_resizing.py` and
    `tests/data/test_builder.py`.

    Args:
        image: uint8 `(h, w, 3)`.
        size: Side of the square.

    Returns:
        uint8 `(size, size, 3)`.
    """
    import cv2

    if image.shape[:2] == (size, size):
        return image
    rows, columns, top, left = _fitted_box(*image.shape[:2], size)
    resized = cv2.resize(image.astype(np.float32), (columns, rows), interpolation=cv2.INTER_LINEAR)
    if rows > image.shape[0] or columns > image.shape[1]:
        resized *= (
            _weight_inside(image.shape[0], rows)[:, None, None] * _weight_inside(image.shape[1], columns)[:, None]
        )
        resized = np.maximum(resized, image.min())  # scikit-image clips to the range of its input.
    fitted = np.zeros((size, size, 3), np.uint8)
    fitted[top : top + rows, left : left + columns] = np.rint(resized)
    return fitted


def fit_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """A mask, fitted as its picture is. Every pixel that the mask contributes to counts, so it grows by a rim.

    Source: `resize_and_pad` of the mask as float, then `> 0`, in `build_batches.py` of CMPC-Refseg.

    Args:
        mask: bool `(h, w)`.
        size: Side of the square.

    Returns:
        bool `(size, size)`.
    """
    rows, columns, top, left = _fitted_box(*mask.shape, size)
    fitted = np.zeros((size, size), bool)
    fitted[top : top + rows, left : left + columns] = _resize_mask(mask, rows, columns)
    return fitted


def restore_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """A mask of the fitted picture at the picture's own size, by the original's protocol: it grows by a rim.

    Source: `resize_and_crop` in `util/im_processing.py` of CMPC-Refseg; its result counts where it is not zero.

    Args:
        mask: bool `(S, S)`.
        height: Rows of the picture.
        width: Columns of the picture.

    Returns:
        bool `(height, width)`.
    """
    side, window = _covering_window(height, width)
    return _resize_mask(mask, side, side, window)


def restore_map(
    values: np.ndarray, height: int, width: int, border: str = "edge", dtype: type = np.float64
) -> np.ndarray:
    """Values for each pixel of the fitted picture at the picture's own size: `resize_and_crop` without a threshold.

    Args:
        values: float `(S, S)`.
        height: Rows of the picture.
        width: Columns of the picture.
        border: Values outside the map: `edge` (the nearest pixel) or `constant` (zero, the original's).
        dtype: Type of the result, which is computed in float64.

    Returns:
        `dtype` `(height, width)`.
    """
    restored = np.empty((height, width), dtype)
    for rows, band in restored_bands(values, height, width, border):
        restored[rows] = band
    return restored


def restored_bands(
    values: np.ndarray, height: int, width: int, border: str = "edge"
) -> Iterator[tuple[slice, np.ndarray]]:
    """`restore_map` a few rows at a time: in float64 a large picture's whole map takes hundreds of megabytes.

    Args: as `restore_map`.

    Yields:
        Rows of the picture, from the top, and their values, float64 `(n, width)`.
    """
    side, (rows, columns) = _covering_window(height, width)
    padded = np.pad(values.astype(np.float64), 1, mode=border)
    row, row_share = (line[rows] for line in _source_positions(values.shape[0], side))
    column, column_share = (line[columns] for line in _source_positions(values.shape[1], side))
    padded = padded[row[0] : row[-1] + 2]  # The rows that the window needs; for a panorama, a few.
    lines = (1 - column_share) * padded[:, column] + column_share * padded[:, column + 1]
    row = row - row[0]
    for band in row_bands(height, width):
        upper, share = row[band], row_share[band, None]
        yield band, (1 - share) * lines[upper] + share * lines[upper + 1]


def row_bands(height: int, width: int) -> Iterator[slice]:
    """The rows of a picture in bands of few pixels, for work whose intermediate results would take much memory."""
    step = max(1, BAND_PIXELS // width)
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def _fitted_box(height: int, width: int, size: int) -> tuple[int, int, int, int]:
    """Rows and columns of a picture fitted into a square, and the rows above and columns left of it."""
    scale = min(size / height, size / width)
    rows, columns = (max(1, int(np.round(side * scale))) for side in (height, width))
    return rows, columns, (size - rows) // 2, (size - columns) // 2


def _covering_window(height: int, width: int) -> tuple[int, tuple[slice, slice]]:
    """Side of the smallest square that covers a picture, and the picture's window in its centre."""
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    return side, (slice(top, top + height), slice(left, left + width))


def _resize_mask(
    mask: np.ndarray, height: int, width: int, window: tuple[slice, slice] = (slice(None), slice(None))
) -> np.ndarray:
    """The mask of where the bilinear interpolation of a mask is not zero, within a window of the result."""
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), bool)
    padded[1:-1, 1:-1] = mask
    lower, share = (line[window[0]] for line in _source_positions(mask.shape[0], height))
    lines = padded[lower] | (padded[lower + 1] & (share > 0)[:, None])
    lower, share = (line[window[1]] for line in _source_positions(mask.shape[1], width))
    return lines.take(lower, axis=1) | (lines.take(lower + 1, axis=1) & (share > 0))


def _source_positions(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """For each output position the lower of its two neighbours, counted in an input padded by one, and the share of
    the upper one."""
    position = (np.arange(target) + 0.5) * (source / target) - 0.5
    lower = np.floor(position)
    return lower.astype(np.intp) + 1, position - lower


def _weight_inside(source: int, target: int) -> np.ndarray:
    """For each output position the share of its neighbours that lies inside the input: float32 `(target,)`."""
    lower, share = _source_positions(source, target)
    return np.where(lower == 0, share, np.where(lower == source, 1 - share, 1)).astype(np.float32)
