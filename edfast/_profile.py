"""Robust radial profiles: of any unrolled pattern, and about the centre of a ring fit in its own elliptical geometry."""

import math

import numpy as np

from ._validation import as_image, as_mask, kernel_mask

SECTORS = 32
_COST = 8           # times as long as others takes this look at a pixel
_LEAST = 0.2        # share of the azimuth, and of the typical error: fewer sectors agree by chance


def ring_profile(image, fit, *, mask=None):
    """(radius, mean, error, coverage) of bins of one pixel: trimmed means over sectors, which stop and spots do not spoil.

    The radius is that of the pixels in the bin, in the mean: geometric mean of semi-axes, as of the rings of `fit` (a
    `RingFit`). The error is infinite where too little of the azimuth is seen.
    """
    image = as_image(image)
    mask = as_mask(mask, image.shape)
    height, width = image.shape
    n = int(max(math.hypot(fit.cx - x, fit.cy - y) for x in (0, width) for y in (0, height)))
    bins = np.array([0, n]), np.array([0.0]), np.array([1.0])
    table = unrolled(image, kernel_mask(mask), kernel_mask(None), 1, (fit.cx, fit.cy), fit.strain, *bins, SECTORS)
    known = np.isfinite(table[..., 1])
    number, place = (np.where(known, table[..., k], 0).sum(axis=0) for k in (0, 2))
    return np.arange(n) + 0.5 + place / np.maximum(number, 1), *averaged(table)


def unrolled(image, bad, shade, size, center, strain, first, lo, step, n_sectors):
    """Cells (n_sectors, bins, 4) of the annuli of `edfast.kernels.polar.unroll`, hot and dead pixels screened."""
    from .kernels import polar
    from .kernels._bands import in_bands

    table = np.empty((n_sectors, first[-1], 4))

    def halves(start, stop):
        for below in (True, False)[start:stop]:
            polar.unroll(image, bad, shade, size, *center, *strain, first, lo, step, below, table)

    in_bands(halves, 2, _COST * image.size)
    polar.screen_cells(table)
    return table


def calm_variance(table):
    """Variance of the pixels within the cells of an unrolled pattern, in the mean over the calmer four fifths of each bin."""
    number, total, _, square = np.moveaxis(table, -1, 0)
    usable = np.isfinite(total) & (number > 1)
    inside = np.where(usable, square - total ** 2 / np.maximum(number, 1), 0) / np.maximum(number - 1, 1)
    inside = np.sort(np.where(usable, inside, np.inf), axis=0)
    calm = 0.8 * usable.sum(axis=0)
    inside = np.where(np.arange(len(inside))[:, None] < calm, inside, 0)
    return inside.sum() / max(calm.sum(), 1) + 1e-300


def averaged(table):
    """(mean, error, coverage) of the bins of an unrolled pattern, the table of `edfast.kernels.polar.unroll`."""
    from .kernels import profile

    mean, error, coverage = np.empty((3, table.shape[1]))
    profile.robust_profile(table, mean, error, coverage)
    profile.admit_doubt(mean, error, coverage, _LEAST)
    return mean, error, coverage


def ring_height(mean, error, radius, width):
    """(height, its standard error) of a ring in a profile; the error is infinite where the profile does not tell."""
    from .kernels import profile

    height, precision = np.empty((2, 1))
    first = math.floor(radius - 0.5)
    profile.fit_bumps(mean, 1 / error ** 2, first, radius - 0.5 - first, width, height, precision)
    return height[0], 1 / math.sqrt(precision[0]) if precision[0] > 0 else math.inf
