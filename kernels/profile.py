"""Radial profile of an unrolled pattern that stops, spots and texture cannot spoil, and the rings in it."""

import math

import numpy as np

from edfast.kernels._jit import jit
from edfast.kernels.coarse import select
from edfast.kernels.rings import TRIM, back_substitute, eliminate, gaussian

FOOT = 0.14     # of the height: half as hollow as beside a Gaussian, and on both sides, is no edge
COARSE = 2.5    # width [bins] up to which bumps are looked for every half bin
FINE = 0.7      # and up to this one, a quarter of a bin
NARROW = 1.0    # bins that a ring is wide at least, in a profile
ALIKE = 0.8     # of what a bump that ran away stood out by, must a narrower one near it stand out by,
BEYOND = 2.5    # or by so many times what is asked for;
SLENDER = 0.3   # and so wide must it be at least, in the width of the other
CALM = 0.3      # how much of the scatter between sectors counts: texture goes the same way at neighbouring radii


@jit
def sort_pairs(values, others):
    """Sort a few values in place, and what belongs to them alike."""
    for p in range(1, values.shape[0]):
        value, other, q = values[p], others[p], p
        while q > 0 and values[q - 1] > value:
            values[q], others[q] = values[q - 1], others[q - 1]
            q -= 1
        values[q], others[q] = value, other


@jit
def robust_profile(table, mean, error, coverage):
    """Trimmed mean over the sectors for each radius, its error, and the share of sectors that have pixels.

    The error is that from the noise within the cells and a part of the scatter between them: what matters is the shape.
    """
    n_sectors, n_bins = table.shape[0], table.shape[1]
    values, counts = np.empty(n_sectors), np.empty(n_sectors)
    for i in range(n_bins):
        used, most = 0, 0.0
        for j in range(n_sectors):
            if table[j, i, 0] > most and table[j, i, 1] == table[j, i, 1]:
                most = table[j, i, 0]
        for j in range(n_sectors):
            n = table[j, i, 0]
            if n > 0.3 * most and table[j, i, 1] == table[j, i, 1]:
                values[used], counts[used] = table[j, i, 1] / n, n
                used += 1
        mean[i], error[i], coverage[i] = 0.0, np.inf, used / n_sectors
        if used < 4:
            continue
        sort_pairs(values[:used], counts[:used])
        cut = np.int64(TRIM * used)
        total = number = 0.0
        for p in range(cut, used - cut):
            total += values[p] * counts[p]
            number += counts[p]
        mean[i] = total / number
        within = free = 0.0
        for j in range(n_sectors):
            n = table[j, i, 0]
            if n > 1.0 and table[j, i, 1] == table[j, i, 1]:
                within += table[j, i, 3] - table[j, i, 1] ** 2 / n
                free += n - 1.0
        within = max(within, 0.0) / free / number if free > 0.0 else 0.0
        low, high = values[cut], values[used - cut - 1]
        scatter = 0.0
        for p in range(used):
            scatter += (min(max(values[p], low), high) - mean[i]) ** 2
        # Standard error of a trimmed mean, from the winsorised scatter.
        scatter = scatter / (used - 1) / used / (1 - 2 * TRIM) ** 2
        error[i] = np.sqrt(min(within + CALM ** 2 * scatter, scatter))


