"""Joint fit of concentric rings to an unrolled pattern: centre, strain, radii and widths at the limit of the counts.

The data are the cells of `edfast.kernels.polar.unroll`. Rings stand in groups whose annuli do not overlap. Within a group the
signal is  sum_k A_k T_k + B_0 + B_1 x + B_2 x^2 + ... + B_d x^d  with Gaussian T_k. Amplitudes A_k, B_0 and B_1 are a common
value and a deviation of each sector (texture, uneven illumination) whose variance is measured: where the pattern is even, the
deviations are tied down, where it is not, they are free. The deviations of a sector are eliminated (Schur complement); what
remains is a small Gauss-Newton system for centre, strain, radii, widths and the common coefficients.

Unknowns of a group with K rings:  deviations of A (K), B_0, B_1 | radii (K), widths (K), A (K), B_0 ... B_d.
Common parameters with N rings:    d1, d2, e1, e2, radii (N), widths (N), amplitudes (N), B_0 ... B_d of each group.
"""

import numpy as np

from edfast.kernels._jit import jit

REACH = 5.0             # a ring is taken as zero beyond so many widths
MAX_TURNS = 20
EVEN_TURNS = 1          # first turns without deviations,
FREE_TURNS = 3          # then with free ones up to this turn, in which their variance is measured
HOLD_TURNS = 7          # from here on noise and weights of the sectors stay: what is left converges
HOPELESS = 1e4        # a squared step as long as this after HOLD_TURNS will not settle
OUTLIER = 6.0           # standard deviations from where on a cell loses weight
PRIOR_STRAIN = 0.1      # standard deviations of the weak priors that keep an undetermined fit finite
PRIOR_WIDTH = 0.35      # relative to the start value, as is
PRIOR_RADIUS = 1.0      # in start widths


@jit
def sector_columns(cells, lo, step, half, radii, widths, degree, strengths, signal, f, count):
    """Values of the model's columns in the usable cells of one sector and group: ``f[column, cell]``; returns how many cells.

    Columns: deviations (n + 2), radii (n), widths (n), x^2 ... x^d, data, expected signal. `signal` holds the present
    coefficients (amplitudes, B_0 ... B_d), `strengths` are the amplitudes with which radii and widths act.
    """
    n = radii.shape[0]
    data, expected = 3 * n + 1 + degree, 3 * n + 2 + degree
    usable = 0
    for i in range(cells.shape[0]):
        if cells[i, 0] > 0.0 and cells[i, 1] == cells[i, 1]:
            count[usable] = cells[i, 0]
            f[data, usable] = cells[i, 1] / cells[i, 0]
            f[n + 1, usable] = (step * (i + 0.5 + cells[i, 2] / cells[i, 0]) - half) / half
            usable += 1
    for i in range(usable):
        x = f[n + 1, i]
        f[n, i] = 1.0
        f[expected, i] = signal[n] + x * signal[n + 1]
        power = x
        for d in range(2, degree + 1):
            power *= x
            f[3 * n + d, i] = power
            f[expected, i] += signal[n + d] * power
    for k in range(n):
        for i in range(usable):
            u = (lo + half + half * f[n + 1, i] - radii[k]) / widths[k]
            t = np.exp(-0.5 * u * u) if abs(u) < REACH else 0.0
            slope = strengths[k] * t * u / widths[k]
            f[k, i], f[n + 2 + k, i], f[2 * n + 2 + k, i] = t, slope, slope * u
            f[expected, i] += signal[k] * t
    return usable


@jit(fastmath=True)
def weighted_products(f, weights, number, m, scaled, matrix):
    """Upper triangle of ``f W f^T`` over the first m rows of f, and its column m; the inner loops run over the cells."""
    for p in range(m):
        row = f[p]
        for i in range(number):
            scaled[i] = weights[i] * row[i]
        for q in range(p, m + 1):
            other = f[q]
            total = 0.0
            for i in range(number):
                total += scaled[i] * other[i]
            matrix[p, q] = total


