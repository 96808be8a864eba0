"""Radial profile of an unrolled pattern that stops, spots and texture cannot spoil, and the rings in it."""

import math

import numpy as np

from edfast.kernels._jit import jit
from edfast.kernels.rings import TRIM, back_substitute, eliminate, gaussian

FOOT = 0.14     # of the height: half as hollow as beside a Gaussian, and on both sides, is no edge
NARROW = 1.0    # bins that a ring is wide at least, in a profile
CALM = 0.3      # how much of the scatter between sectors counts: texture goes the same way at neighbouring radii


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
        order = np.argsort(values[:used])
        cut = np.int64(TRIM * used)
        total = number = 0.0
        for p in range(cut, used - cut):
            total += values[order[p]] * counts[order[p]]
            number += counts[order[p]]
        mean[i] = total / number
        within = free = 0.0
        for j in range(n_sectors):
            n = table[j, i, 0]
            if n > 1.0 and table[j, i, 1] == table[j, i, 1]:
                within += table[j, i, 3] - table[j, i, 1] ** 2 / n
                free += n - 1.0
        within = max(within, 0.0) / free / number if free > 0.0 else 0.0
        low, high = values[order[cut]], values[order[used - cut - 1]]
        scatter = 0.0
        for p in range(used):
            scatter += (min(max(values[p], low), high) - mean[i]) ** 2
        # Standard error of a trimmed mean, from the winsorised scatter.
        scatter = scatter / (used - 1) / used / (1 - 2 * TRIM) ** 2
        error[i] = np.sqrt(min(within + CALM ** 2 * scatter, scatter))


@jit(fastmath=True)
def fit_bump(mean, weight, place, width, u, shape, a, out):
    """Gaussian of known place and width on a parabola, weighted least squares: out = height, its error, background there.

    `weight` is the inverse variance; `u` and `shape` (as long as the profile) and `a` (4, 5) are working space.
    """
    n = mean.shape[0]
    first, end = max(np.int64(np.ceil(place - 3 * width - 1)), 0), min(np.int64(np.floor(place + 3 * width + 1)) + 1, n)
    mean, weight, u, shape = mean[first:end], weight[first:end], u[first:end], shape[first:end]
    for i in range(u.shape[0]):
        u[i] = (i + (first - place)) / width
    gaussian(u, shape)
    tt = t = tu = tuu = one = u1 = u2 = u3 = u4 = tv = v = uv = uuv = number = 0.0
    for i in range(u.shape[0]):
        w, x = weight[i], u[i]
        wt, wx, wv = w * shape[i], w * x, w * mean[i]
        wxx = wx * x
        tt += wt * shape[i]
        t += wt
        tu += wt * x
        tuu += wt * x * x
        one += w
        u1 += wx
        u2 += wxx
        u3 += wxx * x
        u4 += wxx * x * x
        tv += wv * shape[i]
        v += wv
        uv += wv * x
        uuv += wv * x * x
        number += 1.0 if w > 0.0 else 0.0
    a[0, 0], a[0, 1], a[0, 2], a[0, 3], a[0, 4] = tt, t, tu, tuu, tv
    a[1, 0], a[1, 1], a[1, 2], a[1, 3], a[1, 4] = t, one, u1, u2, v
    a[2, 0], a[2, 1], a[2, 2], a[2, 3], a[2, 4] = tu, u1, u2, u3, uv
    a[3, 0], a[3, 1], a[3, 2], a[3, 3], a[3, 4] = tuu, u2, u3, u4, uuv
    out[0], out[1], out[2] = 0.0, np.inf, 0.0
    for p in range(3, 0, -1):
        if a[p, p] <= 1e-12 * (a[1, 1] + 1e-300):
            return
        for r in range(p):
            factor = a[r, p] / a[p, p]
            for q in range(5):
                a[r, q] -= factor * a[p, q]
    if not a[0, 0] > 0.0:
        return
    height = a[0, 4] / a[0, 0]
    base = (a[1, 4] - a[1, 0] * height) / a[1, 1]
    slope = (a[2, 4] - a[2, 0] * height - a[2, 1] * base) / a[2, 2]
    bend = (a[3, 4] - a[3, 0] * height - a[3, 1] * base - a[3, 2] * slope) / a[3, 3]
    chi2 = 0.0
    for i in range(u.shape[0]):
        rest = mean[i] - height * shape[i] - base - u[i] * (slope + u[i] * bend)
        chi2 += weight[i] * rest * rest
    out[0], out[2] = height, base
    out[1] = np.sqrt(max(chi2 / max(number - 4.0, 1.0), 1.0) / a[0, 0])


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
def possible_bumps(n, widths, bumps):
    """Places and widths at which bumps are looked for among n bins, written to `bumps` if that has rows; how many."""
    number = 0
    for w in widths:
        place = max(2.5 * w, 2.0)
        while place < n - 1 - w:
            if bumps.shape[0] > 0:
                bumps[number, 0], bumps[number, 1] = place, w
            number += 1
            place += max(0.4 * w, 0.5)
    return number


