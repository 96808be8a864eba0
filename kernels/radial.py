"""Sums over the shells of an image or a volume: mean, deviation, median of the pixels at each distance from a centre.

The shell of a pixel is its distance from the centre, rounded: ``rint(sqrt(...))`` in float64, halves to even. The kernels
estimate it in float32 and settle the few pixels that come near an edge, so that it is always the exact one.

All axes but the last are counted through: `rest` holds, for each row, what the axes but the last contribute to the squared
distance, `across` what the last one does, for each column. Frames, their `shells` and `masked` (a bool array, or of length 0)
are flat. Sums are taken in parts of a fixed number of pixels: results do not depend on the number of threads.
"""

import numpy as np

from ._bands import in_bands
from ._jit import jit, read_only
from ._simd import add_pair

BLOCK = 128  # pixels that are looked at singly where one of them needs it: near the edge of a shell, masked, not finite
CHUNK = 1024  # pixels that are added at once, in the first-level cache
PART = 1 << 19  # pixels of one part
ROUNDS = 100  # of clipping, at most: it ends by itself when nothing is left out any more
NO_MASK = np.zeros(0, bool)


@jit(fastmath=True)
def estimate(across32, rest, window, shells):
    """Shells of pixels, from float32; return whether one of them comes closer to an edge than `window`."""
    half = np.float32(0.5)
    limit, near = half - window, False
    for i in range(across32.size):
        radius = np.sqrt(across32[i] + rest) + half
        shell = np.int32(radius)
        shells[i] = shell
        near |= abs(radius - np.float32(shell) - half) > limit
    return near


@jit
def settle(across, across32, rest, window, shells):
    """The exact shells of those pixels that `estimate` was not sure of."""
    half = np.float32(0.5)
    rest32 = np.float32(rest)
    for i in range(across.size):
        radius = np.sqrt(across32[i] + rest32) + half
        if not abs(radius - np.float32(np.int32(radius)) - half) <= half - window:
            shells[i] = np.int32(np.rint(np.sqrt(rest + across[i])))


@jit
def find_shells(across, across32, rest, window, shells):
    """Exact shells of pixels of one row."""
    for i in range(0, across.size, BLOCK):
        if estimate(across32[i:i + BLOCK], np.float32(rest), window, shells[i:i + BLOCK]):
            settle(across[i:i + BLOCK], across32[i:i + BLOCK], rest, window, shells[i:i + BLOCK])


@jit(fastmath=True)
def add_clean(values, shells, shift, sums):
    """Add values, and their squares, about each shell's shift; in turn to the two rows of `sums` that a shell has.

    An addition waits for the one before to the same place, and neighbours are often of one shell.
    """
    one = np.uint64(1)
    for i in range(values.size):
        k = np.uint64(shells[i])
        value = np.float64(values[i]) - shift[k]
        add_pair(sums, k << one | np.uint64(i) & one, value, value * value)


@jit
def add_checked(values, masked, shells, shift, sums, lost):
    """As `add_clean`, but for masked pixels and those that are not finite: they are counted in `lost`."""
    for i in range(values.size):
        k = np.int64(shells[i])
        if np.isfinite(values[i]) and not (masked.size and masked[i]):
            value = np.float64(values[i]) - shift[k]
            sums[2 * k, 0] += value
            sums[2 * k, 1] += value * value
        else:
            lost[k] += 1


@jit(fastmath=True)
def is_clean(values, masked):
    """Whether all `values` are finite and none is masked."""
    bad = False
    for i in range(values.size):
        bad |= not np.isfinite(values[i])
    for i in range(masked.size):
        bad |= masked[i]
    return not bad


@jit
def add_values(values, masked, shells, shift, sums, lost, careful):
    """Add a chunk of pixels to the sums of their shells; if not `careful`, what is not masked is taken to be finite."""
    looked = values.size if careful else 0
    if is_clean(values[:looked], masked):
        add_clean(values, shells, shift, sums)
        return
    for i in range(0, values.size, BLOCK):
        block, hidden = values[i:i + BLOCK], masked[i:i + BLOCK]
        if is_clean(block[:looked], hidden):
            add_clean(block, shells[i:i + BLOCK], shift, sums)
        else:
            add_checked(block, hidden, shells[i:i + BLOCK], shift, sums, lost)


@jit
def count_shells(shells, counts):
    """Add the number of pixels in each shell to `counts` (number of shells, 4).

    Four counters for each, so that equal neighbours do not wait for each other.
    """
    for i in range(shells.size):
        counts[np.uint64(shells[i]), np.uint64(i) & np.uint64(3)] += 1


@jit
def find_ends(shells, first, ends):
    """Last pixel of each shell, into `ends`; the pixels are numbered from `first`."""
    for i in range(shells.size):
        ends[np.uint64(shells[i])] = first + i


@jit
def shell_rows(across, across32, rest, window, start, stop, shells, counts, ends):
    """Shells of all pixels of the rows from `start` to `stop`, into rows of `shells`; how many pixels they have; their ends.

    `ends` (2, number of shells): last pixel in the first half of all rows, and in the second.
    """
    for y in range(start, stop):
        row, lower = shells[y], np.int64(2 * y >= rest.size)
        find_shells(across, across32, rest[y], window, row)
        count_shells(row, counts)
        find_ends(row, y * row.size, ends[lower])


