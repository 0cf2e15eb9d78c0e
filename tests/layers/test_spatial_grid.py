import numpy as np

from cmpc_tf2.layers.spatial_grid import spatial_grid


def test_cells_by_hand():
    grid = spatial_grid(2, 4)
    assert grid.shape == (2, 4, 8)
    # Row 1, column 3: the last quarter of the width, the lower half of the height.
    np.testing.assert_allclose(grid[1, 3], [0.5, 0, 1, 1, 0.75, 0.5, 1 / 4, 1 / 2])
    np.testing.assert_allclose(grid[0, 0], [-1, -1, -0.5, 0, -0.75, -0.5, 1 / 4, 1 / 2])
