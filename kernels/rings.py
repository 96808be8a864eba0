"""Joint fit of concentric rings to an unrolled pattern: centre, strain, radii and widths at the limit of the counts.

The data are the cells of `edfast.kernels.polar.unroll`. Rings stand in groups whose annuli do not overlap. Within a group the
signal is  sum_k A_k T_k + B_0 + B_1 x + B_2 x^2 + ... + B_d x^d  with Gaussian T_k; in the last fit x is a place
about the present centre, as the background is not flat either. Amplitudes A_k, B_0 and B_1 are a common value and a deviation
of each sector (texture, uneven illumination) whose variance is measured: where the pattern is even, the deviations are tied
down, where it is not, they are free. The deviations of a sector are eliminated (Schur complement); what remains is a small
Gauss-Newton system for centre, strain, radii, widths and the common coefficients.

Unknowns of a group with K rings:  deviations of A (K), B_0, B_1 | radii (K), widths (K), A (K), B_0 ... B_d.
Common parameters with N rings:    d1, d2, e1, e2, radii (N), widths (N), amplitudes (N), B_0 ... B_d of each group.
"""

import numpy as np

from edfast.kernels._jit import jit
from edfast.kernels._simd import POWERS, TILE, sum_powers
from edfast.kernels.spots import shift_by_spots

TRIM = 0.2              # share of the sectors that is left out at either end
REACH = 5.0             # a ring is taken as zero beyond so many widths
SERIES_MIDDLE = float(np.exp(-0.390625))
CACHE = 60_000          # numbers that stay in the second-level cache
MAX_TURNS = 20
EVEN_TURNS = 1          # first turns without deviations,
FREE_TURNS = 3          # then with free ones up to this turn, in which their variance is measured
HOLD_TURNS = 7          # from here on noise and weights of the sectors stay: what is left converges
HOPELESS = 1e4        # a squared step as long as this after HOLD_TURNS will not settle
STIFF, LOOSE = 1e12, 1e-6   # times as much as the data an infinite precision ties a deviation down, and one of 0
LEVERAGE = 3.0          # times as much as the middle one of its sectors may one sector tell of a ring
ROUGH = 2.0             # times as much as usual may the cells of a sector scatter
SPOT_DOUBT = 0.1        # share of the shift by a spot that is not trusted
OUTLIER = 6.0           # standard deviations from where on a cell loses weight
INNER = 0.25            # of its radius: no annulus reaches farther in, where the direct beam is
CREST = 1.5             # widths to either side that are a ring's crest
CLIP = 25 / 0.455       # squared scatter of the sectors that counts at most, in its median
COHERENT = 12.0         # chi2 from where on a first harmonic of the deviations is none by chance,
FEW = 2                 # in groups of so many rings: where more overlap, background and texture cannot be told apart
ROUND = 0.75            # share of the sectors that show a ring from where on it is seen all round
PRIOR_STRAIN = 0.1      # standard deviations of the weak priors that keep an undetermined fit finite
PRIOR_WIDTH = 0.35      # relative to the start value, as is
PRIOR_RADIUS = 1.0      # in start widths


@jit
def sectors_at_once(n, bins, n_sectors):
    """How many sectors are worked on side by side, so that all cells of a group of n rings stay in the cache."""
    lanes = n_sectors
    while lanes > TILE and (2 * n + 8) * bins * lanes > CACHE:
        lanes //= 2
    return lanes


@jit
def gather_cells(table, first, lo, step, ring_first, cells):
    """What the fit needs of the cells: number of pixels, mean, place from -1 to 1 within the annulus.

    One group after the other, and within it one set of sectors that are worked on side by side: (3, bins, sectors). A cell
    that is empty or NaN has the number 0.
    """
    end = 0
    for g in range(lo.shape[0]):
        bins = first[g + 1] - first[g]
        half = 0.5 * step[g] * bins
        lanes = sectors_at_once(ring_first[g + 1] - ring_first[g], bins, table.shape[0])
        for lane in range(0, table.shape[0], lanes):
            block = cells[end:end + 3 * bins * lanes].reshape((3, bins, lanes))
            end += block.size
            for j in range(lanes):
                for i in range(bins):
                    n, total, place = table[lane + j, first[g] + i, 0], table[lane + j, first[g] + i, 1], 0.5
                    if n > 0.0 and total == total:
                        block[0, i, j], block[1, i, j] = n, total / n
                        place += table[lane + j, first[g] + i, 2] / n
                    else:
                        block[0, i, j] = block[1, i, j] = 0.0
                    block[2, i, j] = (step[g] * (i + place) - half) / half


@jit(fastmath=True)
def gaussian(u, out):
    """exp(-u^2 / 2), 0 from REACH on; sixteenth powers of a series, which vectorises: right to 1e-9."""
    for j in range(u.shape[0]):
        t = -0.03125 * u[j] * u[j] + 0.390625
        t = 1 + t * (1 + t / 2 * (1 + t / 3 * (1 + t / 4 * (1 + t / 5 * (1 + t / 6 * (1 + t / 7 * (1 + t / 8 * (
            1 + t / 9))))))))
        t *= SERIES_MIDDLE
        t *= t
        t *= t
        t *= t
        t *= t
        out[j] = t if abs(u[j]) < REACH else 0.0


@jit(fastmath=True)
def ring_shapes(x, half, middle, radii, widths, begin, end, u, shape):
    """Gaussians of rings at `radii` (ring, sector): `shape` (ring, bin, sector), and how far from each, u, in its widths.

    Both are written in the bins from begin[k] to end[k] alone, beyond which ring k is zero in all sectors.
    """
    bins, scale = x.shape[0], 0.5 * x.shape[0] / half
    for k in range(widths.shape[0]):
        reach, inverse = REACH * widths[k] * scale + 1, 1 / widths[k]
        low, high = (radii[k].min() - middle + half) * scale, (radii[k].max() - middle + half) * scale
        begin[k] = min(max(np.int64(np.floor(low - reach)), 0), bins)
        end[k] = max(min(np.int64(np.ceil(high + reach)), bins), begin[k])
        near, away = x[begin[k]:end[k]], u[k, begin[k]:end[k]]
        for i in range(away.shape[0]):
            for j in range(away.shape[1]):
                away[i, j] = (middle - radii[k, j] + half * near[i, j]) * inverse
        gaussian(away.reshape(-1), shape[k, begin[k]:end[k]].reshape(-1))


