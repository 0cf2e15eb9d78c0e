"""Attention scores without the projection of every cell."""

import keras
from keras import ops


def projected_affinity(cells, projection: keras.layers.Dense, queries):
    """`(cells W + b) queries^T`, computed as `cells (W queries^T) + b queries^T`.

    That is exact, and where cells are many and queries few it saves most of the arithmetic.

    Args:
        cells: `(..., N, C)`.
        projection: A dense layer, C to D, without activation.
        queries: `(..., T, D)`.

    Returns:
        `(..., N, T)`.
    """
    keys = ops.matmul(queries, ops.transpose(projection.kernel))  # (..., T, C)
    offsets = ops.matmul(queries, projection.bias)  # (..., T)
    return ops.einsum("...nc,...tc->...nt", cells, keys) + offsets[..., None, :]