@jit
def weigh_bumps(mean, error, weight, floor, reach, low, high, bumps):
    """Height and significance of `bumps` (rows of place, width, height, significance) from `low` to `high`; 0 for none."""
    n = mean.shape[0]
    out, u, shape, a = np.empty(3), np.empty(n), np.empty(n), np.empty((4, 5))
    for k in range(bumps.shape[0]):
        place, w = bumps[k, 0], bumps[k, 1]
        if place + 3 * w + 2 < low or place - 3 * w - 2 > high:
            continue
        i = np.int64(place + 0.5)
        inner, outer = max(np.int64(place - reach * w), 0), min(np.int64(place + reach * w) + 1, n - 1)
        bumps[k, 2] = bumps[k, 3] = 0.0
        if error[i] + error[inner] + error[outer] < np.inf:
            fit_bump(mean, weight, place, w, u, shape, a, out)
            if out[0] > max(floor, 0.15 * abs(mean[inner] - mean[outer])):
                bumps[k, 2], bumps[k, 3] = out[0], out[0] / out[1]


@jit
def find_rings(mean, error, widths, threshold, floor, reach, rings):
    """Bumps of the profile, most significant first: rings[k] = place, width, height, its significance; returns their number.

    `mean` is used up. A bump counts if it exceeds its error `threshold` times and the range of the profile `floor` times, if
    the profile is known `reach` widths to both sides, and if it is no mere wrinkle of a steep background.
    """
    n = mean.shape[0]
    found, tried, spoilt = 0, 0, np.zeros(n, np.bool_)
    low, high = np.inf, -np.inf
    for i in range(n):
        if error[i] < np.inf:
            low, high = min(low, mean[i]), max(high, mean[i])
    bumps, weight = np.empty((possible_bumps(n, widths, np.empty((0, 4))), 4)), 1 / error ** 2
    possible_bumps(n, widths, bumps)
    weigh_bumps(mean, error, weight, floor * (high - low), reach, 0.0, np.float64(n), bumps)
    while found < rings.shape[0] and tried < 2 * rings.shape[0]:
        best = np.argmax(bumps[:, 3])
        if not bumps[best, 3] > threshold:
            break
        tried += 1
        rings[found] = bump = bumps[best].copy()
        good = refine_bump(mean, error, bump)
        first, end = np.int64(bumps[best, 0] - bump[1]), np.int64(bumps[best, 0] + bump[1]) + 2
        if good:
            rings[found] = bump
            found += 1
            for i in range(n):
                mean[i] -= bump[2] * np.exp(-0.5 * ((i - bump[0]) / bump[1]) ** 2)
            weigh_bumps(mean, error, weight, floor * (high - low), reach, bump[0] - 5 * bump[1], bump[0] + 5 * bump[1],
                        bumps)
        spoilt[max(first, 0):min(end, n)] = True
        for k in range(bumps.shape[0]):
            if spoilt[np.int64(bumps[k, 0] + 0.5)]:
                bumps[k, 3] = 0.0
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
