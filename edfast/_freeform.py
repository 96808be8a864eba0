"""The centre of a pattern of which only the profile's sameness all round is taken for granted: fringes, rings of any shape."""

import math
from statistics import median
from typing import NamedTuple

import numpy as np

from ._profile import calm_variance, unrolled

_SECTORS = 64
_BLOCK = 12.0       # widths of the narrowest ring in a block,
_LEAST, _FEWEST = 0.4, 24   # or at least such a share of these, and so many bins, if there is no room for one,
_FINENESS = 5.0     # bins in a width,
_FINEST, _COARSEST = 0.7, 1.0   # which are so wide at least, and at most as long as _MOST reach to the edge [pixel],
_MOST = 700         # and so many at most
_INNER = 0.25, 4.0  # where it begins: in radii of the innermost ring, and [pixel] at least
_STEP = 0.5         # widths by which it moves in one step at most
_SLOPE = 15, 8.0    # bins of a profile, and widths of the widest ring, whose mean slope says nothing: the higher number
_CLEAR = 5.0        # times as much as by chance must a profile tell for it to be told from its noise


class Freeform(NamedTuple):
    """Centre and strain with their covariance (x, y, e1, e2), not scaled; scores of the sectors; the last step, squared.

    And the cells that they are from, with the noise that was found in each block of the profile.
    """

    center: np.ndarray
    strain: np.ndarray
    covariance: np.ndarray
    scores: np.ndarray
    gain: float
    table: np.ndarray
    noise: np.ndarray

    @property
    def roughness(self):
        """As that of a `Solution`, in the median of the blocks that tell of the centre; infinite where none does."""
        blocks, telling = np.split(self.table, len(self.noise), axis=1), np.flatnonzero(self.scores.any(axis=1))
        return median([self.noise[k, 3] / calm_variance(blocks[k]) for k in telling] or [math.inf])


def _told(radial, values, radii, span):
    """What a shift tells by some values instead of the means of a radial profile, and how much of it by chance alone.

    A slope that changes evenly over `span` bins says nothing: a steep background has one.
    """
    begin = int(_INNER[0] * radii.min())
    known = np.where(radial.error < np.inf, 1 / radial.error ** 2, 0.0)[begin:]
    weight = np.minimum(np.minimum(known[:-2], known[1:-1]), known[2:])
    slope, place, some = 0.5 * (values[begin + 2:] - values[begin:-2]), np.arange(len(weight)), np.ones(min(span, len(weight)))

    def mean(values):
        return np.convolve(weight * values, some, "same") / np.maximum(np.convolve(weight, some, "same"), 1e-300)

    usual, middle = mean(slope), mean(place)
    change = (mean(place * slope) - middle * usual) / np.maximum(mean(place ** 2) - middle ** 2, 1.0)
    usual += change * (place - middle)
    # By chance each bin tells a half.
    return weight @ (slope - usual) ** 2, 0.5 * np.count_nonzero(weight)


def unexplained(radial, rings):
    """What is told of a shift by that of a radial profile which its rings leave, in what is told by the rings.

    It is 0 where all of the profile tells little more than its noise. `radial` has `mean` and `error`, rows of `rings` begin
    with radius, width and height.
    """
    from .kernels import profile

    radii, widths, heights = np.ascontiguousarray(rings.T[:3])
    span = max(_SLOPE[0], int(_SLOPE[1] * widths.max()))
    told, chance = _told(radial, radial.mean, radii, span)
    if not told > _CLEAR * chance:
        return 0.0
    rest = radial.mean.copy()
    profile.subtract_rings(rest, radii, widths, heights, -1)
    return (_told(radial, rest, radii, span)[0] - chance) / max(_told(radial, radial.mean - rest, radii, span)[0], 1e-300)


def leave_out_empty(table, blocks):
    """Leave out the blocks in which half of the cells hold one value throughout: between single counts no noise shows."""
    for block in np.split(table, blocks, axis=1):
        number, total, _, square = np.moveaxis(block, -1, 0)
        known = np.isfinite(total) & (number > 1)
        alike = (square - total ** 2 / np.maximum(number, 1) <= 1e-9 * square)[known]
        if 2 * alike.sum() > alike.size:
            block[:] = 0


def fit_freeform(frame, state, ellipse, enough=1e-3):
    """The `Freeform` next to a state of rings, None where there is no room; `enough` is the squared step that is the last."""
    from .kernels import freeform, polar, rings

    height, width = frame.image.shape
    far = max(math.dist(state.center, (x, y)) for x in (0, width) for y in (0, height))
    lo, finest = max(_INNER[0] * state.radii.min(), _INNER[1]), state.widths.min()
    reach = min(far, 1.2 * max(height, width)) - lo
    step = max(min(finest / _FINENESS, max(_COARSEST, reach / _MOST)), _FINEST)
    n, bins = int(min(reach / step, _MOST)), round(_BLOCK * max(finest / step, 1.0))
    if n < min(bins, max(_LEAST * bins, _FEWEST)):
        return None
    bins = min(bins, n)
    blocks = n // bins
    annulus = np.array([0, blocks * bins]), np.array([lo]), np.array([step])
    table = unrolled(frame.image, frame.bad, frame.shade, frame.size, state.center, state.strain, *annulus, _SECTORS)
    leave_out_empty(table, blocks)
    if not np.isfinite(table[..., 1]).any() or not table[..., 0].any():
        return None
    noise = np.zeros((blocks, 4))
    rings.start_values(table, *annulus, np.zeros(2, np.int64), np.empty(0), np.zeros((1, 1, _SECTORS)), noise[0], np.ones(1))
    noise[1:] = noise[0]
    s11, s12, _ = polar.stretch(*state.strain)
    weights, scores = np.empty((2, blocks, _SECTORS))
    geometry, covariance = np.zeros(4), np.zeros((4, 4))
    angles, profile = polar.sector_angles(_SECTORS, s11, s12), np.empty(blocks * bins)
    gain = freeform.fit_freeform(table, angles, lo, step, ellipse, _STEP * finest, enough, noise, geometry, profile, weights,
                                 scores, covariance)
    # Blocks that were left out say nothing.
    scores[~weights.any(axis=1)] = 0
    center, strain = state.moved(geometry, covariance)
    return Freeform(center, strain, covariance, scores, gain, table, noise)
