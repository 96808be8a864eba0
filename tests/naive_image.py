"""Slow, obvious twins of the image toolbox, written so that they can be checked by reading."""

import numpy as np


def distances(shape, center):
    return np.sqrt(sum((axis - at) ** 2 for axis, at in zip(np.indices(shape), center, strict=True)))


def radial_profile(data, center, mask=None, error="sd", statistic="mean", clip=3.0):
    """(Nr, 3): one shell after the other, by numpy's own mean, median and standard deviation."""
    shell_of = np.rint(distances(data.shape, center)).astype(int)
    good = np.isfinite(data) & (True if mask is None else ~np.asarray(mask, bool))
    rows = []
    for r in range(shell_of.max() + 1):
        values = data[(shell_of == r) & good].astype(float)
        if statistic == "clipped":
            while values.size > 2:
                kept = values[np.abs(values - values.mean()) <= clip * values.std(ddof=1)]
                if kept.size in (0, values.size):
                    break
                values = kept
        if values.size == 0:
            rows.append((r, 0, 0))
            continue
        if statistic == "median":
            mean = np.median(values)
            spread = 1.482602218505602 * np.median(np.abs(values - mean)) if values.size > 1 else 0
            spread *= np.sqrt(np.pi / 2) if error == "sem" else 1
        else:
            mean, spread = values.mean(), values.std(ddof=1) if values.size > 1 else 0
        rows.append((r, mean, spread / np.sqrt(values.size) if error == "sem" else spread))
    return np.array(rows, float)


def shells(rads, shape, center):
    r = distances(shape, center)
    return [np.argwhere(np.abs(r - rad) < 0.5) for rad in rads]


def ball(shape, center, rad):
    return np.argwhere(distances(shape, center) < rad)


def chi_square(dataset, background, center=None, inner=0, outer=np.inf, mask=None):
    scores = []
    for pattern in dataset:
        good = np.isfinite(pattern) & np.isfinite(background)
        if mask is not None:
            good &= ~np.asarray(mask, bool)
        if center is not None:
            r = distances(pattern.shape, center)
            good &= (r >= inner) & (r < outer)
        p, b = pattern[good].astype(float), background[good].astype(float)
        scores.append(((p - b) ** 2).sum() / ((b - b.mean()) ** 2).sum() if b.size and np.ptp(b) else np.nan)
    return np.array(scores)


def pearson(dataset, background, center, inner=0, outer=np.inf, mask=None):
    shell_of = np.rint(distances(background.shape, center)).astype(int)
    scores = []
    for pattern in dataset:
        first, second = [], []
        for r in range(shell_of.max() + 1):
            in_background = np.isfinite(background) & (shell_of == r)
            if mask is not None:
                in_background &= ~np.asarray(mask, bool)
            in_pattern = in_background & np.isfinite(pattern)
            if inner <= r < outer and in_pattern.any():
                first.append(pattern[in_pattern].astype(float).mean())
                second.append(background[in_background].astype(float).mean())
        scores.append(np.corrcoef(first, second)[0, 1])
    return np.array(scores)


def fix_artifact(dataset, center, artifacts, mask=None):
    """A repaired copy: partner, or the mean of the shell, or that of the nearest shell that has good pixels."""
    bad = np.asarray(artifacts, bool)
    mask = np.zeros(bad.shape, bool) if mask is None else np.asarray(mask, bool)
    shell_of = np.rint(distances(bad.shape, center)).astype(int)
    fixed = np.array(dataset)
    for pattern, out in zip(dataset, fixed, strict=True):
        good = ~bad & ~mask & np.isfinite(pattern)
        filled = sorted(set(shell_of[good].tolist()))
        for y, x in np.argwhere(bad & ~mask):
            y2, x2 = int(np.rint(2 * center[0] - y)), int(np.rint(2 * center[1] - x))
            if 0 <= y2 < bad.shape[0] and 0 <= x2 < bad.shape[1] and good[y2, x2]:
                out[y, x] = pattern[y2, x2]
            else:
                nearest = min(filled, key=lambda r: (abs(r - shell_of[y, x]), r))
                mean = pattern[good & (shell_of == nearest)].astype(float).mean()
                out[y, x] = np.rint(mean) if fixed.dtype.kind in "iu" else mean
    return fixed


def correction_factor(shape, polarization, detd, pixsize, center):
    factor = np.empty(shape)
    for i in range(shape[0]):
        for j in range(shape[1]):
            x, y = (i - center[0]) * pixsize, (j - center[1]) * pixsize
            length = np.sqrt(x ** 2 + y ** 2 + detd ** 2)
            light = {"x": 1 - x ** 2 / length ** 2, "y": 1 - y ** 2 / length ** 2,
                     "none": 1 - (x ** 2 + y ** 2) / (2 * length ** 2)}[polarization]
            factor[i, j] = light * detd * pixsize ** 2 / length ** 3
    return factor


def avg_pooling(data, factors, padding):
    sizes = [-(-n // f) if padding else n // f for n, f in zip(data.shape, factors, strict=True)]
    out = np.empty(sizes)
    for place in np.ndindex(*sizes):
        block = data[tuple(slice(p * f, (p + 1) * f) for p, f in zip(place, factors, strict=True))].astype(float)
        block = block[np.isfinite(block)]
        out[place] = block.mean() if block.size else np.nan
    return out


def published_radial_profile(data, center):
    """The algorithm as it was published: a table of distances, one weighted count for each moment. For benchmarks."""
    r = np.rint(np.sqrt(sum((axis - at) ** 2 for axis, at in zip(np.indices(data.shape), center, strict=True)))).astype(int)
    n = np.bincount(r.ravel())
    mean = np.bincount(r.ravel(), data.ravel()) / n
    spread = np.sqrt(np.bincount(r.ravel(), ((data - mean[r]) ** 2).ravel()) / np.maximum(n - 1, 1))
    return np.column_stack([np.arange(n.size), mean, spread])


def published_hit_find(dataset, background, center, inner, outer):
    """The scores as they were published: whole arrays of differences, times a mask. For benchmarks."""
    r = distances(background.shape, center)
    annulus = (r >= inner) & (r < outer)
    b = background[annulus]
    return ((dataset - background) ** 2 * annulus).sum(axis=(1, 2)) / ((b - b.mean()) ** 2).sum()


def published_pearson(dataset, background, center, inner, outer):
    """As it was published: the radial profile of one pattern after the other, each from the beginning. For benchmarks."""
    reference = published_radial_profile(background, center)[inner:outer, 1]
    return np.array([np.corrcoef(published_radial_profile(pattern, center)[inner:outer, 1], reference)[0, 1]
                     for pattern in dataset])
