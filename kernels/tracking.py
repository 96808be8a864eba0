"""One centre per frame: sums over the cells of a few annuli, and a fit of rings that are known already.

A table lists the blocks of pixels in the annuli, relative to a whole pixel near the centre, with the cell (radial bin and
sector) that each belongs to. It stays valid while the pattern moves: by whole pixels it moves too, and the fraction is fitted.

In the cells the signal is  sum_k A_k T_k + B_0 + B_1 x + rest(bin)  with Gaussian T_k. A_k, B_0 and B_1 belong to each sector
and are eliminated (Schur complement). Common to all sectors are  d1, d2, e1, e2, radii (N), widths (N).  What the frames
before have taught about the sectors (`learned`) gives the weights and slopes with which a faint sector enters, and `rest` what
is left of the radial profile; the centre itself is fitted to each frame alone.

Arrays over cells are (bins, sectors): the sectors lie side by side and are worked on together. Columns of a group with n
rings: A (n), B_0, B_1 | radii (n), widths (n).
"""

import numpy as np

from edfast.kernels._jit import jit
from edfast.kernels._simd import prefetch, sum_products
from edfast.kernels.polar import stretch
from edfast.kernels.rings import (
    back_substitute,
    back_substitute_each,
    eliminate,
    eliminate_each,
    gaussian,
    invert,
    most_information,
    noise_line,
    residual_scores,
    variances_each,
)

AHEAD = 384             # single pixels by which the memory is asked ahead
MAX_TURNS = 12
FIRST_ROUNDS = 4        # fits of the first frame, each of which knows what the one before has learned
ENOUGH = 0.02           # squared step, in standard errors, that is the last in the first frame;
EXPECTED = 0.002        # later, what the next one would be, about: the square times the step's length in widths,
SETTLED = 0.1           # unless the weight of a sector has changed by so much
OUTLIER = 6.0           # standard deviations from where on a cell loses weight
PRIOR_STRAIN = 0.1      # standard deviations of the weak priors that keep an undetermined fit finite;
PRIOR_RADIUS, PRIOR_WIDTH = 1.0, 0.35    # in start widths
SLOWEST = 0.05          # share at least by which a frame changes what has been learned
STEADY = 0.1            # relative change of the heights up to which one turn may do
CLEAR = 4.0             # standard errors from where on a common factor of the sectors is believed

# What fit_frame reports: squared last step, chi2 per degree of freedom of the cells and of the sectors, turns, standard errors
# by which the rings' places and heights are known, share of the sectors in use, height over that of the first frame, centre
# relative to the origin and its standard errors [pixel].
GAIN, CELLS, SECTORS, TURNS, SURE, HIGH, SHARE, HEIGHT, X, Y, X_ERR, Y_ERR, REPORTED = range(13)


@jit
def list_blocks(lo, step, first, size, e1, e2, n_sectors, fill, dx, dy, cell, radius):
    """Blocks of size x size pixels whose middles lie in annuli about the origin; returns their number, writes them if `fill`.

    Annulus g has the bins first[g] to first[g + 1] from radius lo[g] in steps of step[g], in the plane in which the strain
    (e1, e2) is undone; a block belongs to cell bin * n_sectors + sector. (dx, dy) is its first pixel.
    """
    s11, s12, s22 = stretch(e1, e2)
    grow, begin, turn = np.exp(np.hypot(e1, e2)), np.arctan2(s12, s11), 2 * np.pi / n_sectors
    middle, n = 0.5 * (size - 1), 0
    for g in range(lo.shape[0]):
        bins = first[g + 1] - first[g]
        r_in, r_out = lo[g] / grow, (lo[g] + step[g] * bins) * grow
        rows = np.int64(r_out / size) + 2
        for row in range(-rows, rows):
            y = row * size + middle
            if abs(y) >= r_out:
                continue
            outer = np.int64(np.sqrt(r_out * r_out - y * y) / size) + 2
            inner = np.int64(np.sqrt(r_in * r_in - y * y) / size) - 2 if r_in > abs(y) else 0
            column = -outer
            while column < outer:
                if -inner < column < inner:
                    column = inner
                x = column * size + middle
                u, v = s11 * x + s12 * y, s12 * x + s22 * y
                r = np.hypot(u, v)
                i = np.int64(np.floor((r - lo[g]) / step[g]))
                if 0 <= i < bins:
                    if fill:
                        sector = np.int64(np.floor((np.arctan2(v, u) - begin) / turn)) % n_sectors
                        dx[n], dy[n], radius[n] = column * size, row * size, r
                        cell[n] = (first[g] + i) * n_sectors + sector
                    n += 1
                column += 1
    return n


