"""Fit of centre and strain to an unrolled pattern whose radial profile may be anything that is common to all sectors.

The radius is cut into blocks. In block g and sector j the signal is  (1 + a) P(r) + b + c x,  with one profile P for all
sectors and free a, b and c; by how much P must be moved there tells of the centre. What of that is common to all sectors of a
block is P's own. Nothing needs to be known of the rings, so that fringes and rings of any shape are fitted; faint patterns
are not: where P is not told from its noise, the noise would pass for rings.
"""

import numpy as np

from edfast.kernels._jit import jit
from edfast.kernels._simd import sum_products
from edfast.kernels.rings import (
    back_substitute,
    back_substitute_each,
    eliminate,
    eliminate_each,
    harmonics_of,
    invert,
    noise_line,
    reweigh,
    squared_step,
    weigh_cells,
)

MAX_TURNS = 40
NEAR = 1.0              # squared step, in standard errors, below which the weights are measured,
WEIGHINGS = 4           # and how often, with the noise of each block
HOPELESS = 12           # turns after which what has never come near will not
LEAST = 8.0             # bins of a block that a sector must show
MOST = 16.0             # squared score that counts at most
APART = 15.0, 60.0      # chi2 of a block's own centre from where on it loses weight, and from where on it has none


@jit
def between(profile, at):
    """(value, slope per bin) of a profile at a place [bins]: cubic between the values, through them."""
    n = profile.shape[0]
    k = min(max(np.int64(np.floor(at)), 0), n - 2)
    t = min(max(at - k, 0.0), 1.0)
    before, here, there, after = profile[max(k - 1, 0)], profile[k], profile[k + 1], profile[min(k + 2, n - 1)]
    c1 = 0.5 * (there - before)
    c2 = before - 2.5 * here + 2 * there - 0.5 * after
    c3 = 0.5 * (after - before) + 1.5 * (here - there)
    return here + t * (c1 + t * (c2 + t * c3)), c1 + t * (2 * c2 + 3 * t * c3)


@jit
def gather_cells(table, lo, step, cells):
    """Number of pixels, mean and radius of the cells, (3, bins, sectors), one bin after the other; unusable ones have none."""
    for i in range(table.shape[1]):
        for j in range(table.shape[0]):
            pixels, total, place = table[j, i, 0], table[j, i, 1], 0.0
            if pixels > 0.0 and total == total:
                cells[0, i, j], cells[1, i, j], place = pixels, total / pixels, table[j, i, 2] / pixels
            else:
                cells[0, i, j] = cells[1, i, j] = 0.0
            cells[2, i, j] = lo + step * (i + 0.5 + place)


@jit
def mean_profile(cells, profile):
    """Means of the bins over all sectors; empty bins continue the one before, the first ones are 0."""
    before = 0.0
    for i in range(profile.shape[0]):
        number = total = 0.0
        for j in range(cells.shape[2]):
            number += cells[0, i, j]
            total += cells[0, i, j] * cells[1, i, j]
        before = total / number if number > 0.0 else before
        profile[i] = before


@jit
def block_columns(cells, lo, step, geometry, harmonics, begin, profile, deviations, number, places, f):
    """Columns of the equations of one block, from the bin `begin` on: f[column, bin, sector].

    They are the profile, 1, x, what a shift of the pattern changes, the data, and what is expected of them. `number` gets the
    pixels of the cells, 0 of those that lie beyond the profile, and `places` where in it they lie [bins]. `deviations`
    (3, sectors) are a, b and c.
    """
    n, (bins, lanes) = profile.shape[0], number.shape
    middle, scale, turned = begin + 0.5 * (bins - 1), 2.0 / bins, -1 / step
    away, inverse = np.empty(lanes), np.empty(lanes)
    for j in range(lanes):
        h = harmonics[:, j]
        away[j] = geometry[0] * h[0] + geometry[1] * h[1]
        inverse[j] = 1 / (1 + geometry[2] * h[2] + geometry[3] * h[3])
    for i in range(bins):
        for j in range(lanes):
            places[i, j] = ((cells[2, begin + i, j] - away[j]) * inverse[j] - lo) / step - 0.5
        for j in range(lanes):
            at = places[i, j]
            number[i, j] = cells[0, begin + i, j] if -0.5 <= at <= n - 0.5 else 0.0
            f[0, i, j], f[3, i, j] = between(profile, at)
        for j in range(lanes):
            f[1, i, j], f[2, i, j], f[4, i, j] = 1.0, (places[i, j] - middle) * scale, cells[1, begin + i, j]
        for j in range(lanes):
            f[3, i, j] *= turned * (1 + deviations[0, j])
            f[5, i, j] = (1 + deviations[0, j]) * f[0, i, j] + deviations[1, j] + deviations[2, j] * f[2, i, j]


