"""Scores of patterns against a background: chi-square over chosen pixels, correlation of radial profiles.

Frames are flat, (N, pixels). The pixels to look at are given as runs: from `starts` up to `ends`, in raster order.
`background` is float64 and finite in them. A frame whose sums are not finite is done again, without the pixels that are not.
"""

import numpy as np

from ._bands import in_bands
from ._jit import jit, read_only
from ._simd import add_four, prefetch

AHEAD = 2  # runs


@jit
def keep_annulus(chosen, cy, cx, inner, outer):
    """Unset what is not from `inner` up to, not including, `outer` away from (cy, cx) in a 2-D bool array."""
    for y in range(chosen.shape[0]):
        row, dy = chosen[y], y - cy
        for x in range(row.size):
            r = np.sqrt(dy * dy + (x - cx) * (x - cx))
            row[x] &= (r >= inner) & (r < outer)


@jit(fastmath=True)
def squared_distances(one, two, three, four, background):
    """Sums of squared differences of four frames from the background: each of its pixels is read once for all."""
    total1 = total2 = total3 = total4 = 0.0
    for i in range(background.size):
        difference = np.float64(one[i]) - background[i]
        total1 += difference * difference
        difference = np.float64(two[i]) - background[i]
        total2 += difference * difference
        difference = np.float64(three[i]) - background[i]
        total3 += difference * difference
        difference = np.float64(four[i]) - background[i]
        total4 += difference * difference
    return total1, total2, total3, total4


@jit
def announce(frames, first, start, end):
    """Have a run of four frames brought near, if it is short: the processor itself foresees long ones only."""
    step = 64 // frames.itemsize
    if end - start <= 64 * step:
        for i in range(first, min(first + 4, frames.shape[0])):
            row = frames[i]
            for x in range(start, end, step):
                prefetch(row, x)


@jit
def finite_distance(values, background, shift, sums):
    """As `squared_distances`, of finite values; of the others number, sum and square sum of the background less `shift`."""
    total = 0.0
    for i in range(values.size):
        if np.isfinite(values[i]):
            total += (np.float64(values[i]) - background[i]) ** 2
        else:
            sums[0] += 1
            sums[1] += background[i] - shift
            sums[2] += (background[i] - shift) ** 2
    return total


@jit
def chi_square(frames, background, shift, starts, ends, whole, scores):
    """Sum of squared differences from the background over its own sum of squared deviations, for each frame.

    `whole` is the background's number, sum and sum of squares less `shift` over the runs.
    """
    count, n = frames.shape[0], starts.size
    for i in range(0, count, 4):
        j, k, m = min(i + 1, count - 1), min(i + 2, count - 1), min(i + 3, count - 1)
        total1 = total2 = total3 = total4 = 0.0
        for run in range(n):
            ahead = run + AHEAD
            announce(frames, i if ahead < n else i + 4, starts[ahead % n], ends[ahead % n])
            x, end = starts[run], ends[run]
            part = squared_distances(frames[i, x:end], frames[j, x:end], frames[k, x:end], frames[m, x:end], background[x:end])
            total1 += part[0]
            total2 += part[1]
            total3 += part[2]
            total4 += part[3]
        scores[i], scores[j], scores[k], scores[m] = total1, total2, total3, total4
    lost = np.empty(3)
    for i in range(count):
        lost[:] = 0.0
        total = scores[i]
        if not np.isfinite(total):
            total = 0.0
            for run in range(n):
                x, end = starts[run], ends[run]
                total += finite_distance(frames[i, x:end], background[x:end], shift, lost)
        left = whole[0] - lost[0]
        spread = whole[2] - lost[2] - (whole[1] - lost[1]) ** 2 / left if left > 0 else 0.0
        scores[i] = total / spread if spread > 0 else np.nan


@jit
def add_to_shells(one, two, three, four, shells, sums):
    """Add the values of four frames to their sums of each shell (shells, 4)."""
    for i in range(shells.size):
        add_four(sums, np.uint64(shells[i]), np.float64(one[i]), np.float64(two[i]), np.float64(three[i]), np.float64(four[i]))


@jit
def finite_sums(values, shells, starts, ends, sums, number):
    """Sum of the finite values of each shell; `number` loses those that are not."""
    sums[:] = 0.0
    place = 0
    for run in range(starts.size):
        for i in range(starts[run], ends[run]):
            if np.isfinite(values[i]):
                sums[shells[place]] += values[i]
            else:
                number[shells[place]] -= 1
            place += 1


