"""What the properties are tried on.

Corners are whole numbers on a small canvas, so that boxes touch, coincide and contain each other, and
every area and sum is exact in float32: what a property says then holds to the last bit.
"""

import numpy as np
from hypothesis import strategies as st

CANVAS = 40


def boxes(count, most=CANVAS, empty=False):
    """Strategy for (count, 4) float32 boxes on the canvas; ``empty``: also some without area."""
    least = 0 if empty else 1
    side = st.tuples(st.integers(0, most - 1), st.integers(least, most)).map(
        lambda start: (start[0], min(start[0] + start[1], most))
    )
    box = st.tuples(side, side).map(lambda xy: (xy[0][0], xy[1][0], xy[0][1], xy[1][1]))
    return st.lists(box, min_size=count, max_size=count).map(
        lambda rows: np.array(rows, "float32").reshape(-1, 4)
    )


def order(count, batch=1):
    """Strategy for (batch, count) int32: a permutation a row, as ``random_order`` makes them."""
    rows = [st.permutations(range(count))] * batch
    return st.tuples(*rows).map(lambda drawn: np.array(drawn, "int32").reshape(batch, count))
