"""A last fit of rings that are not equally high all over a sector, as about a spot: of an image in which they are."""

import numpy as np

from ._ringdoubt import center_variance, doubt_of, heights_of
from ._ringfit import FINE, settle
from ._ringlast import spotless

_LEVEL = 0.02       # share that heights which differ within sectors must have in what the pixels scatter by
_COST = 8           # times as long as others takes the levelling of a pixel


def in_fine_sectors(frame, solution, ellipse):
    """The solution in `FINE` sectors, or None where that does not settle."""
    if len(solution.angles) == FINE:
        return solution
    return settle(frame, None, solution.state, solution.rings, ellipse, fine=True)[0]


def levelled(frame, solution, ellipse):
    """The solution from an image in whose sectors each ring is as high as in their mean; or as it is, where they nearly are.

    The few pixels of a cell lie anywhere in its sector. Where a ring is not equally high all over this, as about a spot, cells
    scatter by that.
    """
    slopes, bends = within_sectors(solution)
    if not (slopes ** 2 / 12 + bends ** 2 / 180).mean(axis=1).max() > _LEVEL * solution.noise[3]:
        return solution
    finer = in_fine_sectors(frame, solution, ellipse)
    if finer is None:
        return solution
    slopes, bends = within_sectors(finer)
    level = frame.showing(without_rings(frame.image, finer.state, np.zeros_like(slopes), slopes, bends))
    other, _ = settle(level, None, finer.state, finer.rings, ellipse, fine=True)
    if other is None or len(other.rings) < len(solution.rings) or doubt_of(other):
        return solution
    other = spotless(level, other, ellipse, fine=True)
    return other if center_variance(other, ellipse) < center_variance(solution, ellipse) else solution


def within_sectors(solution, spots=0.0):
    """(slopes, bends), (rings, sectors), of the heights of each ring: of parabolas that go over into each other smoothly.

    The height is that of the sector and slope t + bend (t^2 - 1/12), -1/2 <= t < 1/2 across the sector. So much of it as
    `spots` (rings, sectors) lend it is left out.
    """
    n_rings, n_sectors = solution.plan[3][-1], len(solution.angles)
    heights, variances = np.array([heights_of(solution, k) for k in range(n_rings)]).swapaxes(0, 1)
    heights, chance = heights - spots, np.ones((n_rings, 1))
    for k, known in enumerate(np.isfinite(variances)):
        if known.any():
            here = np.flatnonzero(known)
            heights[k] = np.interp(np.arange(n_sectors), here, heights[k, here], period=n_sectors)
            chance[k] = n_sectors * np.median(variances[k, here])
    waves = np.fft.rfft(heights)
    # Without what may be noise of the heights.
    waves *= 1 - chance / np.maximum(np.abs(waves) ** 2, chance)
    heights = np.fft.irfft(waves, n_sectors)
    # The heights at the edges of the sectors: edges[:, j] before sector j.
    shares = (4 + 2 * np.cos(2 * np.pi * np.fft.rfftfreq(n_sectors))) / 6
    edges = np.fft.irfft(np.fft.rfft((np.roll(heights, 1, axis=1) + heights) / 2) / shares, n_sectors)
    after = np.roll(edges, -1, axis=1)
    return after - edges, 3 * (edges + after - 2 * heights)


def without_rings(image, state, heights, slopes, bends):
    """The image without rings as high as `heights`, and as `within_sectors` says, (rings, sectors)."""
    from .kernels import polar
    from .kernels._bands import in_bands

    image = image.astype(np.result_type(image.dtype, np.float32), order="C")
    rings = *state.center, *state.strain, state.radii, state.widths, np.stack((heights, slopes, bends))

    def rows(start, stop):
        polar.level_rings(*rings, image[start:stop], start)

    in_bands(rows, len(image), _COST * image.size)
    return image