@jit(fastmath=True)
def expected_signal(x, ground, signal, shape, begin, end, slope, expected):
    """Signal of the coefficients (amplitudes, B_0 ... B_d) of each sector in its cells, and `slope`, ground[0] x + ground[1].

    Of the latter the background is a function.
    """
    n, last = shape.shape[0], signal.shape[0] - 1
    odd = (last - n) % 2
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            slope[i, j] = ground[0, j] * x[i, j] + ground[1, j]
            expected[i, j] = signal[last, j] * slope[i, j] + signal[last - 1, j] if odd else signal[last, j]
        for d in range(last - odd - 2, n - 1, -2):
            for j in range(x.shape[1]):
                expected[i, j] = (expected[i, j] * slope[i, j] + signal[d + 1, j]) * slope[i, j] + signal[d, j]
    for k in range(n):
        for i in range(begin[k], end[k]):
            for j in range(x.shape[1]):
                expected[i, j] += signal[k, j] * shape[k, i, j]


@jit(fastmath=True)
def weigh_cells(count, value, expected, noise, spread, weights, stats, scatter):
    """Weights of cells: their number over the variance noise[0] + noise[1] * expected, at least noise[2]; outliers less.

    Variances are `spread` times as large in each sector. stats += (weighted sums for a line through squared residuals against
    signal, number, chi2, variances); `scatter` gets chi2 and number of each sector.
    """
    v0, quantum, least, mean, calm = noise[0], noise[1], noise[2], noise[3], 1 / spread
    s0 = s1 = s2 = s3 = s4 = s7 = 0.0
    scatter[:] = 0.0
    for i in range(count.shape[0]):
        for j in range(count.shape[1]):
            variance = spread[j] * max(v0 + quantum * expected[i, j], least)
            off, weight = abs(value[i, j] - expected[i, j]), count[i, j] / variance
            # A single count in a faint cell is no outlier, however small its variance: `quantum` is the size of one count.
            rest, most = off * count[i, j], OUTLIER * (np.sqrt(count[i, j] * variance) + quantum)
            share = most / rest if rest > most else 1.0
            weights[i, j] = weight * share * share
            scatter[0, j] += min(off * off * weight, 16.0)
        for j in range(count.shape[1]):
            usual, off = max(v0 + quantum * expected[i, j], least), value[i, j] - expected[i, j]
            used = 1.0 if count[i, j] > 0.0 else 0.0
            z = min(off * off * count[i, j] * calm[j], 16 * usual)
            q = used * calm[j] / ((usual + mean) * (usual + mean))
            s0 += q
            s1 += q * expected[i, j]
            s2 += q * expected[i, j] * expected[i, j]
            s3 += q * z
            s4 += q * expected[i, j] * z
            s7 += used * usual
        for j in range(count.shape[1]):
            scatter[1, j] += 1.0 if count[i, j] > 0.0 else 0.0
    stats += np.array([s0, s1, s2, s3, s4, scatter[1].sum(), scatter[0].sum(), s7])


@jit(fastmath=True)
def _multiply(one, other, begin, end, out):
    """The product of both in the bins from begin to end."""
    for i in range(begin, end):
        for j in range(out.shape[1]):
            out[i, j] = one[i, j] * other[i, j]


@jit
def moments(values, x, begin, end, number, sums):
    """sums[k] = sum over the bins of values * x^k, for k below `number` and up to three more; the values are used up."""
    for k in range(0, number, POWERS):
        sum_powers(values, x, begin, end, sums, k)


@jit(fastmath=True)
def ring_terms(sums, q, scale, offset, before, strength, height, place, width):
    """Sums over T u^k x^q, k from 0 to 2, as they belong to height, place and width of a ring T: from the moments of T in x.

    u = scale * x + offset, the distance from the ring in its widths. All of them, (sectors,), are multiplied by `before`, the
    two last by `strength`, the ring's amplitude over its width.
    """
    one, two, three = sums[q], sums[q + 1], sums[q + 2]
    for j in range(height.shape[0]):
        a, b, c = scale[j], offset[j], before[j] * strength[j]
        height[j] = before[j] * one[j]
        place[j] = c * (a * two[j] + b * one[j])
        width[j] = c * (a * (a * three[j] + 2 * b * two[j]) + b * b * one[j])


@jit
def _cell(products, p, q):
    """Where the upper triangle has the product of two columns."""
    return products[min(p, q), max(p, q)]


@jit(fastmath=True)
def sector_products(value, weights, slope, u, shape, begin, end, half, middle, radii, widths, degree, strengths, ground,
                    work, sums, products):
    """Weighted products of the model's columns, (column, column, sector): upper triangle, and with the data.

    Columns: amplitudes (n), B_0, B_1, radii (n), widths (n), B_2 ... B_d, data. All are Gaussians or none, times powers of the
    place, so that moments tell all products: the columns themselves are not needed.
    """
    n, (bins, lanes), m = widths.shape[0], weights.shape, products.shape[0]
    weighted, powers, one, none = work[0], work[1], np.ones(lanes), np.zeros(lanes)
    scale, offset = np.empty((2, lanes))
    ground_of = np.arange(3 * n, 3 * n + degree + 1)
    ground_of[0], ground_of[1] = n, n + 1
    powers[:] = weights
    moments(powers, slope, 0, bins, 2 * degree + 1, sums)
    for p in range(degree + 1):
        for q in range(p, degree + 1):
            products[ground_of[p], ground_of[q]] = sums[p + q]
    _multiply(weights, value, 0, bins, powers)
    moments(powers, slope, 0, bins, degree + 1, sums)
    for p in range(degree + 1):
        products[ground_of[p], m] = sums[p]
    for k in range(n):
        first, last, at, wide = begin[k], end[k], n + 2 + k, 2 * n + 2 + k
        _multiply(weights, shape[k], first, last, weighted)
        powers[first:last] = weighted[first:last]
        moments(powers, slope, first, last, degree + 3, sums)
        for j in range(lanes):
            scale[j] = half / (widths[k] * ground[0, j])
            offset[j] = (middle - radii[k, j]) / widths[k] - scale[j] * ground[1, j]
        for q in range(degree + 1):
            ring_terms(sums, q, scale, offset, one, strengths[k], products[k, ground_of[q]],
                       _cell(products, at, ground_of[q]), _cell(products, wide, ground_of[q]))
        _multiply(weighted, value, first, last, powers)
        moments(powers, u[k], first, last, 3, sums)
        ring_terms(sums, 0, one, none, one, strengths[k], products[k, m], products[at, m], products[wide, m])
        for r in range(k, n):
            _multiply(weighted, shape[r], max(first, begin[r]), min(last, end[r]), powers)
            moments(powers, u[k], max(first, begin[r]), min(last, end[r]), 5, sums)
            for j in range(lanes):
                scale[j], offset[j] = widths[k] / widths[r], (radii[k, j] - radii[r, j]) / widths[r]
            for a, p in enumerate((k, at, wide)):
                ring_terms(sums, a, scale, offset, strengths[k] if a > 0 else one, strengths[r], _cell(products, p, r),
                           _cell(products, p, n + 2 + r), _cell(products, p, 2 * n + 2 + r))


