"""A last fit of rings without the bright spots of single crystallites on them, which are taken out of the image."""

import math
from typing import NamedTuple

import numpy as np

from ._profile import averaged
from ._ringdoubt import center_variance, doubt_of, heights_of
from ._ringfit import State, settle
from ._ringlevel import in_fine_sectors, levelled

_ROUNDS = 3         # spots are found in the heights of sectors, which the fit tells the better, the better they are known
_LEAST = 16         # sectors in which a ring must be seen for spots to be told from its texture
_FAR = 6.0          # a spot is nothing beyond so many widths


class Spots(NamedTuple):
    """Spots on the rings of a state: rows of number of the ring, azimuth in turns from the first sector, and height.

    `noise` is that of the fit of the rings: variances of pixels as a function of the signal.
    """

    rows: np.ndarray
    state: State
    noise: np.ndarray

    def each(self):
        """(radius and width of its ring, azimuth in turns, height) of each."""
        for ring, turn, height in self.rows:
            yield self.state.radii[int(ring)], self.state.widths[int(ring)], turn, height

    def shares(self, table, radii):
        """Variance of each cell (sector, bin) of an image without the spots, over that which their counts lend it.

        `radii` are those of the bins.
        """
        from .kernels.crystallites import along_ring

        usual = self.noise[0] + self.noise[1] * np.nan_to_num(averaged(table)[0], posinf=0, neginf=0)
        usual, n_sectors = np.maximum(usual, self.noise[2]), len(table)
        heights, slopes, more = np.empty(n_sectors), np.empty(n_sectors), np.zeros(table.shape[:2])
        for radius, width, turn, height in self.each():
            along_ring(turn * n_sectors, width * n_sectors / (2 * math.pi * radius), heights, slopes)
            more += height * heights[:, None] * np.exp(-0.5 * ((radii - radius) / width) ** 2)
        return usual / (usual + self.noise[1] * more)


def cleared(frame, solution, ellipse):
    """The solution `levelled`, from an image without spots if more is told so than by the solution itself.

    Round spots on a bent ring draw it inwards. With texture between them they are told best in the heights of the sectors.
    """
    level, rows = levelled(frame, solution, ellipse), np.empty((0, 3))
    if not any(_stand_out(level, ring) for ring in range(len(level.state.radii))):
        return level
    other = in_fine_sectors(frame, level, ellipse)
    if other is None:
        return level
    for _ in range(_ROUNDS):
        rows = _spots_on(other, rows)
        if len(rows) == 0:
            return level
        clear = _without(frame, Spots(rows, other.state, other.noise))
        other, _ = settle(clear, None, other.state, other.rings, ellipse, fine=True)
        if other is None or len(other.rings) < len(level.rings):
            return level
    other = levelled(clear, other, ellipse)
    return other if center_variance(other, ellipse) < center_variance(solution, ellipse) and not doubt_of(other) else level


def _spots_on(solution, taken):
    """Rows of `Spots` on the rings of a solution from whose image others were `taken`, these included."""
    from .kernels.crystallites import SPOTS, along_ring, find_spots

    n_sectors, rows = len(solution.angles), []
    template, slopes, found = np.empty(n_sectors), np.empty(n_sectors), np.empty((SPOTS, 2))
    for ring in range(len(solution.state.radii)):
        heights, variances = heights_of(solution, ring)
        heights, known = heights.copy(), np.isfinite(variances)
        width = solution.state.widths[ring] * n_sectors / (2 * math.pi * solution.state.radii[ring])
        for _, turn, height in taken[taken[:, 0] == ring]:
            along_ring(turn * n_sectors, width, template, slopes)
            heights += height * template
        if known.sum() >= _LEAST and np.median(heights[known]) > 0:
            n_found = find_spots(heights, variances, known, width, found)
            rows += [(ring, place / n_sectors, height) for place, height in found[:n_found]]
    return np.array(rows).reshape(-1, 3)


def _stand_out(solution, ring):
    """Whether at a quick look, sector by sector, there are spots on a ring at all."""
    from .kernels.spots import shift_by_spots

    heights, variances = heights_of(solution, ring)
    shifts = np.empty(len(heights))
    shift_by_spots(heights, variances, np.isfinite(variances), solution.state.radii[ring], solution.state.widths[ring], shifts)
    return shifts.any()


def _without(frame, spots):
    """The frame without spots."""
    from .kernels import polar

    image, state = frame.image.astype(np.result_type(frame.image.dtype, np.float32)), spots.state
    s11, s12, s22 = polar.stretch(*state.strain)
    for radius, width, turn, height in spots.each():
        azimuth = math.atan2(s12, s11) + 2 * math.pi * turn
        place = radius * np.linalg.solve([[s11, s12], [s12, s22]], [math.cos(azimuth), math.sin(azimuth)]) + state.center
        columns, rows = (slice(max(math.ceil(v - _FAR * width), 0), max(math.floor(v + _FAR * width) + 1, 0)) for v in place)
        near = image[rows, columns]
        x, y = (np.exp(-0.5 * ((np.arange(first.start, first.start + size) - v) / width) ** 2)
                for first, size, v in zip((columns, rows), near.shape[::-1], place, strict=True))
        near -= (height * y[:, None] * x).astype(image.dtype)
    return frame.showing(image, spots)
