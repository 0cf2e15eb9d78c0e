"""The boxes that the models propose, in their order."""

import numpy as np

from cogrounding_tf2.config import ANCHORS, ANCHORS_SIZE, GRIDS, PROPOSED

# Cells along a side of the grid of each anchor, `(9,)`, and its width and height in cells, `(9, 2)`.
SIDES = np.repeat(GRIDS, PROPOSED)
ANCHORS_IN_CELLS = np.array(ANCHORS) / (ANCHORS_SIZE / SIDES[:, None])
# Number of the first place of the scale of each anchor.
FIRST_PLACES = np.repeat(np.cumsum([0, *np.square(GRIDS)[:-1]]), PROPOSED)


def _make_table() -> dict[str, np.ndarray]:
    rows = []
    for anchor, side in enumerate(SIDES):
        row, column = np.indices((side, side)).reshape(2, -1)
        place = FIRST_PLACES[anchor] + row * side + column
        rows.append(np.stack([place, np.full_like(place, anchor), row, column, np.full_like(place, side)]))
    return dict(zip(("place", "anchor", "row", "column", "side"), np.concatenate(rows, axis=1), strict=True))


# For each of the 4032 proposals, in the order scale, anchor, row, column: the place, in the order scale, row, column;
# the anchor; row and column of the cell; and cells along a side of the grid.
PROPOSALS = _make_table()
