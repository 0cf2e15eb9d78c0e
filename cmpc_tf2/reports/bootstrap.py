"""Bootstrap intervals of scores.

The expressions of a picture are not independent: they share its pixels, and often the object. So pictures are drawn
with replacement, each with all its samples (cluster bootstrap: Davison and Hinkley, "Bootstrap Methods and their
Application", 1997, section 3.8), and an interval is that between two percentiles of the resamples' scores (Efron and
Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).
"""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
SEED = 0
CONFIDENCE = 0.95
# Resamples that are drawn at once: they take a number for each of their pictures.
_CHUNK = 100


def resampled_sums(columns: np.ndarray, clusters: Sequence) -> np.ndarray:
    """Sums over the samples of every resample. The resamples follow from the number of clusters alone.

    Args:
        columns: float64 `(N, K)`, numbers of each sample.
        clusters: The cluster of each sample, such as its picture: values that can be hashed.

    Returns:
        float64 `(R, K)`.
    """
    sums = sums_by_cluster(columns, clusters)
    count, rng = len(sums), np.random.default_rng(SEED)
    found = np.empty((RESAMPLES, sums.shape[1]))
    for first in range(0, RESAMPLES, _CHUNK):
        rows = min(_CHUNK, RESAMPLES - first)
        drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        found[first : first + rows] = times.astype(np.float64) @ sums
    return found


def sums_by_cluster(columns: np.ndarray, clusters: Sequence) -> np.ndarray:
    """Sums over the samples of every cluster, in the order in which the clusters appear: float64 `(C, K)`."""
    numbers = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters))}
    numbered = np.array([numbers[cluster] for cluster in clusters])
    order = np.argsort(numbered, kind="stable")
    starts = np.searchsorted(numbered[order], np.arange(len(numbers)))
    return np.add.reduceat(columns[order], starts, axis=0)


def intervals(values: np.ndarray) -> np.ndarray:
    """Percentile intervals over the resamples.

    Args:
        values: float64 `(R, ...)`; NaN in resamples for which a value is not defined, which do not count.

    Returns:
        float64 `(..., 2)`, lower and upper end; NaN if no resample counts.
    """
    tail = (1 - CONFIDENCE) / 2
    is_defined = ~np.isnan(values).all(axis=0)
    found = np.full((*values.shape[1:], 2), np.nan)
    quantile = np.nanquantile if np.isnan(values).any() else np.quantile
    found[is_defined] = quantile(values[:, is_defined], [tail, 1 - tail], axis=0).T
    return found
