"""Slow, obvious numpy twins of the kernels: what each computes, written so that it can be checked by reading."""

import numpy as np


def otsu(image):
    """Otsu's threshold of the finite pixels: the bin centre that maximises the variance between the two classes."""
    values = image[np.isfinite(image)]
    if values.dtype.kind == "f":
        counts, edges = np.histogram(values, bins=256)
        centers = (edges[:-1] + edges[1:]) / 2
    else:
        centers, counts = np.unique(values, return_counts=True)
        centers = centers.astype(np.int64)
    counts = counts.astype(np.float32)
    best, chosen = -1.0, centers[0]
    for k in range(counts.size - 1):
        if counts[:k + 1].sum() and counts[k + 1:].sum():
            mean1 = np.average(centers[:k + 1], weights=counts[:k + 1])
            mean2 = np.average(centers[k + 1:], weights=counts[k + 1:])
            between = float(counts[:k + 1].sum()) * float(counts[k + 1:].sum()) * (mean1 - mean2) ** 2
            if between > best * (1 + 1e-12):
                best, chosen = between, centers[k]
    return chosen


def regions(bright, corners):
    """Lists of (row, column) of the connected regions of `bright`, in raster order of their first pixels."""
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0) and (corners or dy * dx == 0)]
    left = {(int(y), int(x)) for y, x in np.argwhere(bright)}
    found = []
    for y, x in np.argwhere(bright).tolist():
        if (y, x) not in left:
            continue
        left.remove((y, x))
        region, edge = [], [(y, x)]
        while edge:
            y0, x0 = edge.pop()
            region.append((y0, x0))
            for dy, dx in steps:
                near = (y0 + dy, x0 + dx)
                if near in left:
                    left.remove(near)
                    edge.append(near)
        found.append(sorted(region))
    return found


def largest_region(bright, min_size):
    """Pixels (row, column) of the largest 8-connected region once small 4-connected ones are gone, and how many regions."""
    kept = np.zeros(bright.shape, bool)
    for region in regions(bright, corners=False):
        if len(region) >= min_size:
            kept[tuple(np.transpose(region))] = True
    found = regions(kept, corners=True)
    return (np.array(max(found, key=len)), len(found)) if found else (None, 0)


def covariance_ellipse(pixels):
    """(cx, cy, a, b, angle) of `pixels` (N, 2), (row, column)."""
    cy, cx = pixels.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(pixels[:, ::-1].T))
    dx, dy = vectors[:, 1]
    angle = np.arctan2(dy, dx)
    angle = angle - np.pi if angle > np.pi / 2 else angle + np.pi if angle <= -np.pi / 2 else angle
    return cx, cy, np.sqrt(values[1]), np.sqrt(max(values[0], 0)), angle


def stretch(strain):
    """The matrix that maps an ellipse of this strain onto a circle."""
    e1, e2 = strain
    values, vectors = np.linalg.eigh([[e1, e2], [e2, -e1]])
    return vectors @ np.diag(np.exp(-values)) @ vectors.T


def unroll(image, hidden, center, strain, n_sectors, annuli):
    """(sector, bin) cells of annuli (inner radius, step, bins): number, sum, sum of places in the bin, sum of squares."""
    shape = stretch(strain)
    table = np.zeros((n_sectors, sum(bins for _, _, bins in annuli), 4))
    start = np.arctan2(shape[1, 0], shape[0, 0])
    for y, x in np.argwhere(~hidden):
        u, v = shape @ [x - center[0], y - center[1]]
        sector = int((np.arctan2(v, u) - start) % (2 * np.pi) / (2 * np.pi) * n_sectors) % n_sectors
        value = float(image[y, x]) if np.isfinite(image[y, x]) else np.nan
        first = 0
        for lo, step, bins in annuli:
            place = (np.hypot(u, v) - lo) / step
            if 0 <= place < bins:
                table[sector, first + int(place)] += 1, value, place - int(place) - 0.5, value ** 2
            first += bins
    return table


def levelled(image, center, strain, radii, widths, heights, slopes, bends):
    """The image less height + slope t + bend (t^2 - 1/12) on the crests of rings, t from -1/2 to 1/2 across each sector."""
    y, x = np.indices(image.shape)
    u, v = np.tensordot(stretch(strain), [x - center[0], y - center[1]], axes=1)
    start, n_sectors = np.arctan2(stretch(strain)[1, 0], stretch(strain)[0, 0]), slopes.shape[1]
    place = (np.arctan2(v, u) - start) % (2 * np.pi) / (2 * np.pi) * n_sectors
    sector = place.astype(int) % n_sectors
    t, image = place - sector - 0.5, image.astype(float)
    for radius, width, height, slope, bend in zip(radii, widths, heights, slopes, bends, strict=True):
        u_k = (np.hypot(u, v) - radius) / width
        crest = height[sector] + slope[sector] * t + bend[sector] * (t ** 2 - 1 / 12)
        image -= np.where(abs(u_k) < 4, np.exp(-0.5 * u_k ** 2), 0) * crest
    return image