@jit
def place_blocks(dx, dy, cell, radius, x0, y0, size, bad, height, width, offsets, cells, chosen, count, place):
    """The blocks that lie in the frame, with the origin at pixel (x0, y0), and have nothing bad in them; returns their number.

    `bad` (H, W) says so for the block that begins at each pixel; it has no rows where nothing is bad. count and place: number
    of the blocks in each cell and the mean of their radii.
    """
    n = 0
    count[:] = 0.0
    place[:] = 0.0
    for i in range(dx.shape[0]):
        x, y = x0 + dx[i], y0 + dy[i]
        if x < 0 or y < 0 or x + size > width or y + size > height or (bad.shape[0] > 0 and bad[y, x]):
            continue
        c = cell[i]
        offsets[n], cells[n], chosen[n] = y * width + x, c, i
        count[c] += 1.0
        place[c] += radius[i]
        n += 1
    for c in range(count.shape[0]):
        place[c] /= max(count[c], 1.0)
    return n


@jit(fastmath=True, inline="always")
def _block(pixels, offset, width, size):
    total = 0.0
    for y in range(size):
        for x in range(size):
            total += np.float64(pixels[offset + y * width + x])
    return total


@jit(inline="always")
def _prefetch_block(pixels, offset, width, size):
    for y in range(size):
        prefetch(pixels, offset + y * width)