@jit
def level_sectors(table, reach):
    """Take out of the cells by how much their sector is brighter or darker along the radius than the middle one.

    That is the running median, over `reach` bins to either side, of what a sector's cells differ from the median of their
    radius: an uneven background, which is no doubt about the profile. Texture, spots and noise stay.
    """
    n_sectors, n_bins = table.shape[0], table.shape[1]
    off, values, window = np.full((n_sectors, n_bins), np.nan), np.empty(n_sectors), np.empty(2 * reach + 1)
    for i in range(n_bins):
        used = 0
        for j in range(n_sectors):
            if table[j, i, 0] > 0.0 and table[j, i, 1] == table[j, i, 1]:
                off[j, i] = table[j, i, 1] / table[j, i, 0]
                values[used] = off[j, i]
                used += 1
        if used > 0:
            off[:, i] -= select(values[:used], used // 2)
    for j in range(n_sectors):
        for i in range(n_bins):
            if off[j, i] == off[j, i]:
                used = 0
                for k in range(max(i - reach, 0), min(i + reach + 1, n_bins)):
                    if off[j, k] == off[j, k]:
                        window[used] = off[j, k]
                        used += 1
                own, number = select(window[:used], used // 2), table[j, i, 0]
                table[j, i, 3] -= own * (2 * table[j, i, 1] - own * number)
                table[j, i, 1] -= own * number


@jit
def admit_doubt(mean, error, coverage, least):
    """Infinite errors where less than a share `least` of the sectors is seen; elsewhere at least so much of the median error.

    Radii where the few sectors happen to agree must not look perfect.
    """
    known, number, most = np.empty(mean.shape[0]), 0, 0.0
    for i in range(mean.shape[0]):
        if coverage[i] < least:
            error[i] = np.inf
        if error[i] < np.inf:
            known[number] = error[i]
            number, most = number + 1, max(most, abs(mean[i]))
    if number > 0:
        middle = select(known[:number], number // 2)
        if middle == 0.0:
            # Where all pixels hold one value, as in an image that is nearly black, nothing is known of the error.
            noisy = known[:number][known[:number] > 0.0]
            middle = select(noisy, noisy.shape[0] // 2) if noisy.shape[0] > 0 else 0.0
        elif number % 2 == 0:
            middle = 0.5 * (middle + known[:number // 2].max())
        for i in range(mean.shape[0]):
            error[i] = np.hypot(error[i], least * middle + 1e-12 * most)


@jit(fastmath=True)
def slide(kernel, values, out):
    """out[i] = sum over j of kernel[j] * values[i + j]."""
    out[:] = 0.0
    n, whole = out.shape[0], kernel.shape[0] // 4 * 4
    for j in range(0, whole, 4):
        a, b, c, d = kernel[j], kernel[j + 1], kernel[j + 2], kernel[j + 3]
        near = values[j:j + n + 3]
        for i in range(n):
            out[i] += a * near[i] + b * near[i + 1] + c * near[i + 2] + d * near[i + 3]
    for j in range(whole, kernel.shape[0]):
        a, near = kernel[j], values[j:j + n]
        for i in range(n):
            out[i] += a * near[i]


@jit(fastmath=True)
def solve_bumps(sums, heights, precisions):
    """Height and its inverse variance from the weighted sums of `fit_bumps`, place by place; 0 where they do not tell."""
    for i in range(heights.shape[0]):
        tt, t, tu, tuu = sums[0, i], sums[1, i], sums[2, i], sums[3, i]
        one, u, uu, uuu, uuuu = sums[4, i], sums[5, i], sums[6, i], sums[7, i], sums[8, i]
        tv, v, uv, uuv, vv, number = sums[9, i], sums[10, i], sums[11, i], sums[12, i], sums[13, i], sums[14, i]
        least = 1e-12 * one + 1e-300
        known = uuuu > least
        inverse = 1 / (uuuu if known else 1.0)
        by_t, by_one, by_u = tuu * inverse, uu * inverse, uuu * inverse
        tt, t, tu, tv = tt - by_t * tuu, t - by_t * uu, tu - by_t * uuu, tv - by_t * uuv
        one, u, v = one - by_one * uu, u - by_one * uuu, v - by_one * uuv
        uu, uv, vv = uu - by_u * uuu, uv - by_u * uuv, vv - uuv * uuv * inverse
        known &= uu > least
        inverse = 1 / (uu if known else 1.0)
        by_t, by_one = tu * inverse, u * inverse
        tt, t, tv = tt - by_t * tu, t - by_t * u, tv - by_t * uv
        one, v, vv = one - by_one * u, v - by_one * uv, vv - uv * uv * inverse
        known &= one > least
        inverse = 1 / (one if known else 1.0)
        tt, tv, vv = tt - t * t * inverse, tv - t * v * inverse, vv - v * v * inverse
        known &= tt > 0.0
        inverse = 1 / (tt if known else 1.0)
        height = tv * inverse
        chi2 = vv - height * tv
        heights[i] = height if known else 0.0
        precisions[i] = tt / max(chi2 / max(number - 4.0, 1.0), 1.0) if known else 0.0


@jit(fastmath=True)
def fit_bumps(mean, weight, first, phase, width, heights, precisions):
    """Gaussians of known width on a parabola, by weighted least squares: heights, inverse variances (0: not known).

    The places are first + phase, first + phase + 1 ... [bins], as many as `heights` has; three widths and a bin to either side
    are looked at. `weight` is the inverse variance of `mean`. Where the model does not fit, the heights are known less well.
    """
    low = np.int64(np.ceil(phase - 3 * width - 1))
    taps = np.int64(np.floor(phase + 3 * width + 1)) - low + 1
    columns, parts = np.empty((9, taps)), np.zeros((4, taps - 1 + heights.shape[0]))
    t, one, u = columns[1], columns[4], columns[5]
    for j in range(taps):
        one[j], u[j] = 1.0, (j + low - phase) / width
    gaussian(u, t)
    columns[0], columns[2], columns[3] = t * t, t * u, t * u * u
    columns[6], columns[7], columns[8] = u * u, u * u * u, u * u * u * u
    start = first + low
    left, right = max(-start, 0), min(mean.shape[0] - start, parts.shape[1])
    if right <= left:
        heights[:] = 0.0
        precisions[:] = 0.0
        return
    # Relative to their mean the values leave most digits to what remains of their squares.
    weights, values = weight[start + left:start + right], mean[start + left:start + right]
    total = weights.sum()
    rest = values - ((weights * values).sum() / total if total > 0.0 else 0.0)
    parts[0, left:right], parts[1, left:right], parts[2, left:right] = weights, weights * rest, weights * rest * rest
    for i in range(left, right):
        parts[3, i] = 1.0 if parts[0, i] > 0.0 else 0.0
    sums = np.empty((15, heights.shape[0]))
    for k in range(9):
        slide(columns[k], parts[0], sums[k])
    slide(t, parts[1], sums[9])
    for k in range(3):
        slide(columns[4 + k], parts[1], sums[10 + k])
    slide(one, parts[2], sums[13])
    slide(one, parts[3], sums[14])
    solve_bumps(sums, heights, precisions)


@jit
def refine_bump(mean, error, bump):
    """Place, width and height of a Gaussian on a parabola, by Gauss-Newton from those in `bump`; False if it runs away."""
    matrix, f, x = np.empty((6, 8)), np.empty(6), np.empty(6)
    place, width, height = bump[0], bump[1], bump[2]
    for _ in range(8):
        matrix[:] = 0.0
        first, end = np.int64(np.ceil(place - 3 * width - 1)), np.int64(place + 3 * width + 1) + 1
        for i in range(max(first, 0), min(end, mean.shape[0])):
            if not error[i] < np.inf:
                continue
            u = (i - place) / width
            t = np.exp(-0.5 * u * u)
            f[0], f[1], f[2], f[3], f[4], f[5] = height * t * u / width, height * t * u * u / width, t, 1.0, u, u * u
            w = 1 / error[i] ** 2
            for p in range(6):
                for q in range(p, 6):
                    matrix[p, q] += w * f[p] * f[q]
                matrix[p, 6] += w * f[p] * mean[i]
        matrix[0, 0] += 4 * matrix[2, 2] * (height / bump[1]) ** 2 * 1e-3
        matrix[1, 1] += 4 * matrix[2, 2] * (height / bump[1]) ** 2 * 1e-3
        eliminate(matrix, 6)
        back_substitute(matrix, 6, x)
        place += min(max(x[0], -0.5 * width), 0.5 * width)
        width += min(max(x[1], -0.3 * width), 0.3 * width)
        height = x[2]
        if not height > 0.0 or abs(place - bump[0]) > 1.5 * bump[1] + 0.5 or not 0.4 < width / bump[1] < 2.5:
            return False
    bump[0], bump[1], bump[2] = place, width, height
    return True


@jit
def weigh_bumps(mean, error, weight, widths, reach, low, high, heights, sure):
    """Heights of bumps and how sure they are, 0 for none, with all that bins `low` to `high` have to say in.

    Rows of `heights` and `sure` are widths, each at four places within a bin, as far as these differ; columns are bins.
    """
    n = mean.shape[0]
    for k in range(heights.shape[0]):
        w, phase = widths[k // 4], 0.25 * (k % 4)
        first = max(np.int64(np.ceil(max(2.5 * w, 2.0))), np.int64(low - 3 * w - 2), 0)
        end = min(np.int64(np.ceil(n - 1 - w - phase)), np.int64(high + 3 * w + 2) + 1)
        if end <= first or (phase > 0.0 and w > COARSE) or (k % 2 and w > FINE):
            continue
        fit_bumps(mean, weight, first, phase, w, heights[k, first:end], sure[k, first:end])
        for i in range(first, end):
            place = i + phase
            inner, outer = max(np.int64(place - reach * w), 0), min(np.int64(place + reach * w) + 1, n - 1)
            crest = np.int64(place + 0.5)
            shown = error[crest] + error[inner] + error[outer] < np.inf
            if shown and heights[k, i] > 0.15 * abs(mean[inner] - mean[outer]):
                sure[k, i] = heights[k, i] * np.sqrt(sure[k, i])
            else:
                sure[k, i] = 0.0


@jit
def find_rings(mean, error, widths, threshold, reach, rings):
    """Bumps of the profile, most significant first: rings[k] = place, width, height, its significance; returns their number.

    `mean` is used up. A bump counts if it exceeds its error `threshold` times, if the profile is known `reach` widths to both
    sides, and if it is no mere wrinkle of a steep background. Where one runs away, narrower ones may be what it consists of.
    """
    n = mean.shape[0]
    found, tried, first, end, least = 0, 0, np.zeros(n, np.int64), np.full(n, 4 * widths.shape[0]), np.zeros(n)
    weight = 1 / error ** 2
    heights, sure = np.zeros((2, 4 * widths.shape[0], n))
    weigh_bumps(mean, error, weight, widths, reach, 0.0, np.float64(n), heights, sure)
    while found < rings.shape[0] and tried < 2 * rings.shape[0]:
        best = np.argmax(sure)
        k, i = best // n, best % n
        if not sure[k, i] > threshold:
            break
        tried += 1
        place = i + 0.25 * (k % 4)
        rings[found] = bump = np.array([place, widths[k // 4], heights[k, i], sure[k, i]])
        good = refine_bump(mean, error, bump)
        near = slice(max(np.int64(place - bump[1]), 0), min(np.int64(place + bump[1]) + 2, n))
        end[near] = np.minimum(end[near], 0 if good else k // 4 * 4)
        if good:
            rings[found] = bump
            found += 1
            for i in range(n):
                mean[i] -= bump[2] * np.exp(-0.5 * ((i - bump[0]) / bump[1]) ** 2)
            weigh_bumps(mean, error, weight, widths, reach, bump[0] - 5 * bump[1], bump[0] + 5 * bump[1], heights, sure)
        else:
            first[near] = np.maximum(first[near], 4 * np.searchsorted(widths, SLENDER * bump[1]))
            least[near] = np.maximum(least[near], min(ALIKE * bump[3], BEYOND * threshold))
        for k in range(sure.shape[0]):
            for i in range(n):
                j = min(i + k % 4 // 2, n - 1)
                if not first[j] <= k < end[j] or sure[k, i] < least[j]:
                    sure[k, i] = 0.0
    return found


@jit
def _hollow(rest, error, place, width, side):
    """How far the profile on one side of a crest runs below the chord from 0.6 to 3.4 widths, its error; NaN if unknown."""
    total = variance = known = 0.0
    for shift in (-0.4, 0.0, 0.4):
        part = part_variance = 0.0
        for away, share in ((3.4, 0.5), (2.0, -1.0), (0.6, 0.5)):
            x = place + (side * away + shift) * width
            i = np.int64(np.floor(x))
            if i < 0 or i + 1 >= rest.shape[0] or not error[i] < np.inf or not error[i + 1] < np.inf:
                part = np.nan
                break
            part += share * (rest[i] + (x - i) * (rest[i + 1] - rest[i]))
            part_variance += share * share * max(error[i], error[i + 1]) ** 2
        if part == part:
            total += part
            variance += part_variance
            known += 1.0
    return (total / known, np.sqrt(variance) / known) if known > 0.0 else (np.nan, np.nan)


@jit
def _misfit(rest, error, place, width, step, first, end):
    """chi2 of a parabola and either a Gaussian or, for `step`, its integral, fitted to the bins first to end."""
    matrix, f, x = np.zeros((4, 6)), np.empty(4), np.empty(4)
    power = 0.0
    for i in range(first, end):
        if not error[i] < np.inf:
            continue
        u = (i - place) / width
        f[0], f[1], f[2], f[3] = math.erf(u / np.sqrt(2)) if step else np.exp(-0.5 * u * u), 1.0, u, u * u
        w = 1 / error[i] ** 2
        for p in range(4):
            for q in range(p, 4):
                matrix[p, q] += w * f[p] * f[q]
            matrix[p, 4] += w * f[p] * rest[i]
        power += w * rest[i] ** 2
    right = matrix[:, 4].copy()
    eliminate(matrix, 4)
    back_substitute(matrix, 4, x)
    return power - np.sum(right * x)


@jit
def _is_edge(rest, error, place, width):
    """Whether the edge of something explains the profile about a bump better than a ring does."""
    first, end = max(np.int64(place - 5 * width), 0), min(np.int64(place + 5 * width) + 2, rest.shape[0])
    ring = edge = np.inf
    for size in (0.7, 1.0, 1.4, 2.0):
        for shift in (-3.0, -2.25, -1.5, -0.75, 0.0, 0.75, 1.5, 2.25, 3.0):
            edge = min(edge, _misfit(rest, error, place + shift * width, size * width, True, first, end))
            if abs(shift) < 1:
                ring = min(ring, _misfit(rest, error, place + 0.4 * shift * width, size * width, False, first, end))
    return edge < ring


@jit
def subtract_rings(mean, radii, widths, heights, skipped):
    """Take Gaussian rings, but the one that is `skipped`, out of a profile whose bin i is centred on i + 0.5.

    What counts is their mean over each bin, which is less than the crest of a narrow ring.
    """
    for q in range(radii.shape[0]):
        if q == skipped:
            continue
        scale = 1 / (np.sqrt(2) * widths[q])
        area = heights[q] * widths[q] * np.sqrt(np.pi / 2)
        first = max(np.int64(radii[q] - 6 * widths[q]) - 1, 0)
        before = math.erf((first - radii[q]) * scale)
        for i in range(first, min(np.int64(radii[q] + 6 * widths[q]) + 2, mean.shape[0])):
            after = math.erf((i + 1 - radii[q]) * scale)
            mean[i] -= area * (after - before)
            before = after


@jit
def count_feet(mean, error, radii, widths, heights, depth, doubt):
    """How many feet each ring stands on: 2, 1 where the other side cannot be seen, 0 for an edge or a shoulder.

    The other rings are subtracted. Between 3.4 and 0.6 widths from the crest a Gaussian runs below its chord, by 0.28 of its
    height; the shoulder of a disc or of a blob does not. `depth` is asked for, `doubt` standard errors in its favour.
    Radii are those of a profile whose bin i is centred on i + 0.5.
    """
    n = radii.shape[0]
    out = np.zeros(n, np.int64)
    rest = np.empty_like(mean)
    for k in range(n):
        rest[:] = mean
        subtract_rings(rest, radii, widths, heights, k)
        # The profile shows nothing that is narrower than its bins.
        width = max(widths[k], NARROW)
        clear = 0
        for side in (-1.0, 1.0):
            hollow, noise = _hollow(rest, error, radii[k] - 0.5, width, side)
            clear += hollow - 3 * noise > FOOT * heights[k]
            if hollow + doubt * noise > depth * heights[k]:
                out[k] += 1
            elif hollow == hollow:
                out[k] -= 2
        if out[k] < 0 or (clear < 2 and _is_edge(rest, error, radii[k] - 0.5, width)):
            out[k] = 0
    return out