@jit
def sector_equations(cells, half, middle, radii, widths, degree, strengths, signal, ground, noise, spread, work, products,
                     stats, scatter):
    """Weighted normal equations of some sectors and one group, those of `sector_products`; `strengths` are over the widths.

    The present signal gives the variances and residuals, from which `stats` and `scatter` are fed as in weigh_cells. `work`
    (2 n + 5, bins, sectors) is working space.
    """
    n, lanes = widths.shape[0], cells.shape[2]
    slope, expected, weights, u, shape = work[0], work[1], work[2], work[5:5 + n], work[5 + n:]
    begin, end, sums = np.empty(n, np.int64), np.empty(n, np.int64), np.empty((2 * degree + 1 + POWERS, lanes))
    ring_shapes(cells[2], half, middle, radii, widths, begin, end, u, shape)
    expected_signal(cells[2], ground, signal, shape, begin, end, slope, expected)
    weigh_cells(cells[0], cells[1], expected, noise, spread, weights, stats, scatter)
    sector_products(cells[1], weights, slope, u, shape, begin, end, half, middle, radii, widths, degree, strengths, ground,
                    work[3:5], sums, products)


@jit
def complete(products, n, degree, full):
    """Equations with the common coefficients inserted: these have the same columns as the deviations.

    From those of sector_products (m, m + 1, sectors) to deviations (n + 2), radii, widths, A (n), B_0 ... B_d, data,
    (m, m + 2, sectors).
    """
    base, m = n + 2, 4 * n + 3 + degree
    for p in range(m):
        a = p if p < 3 * n + 2 else p - 3 * n - 2 if p < 4 * n + 4 else p - base
        for q in range(p, m + 1):
            b = q if q < 3 * n + 2 else q - 3 * n - 2 if q < 4 * n + 4 else q - base
            source, target = products[min(a, b), max(a, b)], full[p, q]
            for j in range(source.shape[0]):
                target[j] = source[j]


@jit
def tie_down(full, precision, expected):
    """Add what is expected of the deviations (unknown, sector), with its precision, to the equations of all sectors.

    Free deviations are tied down by a trace: the common value is then their mean, or else it would be any.
    """
    m = full.shape[0]
    for p in range(precision.shape[0]):
        if precision[p] == np.inf:
            full[p, p] *= STIFF
        elif precision[p] == 0.0:
            full[p, p] *= 1 + LOOSE
        else:
            full[p, p] += precision[p]
            full[p, m] += precision[p] * expected[p]


@jit
def eliminate(matrix, n):
    """Eliminate the first n unknowns of symmetric equations: upper triangle, right-hand side, scale of each pivot.

    An unknown that is left without a pivot is dropped: its row is cleared, it counts as zero.
    """
    m = matrix.shape[0]
    for p in range(m):
        matrix[p, m + 1] = matrix[p, p]
    for p in range(n):
        pivot = matrix[p, p]
        if not pivot > 1e-10 * matrix[p, m + 1]:
            matrix[p, :m + 1] = 0.0
            continue
        for q in range(p + 1, m):
            factor = matrix[p, q] / pivot
            if factor != 0.0:
                for r in range(q, m + 1):
                    matrix[q, r] -= factor * matrix[p, r]


@jit
def back_substitute(matrix, n, x):
    """The first n unknowns of eliminated equations; the others stand in x[n:] already."""
    m = matrix.shape[0]
    for p in range(n - 1, -1, -1):
        s = matrix[p, m]
        for q in range(p + 1, m):
            s -= matrix[p, q] * x[q]
        x[p] = s / matrix[p, p] if matrix[p, p] > 0.0 else 0.0


@jit
def squared_step(matrix, x):
    """Squared length of the first unknowns x of eliminated equations, in standard deviations."""
    square = 0.0
    for p in range(x.shape[0]):
        if matrix[p, p] > 0.0:
            inner = x[p]
            for q in range(p + 1, x.shape[0]):
                inner += matrix[p, q] / matrix[p, p] * x[q]
            square += matrix[p, p] * inner * inner
    return square


@jit(fastmath=True)
def invert(matrix, out):
    """First rows and columns of the inverse of symmetric equations (m, m + 2) that `eliminate` has treated completely.

    As many as `out` has. Dropped unknowns get zero.
    """
    m = matrix.shape[0]
    x, inverse, upper = np.empty(m), np.empty(m), np.empty((m, m))
    for p in range(m):
        inverse[p] = 1 / matrix[p, p] if matrix[p, p] > 0.0 else 0.0
        for q in range(p + 1, m):
            upper[p, q] = matrix[p, q] * inverse[p]
    for k in range(out.shape[0]):
        x[:] = 0.0
        x[k] = 1.0
        for p in range(k, m):
            row, value = upper[p], x[p]
            for q in range(p + 1, m):
                x[q] -= row[q] * value
        for p in range(m - 1, -1, -1):
            row, value = upper[p], x[p] * inverse[p]
            for q in range(p + 1, m):
                value -= row[q] * x[q]
            x[p] = value
        out[:, k] = x[:out.shape[0]]


@jit(fastmath=True)
def eliminate_each(full, n, inverse, factor):
    """`eliminate` for many systems side by side (m, m + 2, sectors); `inverse` and `factor` are working space."""
    m, lanes = full.shape[0], full.shape[2]
    for p in range(n):
        full[p, m + 1] = full[p, p]
    for p in range(n):
        for j in range(lanes):
            pivot = full[p, p, j]
            usable = pivot > 1e-10 * full[p, m + 1, j]
            inverse[j] = 1 / (pivot if usable else 1.0)
            factor[j] = 1.0 if usable else 0.0
        for q in range(p, m + 1):
            row = full[p, q]
            for j in range(lanes):
                row[j] *= factor[j]
        for q in range(p + 1, m):
            row = full[p, q]
            for j in range(lanes):
                factor[j] = row[j] * inverse[j]
            for r in range(q, m + 1):
                source, target = full[p, r], full[q, r]
                for j in range(lanes):
                    target[j] -= factor[j] * source[j]


