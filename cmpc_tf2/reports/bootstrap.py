"""Bootstrap intervals of scores.

The expressions of a picture are not independent: they share its pixels, and often the object. So pictures are drawn
with replacement, each with all its samples (cluster bootstrap: Davison and Hinkley, "Bootstrap Methods and their
Application", 1997, section 3.8), and an interval is that between two percentiles of the resamples' scores (Efron and
Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).
"""

from collections.abc import Sequence

import numpy as np
import scipy.sparse

RESAMPLES = 2000
SEED = 0
CONFIDENCE = 0.95
# Resamples that are drawn at once: they take a number for each of their pictures.
_CHUNK = 100


def resampled_sums(columns: np.ndarray, clusters: Sequence, groups: list[list[int]]) -> np.ndarray:
    """Sums over the samples of groups, in every resample. The resamples follow from the number of clusters alone.

    Args:
        columns: float64 `(N, K)`, numbers of each sample.
        clusters: The cluster of each sample, such as its picture: values that can be hashed.
        groups: Positions of the samples of each group.

    Returns:
        float64 `(R, G, K)`.
    """
    sums = sums_by_cluster(columns, clusters, groups)
    count, rng = sums.shape[1], np.random.default_rng(SEED)
    found = np.empty((RESAMPLES, sums.shape[0]))
    for first in range(0, RESAMPLES, _CHUNK):
        rows = min(_CHUNK, RESAMPLES - first)
        drawn = rng.integers(count, size=(rows, count), dtype=np.int32)
        numbered = drawn * rows + np.arange(rows)[:, None]
        times = np.bincount(numbered.ravel(), minlength=count * rows).reshape(count, rows)
        found[first : first + rows] = (sums @ times.astype(np.float64)).T
    return found.reshape(RESAMPLES, len(groups), columns.shape[1])


def sums_by_cluster(columns: np.ndarray, clusters: Sequence, groups: list[list[int]]) -> scipy.sparse.csr_array:
    """Sums over the samples of every group in every cluster; arguments as `resampled_sums`.

    Returns:
        float64 `(G K, C)`. Most are 0: few groups have samples of a cluster.
    """
    numbers = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters))}
    numbered = np.array([numbers[cluster] for cluster in clusters])
    positions = np.concatenate(groups).astype(int)
    group_numbers = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    width = columns.shape[1]
    rows = group_numbers[:, None] * width + np.arange(width)
    values, places = columns[positions].ravel(), (rows.ravel(), np.repeat(numbered[positions], width))
    return scipy.sparse.csr_array((values, places), shape=(len(groups) * width, len(numbers)))


def intervals(values: np.ndarray) -> np.ndarray:
    """Percentile intervals over the resamples.

    Args:
        values: float64 `(R, S)`; NaN in resamples without samples, which do not count.

    Returns:
        float64 `(S, 2)`, lower and upper end; NaN if no resample counts.
    """
    counted = values[~np.isnan(values).any(axis=1)]
    if not len(counted):
        return np.full((values.shape[1], 2), np.nan)
    tail = (1 - CONFIDENCE) / 2
    return np.quantile(counted, [tail, 1 - tail], axis=0).T