@jit(fastmath=True)
def gather(pixels, width, size, offsets, cells, sums):
    """Sum blocks of size x size pixels (1, 2, 4 or 8) that begin at `offsets` of the flat frame into their cells.

    What is not finite poisons its cell.
    """
    sums[:] = 0.0
    n = offsets.shape[0]
    if size == 1:
        # Neighbours mostly share a line of the cache, and often a cell: with sums of their own they need not wait.
        others, pairs = np.zeros(sums.shape), n // 2 * 2
        for i in range(0, pairs, 2):
            prefetch(pixels, np.intp(offsets[min(i + AHEAD, n - 1)]))
            sums[cells[i]] += pixels[offsets[i]]
            others[cells[i + 1]] += pixels[offsets[i + 1]]
        for i in range(pairs, n):
            sums[cells[i]] += pixels[offsets[i]]
        sums += others
    elif size == 2:
        for i in range(n):
            _prefetch_block(pixels, np.intp(offsets[min(i + AHEAD // 3, n - 1)]), width, 2)
            sums[cells[i]] += _block(pixels, np.intp(offsets[i]), width, 2)
    elif size == 4:
        for i in range(n):
            _prefetch_block(pixels, np.intp(offsets[min(i + AHEAD // 6, n - 1)]), width, 4)
            sums[cells[i]] += _block(pixels, np.intp(offsets[i]), width, 4)
    else:
        for i in range(n):
            _prefetch_block(pixels, np.intp(offsets[min(i + AHEAD // 24, n - 1)]), width, 8)
            sums[cells[i]] += _block(pixels, np.intp(offsets[i]), width, 8)


@jit
def drop_blocks(pixels, width, size, low, high, radius, offsets, cells, chosen, count, place):
    """Take out the blocks whose mean is not from `low` to `high` of its cell: hot and dead pixels; returns how many stay."""
    n = 0
    for i in range(offsets.shape[0]):
        c, mean = cells[i], _block(pixels, np.intp(offsets[i]), width, size) / (size * size)
        if low[c] <= mean <= high[c]:
            offsets[n], cells[n], chosen[n] = offsets[i], c, chosen[i]
            n += 1
        else:
            place[c] = (place[c] * count[c] - radius[chosen[i]]) / max(count[c] - 1.0, 1.0)
            count[c] -= 1.0
    return n


@jit(fastmath=True)
def weigh_cells(start, cells, residual, expected, noise, weights):
    """Weights of cells: their number over the variance noise[0] + noise[1] * expected, at least noise[2]; outliers less."""
    v0, quantum, least, most = noise[0], noise[1], noise[2], OUTLIER ** 2
    for i in range(weights.shape[0]):
        for j in range(weights.shape[1]):
            count = cells[1, start + i, j]
            variance = max(v0 + quantum * expected[i, j], least)
            # A single count in a faint cell is no outlier, however small its variance: `quantum` is the size of one count.
            off, usual = (residual[i, j] * count) ** 2, most * (count * variance + 4 * quantum * quantum)
            weights[i, j] = count / variance * (usual / off if off > usual else 1.0)


@jit(fastmath=True)
def noise_sums(start, cells, residual, expected, noise, weights, stats, mean_rest):
    """Add to `stats`: weighted sums for a line through squared residuals against signal, number, chi2, variances.

    mean_rest: sums of the weighted residuals and of the weights in each bin.
    """
    v0, quantum, least, mean = noise[0], noise[1], noise[2], noise[3]
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    for i in range(weights.shape[0]):
        top = bottom = 0.0
        for j in range(weights.shape[1]):
            count, signal, rest = cells[1, start + i, j], expected[i, j], residual[i, j]
            variance = max(v0 + quantum * signal, least)
            used = 1.0 if count > 0.0 else 0.0
            z = min(rest * rest * count, 16 * variance)
            q = used / ((variance + mean) * (variance + mean))
            s0 += q
            s1 += q * signal
            s2 += q * signal * signal
            s3 += q * z
            s4 += q * signal * z
            s5 += used
            s6 += z / variance
            s7 += used * variance
            top += weights[i, j] * rest
            bottom += weights[i, j]
        mean_rest[0, start + i], mean_rest[1, start + i] = top, bottom
    for k, total in enumerate((s0, s1, s2, s3, s4, s5, s6, s7)):
        stats[k] += total


@jit(fastmath=True)
def _weighted_sum(values, weights, first, second):
    total = 0.0
    for j in range(values.shape[0]):
        total += values[j] * weights[j] * first[j] * second[j]
    return total


@jit(fastmath=True)
def model_columns(start, cells, middle, half, here, along, widths, factor, rest, lean, signal, used, moving, f, expected, u):
    """The model's columns in the bins of a group, what it leaves of the data (the last column), and what is expected.

    The background moves with the rings, by `along` in each sector: `lean` is the slope of what is left of it.

    One array is written in each loop: with more, the compiler cannot tell that they are apart, and does not vectorise.
    """
    n, m, bins, lanes, inverse = here.shape[0], f.shape[0] - 1, u.shape[0], u.shape[1], 1 / half
    for i in range(bins):
        level, slope = factor * rest[start + i], factor * lean[start + i]
        for j in range(lanes):
            f[n, i, j] = 1.0
        for j in range(lanes):
            f[n + 1, i, j] = (cells[2, start + i, j] - along[j] - middle) * inverse
        for j in range(lanes):
            expected[i, j] = level - slope * along[j] + used[n, j] + f[n + 1, i, j] * used[n + 1, j]
        for j in range(lanes):
            ground = level - slope * along[j] + signal[n, j] + f[n + 1, i, j] * signal[n + 1, j]
            f[m, i, j] = cells[0, start + i, j] - ground
    for k in range(n):
        narrow = 1 / widths[k]
        for i in range(bins):
            for j in range(lanes):
                u[i, j] = (cells[2, start + i, j] - here[k, j]) * narrow
        gaussian(u.reshape(-1), f[k].reshape(-1))
        for i in range(bins):
            for j in range(lanes):
                f[m, i, j] -= signal[k, j] * f[k, i, j]
            for j in range(lanes):
                expected[i, j] += used[k, j] * f[k, i, j]
        for i in range(bins if moving else 0):
            for j in range(lanes):
                f[n + 2 + k, i, j] = used[k, j] * narrow * f[k, i, j] * u[i, j]
            for j in range(lanes):
                f[2 * n + 2 + k, i, j] = f[n + 2 + k, i, j] * u[i, j]


@jit(fastmath=True)
def products(f, weights, scaled, full):
    """full[p, q] = sum over the bins of f[p] W f[q]: upper triangle, with the residual in column m."""
    m = full.shape[0]
    for p in range(m):
        for i in range(weights.shape[0]):
            for j in range(weights.shape[1]):
                scaled[i, j] = weights[i, j] * f[p, i, j]
        for q in range(p, m + 1):
            sum_products(scaled, f, q, 0, weights.shape[0], full, p)


@jit
def group_equations(start, stop, cells, middle, half, here, along, widths, factor, rest, lean, signal, used, noise, full,
                    moving, stats, mean_rest):
    """Weighted normal equations (m, m + 2, sectors) of one group about the present `signal`; upper triangle, data in column m.

    Without `moving` these are the sectors' own columns alone, and sums for the noise (`stats`) and for the mean residuals of
    the bins (`mean_rest`) are taken too. `used` gives variances and slopes.
    """
    m = full.shape[0]
    work = np.empty((m + 4, stop - start, full.shape[2]))
    f, expected, weights, u = work[:m + 1], work[m + 1], work[m + 2], work[m + 3]
    model_columns(start, cells, middle, half, here, along, widths, factor, rest, lean, signal, used, moving, f, expected, u)
    weigh_cells(start, cells, f[m], expected, noise, weights)
    products(f, weights, u, full)
    if not moving:
        noise_sums(start, cells, f[m], expected, noise, weights, stats, mean_rest)


@jit
def add_group(full, harmonics, k0, n, radii, weights, total):
    """Add the reduced equations of a group, weighted by sector, to those of the common parameters (upper triangle).

    harmonics (5, sectors): cosine and sine of the sectors' angles, of twice the angles, and 1.
    """
    m, size, n_all, base = full.shape[0], total.shape[0], radii.shape[0], n + 2
    for p in range(2 * n):
        own_p = 4 + k0 + p if p < n else 4 + n_all + k0 + p - n
        for a in range(0 if p < n else 4, 5):
            row, lever = (a, radii[k0 + p] if a > 1 else 1.0) if a < 4 else (own_p, 1.0)
            total[row, size] += lever * _weighted_sum(full[base + p, m], weights, harmonics[a], harmonics[4])
            for q in range(p, 2 * n):
                own_q = 4 + k0 + q if q < n else 4 + n_all + k0 + q - n
                for b in range(0 if q < n else 4, 5):
                    column, arm = (b, radii[k0 + q] if b > 1 else 1.0) if b < 4 else (own_q, 1.0)
                    if p == q and row > column:
                        continue
                    value = lever * arm * _weighted_sum(full[base + p, base + q], weights, harmonics[a], harmonics[b])
                    total[min(row, column), max(row, column)] += 2 * value if p != q and row == column else value


@jit
def solve_common(total, ellipse, radii0, widths0, radii, widths, theta):
    """Step of the common parameters under the weak priors; returns the square of its geometric part in standard errors."""
    size, n = theta.shape[0], widths.shape[0]
    for p in range(2, 4):
        if ellipse:
            total[p, p] += 1 / PRIOR_STRAIN ** 2
        else:
            total[p, :] = 0.0
            total[:, p] = 0.0
    for k in range(n):
        for p, prior, off in ((4 + k, PRIOR_RADIUS, radii0[k] - radii[k]), (4 + n + k, PRIOR_WIDTH, widths0[k] - widths[k])):
            w = 1 / (prior * widths0[k]) ** 2
            total[p, p] += w
            total[p, size] += w * off
    eliminate(total, size)
    back_substitute(total, size, theta)
    gain = 0.0
    for p in range(4 + n):
        if total[p, p] > 0.0:
            inner = theta[p]
            for q in range(p + 1, 4 + n):
                inner += total[p, q] / total[p, p] * theta[q]
            gain += total[p, p] * inner * inner
    return gain


@jit
def ring_places(geometry, harmonics, radius, here):
    """Radius about the origin of a ring in each sector: exact for the shift to second order in shift over radius."""
    for j in range(here.shape[0]):
        along = geometry[0] * harmonics[0, j] + geometry[1] * harmonics[1, j]
        across = geometry[0] * geometry[0] + geometry[1] * geometry[1] - along * along
        here[j] = radius * (1 + geometry[2] * harmonics[2, j] + geometry[3] * harmonics[3, j]) + along - across / (2 * radius)


@jit
def reweigh(scores, information, weights):
    """Down-weigh sectors that contradict the common solution (spots, shadows), or that tell much more than the others.

    Returns the largest change of a weight.
    """
    scale, change = np.sqrt(max(np.median(scores * scores) / 0.455, 1.0)), 0.0
    for g in range(weights.shape[0]):
        most = most_information(information[g])
        for j in range(weights.shape[1]):
            z = abs(scores[g, j]) / scale
            weight = 1.0 if z < 3.0 else 9.0 / (z * z) if z < 6.0 else 0.0
            if information[g, j] > most > 0.0:
                weight *= (most / information[g, j]) ** 3
            change = max(change, abs(weight - weights[g, j]))
            weights[g, j] = weight
    return change


@jit
def match(free, variances, learned, level):
    """How a column of the sectors compares with what was learned of them: (factor, shift, standard errors of the factor).

    A background (`level`) is shifted, everything else multiplied.
    """
    top = bottom = 0.0
    for j in range(free.shape[0]):
        if variances[j] < np.inf:
            w = 1 / variances[j]
            top += w * (free[j] - learned[j] if level else free[j] * learned[j])
            bottom += w * (1.0 if level else learned[j] * learned[j])
    if not bottom > 0.0:
        return 1.0, 0.0, 0.0
    return (1.0, top / bottom, 0.0) if level else (top / bottom, 0.0, top / np.sqrt(bottom))


@jit
def compare(ring_first, signal, variances, learned, spread, scale, shift, used):
    """What this frame's sectors have in common, and what each is taken to be: as learned, unless the frame knows better.

    Returns (relative change of the factors in `scale`, standard errors by which the heights exceed zero).
    """
    change = high = 0.0
    for g in range(ring_first.shape[0] - 1):
        n = ring_first[g + 1] - ring_first[g]
        for p in range(n + 2):
            factor, shift[g, p], sure = match(signal[g, p], variances[g, p], learned[g, p], p == n)
            high += max(sure, 0.0) ** 2 if p < n else 0.0
            if sure > CLEAR:
                change = max(change, abs(factor / scale[g, p] - 1) if p < n else 0.0)
                scale[g, p] = factor
            for j in range(signal.shape[2]):
                expected = scale[g, p] * learned[g, p, j] + shift[g, p]
                own = spread[g, p] / (spread[g, p] + variances[g, p, j]) if variances[g, p, j] < np.inf else 0.0
                used[g, p, j] = expected + own * (signal[g, p, j] - expected)
    return change, np.sqrt(high)


@jit
def excess_scatter(free, variances, learned, factor, shift, harmonics):
    """(variance of the sectors about what was learned, beyond their own; the uncertainty of that).

    A coherent first harmonic is what would pass for a shift of the centre: a significant one counts by itself.
    """
    number = inverse = excess = c = s = 0.0
    for j in range(free.shape[0]):
        if variances[j] < np.inf:
            rest = free[j] - factor * learned[j] - shift
            number += 1
            inverse += 1 / variances[j]
            excess += min(rest * rest / variances[j], 100.0) - 1
            c += 2 * rest * harmonics[0, j] / variances[j]
            s += 2 * rest * harmonics[1, j] / variances[j]
    if number < 3:
        return 0.0, 0.0
    typical = number / inverse
    harmonic = 0.5 * (c * c + s * s) / (inverse * inverse)
    excess *= typical / number
    return max(excess, harmonic) if harmonic > 8 * typical / number else excess, typical * np.sqrt(2 / number)


@jit
def learn(free, variances, factor, shift, rate, harmonics, learned, known, trend):
    """Let free sectors change what was learned of one column; returns (trend of its scatter, variance to reckon with).

    `known` are the inverse variances of what was learned. The first frame, with a rate of 1, begins with the sectors' mean.
    """
    if rate == 1.0:
        top = bottom = 0.0
        for j in range(free.shape[0]):
            if variances[j] < np.inf:
                top += free[j] / variances[j]
                bottom += 1 / variances[j]
        learned[:] = top / bottom if bottom > 0.0 else 0.0
        known[:] = 0.0
        factor, shift = 1.0, 0.0
    excess, unsure = excess_scatter(free, variances, learned, factor, shift, harmonics)
    trend = excess if rate == 1.0 else trend + max(rate, 0.2) * (excess - trend)
    varying = max(trend, excess if excess > 4 * unsure else 0.0, 0.0)
    for j in range(free.shape[0]):
        learned[j] += shift
        if variances[j] < np.inf and factor > 0.1:
            known[j] = (1 - SLOWEST) * known[j] + 1 / variances[j]
            own, new = varying / (varying + variances[j]), 1 / (variances[j] * known[j])
            learned[j] += (own if rate == 1.0 else max(new, own)) * ((free[j] - shift) / factor - learned[j] + shift)
    return trend, varying + 0.5 * unsure + 1e-300


@jit
def learn_all(ring_first, signal, variances, rate, harmonics, scale, shift, learned, known, trend, spread):
    """`learn` for all columns; the factors of the first frame are 1."""
    for g in range(ring_first.shape[0] - 1):
        for p in range(ring_first[g + 1] - ring_first[g] + 2):
            trend[g, p], spread[g, p] = learn(signal[g, p], variances[g, p], scale[g, p], shift[g, p], rate, harmonics,
                                              learned[g, p], known[g, p], trend[g, p])
            if rate == 1.0:
                scale[g, p] = 1.0
            shift[g, p] = 0.0
        # Slopes that differ from sector to sector would learn from a wrong centre what keeps it wrong: one for all.
        total = (known[g, p] * learned[g, p]).sum() / max(known[g, p].sum(), 1e-300)
        learned[g, p] = total


@jit
def lean_of(rest, grip, first, half, smooth, slope, lean):
    """Slope of `rest` over the radius: that of a polynomial, and what is beyond it as far as it is more than noise.

    smooth and slope (bins, bins) make the polynomial of each group and its slope; `grip` is the inverse variance of `rest`.
    """
    fine = np.zeros(rest.shape[0])
    for g in range(half.shape[0]):
        start, stop = first[g], first[g + 1]
        chi2 = 0.0
        for i in range(start, stop):
            even = lean[i] = 0.0
            for k in range(start, stop):
                even += smooth[i, k] * rest[k]
                lean[i] += slope[i, k] * rest[k]
            fine[i] = rest[i] - even
            chi2 += fine[i] * fine[i] * grip[i]
        sure = max(1 - 2 * (stop - start) / chi2, 0.0) if chi2 > 0.0 else 0.0
        step = 2 * half[g] / (stop - start)
        for i in range(start, stop):
            a, b = max(i - 1, start), min(i + 1, stop - 1)
            lean[i] += sure * (fine[b] - fine[a]) / (max(b - a, 1) * step)


@jit
def _part(store, m):
    """The part of `store` that m equations for each sector take."""
    lanes = store.shape[2]
    return store.reshape(-1)[:m * (m + 2) * lanes].reshape((m, m + 2, lanes))


@jit
def group_at(g, more, cells, plan, harmonics, geometry, radii, widths, scale, rest, lean, signal, used, noise, store, stats,
             mean_rest):
    """`group_equations` of group g with the rings at their present places; without columns of rings unless `more`."""
    first, ring_first, middle, half = plan
    k0, n = ring_first[g], ring_first[g + 1] - ring_first[g]
    here = np.empty((n, harmonics.shape[1]))
    for k in range(n):
        ring_places(geometry, harmonics, radii[k0 + k], here[k])
    along = geometry[0] * harmonics[0] + geometry[1] * harmonics[1]
    full = _part(store[g], 3 * n + 2 if more else n + 2)
    group_equations(first[g], first[g + 1], cells, middle[g], half[g], here, along, widths[k0:k0 + n], scale[g, 0],
                    rest, lean, signal[g], used[g], noise, full, more, stats, mean_rest)
    return full


@jit
def free_sectors(cells, plan, harmonics, geometry, radii, widths, scale, rest, lean, signal, used, noise, store, variances,
                 stats, mean_rest):
    """Fit each sector on its own with the rings where they are: `signal` and its variances."""
    x = np.empty((store.shape[1], harmonics.shape[1]))
    stats[:] = 0.0
    for g in range(signal.shape[0]):
        full = group_at(g, False, cells, plan, harmonics, geometry, radii, widths, scale, rest, lean, signal, used, noise,
                        store, stats, mean_rest)
        n = full.shape[0]
        eliminate_each(full, n, x[0], x[1])
        variances_each(full, n, x, variances[g])
        back_substitute_each(full, n, x)
        signal[g, :n] += x[:n]


@jit
def common_step(cells, plan, harmonics, ellipse, geometry, radii, widths, start, scale, rest, lean, learned, spread, signal,
                used, noise, weights, store, variances, stats, mean_rest, total, theta, scores, information):
    """One Gauss-Newton step of all parameters; returns (its square in standard errors, its length in what may be taken)."""
    ring_first, n_all, lanes = plan[1], radii.shape[0], harmonics.shape[1]
    x = np.empty((store.shape[1], lanes))
    stats[:] = 0.0
    total[:] = 0.0
    for g in range(signal.shape[0]):
        n = ring_first[g + 1] - ring_first[g]
        full = group_at(g, True, cells, plan, harmonics, geometry, radii, widths, scale, rest, lean, signal, used, noise,
                        store, stats, mean_rest)
        for j in range(lanes):
            off = scale[g, n + 1] * learned[g, n + 1, j] - signal[g, n + 1, j]
            full[n + 1, n + 1, j] += 1 / spread[g, n + 1]
            full[n + 1, 3 * n + 2, j] += off / spread[g, n + 1]
        eliminate_each(full, n + 2, x[0], x[1])
        variances_each(full, n + 2, x, variances[g])
        add_group(full, harmonics, ring_first[g], n, radii, weights[g], total)
    gain = solve_common(total, ellipse, start[0], start[1], radii, widths, theta)
    big = 0.0
    for k in range(n_all):
        move = np.hypot(theta[0], theta[1]) + abs(theta[4 + k]) + radii[k] * np.hypot(theta[2], theta[3])
        big = max(big, move / (0.8 * widths[k]), abs(theta[4 + n_all + k]) / (0.3 * widths[k]))
    theta /= max(big, 1.0)
    for g in range(signal.shape[0]):
        k0, n = ring_first[g], ring_first[g + 1] - ring_first[g]
        full = _part(store[g], 3 * n + 2)
        for k in range(n):
            for j in range(lanes):
                h = harmonics[:, j]
                strain = radii[k0 + k] * (theta[2] * h[2] + theta[3] * h[3])
                x[n + 2 + k, j] = theta[0] * h[0] + theta[1] * h[1] + strain + theta[4 + k0 + k]
                x[2 * n + 2 + k, j] = theta[4 + n_all + k0 + k]
        residual_scores(full, n, x, scores[g], information[g])
        back_substitute_each(full, n + 2, x)
        signal[g, :n + 2] += x[:n + 2]
    geometry += theta[:4]
    radii += theta[4:4 + n_all]
    widths += theta[4 + n_all:]
    return gain, big


@jit(fastmath=True)
def fill_cells(sums, pixels, count, place, cells):
    """Mean, number of blocks (0 where nothing is finite) and place of each cell; returns how many cells have something."""
    number = 0.0
    for i in range(count.shape[0]):
        for j in range(count.shape[1]):
            cells[1, i, j] = count[i, j] if abs(sums[i, j]) < np.inf else 0.0
        for j in range(count.shape[1]):
            cells[0, i, j] = sums[i, j] / (count[i, j] * pixels) if cells[1, i, j] > 0.0 else 0.0
        for j in range(count.shape[1]):
            cells[2, i, j] = place[i, j]
        for j in range(count.shape[1]):
            number += 1.0 if cells[1, i, j] > 0.0 else 0.0
    return number


@jit
def start_noise(cells):
    """A noise that is certainly large enough, to begin with: (variance, 0, least, mean)."""
    number = total = square = 0.0
    for i in range(cells.shape[1]):
        for j in range(cells.shape[2]):
            w, value = cells[1, i, j], cells[0, i, j]
            number += w
            total += w * value
            square += w * value * value
    variance = max(square - total * total / number, 1e-12 * square) if number > 0.0 else 1.0
    return variance + 1e-300, 0.0, variance + 1e-300, variance + 1e-300


@jit
def predict(plan, harmonics, geometry, radii, widths, scale, rest, used, noise, place, expected):
    """Signal in each cell, variance of a block there, and height of the highest ring in the sector: (3, bins, sectors)."""
    first, ring_first, middle, half = plan
    here = np.empty(harmonics.shape[1])
    for g in range(middle.shape[0]):
        k0, n = ring_first[g], ring_first[g + 1] - ring_first[g]
        for i in range(first[g], first[g + 1]):
            for j in range(here.shape[0]):
                x = (place[i, j] - geometry[0] * harmonics[0, j] - geometry[1] * harmonics[1, j] - middle[g]) / half[g]
                expected[0, i, j] = scale[g, 0] * rest[i] + used[g, n, j] + x * used[g, n + 1, j]
                expected[2, i, j] = 0.0
        for k in range(n):
            ring_places(geometry, harmonics, radii[k0 + k], here)
            for i in range(first[g], first[g + 1]):
                for j in range(here.shape[0]):
                    u = (place[i, j] - here[j]) / widths[k0 + k]
                    expected[0, i, j] += used[g, k, j] * np.exp(-0.5 * u * u)
                    expected[2, i, j] = max(expected[2, i, j], used[g, k, j])
    for i in range(place.shape[0]):
        for j in range(here.shape[0]):
            expected[1, i, j] = max(noise[0] + noise[1] * expected[0, i, j], noise[2])


@jit
def fit_frame(frames, sums, pixels, count, place, plan, harmonics, unstretch, ellipse, radii, widths, geometry, noise, learned,
              known, scale, trend, spread, rest, grip, tilt, weights, seen, used, report, covariance):
    """Fit one frame. The state, radii ... used, goes from frame to frame; `frames` counts those that it knows.

    sums, count and place are those of the cells, `pixels` is the number of pixels in a block, `plan` is (first bin and first
    ring of each group, middle and half width of its annulus), `tilt` what lean_of takes. `covariance` is that of the common
    parameters, not yet multiplied by what cells and sectors scatter.
    """
    n_all, groups, lanes = radii.shape[0], learned.shape[0], harmonics.shape[1]
    rows, size = 3 * learned.shape[1] - 4, 4 + 2 * n_all
    cells, store = np.empty((3, *count.shape)), np.empty((groups, rows, rows + 2, lanes))
    variances, shift = np.full(learned.shape, np.inf), np.zeros(scale.shape)
    scores, information = np.zeros(weights.shape), np.zeros(weights.shape)
    stats, mean_rest, theta, total = np.zeros(8), np.zeros((2, count.shape[0])), np.zeros(size), np.zeros((size, size + 2))
    start, rate = (radii.copy(), widths.copy()), max(1 / (frames + 1), SLOWEST)
    number = fill_cells(sums, pixels, count, place, cells)
    free = max(number - lanes * (n_all + 2.0 * groups) - size, 0.2 * number, 1.0)
    signal, lean = np.zeros(learned.shape), np.zeros(rest.shape[0])
    lean_of(rest, grip, plan[0], plan[3], tilt[0], tilt[1], lean)
    for g in range(groups):
        for p in range(learned.shape[1]):
            signal[g, p] = scale[g, p] * learned[g, p]
    if frames == 0:
        noise[:] = start_noise(cells)
    gain = change = high = chi2 = 0.0
    turns = 0
    for attempt in range(FIRST_ROUNDS if frames == 0 else 1):
        for repeat in range((3 if attempt == 0 else 1) if frames == 0 else 0):
            free_sectors(cells, plan, harmonics, geometry, radii, widths, scale, rest, lean, signal, used, noise, store,
                         variances, stats, mean_rest)
            stats[3:5] *= stats[5] / free
            if repeat + attempt > 0:
                learn_all(plan[1], signal, variances, 1.0, harmonics, scale, shift, learned, known, trend, spread)
            compare(plan[1], signal, variances, learned, spread, scale, shift, used)
            noise_line(stats, noise)
            noise[3] = noise[0] + noise[1] * stats[1] / stats[0]
            noise[2] = 0.02 * noise[3]
        for turn in range(MAX_TURNS):
            gain, big = common_step(cells, plan, harmonics, ellipse, geometry, radii, widths, start, scale, rest, lean,
                                     learned, spread, signal, used, noise, weights, store, variances, stats, mean_rest, total,
                                     theta, scores, information)
            change, high = compare(plan[1], signal, variances, learned, spread, scale, shift, used)
            moved = reweigh(scores, information, weights)
            turns = turn + 1
            last = gain < ENOUGH if frames == 0 else big * gain < EXPECTED and moved < SETTLED
            if last and big <= 1.0 and change < STEADY:
                break
        invert(total, covariance)
        free_sectors(cells, plan, harmonics, geometry, radii, widths, scale, rest, lean, signal, used, noise, store, variances,
                     stats, mean_rest)
        chi2 = stats[6] / free
        _, high = compare(plan[1], signal, variances, learned, spread, scale, shift, used)
        for g in range(groups):
            for i in range(plan[0][g], plan[0][g + 1]):
                if mean_rest[1, i] > 0.0:
                    rest[i] += rate * mean_rest[0, i] / (mean_rest[1, i] * scale[g, 0])
                    grip[i] = mean_rest[1, i] / (rate * max(chi2, 0.1))
        if frames == 0:
            lean_of(rest, grip, plan[0], plan[3], tilt[0], tilt[1], lean)
    widths += (rate - 1) * (widths - start[1])
    learn_all(plan[1], signal, variances, rate, harmonics, scale, shift, learned, known, trend, spread)
    stats[3:5] *= stats[5] / free
    seen += rate * (stats - seen)
    noise_line(seen, noise)
    summarize(plan[1], gain, chi2, turns, high, scores, information, weights, widths, covariance, scale, learned, report)
    place_center(geometry, unstretch, covariance, scores.size, report)


@jit
def place_center(geometry, unstretch, covariance, sectors, report):
    """Centre and its standard errors in the plane of the image; scatter of cells and of sectors counts as noise."""
    scale = report[CELLS] * max(1.0, report[SECTORS] / (1 + 1.5 * np.sqrt(2 / sectors)))
    for i in range(2):
        a, b = unstretch[i, 0], unstretch[i, 1]
        variance = a * a * covariance[0, 0] + 2 * a * b * covariance[0, 1] + b * b * covariance[1, 1]
        report[X + i] = a * geometry[0] + b * geometry[1]
        report[X_ERR + i] = np.sqrt(max(scale * variance, 0.0))


@jit
def summarize(ring_first, gain, chi2, turns, high, scores, information, weights, widths, covariance, scale, learned, report):
    """What the tracker judges a frame by: the numbers named at the top of this file."""
    total = number = used = 0.0
    for g in range(scores.shape[0]):
        for j in range(scores.shape[1]):
            if information[g, j] > 0.0:
                total += min(scores[g, j] ** 2, 16.0)
                number += 1
                used += weights[g, j] > 0.3
    sure = 0.0
    for k in range(widths.shape[0]):
        if covariance[4 + k, 4 + k] > 0.0:
            sure += 2 * widths[k] ** 2 / covariance[4 + k, 4 + k]
    top = bottom = 0.0
    for g in range(scores.shape[0]):
        for p in range(ring_first[g + 1] - ring_first[g]):
            height = np.abs(learned[g, p]).sum()
            top += scale[g, p] * height
            bottom += height
    report[GAIN], report[CELLS], report[TURNS], report[HIGH] = gain, chi2, turns, high
    report[SECTORS], report[SURE] = total / max(number, 1.0), np.sqrt(sure)
    report[SHARE], report[HEIGHT] = used / scores.size, top / bottom if bottom > 0.0 else 0.0