@jit(fastmath=True)
def back_substitute_each(full, n, x):
    """`back_substitute` for many systems side by side: x is (m, sectors)."""
    m, lanes = full.shape[0], full.shape[2]
    for p in range(n - 1, -1, -1):
        unknown, right, pivot = x[p], full[p, m], full[p, p]
        for j in range(lanes):
            unknown[j] = right[j]
        for q in range(p + 1, m):
            other, row = x[q], full[p, q]
            for j in range(lanes):
                unknown[j] -= row[j] * other[j]
        for j in range(lanes):
            unknown[j] = unknown[j] / pivot[j] if pivot[j] > 0.0 else 0.0


@jit(fastmath=True)
def variances_each(full, n, z, out):
    """Diagonal of the inverse of the leading n x n block of eliminated systems (m, m + 2, sectors); inf without a pivot.

    `z` (n, sectors) is working space.
    """
    lanes = full.shape[2]
    for k in range(n):
        for j in range(lanes):
            out[k, j] = 0.0 if full[k, k, j] > 0.0 else np.inf
        for p in range(k, n):
            for j in range(lanes):
                z[p, j] = 1.0 if p == k else 0.0
        for p in range(k, n):
            for j in range(lanes):
                out[k, j] += z[p, j] * z[p, j] / full[p, p, j] if full[p, p, j] > 0.0 else 0.0
            for j in range(lanes):
                z[p, j] = z[p, j] / full[p, p, j] if full[p, p, j] > 0.0 else 0.0
            for q in range(p + 1, n):
                for j in range(lanes):
                    z[q, j] -= full[p, q, j] * z[p, j]


@jit
def scatter_precision(values, variances, angles):
    """1 / variance of the true deviations behind noisy values: the excess of their scatter, overall and of the first harmonic.

    A coherent first harmonic is what would pass for a shift of the centre, so a significant one opens the prior by itself.
    """
    number = mean = noise = 0.0
    for j in range(values.shape[0]):
        if variances[j] < np.inf:
            w = 1 / variances[j]
            number += w
            mean += w * values[j]
            noise += 1.0
    if noise < 3.0:
        return 0.0
    mean /= number
    typical = noise / number
    # Few cells may miss by any amount: a sector counts up to five times the usual.
    known = variances < np.inf
    most = CLIP * np.median((values[known] - mean) ** 2 / variances[known])
    excess = c = s = 0.0
    for j in range(values.shape[0]):
        if known[j]:
            rest = values[j] - mean
            excess += (min(rest * rest / variances[j], most) - 1) * typical / noise
            c += 2 * rest * np.cos(angles[j]) / variances[j] / number
            s += 2 * rest * np.sin(angles[j]) / variances[j] / number
    # Half a standard deviation of the estimate is added: to tie down too much costs more than to leave some freedom.
    spread = excess + 0.5 * typical * np.sqrt(2 / noise)
    harmonic = 0.5 * (c * c + s * s)
    if harmonic > 8 * typical / noise:
        spread = max(spread, harmonic)
    return 1 / max(spread, 1e-3 * typical)


@jit
def coherent_part(values, variances, precision, angles, expected):
    """The first harmonic of the deviations, where it is beyond chance: what is `expected` of each sector; 0 otherwise.

    An uneven background goes once around the azimuth. Tied down like deviations by chance, what is left of it in all sectors
    would pass for a shift of the centre. `precision` as from `scatter_precision`.
    """
    expected[:] = 0.0
    known = variances < np.inf
    if not precision > 0.0:
        return
    some, variance, places = values[known], variances[known], angles[known]
    square = (some - np.median(some)) ** 2 / variance
    matrix, f, x = np.zeros((3, 5)), np.ones(3), np.empty(3)
    weights = np.minimum(1.0, CLIP * np.median(square) / (square + 1e-300)) / (variance + 1 / precision)
    for j in range(some.shape[0]):
        f[1], f[2] = np.cos(places[j]), np.sin(places[j])
        for p in range(3):
            for q in range(p, 3):
                matrix[p, q] += weights[j] * f[p] * f[q]
            matrix[p, 3] += weights[j] * f[p] * some[j]
    eliminate(matrix, 3)
    back_substitute(matrix, 3, x)
    if matrix[1, 1] > 0.0 < matrix[2, 2] and matrix[1, 3] ** 2 / matrix[1, 1] + matrix[2, 3] ** 2 / matrix[2, 2] > COHERENT:
        for j in range(expected.shape[0]):
            expected[j] = x[1] * np.cos(angles[j]) + x[2] * np.sin(angles[j])


@jit
def harmonics_of(angles):
    """(5, sectors): cosine and sine of the sectors' angles, of twice the angles, and 1."""
    out = np.ones((5, angles.shape[0]))
    for j in range(angles.shape[0]):
        out[0, j], out[1, j] = np.cos(angles[j]), np.sin(angles[j])
        out[2, j], out[3, j] = np.cos(2 * angles[j]), np.sin(2 * angles[j])
    return out


@jit
def _index(q, n, k0, n_all, b0):
    """Common parameter of unknown q (after the eliminated ones) of a group: n rings from k0, background from b0."""
    if q < n:
        return 4 + k0 + q
    if q < 2 * n:
        return 4 + n_all + k0 + q - n
    if q < 3 * n:
        return 4 + 2 * n_all + k0 + q - 2 * n
    return b0 + q - 3 * n


@jit(fastmath=True)
def _sums(values, factors, out):
    """out[a] = sum of values[j] * factors[a, j] over the sectors j."""
    for a in range(factors.shape[0]):
        total = 0.0
        for j in range(values.shape[0]):
            total += values[j] * factors[a, j]
        out[a] = total


