"""Attempts at the rings of the middle-sized image, from a centre alone: each finds rings that stand, or says why not."""

import math
from statistics import median

import numpy as np

from ._ringdoubt import CALM, is_spoilt
from ._ringfit import MERGED, settle, sharp_profile, told
from ._ringlook import MAX_RINGS, falls_to_both_sides, is_rim, look_for_rings, which_stand, which_touch

EDGE = "what stands out of the radial profile is an edge or a shoulder, no ring"
_HOPEFUL = 0.1, 2.0     # depth of the feet, in heights, and benefit of the doubt, in standard errors, of rings to be fitted
STANDING = 0.14, 1.0    # and of those that were
CHANCE = 7.0        # standard errors by which bumps stand out now and then that are none
TOUCHING = 2.5      # rings nearer than this, in the sum of their widths, change each other's shape
TELLING = 0.02      # share of all that is told that a ring tells which is worth parting, or keeping a fit from its rest
_WIDE = 1.3         # times the width of the others from where on a ring may be two
_SMOOTH = 0.02      # share of its height by which the profile of a ring that is no two departs from a Gaussian at most
_PARTED = 0.3, 0.03     # shares of what all rings told, and of what a ring told, that must be told with two in its place, and
                        # by these: halves of one ring tell next to nothing
_RELIEVED = 0.8     # share of the scatter of the cells that two in place of one may leave
_TRIED = 3          # rings that are parted at most to see whether two tell more


def _halves(ring):
    """Two rings that together look like one."""
    return ring * (1, 0.6, 1, 0.7) + np.outer((-1, 1), (0.75 * ring[1], 0, 0, 0))


def _with_halves(rings, k):
    """The rings with two instead of ring k."""
    return np.concatenate([np.delete(rings, k, 0), _halves(rings[k])])


def _widest(rings):
    """Which of the rings that tell something is the widest."""
    return np.argmax(np.where(rings[:, 3] ** 2 > TELLING * told(rings), rings[:, 1], 0))


def _misfit(radial, ring):
    """Root mean square by which the profile departs from one Gaussian on a smooth background, in heights of the ring."""
    radius, width, height, _ = ring
    u = (np.arange(len(radial.mean)) + 0.5 - radius) / max(width, 1.0)
    near = (np.abs(u) < 4) & (radial.error < np.inf)
    u, weight = u[near], 1 / radial.error[near]
    columns = np.stack([np.exp(-0.5 * u * u) * u ** p for p in range(3)] + [u ** p for p in range(4)], axis=1)
    found = np.linalg.lstsq(columns * weight[:, None], radial.mean[near] * weight)[0]
    return math.sqrt(np.mean((radial.mean[near] - columns @ found) ** 2)) / height if len(u) > len(found) else math.inf


def _split(frame, solution, ellipse, radial):
    """The solution with the widest ring that tells something in two, if two explain the image better and both stand.

    It is tried where it is much wider than the others, or the only one and no Gaussian, or where the sectors do not agree.
    """
    rings = solution.rings
    k = _widest(rings)
    if len(rings) == 1:
        wide = _misfit(radial, rings[0]) > _SMOOTH
    else:
        wide = rings[k, 1] > _WIDE * median(width for i, width in enumerate(rings[:, 1].tolist()) if i != k)
    if not (wide or solution.chi2 > CALM):
        return solution
    halves = _halves(rings[k])
    parted, outcome = settle(frame, radial, solution.state, _with_halves(rings, k), ellipse)
    if parted is None or parted.gain > 1 or parted.noise[3] > solution.noise[3] or told(outcome) < _PARTED[0] * told(rings):
        return solution
    both = np.abs(outcome[:, :1] - halves[:, 0]).argmin(axis=0)
    # As many rings as before: what fell was none if they tell more without it.
    fewer = len(outcome) <= len(rings) and told(outcome) < told(rings)
    if both[0] == both[1] or fewer or told(outcome[both]) < _PARTED[1] * rings[k, 3] ** 2:
        return solution
    stand = which_stand(sharp_profile(frame, parted.state, radial), outcome, STANDING, fitted=len(outcome))
    return parted if stand[both].all() else solution


def part_ring(frame, radial, solution, order, ellipse, better):
    """The solution with two rings instead of one, of the first few in this order, if that is `better`; or None."""
    for k in order[:_TRIED]:
        other, outcome = settle(frame, radial, solution.state, _with_halves(solution.rings, k), ellipse)
        if other is not None and len(outcome) > len(solution.rings) and better(other):
            return other
    return None