@jit
def sector_equations(cells, lo, step, half, radii, widths, degree, strengths, signal, noise, matrix, stats, f, count, weights):
    """Weighted normal equations of one sector and group, in the upper triangle of `matrix`; columns as in sector_columns.

    The present signal gives the variances (noise[0] + noise[1] * signal, at least noise[2]) and residuals; stats += (weighted
    sums for a line through squared residuals against signal, number, chi2). `f`, `count` and `weights` are working space.
    """
    m = 3 * radii.shape[0] + 1 + degree
    usable = sector_columns(cells, lo, step, half, radii, widths, degree, strengths, signal, f, count)
    for i in range(usable):
        value, expected = f[m, i], f[m + 1, i]
        variance = max(noise[0] + noise[1] * expected, noise[2])
        weights[i] = count[i] / variance
        # A single count in a faint cell is no outlier, however small its variance: noise[1] is the size of one count.
        rest, usual = abs(value - expected) * count[i], OUTLIER * (np.sqrt(count[i] * variance) + noise[1])
        if rest > usual:
            weights[i] *= (usual / rest) ** 2
        z = min((value - expected) ** 2 * count[i], 16 * variance)
        q = 1 / (variance + noise[3]) ** 2
        stats[0] += q
        stats[1] += q * expected
        stats[2] += q * expected * expected
        stats[3] += q * z
        stats[4] += q * expected * z
        stats[5] += 1.0
        stats[6] += z / variance
        stats[7] += variance
    matrix[:] = 0.0
    weighted_products(f, weights, usable, m, count, matrix)


@jit
def complete(matrix, n, degree, precision):
    """Insert the common coefficients (the same columns as the deviations) and the precision of the deviations, in place.

    From the columns of sector_equations to: deviations (n + 2), radii, widths, A (n), B_0 ... B_d, data.
    """
    old, base = 3 * n + 1 + degree, n + 2
    m = old + base
    full = np.empty((m, m + 1))
    source = np.empty(m + 1, np.int64)
    for p in range(m + 1):
        source[p] = p if p < 3 * n + 2 else p - 3 * n - 2 if p < 4 * n + 4 else p - base
    for p in range(m):
        for q in range(p, m + 1):
            a, b = source[p], source[q]
            full[p, q] = matrix[min(a, b), max(a, b)]
    for p in range(base):
        full[p, p] += precision[p]
    for p in range(m):
        for q in range(p, m + 1):
            matrix[p, q] = full[p, q]


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
def inverse_diagonal(matrix, n, k):
    """Element (k, k) of the inverse of the leading n x n block of eliminated equations; inf without a pivot."""
    if not matrix[k, k] > 0.0:
        return np.inf
    z = np.zeros(n)
    z[k] = 1.0
    total = 0.0
    for p in range(k, n):
        if matrix[p, p] > 0.0:
            total += z[p] * z[p] / matrix[p, p]
            for q in range(p + 1, n):
                z[q] -= matrix[p, q] / matrix[p, p] * z[p]
    return total


@jit
def invert(matrix, out):
    """Inverse of symmetric equations (m, m + 2) that `eliminate` has treated completely; dropped unknowns get zero."""
    m = matrix.shape[0]
    x = np.empty(m)
    for k in range(m):
        x[:] = 0.0
        x[k] = 1.0 if matrix[k, k] > 0.0 else 0.0
        for p in range(m):
            if matrix[p, p] > 0.0:
                for q in range(p + 1, m):
                    x[q] -= matrix[p, q] / matrix[p, p] * x[p]
                x[p] /= matrix[p, p]
            else:
                x[p] = 0.0
        for p in range(m - 1, -1, -1):
            if matrix[p, p] > 0.0:
                for q in range(p + 1, m):
                    x[p] -= matrix[p, q] / matrix[p, p] * x[q]
        out[:, k] = x


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
    excess = c = s = 0.0
    for j in range(values.shape[0]):
        if variances[j] < np.inf:
            rest = values[j] - mean
            excess += (rest * rest / variances[j] - 1) * typical / noise
            c += 2 * rest * np.cos(angles[j]) / variances[j] / number
            s += 2 * rest * np.sin(angles[j]) / variances[j] / number
    # Half a standard deviation of the estimate is added: to tie down too much costs more than to leave some freedom.
    spread = excess + 0.5 * typical * np.sqrt(2 / noise)
    harmonic = 0.5 * (c * c + s * s)
    if harmonic > 8 * typical / noise:
        spread = max(spread, harmonic)
    return 1 / max(spread, 1e-3 * typical)


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


