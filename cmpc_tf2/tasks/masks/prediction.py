"""The mask of one expression, at the size of the picture."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator

import numpy as np

from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.tasks.masks.densecrf import refine_mask


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    """The result for one expression.

    Attributes:
        fitted_probabilities: float32 `(S, S)`, the model's output for the fitted picture.
        size: Height and width of the picture.
        preprocessing: How the picture was fitted.
    """

    fitted_probabilities: np.ndarray
    size: tuple[int, int]
    preprocessing: Preprocessing

    @functools.cached_property
    def probabilities(self) -> np.ndarray:
        """float32 `(h, w)`. Beyond the picture's edge the nearest value is repeated: a mask may touch the border."""
        return self.preprocessing.restore(self.fitted_probabilities, *self.size, dtype=np.float32)

    def bands(self) -> Iterator[tuple[slice, np.ndarray]]:
        """`probabilities` a few rows at a time, float32 `(n, w)`, with the rows; nothing is kept."""
        for rows, band in self.preprocessing.restore_bands(self.fitted_probabilities, *self.size):
            yield rows, band.astype(np.float32)

    @property
    def mask(self) -> np.ndarray:
        """bool `(h, w)`: probability of at least one half."""
        return self.mask_from(0.5)

    def mask_from(self, threshold: float) -> np.ndarray:
        """bool `(h, w)`: probability of at least the threshold. The probabilities are not kept."""
        return _threshold(self.bands(), self.size, threshold)

    def scored_mask(self, threshold: float = 0.5, refined_by: np.ndarray | None = None) -> tuple[np.ndarray, float]:
        """A mask with its score, the mean probability of its pixels, 0 to 1 (0 if it has none).

        Args:
            threshold: Probability from which a pixel counts.
            refined_by: The picture, uint8 RGB `(h, w, 3)`, if the mask is that of DenseCRF in place of the threshold.

        Returns:
            The mask, bool `(h, w)`, and the score.
        """
        mask = np.empty(self.size, bool) if refined_by is None else self.refined_mask(refined_by)
        total = 0.0
        for rows, probabilities in self.bands():
            if refined_by is None:
                mask[rows] = probabilities >= threshold
            total += probabilities[mask[rows]].sum(dtype=np.float64)
        return mask, float(total / max(np.count_nonzero(mask), 1))

    def refined_mask(self, image: np.ndarray) -> np.ndarray:
        """The mask after DenseCRF, bool `(h, w)`.

        Args:
            image: The picture, or the annotated frame: uint8 RGB `(h, w, 3)`.

        Raises:
            InputError: pydensecrf is not installed.
        """
        refined = refine_mask(self.fitted_probabilities, self.preprocessing.fit(image))
        return _threshold(self.preprocessing.restore_bands(refined, *self.size), self.size, 0.5)


def _threshold(bands: Iterable[tuple[slice, np.ndarray]], size: tuple[int, int], threshold: float) -> np.ndarray:
    mask = np.empty(size, bool)
    for rows, band in bands:
        mask[rows] = band >= threshold
    return mask