def ring_signal(x, place, radii, widths, amplitudes, background, reach):
    """Gaussians at radii `place` (none beyond `reach` widths) on a polynomial of x."""
    u = (place - np.asarray(radii)[:, None]) / np.asarray(widths)[:, None]
    return amplitudes @ np.where(abs(u) < reach, np.exp(-0.5 * u * u), 0) + np.polynomial.polynomial.polyval(x, background)


def sector_columns(cells, lo, step, half, radii, widths, degree, strengths, signal, ground, reach):
    """Derivatives of one sector's signal by its parameters, by differences; then its data and the signal; and pixel numbers.

    Parameters: amplitudes, B_0, B_1, radii and widths (at the amplitudes `strengths`), B_2 ... The background is a polynomial
    of ground[0] x + ground[1].
    """
    n, usable = len(radii), (cells[:, 0] > 0) & ~np.isnan(cells[:, 1])
    number, total, shift = cells[usable, :3].T
    place = lo + step * (np.flatnonzero(usable) + 0.5 + shift / number)
    x = (place - lo - half) / half

    def model(p):
        return ring_signal(ground[0] * x + ground[1], place, p[:n], p[n:2 * n], p[2 * n:3 * n], p[3 * n:], reach)

    def slope(k, amplitudes):
        p, h = np.concatenate([radii, widths, amplitudes, signal[n:n + 1 + degree]]), np.zeros(3 * n + 1 + degree)
        h[k] = 1e-5
        return (model(p + h) - model(p - h)) / 2e-5

    order = [*range(2 * n, 3 * n + 2), *range(2 * n), *range(3 * n + 2, 3 * n + 1 + degree)]
    columns = [slope(k, strengths if k < 2 * n else signal[:n]) for k in order]
    expected = model(np.concatenate([radii, widths, signal[:n], signal[n:n + 1 + degree]]))
    return np.array([*columns, total / number, expected]), number


def scatter_precision(values, variances, angles):
    """1 / variance of the deviations behind noisy values, opened by half a standard error and by a clear first harmonic."""
    known = np.isfinite(variances)
    values, variances, angles = values[known], variances[known], angles[known]
    if len(values) < 3:
        return 0.0
    weights = 1 / variances
    rest = values - np.average(values, weights=weights)
    typical = len(values) / weights.sum()
    square = np.minimum(rest ** 2 * weights, 25 * np.median(rest ** 2 * weights) / 0.455)
    spread = np.mean(square - 1) * typical + 0.5 * typical * np.sqrt(2 / len(values))
    c, s = (2 * np.average(rest * wave(angles), weights=weights) for wave in (np.cos, np.sin))
    harmonic = (c * c + s * s) / 2
    if harmonic > 8 * typical / len(values):
        spread = max(spread, harmonic)
    return 1 / max(spread, 1e-3 * typical)


def coherent_part(values, variances, precision, angles, least):
    """First harmonic of noisy deviations by weighted least squares, where its chi2 exceeds `least`; 0 otherwise."""
    known = np.isfinite(variances)
    square = (values[known] - np.median(values[known])) ** 2 / variances[known]
    weights = np.minimum(1, 25 * np.median(square) / 0.455 / (square + 1e-300)) / (variances[known] + 1 / precision)
    columns = np.array([np.ones_like(angles), np.cos(angles), np.sin(angles)])
    matrix = (columns[:, known] * weights) @ columns[:, known].T
    found = np.linalg.solve(matrix, (columns[:, known] * weights) @ values[known])
    covariance = np.linalg.inv(matrix)[1:, 1:]
    if found[1:] @ np.linalg.inv(covariance) @ found[1:] < least:
        return np.zeros_like(angles)
    return found[1:] @ columns[1:]


