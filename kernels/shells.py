"""Pixels within a shell or a ball: their indices, in raster order."""

import numpy as np

from ._jit import jit


@jit
def reach(rest, at, low, high, width, columns):
    """Columns of one row that may have a distance between `low` and `high`, as two spans [a, b) and [c, d) in `columns`.

    A pixel more at either end than the roots say: the caller looks at each.
    """
    outer = np.sqrt(max(high * high - rest, 0.0))
    inner = np.sqrt(max(low * abs(low) - rest, 0.0))
    columns[0] = min(max(np.floor(at - outer) - 1.0, 0.0), width)
    columns[1] = min(max(np.ceil(at - inner) + 2.0, 0.0), width)
    columns[2] = min(max(np.floor(at + inner) - 1.0, columns[1]), width)
    columns[3] = min(max(np.ceil(at + outer) + 2.0, columns[2]), width)


@jit
def within(rest, at, middle, half, pixels):
    """Indices (flat) of pixels whose distance is less than `half` from `middle`, into `pixels`; return how many there are.

    `rest` holds for each row the squared distance by all axes but the last, whose centre is at column `at`; `pixels` may be
    of length 0, to count only. The width of a row is the last element of `at`.
    """
    column, width = at[0], np.int64(at[1])
    spans = np.empty(4)
    n = 0
    for row in range(rest.size):
        if rest[row] > (middle + half + 1.0) ** 2:
            continue
        reach(rest[row], column, middle - half, middle + half, width, spans)
        for side in range(2):
            for x in range(np.int64(spans[2 * side]), np.int64(spans[2 * side + 1])):
                if abs(np.sqrt(rest[row] + (x - column) ** 2) - middle) < half:
                    if pixels.size:
                        pixels[n] = row * width + x
                    n += 1
    return n