@jit(fastmath=True)
def weighted_products(f, weights, m, begin, end, scaled, products):
    """Sums over the bins of f[p] W f[q]: upper triangle of the first m rows, and column m. Row p is zero beyond its bins."""
    for p in range(m):
        for i in range(weights.shape[0]):
            for j in range(weights.shape[1]):
                scaled[i, j] = weights[i, j] * f[p, i, j]
        for q in range(p, m + 1):
            start = max(begin[p], begin[q])
            sum_products(scaled, f, q, start, max(start, min(end[p], end[q])), products, p)


@jit
def add_rest(weights, off, places, rest):
    """Add to `rest` (2, bins) what the profile misses: weighted residuals and weights, shared between the nearest bins."""
    bins = rest.shape[1]
    for i in range(places.shape[0]):
        for j in range(places.shape[1]):
            k = min(max(np.int64(np.floor(places[i, j])), 0), bins - 2)
            part, weight = min(max(places[i, j] - k, 0.0), 1.0), weights[i, j]
            rest[0, k] += (1 - part) * weight * off[i, j]
            rest[0, k + 1] += part * weight * off[i, j]
            rest[1, k] += (1 - part) * weight
            rest[1, k + 1] += part * weight


@jit
def leave_out(scores, information, harmonics, weights):
    """Take weight from blocks whose own centre is not that of the others: the rim of a stop is about its own."""
    scale = max(np.median(scores * scores) / 0.455, 1.0)
    for g in range(scores.shape[0]):
        x = y = xx = xy = yy = 0.0
        for j in range(scores.shape[1]):
            c, s, w = harmonics[0, j], harmonics[1, j], weights[g, j]
            slope, curve = w * scores[g, j] * np.sqrt(information[g, j]), w * information[g, j]
            x += slope * c
            y += slope * s
            xx += curve * c * c
            xy += curve * c * s
            yy += curve * s * s
        determinant = xx * yy - xy * xy
        if determinant > 1e-6 * xx * yy:
            square = (yy * x * x - 2 * xy * x * y + xx * y * y) / determinant / scale
            weights[g] *= 1.0 if square < APART[0] else APART[0] / square if square < APART[1] else 0.0


@jit
def admit_scatter(scores, noise):
    """Raise the noise of blocks whose sectors scatter more than it explains: bins blur what is bright and narrow."""
    for g in range(scores.shape[0]):
        total = number = 0.0
        for j in range(scores.shape[1]):
            if scores[g, j] != 0.0:
                total += min(scores[g, j] ** 2, MOST)
                number += 1.0
        if total > (1 + 2 * np.sqrt(2 / max(number, 1.0))) * number:
            noise[g] *= total / number


@jit
def add_block(g, middle, harmonics, information, gradient, weights, total):
    """Add what the sectors of block g say of their shifts to the equations of centre, strain, and the blocks' own shifts."""
    size, f = total.shape[0], np.empty(4)
    for j in range(weights.shape[0]):
        f[0], f[1], f[2], f[3] = harmonics[0, j], harmonics[1, j], middle * harmonics[2, j], middle * harmonics[3, j]
        weight, slope = weights[j] * information[j], weights[j] * gradient[j]
        for p in range(4):
            for q in range(p, 4):
                total[p, q] += weight * f[p] * f[q]
            total[p, 4 + g] += weight * f[p]
            total[p, size] += slope * f[p]
        total[4 + g, 4 + g] += weight
        total[4 + g, size] += slope


@jit
def improve_profile(cells, lo, step, geometry, harmonics, deviations, noise, profile, number, places, f, spare):
    """Add to the profile what is missed by it in the mean over all sectors; the last arguments are working space."""
    rest, stats = np.zeros((2, profile.shape[0])), np.zeros(8)
    for g in range(deviations.shape[0]):
        block_columns(cells, lo, step, geometry, harmonics, g * number.shape[0], profile, deviations[g], number, places, f)
        weigh_cells(number, f[4], f[5], noise[g], spare[0], f[6], stats, spare[1:3])
        f[5] = f[4] - f[5]
        add_rest(f[6], f[5], places, rest)
    for i in range(profile.shape[0]):
        profile[i] += rest[0, i] / rest[1, i] if rest[1, i] > 0.0 else 0.0


