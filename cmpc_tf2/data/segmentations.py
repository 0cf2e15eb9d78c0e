"""COCO segmentations as masks: polygons, and run-length encodings, compressed or not; and masks as run lengths."""

import itertools

import numpy as np

from cmpc_tf2.data.annotation_fields import describe
from cmpc_tf2.errors import InputError

# pycocotools takes some hundred bytes for each pixel that an outline passes.
_LONGEST_OUTLINE = 1_000_000


def encode_run_lengths(mask: np.ndarray) -> dict:
    """Encodes a mask, bool `(h, w)`, in COCO's compressed run-length encoding.

    Returns:
        `size`, height and width, and `counts`, text.
    """
    from pycocotools import mask as coco_mask

    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in mask.shape], "counts": encoded["counts"].decode("ascii")}


def run_lengths(mask: np.ndarray) -> np.ndarray:
    """The run lengths of a mask, bool `(h, w)`, as COCO has them without compression.

    Returns:
        Of background and object by turns, the background first, down the columns: int64 `(n,)`.
    """
    pixels = mask.T.ravel()
    return np.diff(np.flatnonzero(np.diff(pixels, prepend=False)), prepend=0, append=pixels.size)


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """The smallest box around a mask, bool `(h, w)`: x1, y1, x2, y2 in pixels; None if it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def coco_box(mask: np.ndarray) -> list[int]:
    """As `tight_box`, in COCO's form: x, y, width and height; zeros if the mask is empty."""
    x1, y1, x2, y2 = tight_box(mask) or (0, 0, 0, 0)
    return [x1, y1, x2 - x1, y2 - y1]


def rasterize(segmentation: list | dict, height: int, width: int) -> np.ndarray:
    """Draws a COCO segmentation: the union of its polygons, or of its run-length encodings, compressed or not.

    What lies outside the picture is cut off; polygons of fewer than three points are left out. Where run lengths end
    early, the rest is background.

    Returns:
        bool `(height, width)`.

    Raises:
        InputError: It is neither, it is of another size, or nothing of it is left.
    """
    parts = [segmentation] if isinstance(segmentation, dict) else segmentation
    if not isinstance(parts, list):
        raise InputError(
            f"has a segmentation of another form: expected polygons or run lengths, found {describe(parts)}"
        )
    if parts and all(isinstance(part, dict) for part in parts):
        runs = [_run_lengths(part, height, width) for part in parts]
    else:
        runs = [_outline_runs(parts, height, width)]
    mask = np.zeros(height * width, bool)
    for counts in runs:
        ends = list(itertools.accumulate(counts))
        for start, end in zip(ends[0::2], ends[1::2], strict=False):  # The last may be background.
            mask[start:end] = True
    return mask.reshape(width, height).T


def _outline_runs(polygons: list, height: int, width: int) -> list[int]:
    """The run lengths of the union of polygons."""
    from pycocotools import mask as coco_mask

    outlines = [_outline(polygon, 10 * max(height, width)) for polygon in polygons]
    outlines = [outline for outline in outlines if len(outline) >= 6]
    if not outlines:
        raise InputError(
            "has an empty segmentation: no polygon has three points; expected flat lists x1, y1, x2, y2, ..."
        )
    if sum(map(_length, outlines)) > _LONGEST_OUTLINE:
        raise InputError(f"has a segmentation whose outline is longer than {_LONGEST_OUTLINE} pixels")
    drawn = coco_mask.frPyObjects(outlines, height, width)
    # Not `coco_mask.decode`: NumPy swallows an interrupt while it converts what that returns.
    return _decode_counts(coco_mask.merge(drawn)["counts"])


def _outline(polygon: list, farthest: float) -> np.ndarray:
    if not isinstance(polygon, list):
        raise InputError(f"has a segmentation of another form: expected a list of polygons, found {describe(polygon)}")
    if not set(map(type, polygon)) <= {int, float}:
        odd = next(value for value in polygon if type(value) not in (int, float))
        raise InputError(f"has a segmentation of another form: expected x1, y1, x2, y2, ..., found {describe(odd)}")
    try:
        outline = np.array(polygon, float)
    except OverflowError:
        outline = np.array([np.inf])
    if not (np.abs(outline) <= farthest).all():
        raise InputError("has a segmentation with points far outside the picture")
    return outline


def _length(outline: np.ndarray) -> float:
    """Pixels that an outline passes."""
    points = outline[: len(outline) // 2 * 2].reshape(-1, 2)
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())


def _run_lengths(encoding: dict, height: int, width: int) -> list[int]:
    """The run lengths of an encoding, of background and object by turns, down the columns."""
    size, counts = encoding.get("size"), encoding.get("counts")
    if not isinstance(size, (list, tuple)) or len(size) != 2:
        raise InputError("has a segmentation of another form: expected `size` and `counts` of a run-length encoding")
    if list(size) != [height, width]:
        found = " x ".join(map(describe, size))
        raise InputError(f"has a mask of {found} pixels, its image is {height} x {width}")
    if isinstance(counts, (str, bytes)):
        counts = _decode_counts(counts.encode("utf-8", "surrogatepass") if isinstance(counts, str) else counts)
    elif not isinstance(counts, list) or not set(map(type, counts)) <= {int}:
        raise InputError("has a segmentation of another form: expected whole numbers or a compressed text as `counts`")
    if min(counts, default=0) < 0 or sum(counts) > height * width:
        raise InputError(f"has a segmentation whose run lengths do not fit {height} x {width} pixels")
    return counts


def _decode_counts(text: bytes) -> list[int]:
    """Run lengths from COCO's compressed form: numbers of 5 bits a character, each the difference to the last but one.

    Those of untrusted text can be negative, or more than a picture has.

    Source: `rleFrString` in `maskApi.c` of pycocotools.

    Raises:
        InputError: The text is cut off, or has other characters.
    """
    if not text:
        return []
    digits = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    is_last = digits & 32 == 0
    ends = np.flatnonzero(is_last)
    sizes = np.diff(ends, prepend=-1)
    if not is_last[-1] or digits.min() < 0 or digits.max() > 63 or sizes.max() > 7:  # 35 bits.
        raise InputError("has a segmentation whose compressed run lengths are damaged")
    starts = ends - sizes + 1
    places = np.arange(len(digits)) - np.repeat(starts, sizes)
    counts = np.add.reduceat((digits & 31) << 5 * places, starts)
    counts -= np.where(digits[ends] & 16, 1 << 5 * sizes, 0)  # The highest bit is the sign.
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    return counts.tolist()