def level_sectors(table, reach):
    """Cells without the running median over the radius of what each sector differs from the median one."""
    out = table.copy()
    number, total = np.where(np.isnan(table[..., 1]), 0, table[..., 0]), table[..., 1]
    off = np.where(number > 0, total / np.maximum(number, 1), np.nan)

    def upper_median(values):
        values = np.sort(values[np.isfinite(values)])
        return values[len(values) // 2] if len(values) else np.nan

    off -= [upper_median(column) for column in off.T]
    for j, i in np.argwhere(np.isfinite(off)):
        own = upper_median(off[j, max(i - reach, 0):i + reach + 1])
        out[j, i, 1] -= number[j, i] * own
        out[j, i, 3] += number[j, i] * own ** 2 - 2 * own * total[j, i]
    return out


def block_means(image, hidden, size):
    """Means and shares of the usable pixels of size x size blocks; the last ones may be cut."""
    shape = tuple(-(-n // size) for n in image.shape)
    means, share = np.zeros(shape), np.zeros(shape)
    for row, column in np.ndindex(shape):
        block = np.s_[row * size:(row + 1) * size, column * size:(column + 1) * size]
        good = image[block][np.isfinite(image[block]) & ~hidden[block]].astype(float)
        means[row, column], share[row, column] = good.mean() if good.size else 0.0, good.size / size ** 2
    return means, share


def box_mean(values, weights, radius):
    """Weighted mean over the box around each pixel, as far as it is in the frame."""
    out = np.zeros(values.shape)
    for y, x in np.ndindex(values.shape):
        box = np.s_[max(y - radius, 0):y + radius + 1, max(x - radius, 0):x + radius + 1]
        out[y, x] = np.sum(values[box] * weights[box]) / weights[box].sum() if weights[box].sum() > 1e-6 else 0.0
    return out


def distances(shape, center, last, strain=(0, 0)):
    """Distance of each block from the centre (x, y), where the strain is undone, rounded, `last` at most."""
    return np.minimum((radii(shape, center, strain) + 0.5).astype(int), last)


def radii(shape, center, strain):
    """Distance of each pixel from the centre (x, y), where the strain is undone."""
    y, x = np.indices(shape)
    return np.hypot(*np.tensordot(stretch(strain), [x - center[0], y - center[1]], 1))


def profile_score(contrast, weights, center, bins, strain=(0, 0)):
    """Sum over the radii (from 2, the last left out) of (sum)^2 / number in units of the mean square, less one each."""
    score, place = 0.0, distances(contrast.shape, center, bins - 1, strain)
    power = np.average(contrast ** 2, weights=weights)
    for radius in range(2, bins - 1):
        ring = place == radius
        if weights[ring].sum() > 6:
            score += np.sum((contrast * weights)[ring]) ** 2 / weights[ring].sum() / power - 1
    return score


def robust_profile(table, trim):
    """Trimmed mean over the sectors of each radius, weighted by the number of pixels; sectors with few pixels do not count."""
    mean = np.zeros(table.shape[1])
    for i, (number, total) in enumerate(np.moveaxis(table[..., :2], 0, -1)):
        number = np.where(np.isnan(total), 0, number)
        used = np.flatnonzero(number > 0.3 * number.max())
        if len(used) < 4:
            continue
        used = used[np.argsort(total[used] / number[used], kind="stable")]
        cut = int(trim * len(used))
        kept = used[cut:len(used) - cut]
        mean[i] = total[kept].sum() / number[kept].sum()
    return mean


def between(profile, at):
    """Cubic through the values of a profile, its slope at each half the difference of the neighbours; constant beyond."""
    slopes = np.convolve(np.pad(profile, 1, "edge"), [0.5, 0, -0.5], "valid")
    at = min(max(at, 0), len(profile) - 1)
    k = min(int(at), len(profile) - 2)
    t = at - k
    return ((1 + 2 * t) * (1 - t) ** 2 * profile[k] + t * (1 - t) ** 2 * slopes[k]
            + t * t * (3 - 2 * t) * profile[k + 1] + t * t * (t - 1) * slopes[k + 1])


def freeform_signal(profile, radius, lo, step, geometry, angle, deviations, middle, half, shift):
    """(signal, place [bins]) of a cell: (1 + a) P(r) + b + c x, the profile moved outwards by `shift` [pixel]."""
    dx, dy, e1, e2 = geometry
    a, b, c = deviations
    r = (radius - dx * np.cos(angle) - dy * np.sin(angle)) / (1 + e1 * np.cos(2 * angle) + e2 * np.sin(2 * angle))
    at = (r - lo) / step - 0.5
    return (1 + a) * between(profile, at - shift / step) + b + c * (at - middle) / half, at


def shared_sums(weights, values, places, bins):
    """(2, bins): weighted values and weights, each shared linearly between the two bins nearest to its place."""
    out, places = np.zeros((2, bins)), np.clip(places, 0, bins - 1)
    low = np.minimum(places.astype(int), bins - 2)
    for k, part in ((low, low + 1 - places), (low + 1, places - low)):
        np.add.at(out[0], k, part * weights * values)
        np.add.at(out[1], k, part * weights)
    return out
