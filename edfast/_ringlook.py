"""Rings in a radial profile: which bumps there are, and whether they are rings or edges, shoulders and rims."""

import math
from typing import NamedTuple

import numpy as np

from ._ringfit import MERGED, REACH

MAX_RINGS = 10
SURE = 10.5         # standard errors that are beyond doubt
_STANDS_OUT = 4.0   # significance of a bump [standard errors],
_FAINTEST = 0.004   # and in that of all known rings, from where on it is worth a fit
_LEFT = 0.05        # share of its height that a ring may leave beside itself when it is subtracted from the profile
_FIRM = 30.0        # standard errors from where on a ring that agrees with one that stands need not stand itself
_BROAD = 4.0        # its widths from where on another one is as good as a background to it
_LOPSIDED = 0.4     # length of the steeper flank of a ring, in that of the other one, at least
_FLANK = 0.75, 0.25     # shares of the smaller depth between which they are measured: a crest need not be in the middle
_FLAT = 0.2         # height that the profile falls at least on either side, in that of the highest of several rings
_WIDTHS = np.array([0.5, 0.8, 1.1, 1.5, 2.1, 3.0, 4.2, 6.0, 8.5, 12.0, 17.0])     # of rings that are looked for [bins]


def look_for_rings(radial, known, widest=math.inf):
    """Bumps in a radial profile, besides the rings that are `known` (first): rows of radius, width, height, significance.

    They are narrower than `widest`, about.
    """
    from .kernels import profile

    rest, error = radial.mean.copy(), radial.error
    profile.subtract_rings(rest, *np.ascontiguousarray(known.T[:3]), -1)
    rings, least = np.zeros((MAX_RINGS, 4)), max(_STANDS_OUT, _FAINTEST * math.hypot(*known[:, 3]))
    if (error < np.inf).sum() < 8:
        return known
    # Beside a stop or at the edge of the frame a ring may show one flank only: looked for where there is nothing better.
    for reach in (2.2, 0.7) if not len(known) else (2.2,):
        found = profile.find_rings(rest.copy(), error, _WIDTHS[widest > _WIDTHS], least, reach, rings)
        if found:
            break
    rings = rings[:found]
    rings[:, 0] += 0.5
    if len(known):
        # No ring is exactly Gaussian: what it leaves beside itself is none.
        left = (which_touch(rings, known, MERGED) & (rings[:, 2:3] < _LEFT * known[:, 2])).any(axis=1)
        rings = rings[~left]
    return np.concatenate([known, rings])


def which_touch(some, others, part):
    """Whether each of some rings lies within `part` of both widths of each of the others."""
    return np.abs(some[:, :1] - others[:, 0]) < part * (some[:, 1:2] + others[:, 1])


def which_stand(radial, rings, demands, fitted):
    """Which rings stand on two feet, or on one if they are strong: edges and shoulders of discs and blobs do not.

    The first ones are `fitted`. What agrees so well with one that stands is a ring all the same: its feet may lie beyond the
    frame.
    """
    from .kernels import profile

    radii, widths, heights, _ = np.ascontiguousarray(rings.T)
    feet = profile.count_feet(radial.mean, radial.error, radii, widths, heights, *demands)
    for k in np.flatnonzero((feet == 0) & (rings[:, 3] > _FIRM)):
        # What is so broad beside a firm ring is background to it, and may be no bump at all.
        some = widths < _BROAD * widths[k]
        alone = profile.count_feet(radial.mean, radial.error, radii[some], widths[some], heights[some], *demands)
        feet[k] = alone[np.count_nonzero(some[:k])]
    standing = (feet == 2) | ((feet == 1) & (heights > 0.3 * heights[feet > 0].max(initial=0)))
    plain = (rings[:, 3] > _FIRM) & (np.arange(len(rings)) < fitted)
    return standing | plain if (plain & standing).any() else standing


class _Sides(NamedTuple):
    """How far a profile falls within a crest and beyond, with the errors of the lowest bins, and where.

    The flanks are the lengths [pixel] in which it falls from the higher to the lower `_FLANK`; they tell something if it falls
    to both sides.
    """

    depths: np.ndarray
    errors: np.ndarray
    flanks: tuple

    def fall(self, height):
        """Whether it falls to both sides by at least half of a height, and beyond doubt."""
        return (self.depths > np.maximum(0.5 * height, SURE * self.errors)).all()

    @property
    def lopsided(self):
        """Whether one flank is much steeper than the other."""
        return min(self.flanks) <= _LOPSIDED * max(self.flanks)


def _sides(radial, ring, reach=math.inf):
    """The `_Sides` of a ring, the outer one up to `reach` [pixel] from its crest; None where one of them is not seen."""
    mean, known, place = radial.mean, radial.error < np.inf, np.arange(len(radial.mean)) + 0.5 - ring[0]
    crest = known & (np.abs(place) < max(0.5 * ring[1], 1.0))
    sides = known & ~crest & (place < 0), known & ~crest & (place > 0) & (place < reach)
    if not all(bins.any() for bins in (crest, *sides)):
        return None
    lows = [np.argmin(np.where(side, mean, np.inf)) for side in sides]
    depths, top = mean[crest].mean() - mean[lows], np.argmax(np.where(crest, mean, -np.inf))
    levels = [mean[top] - (1 - height) * max(depths.min(), 0) for height in _FLANK]

    def flank(way):
        """Length of the flank on a way [bins] from the crest, as far as that is known; all there is if it does not fall."""
        way, places = way[known[way]], []
        for level in levels:
            lower = np.flatnonzero(mean[way] < level)
            if not len(lower):
                return len(mean)
            before, end = way[lower[0] - 1:lower[0] + 1]
            places.append(before + (end - before) * (mean[before] - level) / (mean[before] - mean[end]))
        return abs(places[1] - places[0])

    return _Sides(depths, radial.error[lows], (flank(np.arange(top, -1, -1)), flank(np.arange(top, len(mean)))))


def falls_to_both_sides(radial, ring):
    """Whether the profile falls to both sides of a ring beyond doubt, and as steeply: at the rim of a stop it does not.

    So it must near the ring, and in all.
    """
    near, in_all = _sides(radial, ring, REACH * ring[1]), _sides(radial, ring)
    return all(sides is not None and sides.fall(ring[2]) and not sides.lopsided for sides in (near, in_all))


def is_rim(radial, rings):
    """Whether rings that overlap are Gaussians of one edge, or of the light around a stop, and others tell less than they."""
    ends = np.flatnonzero(np.diff(rings[:, 0]) > rings[1:, 1] + rings[:-1, 1]) + 1
    together = max(np.split(rings, ends), key=lambda some: some[:, 3] @ some[:, 3])
    if len(together) < 2:
        return False
    highest = together[together[:, 2].argmax()]
    sides = _sides(radial, highest)
    if sides is None:
        return False
    if sides.fall(highest[2]):
        return sides.lopsided
    return bool((sides.depths + 3 * sides.errors < _FLAT * highest[2]).any())