@jit
def add_sector(matrix, angle, k0, n, radii, b0, weight, total):
    """Add the reduced equations of one sector and group to those of the common parameters (both triangles)."""
    m, size, n_all, base = matrix.shape[0], total.shape[0], radii.shape[0], n + 2
    h = np.zeros((m - base, 5))
    index = np.zeros((m - base, 5), np.int64)
    for q in range(m - base):
        index[q, 4] = _index(q, n, k0, n_all, b0)
        h[q, 4] = 1.0
        if q < n:
            index[q, 1], index[q, 2], index[q, 3] = 1, 2, 3
            h[q, 0], h[q, 1] = np.cos(angle), np.sin(angle)
            h[q, 2], h[q, 3] = radii[k0 + q] * np.cos(2 * angle), radii[k0 + q] * np.sin(2 * angle)
    for p in range(m - base):
        for a in range(0 if p < n else 4, 5):
            total[index[p, a], size] += weight * h[p, a] * matrix[base + p, m]
            for q in range(m - base):
                value = weight * h[p, a] * matrix[base + min(p, q), base + max(p, q)]
                for b in range(0 if q < n else 4, 5):
                    total[index[p, a], index[q, b]] += value * h[q, b]


@jit
def common_part(theta, angle, k0, n, radii, degree, b0, x):
    """The unknowns of a group in one sector, behind the n + 2 eliminated ones, that belong to common parameters theta."""
    n_all = radii.shape[0]
    shift = theta[0] * np.cos(angle) + theta[1] * np.sin(angle)
    strain = theta[2] * np.cos(2 * angle) + theta[3] * np.sin(2 * angle)
    for q in range(3 * n + 1 + degree):
        x[n + 2 + q] = theta[_index(q, n, k0, n_all, b0)]
        if q < n:
            x[n + 2 + q] += shift + radii[k0 + q] * strain


@jit
def residual_score(matrix, n, x):
    """How far, in standard deviations, a sector on its own would move the rings of a group away from the common solution x."""
    m, base = matrix.shape[0], n + 2
    score = information = 0.0
    for p in range(base, base + n):
        score += matrix[p, m]
        for q in range(base, m):
            value = matrix[min(p, q), max(p, q)]
            score -= value * x[q]
            if q < base + n:
                information += value
    return score / np.sqrt(information) if information > 0.0 else 0.0


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
def _assemble(table, angles, first, lo, step, ring_first, degrees, back_first, radii, widths, geometry, strengths, signal,
              precision, noise, weights, store, total, stats):
    """Equations of all sectors and groups at the present parameters, summed into those of the common parameters."""
    total[:] = 0.0
    stats[:] = 0.0
    here = np.empty(radii.shape[0])
    most = np.max(first[1:] - first[:-1])
    f, count, cell_weights = np.empty((store.shape[2] + 2, most)), np.empty(most), np.empty(most)
    for g in range(lo.shape[0]):
        k0, n, degree, b0 = ring_first[g], ring_first[g + 1] - ring_first[g], degrees[g], back_first[g]
        m = 4 * n + 3 + degree
        half = 0.5 * step[g] * (first[g + 1] - first[g])
        for j in range(angles.shape[0]):
            a = angles[j]
            shift = geometry[0] * np.cos(a) + geometry[1] * np.sin(a)
            strain = geometry[2] * np.cos(2 * a) + geometry[3] * np.sin(2 * a)
            for k in range(n):
                here[k] = radii[k0 + k] * (1 + strain) + shift
            matrix = store[j, g, :m, :m + 2]
            sector_equations(table[j, first[g]:first[g + 1]], lo[g], step[g], half, here[:n], widths[k0:k0 + n], degree,
                             strengths[j, k0:k0 + n], signal[j, g], noise, matrix, stats, f, count, cell_weights)
            complete(matrix, n, degree, precision[g])
            eliminate(matrix, n + 2)
            if weights[j, g] > 0.0:
                add_sector(matrix, a, k0, n, radii, b0, weights[j, g], total)


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
    # Squared length of the geometric step alone: the linear coefficients are unknowns, not steps.
    gain = 0.0
    for p in range(4 + 2 * n):
        if total[p, p] > 0.0:
            inner = theta[p]
            for q in range(p + 1, 4 + 2 * n):
                inner += total[p, q] / total[p, p] * theta[q]
            gain += total[p, p] * inner * inner
    return gain