def _deblended(frame, solution, ellipse, radial):
    """The solution with two rings instead of one, the widest first, as often as the cells scatter much less so."""
    def calmer(other):
        return (other.gain < 1 and other.noise[3] < _RELIEVED * solution.noise[3]
                and which_stand(sharp_profile(frame, other.state, radial), other.rings, STANDING, len(other.rings)).all())

    while solution.blended > 1 and len(solution.rings) < MAX_RINGS:
        other = part_ring(frame, radial, solution, np.argsort(-solution.rings[:, 1]), ellipse, calmer)
        if other is None:
            break
        solution = other
    return solution


def try_rings(frame, start, ellipse, every=False):
    """Fit the middle-sized image from a start without rings: (solution, rings that stand, other bumps, profile).

    Where there are no rings: (None, why not, bumps, profile). With `every`, all bumps of the first profile are fitted,
    whether or not they look like rings.
    """
    state, rings, why = start, np.empty((0, 4)), "no ring stands out of the radial profile"
    best = radial = None
    for turn in range(4):
        before, radial = radial, sharp_profile(frame, state, radial)
        if turn > 1 and radial is before:
            break
        bumps, known = look_for_rings(radial, rings), len(rings)
        looked = bumps if every and turn == 0 else bumps[which_stand(radial, bumps, _HOPEFUL, fitted=known)]
        if best is not None and best.gain < 1:
            # What else there is in the profile is a ring only if it fits in with those that do agree.
            wide = (looked[:, 1] >= 2 * rings[:, 1].max()) & (looked[:, 2] <= rings[:, 2].max())
            looked[wide, 1] = rings[:, 1].max()
            looked = looked[~wide | (looked[:, 3] > CHANCE)]
        if len(looked) == 0 or np.array_equal(looked, rings) or (turn > 1 and len(looked) <= len(rings)):
            break
        if turn == 0 and not every:
            # The clear ones fix centre and strain, with which the profile becomes so sharp that the others can be told.
            looked = looked[(looked[:, 2] > 0.08 * looked[0, 2]) & (looked[:, 3] > 0.3 * looked[0, 3])]
        if every and len(looked) == 1:
            # One ring would not do.
            looked = _halves(looked[0])
        solution, outcome = settle(frame, radial, state, looked, ellipse)
        if solution is None and len(looked) == 1:
            solution, outcome = settle(frame, radial, state, _halves(looked[0]), ellipse)
        if solution is None:
            why = outcome
            break
        if best is not None and (solution.gain >= 1 > best.gain or is_spoilt(rings, outcome)):
            break
        best, state, rings = solution, solution.state, outcome
    if best is None:
        return None, why, bumps, radial
    radial = sharp_profile(frame, best.state, radial)
    best = _deblended(frame, _split(frame, best, ellipse, radial), ellipse, radial)
    rings = best.rings
    radial = sharp_profile(frame, best.state, radial)
    bumps = np.concatenate([rings, bumps[known:]])
    while len(rings) and not (standing := which_stand(radial, rings, STANDING, fitted=len(rings))).all():
        # What leant on one that fell must stand alone.
        rings = rings[standing]
    if len(rings) < 1 + every or is_rim(radial, rings):
        return None, EDGE, bumps, radial
    return best, rings, bumps[~which_touch(bumps, rings, MERGED).any(axis=1)], radial


def try_every(frame, start, ellipse):
    """As `try_rings`, where nothing that looks like rings agrees on a centre: all bumps of the first profile are fitted."""
    return try_rings(frame, start, ellipse, every=True)


def try_highest(frame, start, ellipse):
    """As `try_rings`, where no set of Gaussians stands by itself: the highest bump, if the profile falls to both sides of it.

    A lopsided or flat ring falls into several Gaussians, none of which need look like a ring.
    """
    state, none, radial = start, np.empty((0, 4)), None
    for _ in range(2):
        radial = sharp_profile(frame, state, radial)
        bumps = look_for_rings(radial, none)
        bumps = bumps[bumps[:, 3] > CHANCE]
        if len(bumps) == 0:
            return None, "no ring stands out of the radial profile", bumps, radial
        highest = bumps[:, 2].argmax()
        solution, rings = settle(frame, radial, state, bumps[highest:highest + 1], ellipse)
        if solution is None:
            return None, rings, bumps, radial
        state = solution.state
    radial = sharp_profile(frame, state, radial)
    if not falls_to_both_sides(radial, rings[0]):
        return None, EDGE, bumps, radial
    return solution, rings, bumps[~which_touch(bumps, rings, TOUCHING).any(axis=1)], radial
