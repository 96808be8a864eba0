"""Connected regions of bright pixels, found on runs: stretches of bright pixels in a row, `[start, end)`.

No label image is made. One read of the image turns it into one bit a pixel; the runs come out of the bits; runs of adjacent
rows that touch are joined by union-find. `parents` first holds, for each run, an earlier run of the same region (itself for
the first); `measure` then turns it into the number of the region's first run, and for that one into minus the region's size.
"""

import numpy as np

from ._jit import jit
from ._simd import LANES, bits_between, popcount, trailing_zeros


@jit
def bright_bits(image, masked, low, high, bits):
    """Set bit j of ``bits[row, i]`` where ``low <= image[row, 64 i + j] <= high`` and not `masked`; return the toggle count.

    Shapes: `image` (H, W), `masked` the same or (0, 0), `bits` (H, ceil(W / 64)), uint64; `low` and `high` are scalars of the
    image's dtype. A toggle is the start or the end of a run: there are twice as many as runs.
    """
    height, width = image.shape
    pixels = image.reshape(-1)
    whole = width // LANES
    toggles = np.uint64(0)
    for row in range(height):
        carry = np.uint64(0)
        for i in range(bits.shape[1]):
            word = np.uint64(0)
            if i < whole:
                word = bits_between(pixels, row * width + i * LANES, low, high)
            elif whole:
                # The last, partial word is the end of the 64 pixels that end with the row.
                word = bits_between(pixels, (row + 1) * width - LANES, low, high) >> np.uint64(LANES - width % LANES)
            else:
                for j in range(width):
                    word |= np.uint64(low <= image[row, j] <= high) << np.uint64(j)
            if masked.size:
                for j in range(min(LANES, width - i * LANES)):
                    word &= ~(np.uint64(masked[row, i * LANES + j]) << np.uint64(j))
            bits[row, i] = word
            toggles += popcount(word ^ ((word << np.uint64(1)) | carry))
            carry = word >> np.uint64(LANES - 1)
        toggles += carry
    return toggles


@jit
def runs_of_bits(bits, width, starts, ends, first):
    """Write the runs of `bits` (H, words) to `starts` and `ends` (n,); ``first[row]`` (H + 1,) is each row's first run."""
    n = 0
    for row in range(bits.shape[0]):
        first[row] = n
        inside = np.uint64(0)
        for i in range(bits.shape[1]):
            word = bits[row, i]
            toggles = word ^ ((word << np.uint64(1)) | inside)
            while toggles:
                column = i * LANES + np.int64(trailing_zeros(toggles))
                toggles &= toggles - np.uint64(1)
                if inside == np.uint64(0):
                    starts[n] = column
                else:
                    ends[n] = column
                    n += 1
                inside ^= np.uint64(1)
        if inside:
            ends[n] = width
            n += 1
    first[bits.shape[0]] = n


@jit
def root(parents, run):
    """First run of the region that `run` (uint64) belongs to so far; a long path to it is halved on the way."""
    while True:
        parent = np.uint64(parents[run])
        if parent == run:
            return run
        grandparent = np.uint64(parents[parent])
        if grandparent == parent:
            return parent
        parents[run] = grandparent
        run = grandparent


@jit
def touching(starts, ends, above, run, row_end, reach, pairs):
    """Write the pairs (run above, run) of two adjacent rows that touch to `pairs`; return how many.

    The first row's runs are those from `above` to `run`, the second's those from `run` to `row_end`. There is no branch but
    the loop's own: in noise neither what touches nor which run ends first can be predicted.
    """
    n = np.uint64(0)
    above, run, row_end = np.uint64(above), np.uint64(run), np.uint64(row_end)
    above_end = run
    while above < above_end and run < row_end:
        start, end = np.int32(starts[run]), np.int32(ends[run])
        other_start, other_end = np.int32(starts[above]), np.int32(ends[above])
        pairs[n, 0], pairs[n, 1] = above, run
        n += np.uint64((other_start < end + reach) & (start < other_end + reach))
        # Of the two, the one that ends first can touch nothing more.
        ahead = np.uint64(other_end < end)
        above += ahead
        run += np.uint64(1) - ahead
    return n


@jit
def join(starts, ends, first, reach, width, parents):
    """Join the runs of adjacent rows that overlap (`reach` 0: 4-connected) or touch at corners too (`reach` 1: 8-connected).

    `first` (rows + 1,) may be cut from a larger one: the rows then are a band, and `parents` of its runs must be set before.
    """
    pairs = np.empty((width + 2, 2), parents.dtype)
    for row in range(1, first.size - 1):
        for k in range(touching(starts, ends, first[row - 1], first[row], first[row + 1], reach, pairs)):
            a, b = np.uint64(pairs[k, 0]), np.uint64(pairs[k, 1])
            root_a, root_b = root(parents, a), root(parents, b)
            region = min(root_a, root_b)
            parents[max(root_a, root_b)] = parents[a] = parents[b] = region


@jit
def measure(starts, ends, parents):
    """Turn `parents` into first runs and, for these, minus the size [pixel] of the region; return how many regions."""
    regions = 0
    for run in range(np.uint64(parents.size)):
        size = np.int64(ends[run]) - np.int64(starts[run])
        parent = np.uint64(parents[run])
        if parent == run:
            parents[run] = -size
            regions += 1
        else:
            # Parents come before their children, so the parent is settled: a first run (negative) or one that names its own.
            grandparent = parents[parent]
            region = parent if grandparent < 0 else np.uint64(grandparent)
            parents[run] = region
            parents[region] -= size
    return regions


@jit
def drop_small(starts, ends, first, parents, min_size):
    """Take the runs of regions of fewer than `min_size` pixels out of `starts`, `ends` and `first`, in place."""
    kept = 0
    begin = 0
    for row in range(first.size - 1):
        end = first[row + 1]
        first[row] = kept
        for run in range(begin, end):
            size = -parents[run] if parents[run] < 0 else -parents[parents[run]]
            if size >= min_size:
                starts[kept] = starts[run]
                ends[kept] = ends[run]
                kept += 1
        begin = end
    first[-1] = kept


@jit
def first_moments(starts, ends, first, parents, region):
    """Number of pixels, sum of columns and sum of rows of the region whose first run is `region`, as exact integers."""
    size, sum_x, sum_y = 0, 0, 0
    for row in range(first.size - 1):
        for run in range(first[row], first[row + 1]):
            if run == region or parents[run] == region:
                start, end = np.int64(starts[run]), np.int64(ends[run])
                size += end - start
                sum_x += (end * (end - 1) - start * (start - 1)) // 2
                sum_y += (end - start) * row
    return size, sum_x, sum_y


@jit
def second_moments(starts, ends, first, parents, region, x0, y0):
    """Sums of (x - x0)^2, (x - x0)(y - y0) and (y - y0)^2 over the region, about the whole numbers x0, y0, in float64."""
    six_xx, two_xy, sum_yy = 0.0, 0.0, 0.0
    for row in range(first.size - 1):
        y = np.float64(row - y0)
        for run in range(first[row], first[row + 1]):
            if run == region or parents[run] == region:
                start, end = np.float64(starts[run]) - x0, np.float64(ends[run]) - x0
                # Twice the sum of k, and six times that of k^2, over start <= k < end
                two_xy += (end * (end - 1) - start * (start - 1)) * y
                six_xx += (end - 1) * end * (2 * end - 1) - (start - 1) * start * (2 * start - 1)
                sum_yy += (end - start) * y * y
    return six_xx / 6, two_xy / 2, sum_yy