@jit
def _spread_out(angles, ring_first, degrees, back_first, theta, radii, store, free, mix, strengths, signal, variances,
                scores):
    """Coefficients of each sector that belong to the common solution, the variances of their deviations, and the scores.

    The coefficients come to the share `mix` from this turn, for the rest from the one before.
    """
    x = np.empty(store.shape[2])
    for g in range(ring_first.shape[0] - 1):
        k0, n, degree, b0 = ring_first[g], ring_first[g + 1] - ring_first[g], degrees[g], back_first[g]
        m = 4 * n + 3 + degree
        for j in range(angles.shape[0]):
            matrix = store[j, g, :m, :m + 2]
            common_part(theta, angles[j], k0, n, radii, degree, b0, x)
            back_substitute(matrix, n + 2, x)
            for p in range(n + 2):
                signal[j, g, p] += mix * (x[p] + x[3 * n + 2 + p] - signal[j, g, p])
                variances[g, p, j] = inverse_diagonal(matrix, n + 2, p)
                if p < n:
                    strengths[j, k0 + p] = x[3 * n + 2 + p] if free else signal[j, g, p]
            signal[j, g, n + 2:n + 1 + degree] += mix * (x[4 * n + 4:m] - signal[j, g, n + 2:n + 1 + degree])
            scores[j, g] = residual_score(matrix, n, x)


@jit
def _free_mean(ring_first, signal, variances):
    """After a turn with free deviations: sectors without information get the mean of the others."""
    for g in range(ring_first.shape[0] - 1):
        for p in range(ring_first[g + 1] - ring_first[g] + 2):
            top = bottom = 0.0
            for j in range(signal.shape[0]):
                if variances[g, p, j] < np.inf:
                    top += signal[j, g, p] / variances[g, p, j]
                    bottom += 1 / variances[g, p, j]
            for j in range(signal.shape[0]):
                if not variances[g, p, j] < np.inf:
                    signal[j, g, p] = top / bottom if bottom > 0.0 else 0.0


@jit
def _reweigh(scores, weights):
    """Down-weigh sectors that contradict the common solution (spots, shadows, what a stop leaves of a ring)."""
    scale = np.sqrt(max(np.median(scores * scores) / 0.455, 1.0))
    for j in range(weights.shape[0]):
        for g in range(weights.shape[1]):
            z = abs(scores[j, g]) / scale
            weights[j, g] = 1.0 if z < 3.0 else 9.0 / (z * z) if z < 6.0 else 0.0


@jit
def _against(last, theta, total):
    """Whether a step goes back on the one before, each parameter in its own standard deviation."""
    product = 0.0
    for p in range(last.shape[0]):
        product += last[p] * theta[p] * max(total[p, p], 0.0)
    return product < 0.0