@jit
def add_frame(values, shells, masked, shift, sums, lost, careful):
    """Sums of the pixels of a flat frame, or of a part of it, into `sums` (twice the number of shells, 2) and `lost`."""
    sums[:], lost[:] = 0.0, 0
    for i in range(0, values.size, CHUNK):
        end = min(i + CHUNK, values.size)
        add_values(values[i:end], masked[i:end], shells[i:end], shift, sums, lost, careful)


@jit
def moments(counts, lost, shift, sums, number, mean, scatter):
    """Number, mean and sum of squared deviations of each shell, from sums about `shift`; 0 where there is no pixel."""
    for k in range(number.size):
        n = counts[k] - lost[k]
        number[k], mean[k], scatter[k] = n, 0.0, 0.0
        if n > 0:
            total = sums[2 * k, 0] + sums[2 * k + 1, 0]
            mean[k] = shift[k] + total / n
            scatter[k] = max(sums[2 * k, 1] + sums[2 * k + 1, 1] - total * total / n, 0.0)


@jit
def choose_shift(values, masked, ends, shift):
    """One pixel of each shell, about which sums lose no digits to a large mean: one of its `ends`.

    Where neither is finite and unmasked it is that of the shell before.
    """
    before = 0.0
    for k in range(shift.size):
        for i in ends[:, k]:
            if i >= 0 and np.isfinite(values[i]) and not (masked.size and masked[i]):
                before = np.float64(values[i])
                break
        shift[k] = before


@jit
def add_parts(values, shells, masked, part, first, end, shift, sums, lost):
    """Sums of the parts from `first` to `end`, of `part` pixels each, into one row of `sums` and `lost` for each part.

    To look at all values beforehand takes a quarter of the time: it is done from the first part on whose sums are not finite.
    """
    careful = False
    for p in range(first, end):
        a, b = p * part, min((p + 1) * part, values.size)
        while True:  # one call of `add_frame`: in two, of False and of True, it would be compiled for each and for both
            add_frame(values[a:b], shells[a:b], masked[a:b], shift, sums[p], lost[p], careful)
            if careful or is_clean(sums[p].reshape(-1), masked[:0]):
                break
            careful = True


