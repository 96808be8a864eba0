"""Scores of patterns against a background: chi-square over chosen pixels, correlation of radial profiles.

Frames are flat, (N, pixels). The chosen pixels are given as runs: from `starts` up to `ends`, in raster order. `background` is
float64 and finite in them. A frame whose sums are not finite is done again, without the pixels that are not.
"""

import numpy as np

from ._bands import in_bands
from ._jit import jit


@jit
def runs(chosen, starts, ends):
    """Runs of True in a flat bool array; return how many there are (arrays of length 0: count only)."""
    n, inside = 0, False
    for i in range(chosen.size):
        if chosen[i] and not inside and starts.size:
            starts[n] = i
        if not chosen[i] and inside:
            if starts.size:
                ends[n] = i
            n += 1
        inside = chosen[i]
    if inside:
        if starts.size:
            ends[n] = chosen.size
        n += 1
    return n


@jit(fastmath=True)
def squared_distance(values, background):
    """Sum of squared differences."""
    total = 0.0
    for i in range(values.size):
        difference = np.float64(values[i]) - background[i]
        total += difference * difference
    return total


@jit
def finite_distance(values, background, shift, sums):
    """As `squared_distance`, of the finite values; elsewhere number, sum and square sum of the background less `shift`."""
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

    `whole` is the background's number, sum and sum of squares less `shift` over all chosen pixels.
    """
    lost = np.empty(3)
    for i in range(frames.shape[0]):
        total = 0.0
        for k in range(starts.size):
            total += squared_distance(frames[i, starts[k]:ends[k]], background[starts[k]:ends[k]])
        lost[:] = 0.0
        if not np.isfinite(total):
            total = 0.0
            for k in range(starts.size):
                values = frames[i, starts[k]:ends[k]]
                total += finite_distance(values, background[starts[k]:ends[k]], shift, lost)
        n = whole[0] - lost[0]
        spread = whole[2] - lost[2] - (whole[1] - lost[1]) ** 2 / n if n > 0 else 0.0
        scores[i] = total / spread if spread > 0 else np.nan


@jit
def add_to_shells(values, shells, sums):
    """Add values to the sums of their shells."""
    for i in range(values.size):
        sums[np.uint64(shells[i])] += np.float64(values[i])


@jit
def shell_sums(values, shells, starts, ends, counts, sums, number):
    """Sum and number of the chosen, finite pixels of each shell. `shells` belongs to the chosen pixels, run after run."""
    sums[:] = 0.0
    number[:] = counts
    place = 0
    for k in range(starts.size):
        n = ends[k] - starts[k]
        add_to_shells(values[starts[k]:ends[k]], shells[place:place + n], sums)
        place += n
    if np.isfinite(np.sum(sums)):
        return
    sums[:] = 0.0
    place = 0
    for k in range(starts.size):
        for i in range(starts[k], ends[k]):
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
    """Pearson's coefficient of each frame's radial profile and the `reference`, over shells that have pixels in both."""
    n = counts.size
    sums, number, used = np.empty(n), np.empty(n, np.int64), np.empty(n, np.bool_)
    for i in range(frames.shape[0]):
        shell_sums(frames[i], shells, starts, ends, counts, sums, number)
        for k in range(n):
            used[k] = number[k] > 0
            sums[k] /= max(number[k], 1)
        scores[i] = pearson(sums, reference, used)


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
    none = np.empty(0, np.int64)
    starts, ends = np.empty((2, runs(chosen, none, none)), np.int64)
    runs(chosen, starts, ends)
    return starts, ends


def chi_square_scores(frames, background, shift, starts, ends, whole):
    """`chi_square` of frames (N, pixels), on threads."""
    scores = np.empty(frames.shape[0])
    in_bands(lambda a, b: chi_square(frames[a:b], background, shift, starts, ends, whole, scores[a:b]), frames.shape[0],
             frames.shape[0] * int((ends - starts).sum()))
    return scores


def pearson_scores(frames, shells, starts, ends, counts, reference):
    """`correlations` of frames (N, pixels), on threads."""
    scores = np.empty(frames.shape[0])
    in_bands(lambda a, b: correlations(frames[a:b], shells, starts, ends, counts, reference, scores[a:b]), frames.shape[0],
             2 * frames.shape[0] * shells.size)
    return scores


def sums_of_finite(frames):
    """Sum and number of the finite values of each pixel of frames (N, pixels)."""
    total, number = np.zeros(frames.shape[1]), np.zeros(frames.shape[1], np.int64)
    in_bands(lambda a, b: add_finite(frames, a, b, total, number), frames.shape[1], frames.size)
    return total, number