@jit
def fit_rings(table, angles, first, lo, step, ring_first, degrees, radii, widths, geometry, ellipse, spans, noise, signal,
              precision, variances, weights, scores, store, total, covariance):
    """Gauss-Newton fit of all rings, until it has settled or is hopeless.

    radii, widths, geometry, noise, signal ... are start values and results; `spans` are the ranges of the signal, with which
    the curvature of each group's background is kept in bounds.

    Returns (turns taken, squared last step in standard deviations, chi2 per degree of freedom of the cells).
    """
    n, size, n_sectors = radii.shape[0], total.shape[0], angles.shape[0]
    theta, stats, strengths = np.zeros(size), np.zeros(8), np.empty((n_sectors, n))
    for g in range(lo.shape[0]):
        for k in range(ring_first[g], ring_first[g + 1]):
            strengths[:, k] = signal[:, g, k - ring_first[g]]
    back_first = 4 + 3 * n + np.cumsum(degrees + 1) - degrees - 1
    radii0, widths0 = radii.copy(), widths.copy()
    gain = chi2 = np.inf
    last, relax, turn = theta[:4 + 2 * n].copy(), 1.0, 0
    while turn < MAX_TURNS:
        if turn <= EVEN_TURNS:
            precision[:] = 1e30 if turn < EVEN_TURNS else 0.0
        _assemble(table, angles, first, lo, step, ring_first, degrees, back_first, radii, widths, geometry, strengths, signal,
                  precision, noise, weights, store, total, stats)
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
        _spread_out(angles, ring_first, degrees, back_first, theta, radii, store, turn < FREE_TURNS - 1,
                    relax if turn > FREE_TURNS else 1.0, strengths, signal, variances, scores)
        if turn == FREE_TURNS - 1:
            for g in range(lo.shape[0]):
                for p in range(ring_first[g + 1] - ring_first[g] + 2):
                    precision[g, p] = scatter_precision(signal[:, g, p], variances[g, p], angles)
        if EVEN_TURNS <= turn < FREE_TURNS:
            _free_mean(ring_first, signal, variances)
        if 1 < turn < HOLD_TURNS:
            _reweigh(scores, weights)
        geometry += theta[:4]
        radii += theta[4:4 + n]
        widths += theta[4 + n:4 + 2 * n]
        turn += 1
        if turn > FREE_TURNS + 1 and ((damp >= relax and gain < 1e-3) or (turn > HOLD_TURNS and gain > HOPELESS)):
            break
    invert(total, covariance)
    return turn, gain, chi2


@jit
def plan_groups(radii, widths, reach, r_max, fineness, ring_first, lo, step, bins, degrees):
    """Annuli around sorted rings, merged where rings are near each other; returns their number.

    Group g holds the rings ring_first[g] to ring_first[g + 1] and `bins[g]` bins of step[g] from lo[g]; degrees[g] is the
    degree of its background. Every annulus reaches `reach` widths to both sides, half way to the next where they would
    overlap.
    """
    groups = 0
    for k in range(radii.shape[0]):
        inner, outer = max(radii[k] - reach * widths[k], 1.5), min(radii[k] + reach * widths[k], r_max)
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
        # A shade less than a whole number: the ratio often is one, and rounding must not decide how the pixels are binned.
        bins[g] = max(np.int64(np.ceil((step[g] - lo[g]) * fineness / finest - 0.01)), 8)
        step[g] = (step[g] - lo[g]) / bins[g]
        degrees[g] = min(3 + 2 * (ring_first[g + 1] - ring_first[g]), 9)
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
        signal[:, g, n] = base
        for k in range(n):
            i = min(max(np.int64((radii[ring_first[g] + k] - lo[g]) / step[g]), 0), part.shape[0] - 1)
            height = part[i] - base if part[i] == part[i] else 0.0
            signal[:, g, k] = max(height, 0.05 * (high - low))