@jit
def pearson(first, second, used):
    """Pearson's coefficient of two profiles where `used`; NaN where one of them is constant."""
    n, mean1, mean2 = 0, 0.0, 0.0
    for k in range(used.size):
        if used[k]:
            n += 1
            mean1 += first[k]
            mean2 += second[k]
    mean1, mean2 = mean1 / max(n, 1), mean2 / max(n, 1)
    s11 = s12 = s22 = 0.0
    for k in range(used.size):
        if used[k]:
            s11 += (first[k] - mean1) ** 2
            s22 += (second[k] - mean2) ** 2
            s12 += (first[k] - mean1) * (second[k] - mean2)
    # What is left of a constant profile is rounding.
    tiny = (1e-14 * mean1) ** 2 * n, (1e-14 * mean2) ** 2 * n
    return s12 / np.sqrt(s11 * s22) if s11 > tiny[0] and s22 > tiny[1] else np.nan


@jit
def correlations(frames, shells, starts, ends, counts, reference, scores):
    """Pearson's coefficient of each frame's radial profile and the `reference`, over shells that have pixels in both.

    `shells` belongs to the chosen pixels, run after run.
    """
    count, n = frames.shape[0], counts.size
    four, sums, number, used = np.empty((n, 4)), np.empty(n), np.empty(n, np.int64), np.empty(n, np.bool_)
    for i in range(0, count, 4):
        j, k, m = min(i + 1, count - 1), min(i + 2, count - 1), min(i + 3, count - 1)
        four[:] = 0.0
        place = 0
        for run in range(starts.size):
            ahead = run + AHEAD
            announce(frames, i if ahead < starts.size else i + 4, starts[ahead % starts.size], ends[ahead % starts.size])
            x, end = starts[run], ends[run]
            add_to_shells(frames[i, x:end], frames[j, x:end], frames[k, x:end], frames[m, x:end],
                          shells[place:place + end - x], four)
            place += end - x
        for frame in range(i, min(i + 4, count)):
            sums[:] = four[:, frame - i]
            number[:] = counts
            if not np.isfinite(np.sum(sums)):
                finite_sums(frames[frame], shells, starts, ends, sums, number)
            for shell in range(n):
                used[shell] = number[shell] > 0
                sums[shell] /= max(number[shell], 1)
            scores[frame] = pearson(sums, reference, used)


@jit
def add_finite(frames, first, end, total, number):
    """Add the finite values of pixels from `first` to `end` of all frames to `total`, and 1 to `number`."""
    for i in range(frames.shape[0]):
        for j in range(first, end):
            value = np.float64(frames[i, j])
            good = np.isfinite(value)
            total[j] += value if good else 0.0
            number[j] += 1 if good else 0


# ---------------------------------------------------------------------------------------------------- drivers


def runs_of(chosen):
    """(starts, ends) of the runs of True in a flat bool array."""
    framed = np.zeros(chosen.size + 2, bool)
    framed[1:-1] = chosen
    edges = np.flatnonzero(framed[1:] != framed[:-1])
    return edges[::2].copy(), edges[1::2].copy()


def chi_square_scores(frames, background, shift, starts, ends, whole):
    """`chi_square` of frames (N, pixels), on threads."""
    frames, scores = read_only(frames), np.empty(frames.shape[0])
    in_bands(lambda a, b: chi_square(frames[a:b], background, shift, starts, ends, whole, scores[a:b]), frames.shape[0],
             frames.shape[0] * int((ends - starts).sum()))
    return scores


def pearson_scores(frames, shells, starts, ends, counts, reference):
    """`correlations` of frames (N, pixels), on threads."""
    frames, scores = read_only(frames), np.empty(frames.shape[0])
    in_bands(lambda a, b: correlations(frames[a:b], shells, starts, ends, counts, reference, scores[a:b]), frames.shape[0],
             2 * frames.shape[0] * shells.size)
    return scores


def sums_of_finite(frames):
    """Sum and number of the finite values of each pixel of frames (N, pixels)."""
    total, number = np.zeros(frames.shape[1]), np.zeros(frames.shape[1], np.int64)
    in_bands(lambda a, b: add_finite(frames, a, b, total, number), frames.shape[1], frames.size)
    return total, number
