"""A last fit of rings with the bright spots of single crystallites on them, each spread all over its sectors in the image."""

import math

import numpy as np

from ._ringdoubt import center_variance, doubt_of, heights_of
from ._ringfit import settle
from ._ringlevel import in_fine_sectors, levelled, within_sectors, without_rings

_ROUNDS = 3         # spots are found in the heights of sectors, which the fit tells the better, the better they are known
_LEAST = 16         # sectors in which a ring must be seen for spots to be told from its texture
_FAR = 6.0          # a spot is nothing beyond so many widths


def with_bent_spots(frame, solution, ellipse):
    """The solution `levelled`; from an image in which spots are as bent as their ring, if more is told so.

    Round spots on a bent ring draw it inwards. With texture between them they are told best in the heights of the sectors.
    """
    level = levelled(frame, solution, ellipse)
    if not any(_stand_out(level, ring) for ring in range(len(level.state.radii))):
        return level
    other = in_fine_sectors(frame, level, ellipse)
    if other is None:
        return level
    for _ in range(_ROUNDS):
        spots = _spots_on(other)
        if not spots:
            return level
        bent = frame.showing(_bent(frame.image, other, spots))
        other, _ = settle(bent, None, other.state, other.rings, ellipse, spots=False, fine=True)
        if other is None or len(other.rings) < len(level.rings):
            return level
    return other if center_variance(other, ellipse) < center_variance(solution, ellipse) and not doubt_of(other) else level


def _spots_on(solution):
    """(number of the ring, place in sectors from the beginning of the first, height) of each spot."""
    from .kernels.crystallites import SPOTS, find_spots

    spots, found = [], np.empty((SPOTS, 2))
    for ring in range(len(solution.state.radii)):
        heights, variances = heights_of(solution, ring)
        known = np.isfinite(variances)
        if known.sum() >= _LEAST and np.median(heights[known]) > 0:
            n_found = find_spots(heights, variances, known, _width(solution, ring), found)
            spots += [(ring, *spot) for spot in found[:n_found].tolist()]
    return spots


def _width(solution, ring):
    """Width of a spot [sectors]."""
    return solution.state.widths[ring] * len(solution.angles) / (2 * math.pi * solution.state.radii[ring])


def _stand_out(solution, ring):
    """Whether at a quick look, sector by sector, there are spots on a ring at all."""
    from .kernels.spots import shift_by_spots

    heights, variances = heights_of(solution, ring)
    shifts = np.empty(len(heights))
    shift_by_spots(heights, variances, np.isfinite(variances), solution.state.radii[ring], solution.state.widths[ring], shifts)
    return shifts.any()


def _bent(image, solution, spots):
    """The image with spots that are not round, but part of the ring, equally high all over each sector; and so is the ring.

    They stay in the heights of the sectors: what is told then is wrong by little where they were taken out at a wrong place.
    """
    from .kernels import polar
    from .kernels.crystallites import along_ring

    state, n_sectors = solution.state, len(solution.angles)
    means, mean, slopes = np.zeros((len(state.radii), n_sectors)), np.empty(n_sectors), np.empty(n_sectors)
    for ring, place, height in spots:
        along_ring(place, _width(solution, ring), mean, slopes)
        means[ring] += height * mean
    image = without_rings(image, state, -means, *within_sectors(solution, means))
    s11, s12, s22 = polar.stretch(*state.strain)
    for ring, place, height in spots:
        azimuth, width = math.atan2(s12, s11) + 2 * math.pi * place / n_sectors, state.widths[ring]
        point = np.linalg.solve([[s11, s12], [s12, s22]], [math.cos(azimuth), math.sin(azimuth)])
        point = state.radii[ring] * point + state.center
        columns, rows = (slice(max(math.ceil(v - _FAR * width), 0), max(math.floor(v + _FAR * width) + 1, 0)) for v in point)
        near = image[rows, columns]
        x, y = (np.exp(-0.5 * ((np.arange(first.start, first.start + size) - v) / width) ** 2)
                for first, size, v in zip((columns, rows), near.shape[::-1], point, strict=True))
        near -= (height * y[:, None] * x).astype(image.dtype)
    return image