@jit
def add_group(full, harmonics, k0, n, radii, b0, weights, total):
    """Add the reduced equations of some sectors of a group, weighted, to those of the common parameters (upper triangle).

    `harmonics` are those of `harmonics_of`.
    """
    m, size, n_all, base = full.shape[0], total.shape[0], radii.shape[0], n + 2
    single, double, sums = weights * harmonics, np.empty((25, weights.shape[0])), np.empty(25)
    for a in range(5):
        double[5 * a:5 * a + 5] = single[a] * harmonics
    for p in range(m - base):
        # A ring depends on centre and strain, and on its own radius; other unknowns are common parameters themselves.
        some, own_p = (single, double) if p < n else (single[4:], double[24:]), _index(p, n, k0, n_all, b0)
        for q in range(p, m - base + 1):
            own_q = _index(q, n, k0, n_all, b0) if q < m - base else size
            factors = some[1] if q < n else some[0]
            _sums(full[base + p, base + q], factors, sums)
            for i in range(factors.shape[0]):
                a, b = (i // 5, i % 5) if q < n else (i if p < n else 4, 4)
                row, lever = (a, radii[k0 + p] if a > 1 else 1.0) if a < 4 else (own_p, 1.0)
                column, arm = (b, radii[k0 + q] if b > 1 else 1.0) if b < 4 else (own_q, 1.0)
                if p < q or row <= column:
                    value = lever * arm * sums[i]
                    total[min(row, column), max(row, column)] += 2 * value if p < q and row == column else value


@jit
def common_part(theta, harmonics, k0, n, radii, degree, b0, x):
    """The unknowns of a group in each sector, behind the n + 2 eliminated ones, that belong to common parameters theta."""
    for q in range(3 * n + 1 + degree):
        x[n + 2 + q] = theta[_index(q, n, k0, radii.shape[0], b0)]
        if q < n:
            for a in range(4):
                x[n + 2 + q] += theta[a] * (radii[k0 + q] if a > 1 else 1.0) * harmonics[a]


@jit
def residual_scores(full, n, x, scores, information):
    """How far each sector on its own would move a group's rings away from the common solution x, in standard deviations.

    `information` is the inverse variance of that move.
    """
    m, base = full.shape[0], n + 2
    for j in range(full.shape[2]):
        score = total = 0.0
        for p in range(base, base + n):
            score += full[p, m, j]
            for q in range(base, m):
                value = full[min(p, q), max(p, q), j]
                score -= value * x[q, j]
                if q < base + n:
                    total += value
        scores[j], information[j] = (score / np.sqrt(total), total) if total > 0.0 else (0.0, 0.0)


@jit
def own_centers(full, n, x, harmonics, weights, moves):
    """Where each ring of a group would have its centre, were it not tied to that of the others, to first order.

    moves[k]: gradient (2) about the common solution x and curvature (xx, xy, yy), summed over the sectors.
    """
    m, base = full.shape[0], n + 2
    moves[:] = 0.0
    for k in range(n):
        for j in range(full.shape[2]):
            c, s, w = harmonics[0, j], harmonics[1, j], weights[j]
            slope, curve = full[base + k, m, j], w * full[base + k, base + k, j]
            for q in range(base, m):
                slope -= full[min(base + k, q), max(base + k, q), j] * x[q, j]
            moves[k, 0] += w * slope * c
            moves[k, 1] += w * slope * s
            moves[k, 2] += curve * c * c
            moves[k, 3] += curve * c * s
            moves[k, 4] += curve * s * s


@jit
def noise_line(stats, noise):
    """Variance as a line in the signal, from the sums of sector_equations; never negative, never a falling line."""
    det = stats[0] * stats[2] - stats[1] * stats[1]
    slope = (stats[0] * stats[4] - stats[1] * stats[3]) / det if det > 1e-9 * stats[0] * stats[2] else 0.0
    noise[1] = max(slope, 0.0)
    noise[0] = (stats[3] - noise[1] * stats[1]) / stats[0]
    # Poor knowledge of the faint end must not feed on itself: no variance below a fiftieth of the mean one.
    noise[3] = stats[7] / stats[5]
    noise[2] = 0.02 * noise[3]


@jit
def _assemble(cells, harmonics, first, lo, step, ring_first, degrees, back_first, radii, widths, geometry, shifts, strengths,
              signal, precision, expected, noise, spreads, roughness, weights, along, store, total, stats):
    """Equations of all sectors and groups at the present parameters, summed into those of the common parameters.

    The background of a group lies about the same centre as the rings if it goes `along`, or else about that of the cells.
    """
    total[:] = 0.0
    stats[:] = 0.0
    n_sectors, end = harmonics.shape[1], 0
    for g in range(lo.shape[0]):
        k0, n, degree, bins = ring_first[g], ring_first[g + 1] - ring_first[g], degrees[g], first[g + 1] - first[g]
        half, lanes, m = 0.5 * step[g] * bins, sectors_at_once(n, bins, n_sectors), 3 * n + 1 + degree
        work, products, scatter = np.empty((2 * n + 5, bins, lanes)), np.empty((m, m + 1, lanes)), np.empty((2, lanes))
        places, strong, heights = np.empty((n, lanes)), np.empty((n, lanes)), np.empty((n + 1 + degree, lanes))
        middle, ground, h, spare = lo[g] + half, np.empty((2, lanes)), np.empty((5, lanes)), np.empty((2, lanes))
        for lane in range(0, n_sectors, lanes):
            some, block = slice(lane, lane + lanes), cells[end:end + 3 * bins * lanes].reshape((3, bins, lanes))
            end += block.size
            full = _equations_of(store[g], n, degree, lane, lanes)
            h[:] = harmonics[:, some]
            for j in range(lanes):
                x, y = geometry[0] * h[0, j], geometry[1] * h[1, j]
                stretched = 1 + geometry[2] * h[2, j] + geometry[3] * h[3, j]
                ground[0, j], ground[1, j] = 1.0, 0.0
                if along[g]:
                    ground[0, j], ground[1, j] = 1 / stretched, ((middle - x - y) / stretched - middle) / half
                for k in range(n):
                    places[k, j] = radii[k0 + k] * stretched + x + y + shifts[k0 + k, lane + j]
            for k in range(n):
                strong[k] = strengths[k0 + k, some] / widths[k0 + k]
            heights[:] = signal[g, :n + 1 + degree, some]
            sector_equations(block, half, middle, places, widths[k0:k0 + n], degree, strong, heights, ground, noise,
                             spreads[g, some], work, products, stats, scatter)
            complete(products, n, degree, full)
            tie_down(full, precision[g, :n + 2], expected[g, :n + 2, some])
            eliminate_each(full, n + 2, spare[0], spare[1])
            add_group(full, h, k0, n, radii, back_first[g], weights[g, some], total)
            for j in range(lanes):
                roughness[g, lane + j] = spreads[g, lane + j] * scatter[0, j] / max(scatter[1, j], 1.0)


@jit
def _equations_of(store, n, degree, lane, lanes):
    """The part of a group's `store` for the equations of some sectors, which stay in the cache while they are worked on."""
    m = 4 * n + 3 + degree
    size = m * (m + 2)
    return store.reshape(-1)[size * lane:size * (lane + lanes)].reshape((m, m + 2, lanes))


@jit
def _solve_common(total, radii, widths, radii0, widths0, ellipse, spans, back_first, degrees, theta):
    """Solve for the common parameters under the weak priors; returns the squared step in standard deviations."""
    size, n = theta.shape[0], widths.shape[0]
    for p in range(2, 4):
        if ellipse:
            total[p, p] += 1 / PRIOR_STRAIN ** 2
        else:
            total[p, :] = 0.0
            total[:, p] = 0.0
    for k in range(n):
        w = 1 / (PRIOR_RADIUS * widths0[k]) ** 2
        total[4 + k, 4 + k] += w
        total[4 + k, size] += w * (radii0[k] - radii[k])
        w = 1 / (PRIOR_WIDTH * widths0[k]) ** 2
        total[4 + n + k, 4 + n + k] += w
        total[4 + n + k, size] += w * (widths0[k] - widths[k])
    for g in range(spans.shape[0]):
        for d in range(2, degrees[g] + 1):
            total[back_first[g] + d, back_first[g] + d] += 1 / spans[g] ** 2
    eliminate(total, size)
    back_substitute(total, size, theta)
    # That of the geometry alone: the linear coefficients are unknowns, not steps.
    return squared_step(total, theta[:4 + 2 * n])


@jit
def _spread_out(harmonics, first, ring_first, degrees, back_first, theta, radii, store, free, mix, weights, strengths, signal,
                variances, scores, information, moves):
    """Coefficients of each sector that belong to the common solution, the variances of their deviations, scores and moves.

    The coefficients come to the share `mix` from this turn, for the rest from the one before.
    """
    n_sectors = harmonics.shape[1]
    for g in range(ring_first.shape[0] - 1):
        k0, n, degree, b0 = ring_first[g], ring_first[g + 1] - ring_first[g], degrees[g], back_first[g]
        lanes = sectors_at_once(n, first[g + 1] - first[g], n_sectors)
        h, x, some_moves = np.empty((5, lanes)), np.empty((4 * n + 3 + degree, lanes)), np.empty((n, 5))
        some_variances, z = np.empty((2, n + 2, lanes))
        moves[k0:k0 + n] = 0.0
        for lane in range(0, n_sectors, lanes):
            some, full = slice(lane, lane + lanes), _equations_of(store[g], n, degree, lane, lanes)
            h[:] = harmonics[:, some]
            common_part(theta, h, k0, n, radii, degree, b0, x)
            back_substitute_each(full, n + 2, x)
            for p in range(n + 1 + degree):
                for j in range(lanes):
                    here = x[3 * n + 2 + p, j] + x[p, j] if p < n + 2 else x[3 * n + 2 + p, j]
                    signal[g, p, lane + j] += mix * (here - signal[g, p, lane + j])
                    if p < n:
                        strengths[k0 + p, lane + j] = x[3 * n + 2 + p, j] if free else signal[g, p, lane + j]
            variances_each(full, n + 2, z, some_variances)
            variances[g, :n + 2, some] = some_variances
            residual_scores(full, n, x, scores[g, some], information[g, some])
            own_centers(full, n, x, h, weights[g, some], some_moves)
            moves[k0:k0 + n] += some_moves


@jit
def _free_mean(ring_first, signal, variances):
    """After a turn with free deviations: sectors without information get the mean of the others."""
    for g in range(ring_first.shape[0] - 1):
        for p in range(ring_first[g + 1] - ring_first[g] + 2):
            top = bottom = 0.0
            for j in range(signal.shape[2]):
                if variances[g, p, j] < np.inf:
                    top += signal[g, p, j] / variances[g, p, j]
                    bottom += 1 / variances[g, p, j]
            for j in range(signal.shape[2]):
                if not variances[g, p, j] < np.inf:
                    signal[g, p, j] = top / bottom if bottom > 0.0 else 0.0


@jit
def tells(information):
    """Which sectors tell of a ring at all: where it cannot be seen there is no information, or next to none."""
    return information > 0.03 * information.mean()


@jit
def most_information(information):
    """How much one sector may tell of a ring, by what the middle one tells of those that tell of it at all; 0 without any."""
    telling = tells(information)
    return LEVERAGE * np.median(information[telling]) if telling.any() else 0.0


@jit
def reweigh(scores, information, weights):
    """Down-weigh sectors that contradict the common solution: spots, shadows, what a stop leaves of a ring.

    The same for those that tell much more than the others: a few bright spots, never exactly on their ring, must not decide.
    """
    scale = np.sqrt(max(np.median(scores * scores) / 0.455, 1.0))
    for g in range(weights.shape[0]):
        most = most_information(information[g])
        for j in range(weights.shape[1]):
            z = abs(scores[g, j]) / scale
            weights[g, j] = 1.0 if z < 3.0 else 9.0 / (z * z) if z < 6.0 else 0.0
            if information[g, j] > most > 0.0:
                weights[g, j] *= most / information[g, j]


@jit
def _calm(roughness, information, spreads):
    """How much more than is usual the cells of each sector scatter, where it is plainly more: spots that lie across them."""
    for g in range(spreads.shape[0]):
        usual = np.median(roughness[g][tells(information[g])])
        for j in range(spreads.shape[1]):
            spreads[g, j] = roughness[g, j] / usual if roughness[g, j] > ROUGH * usual > 0.0 else 1.0


@jit
def _allow_for_spots(ring_first, radii, widths, signal, variances, information, trust, shifts):
    """Shifts of each ring by spots, and the trust in sectors: the less, the more depends on a shift."""
    trust[:] = 1.0
    for g in range(trust.shape[0]):
        seen = tells(information[g])
        for k in range(ring_first[g], ring_first[g + 1]):
            shift_by_spots(signal[g, k - ring_first[g]], variances[g, k - ring_first[g]], seen, radii[k], widths[k], shifts[k])
            for j in range(trust.shape[1]):
                trust[g, j] /= 1 + (SPOT_DOUBT * shifts[k, j]) ** 2 * information[g, j]


@jit
def _seen_all_round(table, first, lo, step, ring_first, radii, widths, along):
    """Which groups have a ring of which nearly all of the azimuth is seen."""
    n_sectors = table.shape[0]
    for g in range(along.shape[0]):
        there = np.zeros(n_sectors, np.bool_)
        show_sectors(table, first[g:g + 2], lo[g:g + 1], step[g:g + 1], ring_first[g:g + 2], radii, widths,
                     np.ones((1, n_sectors)), np.zeros(n_sectors), there)
        along[g] = there.mean() > ROUND


@jit
def _hold_free(ring_first, signal, variances, angles, coherent, precision, expected):
    """How far coefficients may deviate from the common ones, as the free ones do; what backgrounds have in common."""
    for g in range(ring_first.shape[0] - 1):
        n = ring_first[g + 1] - ring_first[g]
        for p in range(n + 2):
            precision[g, p] = scatter_precision(signal[g, p], variances[g, p], angles)
            if coherent and p >= n and n <= FEW:
                coherent_part(signal[g, p], variances[g, p], precision[g, p], angles, expected[g, p])


@jit
def _against(last, theta, total):
    """Whether a step goes back on the one before, each parameter in its own standard deviation."""
    product = 0.0
    for p in range(last.shape[0]):
        product += last[p] * theta[p] * max(total[p, p], 0.0)
    return product < 0.0


@jit
def fit_rings(table, angles, first, lo, step, ring_first, degrees, radii, widths, geometry, ellipse, spots, final, spans,
              noise, signal, enough, precision, variances, weights, trust, scores, moves, store, total, covariance):
    """Gauss-Newton fit of all rings, until it has settled or is hopeless.

    radii, widths, geometry, noise, signal ... are start values and results; `spans` are the ranges of the signal, with which
    the curvature of each group's background is kept in bounds. `spots` on the rings are allowed for, or not. A `final` fit
    allows for uneven backgrounds, and takes those about a ring that is seen all round to have its centre; a rough one,
    which may begin far from there, does neither. A squared step below `enough`, in standard deviations, is the last.

    Returns (turns taken, squared last step in standard deviations, chi2 per degree of freedom of the cells).
    """
    n, size, n_sectors = radii.shape[0], total.shape[0], angles.shape[0]
    theta, stats, strengths, shifts = np.zeros(size), np.zeros(8), np.empty((n, n_sectors)), np.zeros((n, n_sectors))
    harmonics, information = harmonics_of(angles), np.zeros(scores.shape)
    spreads, roughness, expected = np.ones(scores.shape), np.ones(scores.shape), np.zeros(variances.shape)
    cells = np.empty(3 * n_sectors * table.shape[1])
    gather_cells(table, first, lo, step, ring_first, cells)
    along = np.zeros(lo.shape[0], np.bool_)
    if final:
        _seen_all_round(table, first, lo, step, ring_first, radii, widths, along)
    for g in range(lo.shape[0]):
        for k in range(ring_first[g], ring_first[g + 1]):
            strengths[k] = signal[g, k - ring_first[g]]
    back_first = 4 + 3 * n + np.cumsum(degrees + 1) - degrees - 1
    radii0, widths0 = radii.copy(), widths.copy()
    gain = chi2 = np.inf
    last, relax, turn = theta[:4 + 2 * n].copy(), 1.0, EVEN_TURNS if spots else 0
    while turn < MAX_TURNS:
        if turn <= EVEN_TURNS:
            precision[:] = np.inf if turn < EVEN_TURNS else 0.0
        _assemble(cells, harmonics, first, lo, step, ring_first, degrees, back_first, radii, widths, geometry, shifts,
                  strengths, signal, precision, expected, noise, spreads, roughness, weights * trust, along,
                  store, total, stats)
        gain = _solve_common(total, radii, widths, radii0, widths0, ellipse, spans, back_first, degrees, theta)
        if turn > 0:
            free = max(stats[5] - n_sectors * (n + 2 * lo.shape[0]) - size, 0.2 * stats[5], 1.0)
            chi2 = stats[6] / free
            stats[3:5] *= stats[5] / free
            if turn < HOLD_TURNS:
                noise_line(stats, noise)
        big = 0.0
        for k in range(n):
            move = np.hypot(theta[0], theta[1]) + abs(theta[4 + k]) + radii[k] * np.hypot(theta[2], theta[3])
            big = max(big, move / (0.8 * widths[k]), abs(theta[4 + n + k]) / (0.3 * widths[k]))
        # Steps to and fro overshoot: faint rings change their weights with their place.
        relax = max(0.6 * relax, 0.2) if turn > FREE_TURNS and _against(last, theta, total) else min(1.3 * relax, 1.0)
        last[:] = theta[:4 + 2 * n]
        damp = min(relax, 1.0 / big) if big > 0.0 else 1.0
        theta[:4 + 2 * n] *= damp
        _spread_out(harmonics, first, ring_first, degrees, back_first, theta, radii, store, turn < FREE_TURNS - 1,
                    relax if turn > FREE_TURNS else 1.0, weights * trust, strengths, signal, variances, scores, information,
                    moves)
        if turn == FREE_TURNS - 1:
            _hold_free(ring_first, signal, variances, angles, final, precision, expected)
        if EVEN_TURNS <= turn < FREE_TURNS:
            _free_mean(ring_first, signal, variances)
        if 1 < turn < HOLD_TURNS:
            reweigh(scores, information, weights)
            if spots:
                _calm(roughness, information, spreads)
                _allow_for_spots(ring_first, radii, widths, signal, variances, information, trust, shifts)
        geometry += theta[:4]
        radii += theta[4:4 + n]
        widths += theta[4 + n:4 + 2 * n]
        turn += 1
        if turn > FREE_TURNS + 1 and ((damp >= relax and gain < enough) or (turn > HOLD_TURNS and gain > HOPELESS)):
            break
    # What tells next to nothing contradicts nothing.
    for g in range(scores.shape[0]):
        scores[g] *= tells(information[g])
    invert(total, covariance)
    return turn, gain, chi2


@jit
def trimmed_mean(values):
    """Mean without the highest and the lowest fifth; 0 of nothing. `values` are sorted in place."""
    values.sort()
    cut = np.int64(TRIM * values.shape[0])
    total = 0.0
    for i in range(cut, values.shape[0] - cut):
        total += values[i]
    return total / (values.shape[0] - 2 * cut) if values.shape[0] > 0 else 0.0


@jit
def judge_rings(signal, variances, weights, ring_first, spot, heights, even, typical):
    """Of each ring: mean height, participation ratio of its heights over the azimuth, trimmed mean height.

    The first two from sectors that have a weight; heights beyond `spot` times their trimmed mean count as that for the second:
    a few bright spots on a ring do not make it less of a ring. Returns which rings are shown by at least four such sectors;
    the others get 0.
    """
    lanes = signal.shape[2]
    used, known, shown = np.empty(lanes), np.empty(lanes), np.zeros(heights.shape[0], np.bool_)
    for g in range(ring_first.shape[0] - 1):
        for k in range(ring_first[g], ring_first[g + 1]):
            p, n, n_known = k - ring_first[g], 0, 0
            for j in range(lanes):
                if variances[g, p, j] < np.inf:
                    known[n_known] = signal[g, p, j]
                    n_known += 1
                    if weights[g, j] > 0.3:
                        used[n] = signal[g, p, j]
                        n += 1
            typical[k] = trimmed_mean(known[:n_known])
            shown[k] = n >= 4
            if n < 4:
                continue
            heights[k] = used[:n].mean()
            most = spot * trimmed_mean(used[:n])
            total = square = 0.0
            for j in range(n):
                total += min(used[j], most)
                square += min(used[j], most) ** 2
            even[k] = total * total / (n * square) if square > 0.0 else 0.0
    return shown


@jit
def show_sectors(table, first, lo, step, ring_first, radii, widths, by_group, weights, there):
    """Which sectors show at least half of a ring's crest, and the highest weight that each has in the groups of such rings."""
    for g in range(lo.shape[0]):
        for k in range(ring_first[g], ring_first[g + 1]):
            for j in range(table.shape[0]):
                pixels = area = 0.0
                for i in range(first[g], first[g + 1]):
                    if abs(lo[g] + step[g] * (i - first[g] + 0.5) - radii[k]) < CREST * widths[k]:
                        area += step[g] * radii[k] * 2 * np.pi / table.shape[0]
                        if abs(table[j, i, 1]) < np.inf:
                            pixels += table[j, i, 0]
                if pixels > 0.5 * area:
                    there[j] = True
                    weights[j] = max(weights[j], by_group[g, j])


@jit
def plan_groups(radii, widths, reach, r_max, fineness, whole, degree, ring_first, lo, step, bins, degrees):
    """Annuli around sorted rings, merged where rings are near each other; returns their number.

    Group g holds the rings ring_first[g] to ring_first[g + 1] and `bins[g]` bins of step[g] from lo[g]; degrees[g] is the
    degree of its background. Every annulus reaches `reach` widths to both sides, half way to the next where they would
    overlap. The bins are `fineness` to a width, or whole pixels where `whole` is true. The degree is degree[0], and two more
    for each ring, up to degree[1].
    """
    groups = 0
    for k in range(radii.shape[0]):
        inner, outer = max(radii[k] - reach * widths[k], INNER * radii[k], 1.5), min(radii[k] + reach * widths[k], r_max)
        gap = radii[k] - radii[k - 1] if k > 0 else np.inf
        pair = widths[k] + widths[k - 1] if k > 0 else 0.0
        if k > 0 and gap < 4 * pair and k - ring_first[groups - 1] < 6:
            step[groups - 1] = outer
            continue
        if k > 0 and inner < step[groups - 1]:
            inner = radii[k - 1] + gap * widths[k - 1] / pair
            step[groups - 1] = inner
        ring_first[groups], lo[groups], step[groups] = k, inner, outer
        groups += 1
    ring_first[groups] = radii.shape[0]
    for g in range(groups):
        finest = np.inf
        for k in range(ring_first[g], ring_first[g + 1]):
            finest = min(finest, widths[k])
        if whole:
            lo[g], size = np.floor(lo[g]), max(np.floor(finest / fineness), 1.0)
            bins[g] = max(np.int64(np.ceil((step[g] - lo[g]) / size)), 8)
            step[g] = size
        else:
            # A shade less than a whole number: the ratio often is one, and rounding must not decide how the pixels are binned.
            bins[g] = max(np.int64(np.ceil((step[g] - lo[g]) * fineness / finest - 0.01)), 8)
            step[g] = (step[g] - lo[g]) / bins[g]
        degrees[g] = min(degree[0] + 2 * (ring_first[g + 1] - ring_first[g]), degree[1])
    return groups


@jit
def start_values(table, first, lo, step, ring_first, radii, signal, noise, spans):
    """Rough amplitudes and backgrounds, the same for all sectors; a noise that grows with the signal; the signal's range."""
    n_bins = table.shape[1]
    profile = np.zeros(n_bins)
    for i in range(n_bins):
        number = 0.0
        for j in range(table.shape[0]):
            if table[j, i, 1] == table[j, i, 1]:
                number += table[j, i, 0]
                profile[i] += table[j, i, 1]
        profile[i] = profile[i] / number if number > 0.0 else np.nan
    low, high, mean = np.nanmin(profile), np.nanmax(profile), np.nanmean(profile)
    # The shape is a guess, the size is that of the scatter within the cells.
    within = usual = 0.0
    for i in range(n_bins):
        for j in range(table.shape[0]):
            count = table[j, i, 0]
            if count > 1.0 and table[j, i, 1] == table[j, i, 1] and profile[i] == profile[i]:
                within += max(table[j, i, 3] - table[j, i, 1] ** 2 / count, 0.0)
                usual += (count - 1.0) * (profile[i] - low + 0.05 * (high - low))
    noise[1] = within / usual if within > 0.0 and usual > 0.0 else 1.0
    noise[0] = noise[1] * (0.05 * (high - low) - low) + 1e-12 * abs(noise[1] * low) + 1e-300
    noise[3] = noise[0] + noise[1] * mean
    noise[2] = 0.02 * noise[3]
    signal[:] = 0.0
    for g in range(lo.shape[0]):
        part = profile[first[g]:first[g + 1]]
        base = np.nanmin(part)
        spans[g] = np.nanmax(part) - base + 1e-9 * abs(base) + 1e-300
        n = ring_first[g + 1] - ring_first[g]
        signal[g, n] = base
        for k in range(n):
            i = min(max(np.int64((radii[ring_first[g] + k] - lo[g]) / step[g]), 0), part.shape[0] - 1)
            height = part[i] - base if part[i] == part[i] else 0.0
            signal[g, k] = max(height, 0.05 * (high - low))
