"""Bilinear interpolation between the square that a model sees and a picture."""

from collections.abc import Iterator

import numpy as np

# Pixels of a large picture that are processed at once.
BAND_PIXELS = 2**19
WHOLE = (slice(None), slice(None))


def bilinear_bands(
    values: np.ndarray, height: int, width: int, border: str = "edge", window: tuple[slice, slice] = WHOLE
) -> Iterator[tuple[slice, np.ndarray]]:
    """Values at another size, a few rows at a time: in float64 a large picture's whole map takes hundreds of megabytes.

    Half-pixel centres, no anti-aliasing.

    Args:
        values: float `(h, w)`.
        height: Rows of the result.
        width: Columns of the result.
        border: Values outside the map: `edge` (the nearest pixel) or `constant` (zero).
        window: Rows and columns of the result to compute, as slices with both ends unless they are whole.

    Yields:
        Rows of the window, from its top, and their values, float64 `(n, columns of the window)`.
    """
    rows, columns = window
    padded = np.pad(values.astype(np.float64), 1, mode=border)
    row, row_share = (line[rows] for line in source_positions(values.shape[0], height))
    column, column_share = (line[columns] for line in source_positions(values.shape[1], width))
    padded = padded[row[0] : row[-1] + 2]  # The rows that the window needs; for a panorama, a few.
    lines = (1 - column_share) * padded[:, column] + column_share * padded[:, column + 1]
    row = row - row[0]
    for band in row_bands(len(row), len(column)):
        upper, share = row[band], row_share[band, None]
        yield band, (1 - share) * lines[upper] + share * lines[upper + 1]


def row_bands(height: int, width: int) -> Iterator[slice]:
    """The rows of a picture in bands of few pixels, for work whose intermediate results would take much memory."""
    step = max(1, BAND_PIXELS // width)
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def grow_mask(mask: np.ndarray, height: int, width: int, window: tuple[slice, slice] = WHOLE) -> np.ndarray:
    """The mask of where the bilinear interpolation of a mask is not zero, within a window of the result."""
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), bool)
    padded[1:-1, 1:-1] = mask
    lower, share = (line[window[0]] for line in source_positions(mask.shape[0], height))
    lines = padded[lower] | (padded[lower + 1] & (share > 0)[:, None])
    lower, share = (line[window[1]] for line in source_positions(mask.shape[1], width))
    return lines.take(lower, axis=1) | (lines.take(lower + 1, axis=1) & (share > 0))


def source_positions(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """For each output position the lower of its two neighbours, counted in an input padded by one, and the share of
    the upper one."""
    position = (np.arange(target) + 0.5) * (source / target) - 0.5
    lower = np.floor(position)
    return lower.astype(np.intp) + 1, position - lower
