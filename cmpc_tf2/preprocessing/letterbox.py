"""Where a picture lies in the square that a model of boxes sees, and boxes there and back."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Letterbox:
    """The place of a picture that is scaled to the longest side of a square and centred in it.

    A side never becomes shorter than one pixel, where the original fails.

    Source: the loader and the test of SijieSong/CVPR21-Cogrounding_semantic_attention (commit 7b0630a).

    Attributes:
        size: Side of the square in pixels.
        ratio: Pixels of the square per pixel of the picture.
        dw: Half of the columns of border, which may be half a pixel more than `left`.
        dh: Half of the rows of border.
    """

    size: int
    ratio: float
    dw: float
    dh: float

    @classmethod
    def of(cls, height: int, width: int, size: int) -> "Letterbox":
        """The place of a picture of this height and width."""
        ratio = size / max(height, width)
        rows, columns = (max(1, round(side * ratio)) for side in (height, width))
        return cls(size, ratio, (size - columns) / 2, (size - rows) / 2)

    @property
    def left(self) -> int:
        """Columns of border on the left."""
        return round(self.dw - 0.1)

    @property
    def right(self) -> int:
        """Columns of border on the right."""
        return round(self.dw + 0.1)

    @property
    def top(self) -> int:
        """Rows of border above."""
        return round(self.dh - 0.1)

    @property
    def bottom(self) -> int:
        """Rows of border below."""
        return round(self.dh + 0.1)

    @property
    def columns(self) -> int:
        """Columns of the scaled picture."""
        return self.size - self.left - self.right

    @property
    def rows(self) -> int:
        """Rows of the scaled picture."""
        return self.size - self.top - self.bottom

    def fit_box(self, box: np.ndarray) -> np.ndarray:
        """Boxes of the picture in the square, not rounded.

        Args:
            box: x1, y1, x2, y2 in pixels, `(..., 4)`.

        Returns:
            float64 `(..., 4)`.
        """
        return np.asarray(box, np.float64) * self.ratio + (self.dw, self.dh, self.dw, self.dh)

    def restore_box(self, box: np.ndarray) -> np.ndarray:
        """Boxes of the square in the picture, in the original's precision.

        The upper left corner is kept from lying left of or above the picture, the lower right one from lying right of
        or below it; nothing else, so that a box within the border can come back with its corners swapped. The size of
        the picture is computed from the letterbox and may differ from the real one by a pixel.

        Args:
            box: x1, y1, x2, y2 in pixels, `(..., 4)`.

        Returns:
            float32 `(..., 4)`.
        """
        ratio, dw, dh = np.float32([self.ratio, self.dw, self.dh])
        restored = (np.asarray(box, np.float32) - np.stack([dw, dh, dw, dh])) / ratio
        restored[..., :2] = np.maximum(restored[..., :2], 0)
        restored[..., 2:] = np.minimum(restored[..., 2:], [round(s / float(ratio)) for s in (self.columns, self.rows)])
        return restored
