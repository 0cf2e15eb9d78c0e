"""The box of one expression, in the picture."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from cmpc_tf2.preprocessing.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True, eq=False)
class BoxPrediction:
    """The result for one expression.

    Attributes:
        box: x1, y1, x2, y2 in pixels of the picture, within it: float32 `(4,)`.
        score: How sure the model is, 0 to 1.
        size: Height and width of the picture.
        preprocessing: How the picture was fitted.
    """

    box: np.ndarray
    score: float
    size: tuple[int, int]
    preprocessing: Preprocessing

    @property
    def mask(self) -> np.ndarray:
        """The pixels of the box, bool `(h, w)`."""
        return mask_of(self.box, self.size)

    @property
    def bbox(self) -> list[float]:
        """As COCO has boxes: x, y, width and height in pixels."""
        x1, y1, x2, y2 = (round(float(value), 2) for value in self.box)
        return [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]

    def scored_mask(self, threshold: float = 0.5, refined_by: np.ndarray | None = None) -> tuple[np.ndarray, float]:
        """The pixels of the box, bool `(h, w)`, and its score; no argument changes them."""
        return self.mask, self.score

    def bands(self) -> Iterator[tuple[slice, np.ndarray]]:
        """As those of a mask: the score in the pixels of the box, float32 `(h, w)`, with the rows."""
        yield slice(None), self.mask * np.float32(self.score)

    def describe(self, expression: str) -> dict:
        """The result with the keys of COCO's results."""
        return {"expression": expression, "size": list(self.size), "bbox": self.bbox, "score": round(self.score, 6)}


def mask_of(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels that a box covers at least by half: bool `(h, w)`."""
    mask = np.zeros(size, bool)
    x1, y1, x2, y2 = np.floor(np.asarray(box, np.float64) + 0.5).astype(int)
    mask[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = True
    return mask