@jit
def profile_frames(frames, shells, counts, ends, number, mean, scatter):
    """`moments` of each of `frames` (N, pixels), on the way that `profile` takes."""
    none, shift = np.zeros(0, np.bool_), np.empty(counts.size)
    parts = -(-frames.shape[1] // PART)
    sums, lost = np.empty((parts, 2 * counts.size, 2)), np.empty((parts, counts.size), np.int64)
    for i in range(frames.shape[0]):
        choose_shift(frames[i], none, ends, shift)
        add_parts(frames[i], shells, none, PART, 0, parts, shift, sums, lost)
        for p in range(1, parts):
            sums[0] += sums[p]
            lost[0] += lost[p]
        moments(counts, lost[0], shift, sums[0], number[i], mean[i], scatter[i])


@jit
def order_by_shell(shells, starts, order):
    """Indices of all pixels, shell by shell: those of shell k are ``order[starts[k]:starts[k + 1]]``, in raster order."""
    places = starts[:-1].copy()
    for i in range(shells.size):
        k = shells[i]
        order[places[k]] = i
        places[k] += 1


@jit
def gather(values, order, out):
    """Copy the finite ones of ``values[order]`` to `out`; return how many there are."""
    n = 0
    for i in order:
        out[n] = values[i]
        n += np.isfinite(values[i])
    return n


@jit
def median_shells(values, starts, order, number, center, spread):
    """Number, median and median absolute deviation of each shell's finite pixels; 0 where there is none."""
    work = np.empty(np.max(starts[1:] - starts[:-1]) + 1)
    for k in range(number.size):
        n = gather(values, order[starts[k]:starts[k + 1]], work)
        number[k], center[k], spread[k] = n, 0.0, 0.0
        if n:
            center[k] = np.median(work[:n])
            for i in range(n):
                work[i] = abs(work[i] - center[k])
            spread[k] = np.median(work[:n])


@jit
def mean_scatter(values):
    """Mean and sum of squared deviations of `values`, in two passes."""
    total = 0.0
    for value in values:
        total += value
    mean, scatter = total / values.size, 0.0
    for value in values:
        scatter += (value - mean) ** 2
    return mean, scatter


@jit
def clipped_shells(values, starts, order, limit, rounds, number, center, scatter):
    """Number, mean and sum of squared deviations of the finite pixels that lie within `limit` standard deviations of the mean.

    What lies outside is left out and the mean taken again, until nothing does, `rounds` times at most.
    """
    work = np.empty(np.max(starts[1:] - starts[:-1]) + 1)
    for k in range(number.size):
        n = gather(values, order[starts[k]:starts[k + 1]], work)
        number[k], center[k], scatter[k] = n, 0.0, 0.0
        if n == 0:
            continue
        center[k], scatter[k] = mean_scatter(work[:n])
        for _ in range(rounds):
            if n < 3:
                break
            reach = limit * np.sqrt(scatter[k] / (n - 1))
            kept = 0
            for i in range(n):
                value = work[i]
                if abs(value - center[k]) <= reach:
                    work[kept] = value
                    kept += 1
            if kept == n or kept == 0:
                break
            n = kept
            center[k], scatter[k] = mean_scatter(work[:n])
        number[k] = n


# ---------------------------------------------------------------------------------------------------- drivers


def geometry(shape, center):
    """(across, across32, rest, window, number of shells) of data of `shape` about `center`."""
    squares = [(np.arange(size) - at) ** 2 for size, at in zip(shape, center, strict=True)]
    rest = squares[0]
    for other in squares[1:-1]:
        rest = np.add.outer(rest, other).reshape(-1)
    across = squares[-1]
    farthest = float(np.sqrt(rest.max() + across.max()))
    # The squares, their sum, the root and adding one half round by 1.8e-7 in all, in float32.
    window = np.float32(min(farthest * 3e-7 + 1e-6, 0.5))
    return across, across.astype(np.float32), rest, window, int(np.rint(farthest)) + 1


def shell_image(shape, center):
    """(shells, counts, ends): each pixel's shell, flat, as uint16 or int32; number and ends of the pixels of each shell."""
    across, across32, rest, window, n = geometry(shape, center)
    shells = np.empty((rest.size, across.size), np.uint16 if n < 65536 else np.int32)

    def band(start, stop):
        counts, ends = np.zeros((n, 4), np.int64), np.full((2, n), -1)
        shell_rows(across, across32, rest, window, start, stop, shells, counts, ends)
        return counts.sum(axis=1), ends

    counts, ends = zip(*in_bands(band, rest.size, 2 * shells.size), strict=True)
    return shells.reshape(-1), sum(counts), np.max(ends, axis=0)


def ends_of(shells, n):
    """Last pixel of each of `n` shells in the first half of a flat shell image, and in the second; -1 where there is none."""
    ends, half = np.full((2, n), -1), shells.size // 2
    find_ends(shells[:half], 0, ends[0])
    find_ends(shells[half:], half, ends[1])
    return ends


def profile(values, shells, masked, counts, ends):
    """Number, mean and sum of squared deviations of each shell of one frame or volume, flat; parts of it on threads."""
    values, n, parts = read_only(values), counts.size, -(-values.size // PART)
    shift = np.empty(n)
    choose_shift(values, masked, ends, shift)
    sums, lost = np.empty((parts, 2 * n, 2)), np.empty((parts, n), np.int64)
    in_bands(lambda a, b: add_parts(values, shells, masked, PART, a, b, shift, sums, lost), parts, 2 * values.size)
    for part in range(1, parts):  # in this order, as profile_frames does it
        sums[0] += sums[part]
        lost[0] += lost[part]
    number, mean, scatter = np.empty(n, np.int64), np.empty(n), np.empty(n)
    moments(counts, lost[0], shift, sums[0], number, mean, scatter)
    return number, mean, scatter


def sorted_pixels(shells, counts):
    """(starts, order) of `order_by_shell`."""
    starts, order = np.append(0, np.cumsum(counts)), np.empty(shells.size, np.int32 if shells.size < 2**31 else np.int64)
    order_by_shell(shells, starts, order)
    return starts, order


def robust_profiles(frames, starts, order, limit):
    """Number, centre and spread of each shell of each of `frames` (N, pixels): median and median absolute deviation, or,
    where `limit` is a number of standard deviations, mean and sum of squared deviations of what lies within.
    """
    frames = read_only(frames)
    number = np.empty((frames.shape[0], starts.size - 1), np.int64)
    center, spread = np.empty(number.shape), np.empty(number.shape)

    def shells(i, a, b):
        part = starts[a:b + 1], order, number[i, a:b], center[i, a:b], spread[i, a:b]
        if limit is None:
            median_shells(frames[i], *part)
        else:
            clipped_shells(frames[i], *part[:2], limit, ROUNDS, *part[2:])

    def band(first, end):
        for i in range(first, end):
            shells(i, 0, number.shape[1])

    if frames.shape[0] > 1:
        in_bands(band, frames.shape[0], 16 * frames.size)
    else:
        in_bands(lambda a, b: shells(0, a, b), number.shape[1], 16 * frames.size)
    return number, center, spread


def profiles(frames, shells, counts, ends):
    """`profile` of each of `frames` (N, pixels), frames on threads: number, mean, sum of squared deviations, (N, shells)."""
    frames = read_only(frames)
    number = np.empty((frames.shape[0], counts.size), np.int64)
    mean, scatter = np.empty(number.shape), np.empty(number.shape)
    in_bands(lambda a, b: profile_frames(frames[a:b], shells, counts, ends, number[a:b], mean[a:b], scatter[a:b]),
             frames.shape[0], 2 * frames.size)
    return number, mean, scatter