@jit
def score_sectors(information, gradient, harmonics, middles, theta, scores):
    """How far each sector by itself would have its blocks from where they are put by theta, in standard deviations."""
    for g in range(scores.shape[0]):
        for j in range(scores.shape[1]):
            h = harmonics[:, j]
            shift = theta[4 + g] + theta[0] * h[0] + theta[1] * h[1] + middles[g] * (theta[2] * h[2] + theta[3] * h[3])
            tells = information[g, j]
            scores[g, j] = (gradient[g, j] - tells * shift) / np.sqrt(tells) if tells > 0.0 else 0.0


@jit
def fit_freeform(table, angles, lo, step, ellipse, widest, enough, noise, geometry, profile, weights, scores, covariance):
    """Centre and strain, `geometry` (4,), of the pattern in bins of `step` from the radius `lo` on, in blocks of equal length.

    In one step the pattern moves by `widest` at most; a squared step below `enough`, in standard errors, is the last. `noise`
    (blocks, 4) are start values, as for `fit_rings`; `profile` (bins,), `weights` and `scores` (blocks, sectors) and
    `covariance` (4, 4) are results. Returns the squared last step.
    """
    (blocks, n_sectors), n, harmonics = scores.shape, profile.shape[0], harmonics_of(angles)
    size, bins, far = 4 + blocks, n // blocks, lo + step * n
    middles = lo + step * bins * (np.arange(blocks) + 0.5)
    total, theta, stats = np.empty((size, size + 2)), np.zeros(size), np.empty(8)
    deviations, (information, gradient) = np.zeros((blocks, 3, n_sectors)), np.zeros((2, blocks, n_sectors))
    f, (number, places) = np.empty((8, bins, n_sectors)), np.empty((2, bins, n_sectors))
    full, x, spare = np.zeros((4, 6, n_sectors)), np.zeros((4, n_sectors)), np.ones((5, n_sectors))
    begin, end, used = np.zeros(5, np.int64), np.full(5, bins), spare[2]
    gain, weighings = np.inf, 0
    weights[:] = 1.0
    cells = np.empty((3, n, n_sectors))
    gather_cells(table, lo, step, cells)
    mean_profile(cells, profile)
    for turn in range(MAX_TURNS):
        # The profile and the rest by turns: both at once go to and fro.
        improve_profile(cells, lo, step, geometry, harmonics, deviations, noise, profile, number, places, f, spare)
        total[:] = 0.0
        for g in range(blocks):
            stats[:] = 0.0
            block_columns(cells, lo, step, geometry, harmonics, g * bins, profile, deviations[g], number, places, f)
            weigh_cells(number, f[4], f[5], noise[g], spare[0], f[6], stats, spare[1:3])
            if turn > 0 and weighings < WEIGHINGS and stats[0] > 0.0:
                stats[3:5] *= stats[5] / max(stats[5] - 3 * n_sectors - bins, 0.2 * stats[5])
                noise_line(stats, noise[g])
            f[4] -= f[0]
            weighted_products(f, f[6], 4, begin, end, f[7], full)
            eliminate_each(full, 3, spare[3], spare[4])
            back_substitute_each(full, 3, x)
            for j in range(n_sectors):
                seen = used[j] >= LEAST
                information[g, j], gradient[g, j] = (max(full[3, 3, j], 0.0), full[3, 4, j]) if seen else (0.0, 0.0)
            add_block(g, middles[g], harmonics, information[g], gradient[g], weights[g], total)
            share = weights[g] * information[g]
            for p in range(3 if share.sum() > 0.0 else 0):
                deviations[g, p] = np.where(used >= LEAST, x[p] - (share * x[p]).sum() / share.sum(), 0.0)
        if not ellipse:
            total[2:4] = 0.0
            total[:, 2:4] = 0.0
        eliminate(total, size)
        back_substitute(total, size, theta)
        gain = squared_step(total, theta[:4])
        score_sectors(information, gradient, harmonics, middles, theta, scores)
        if turn > 0:
            move = np.hypot(theta[0], theta[1]) + far * np.hypot(theta[2], theta[3])
            geometry += min(1.0, widest / move if move > 0.0 else 1.0) * theta[:4]
            if gain < NEAR and weighings < WEIGHINGS:
                weighings += 1
                reweigh(scores, information, weights)
                leave_out(scores, information, harmonics, weights)
                if weighings == WEIGHINGS:
                    admit_scatter(scores, noise)
        if (weighings == WEIGHINGS and gain < enough) or (weighings == 0 and turn == HOPELESS):
            break
    invert(total, covariance)
    return gain
