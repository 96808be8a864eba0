"""The last fit, of the pixels themselves or of blocks that tell as much: completed, without what contradicts it, and freed."""

import math

import numpy as np

from ._results import Ring, RingFit, RingNotFoundError
from ._ringdoubt import CALM, HIGH, WORTH, center_variance, chance_factor, doubt_of, is_better, scatter_factor, seen_sectors
from ._ringfit import APART, UNEVEN, State, mean_square, settle, told
from ._ringlook import MAX_RINGS, look_for_rings, which_stand, which_touch
from ._ringtry import CHANCE, EDGE, STANDING, TELLING, TOUCHING, part_ring

SETTLED = 1e-2      # squared last step, in standard errors, that counts as converged
_TOLD = 0.95        # share of all that is told of the centre that is enough without bumps that may be chance
_NOTHING = 1e-3     # share of it from where on a ring can disturb another one that it touches
_DIM = 0.01         # height of a very dim ring, in that of the brightest
_ODD = 2.5          # and width, in that of the surest, from where on a bump is hardly a ring of the same pattern
_AGREEING = 4.0     # standard errors by which bumps that join the rings may move the centre at most,
_MUCH = 5.0         # if less than so many times as much is told with them
_CALMER = 0.75      # share of chi2 that a wider shade, or no spots, may leave
_TRUSTED = 0.9      # share of its weight left to a sector from where on spots do not matter to it
_CLOSE = 0.1        # squared last step that is enough for the whole profile; most of it is the profile's slow motion
_FAIR = 2.5         # and the highest chi2 that it may have, if sectors agree
_MORE, _SMOOTH, _HALF = 1.2, 0.9, 0.5   # that must leave these shares of errors and scatter, or so small a one of errors; or,
_LITTLE, _AWAY, _SMOOTHER = 2.0, 3.0, 0.8   # where sectors agree, if the centre is so many errors away, these shares of both
_ASIDE = 1          # block that the whole profile is kept off a shade
_CALMEST = 0.06     # share of the variances that is left at least where the sectors scatter less
_ROUGHLY = 0.25     # share of the radius asked for by which that of a ring may differ


def refined(frame, found, factor, radius, ellipse, max_rings):
    """(frame, solution) of what was found, whose pixels are `factor` times as large as those of the frame."""
    rings = choose_rings(found.rings, radius, max_rings)
    solution = _settle_clearest(frame, found.radial, found.solution.state, factor, rings, ellipse)
    if doubt := doubt_of(solution):
        raise RingNotFoundError(doubt)
    if max_rings is None:
        completed = _completed(frame, solution, found, factor, ellipse)
        # One that is not about the centre of the others keeps those from joining that it covers.
        fewer = _concentric(frame, solution, ellipse)
        if fewer is not solution:
            other = _completed(frame, fewer, found, factor, ellipse)
            completed = other if is_better(other, completed) else completed
        solution = completed
    frame, solution = _reshaded(frame, solution, ellipse)
    solution = _concentric(frame, solution, ellipse)
    if max_rings is None:
        solution = _parted(frame, solution, ellipse)
    for improve in _at_rest, _without_one, spotless:
        solution = improve(frame, solution, ellipse)
    return frame, solution


def _completed(frame, solution, found, factor, ellipse):
    """The solution with what else stands out of the profile in which its rings were found, at first and with these known.

    Its pixels are `factor` times smaller than those of the profile.
    """
    size, widest = np.array([factor, factor, 1.0, 1.0]), 2 * found.rings[:, 1].max()

    def joined(bumps):
        least = max(CHANCE, math.sqrt(_NOTHING * told(solution.rings)))
        return _joined(frame, solution, bumps[(bumps[:, 3] > least) & (bumps[:, 1] < widest)] * size, ellipse)

    solution = joined(found.bumps)
    # In the profile the rings are as much wider as its blocks are than the pixels.
    known = solution.rings / size
    blurred = np.sqrt(known[:, 1] ** 2 + (1 - 1 / factor ** 2) / 12)
    known[:, 2] *= known[:, 1] / blurred
    known[:, 1] = blurred
    return joined(look_for_rings(found.radial, known, widest)[len(known):])


def _reshaded(frame, solution, ellipse):
    """(frame, solution) with a wider shade, if sectors contradict each other and agree better with it; or as they are."""
    if solution.chi2 > UNEVEN and frame.shade.any():
        wider = frame.shaded(1)
        other, _ = settle(wider, None, solution.state, solution.rings, ellipse)
        if other is not None and other.chi2 < _CALMER * solution.chi2 and is_better(other, solution):
            return wider, other
    return frame, solution


def _parted(frame, solution, ellipse):
    """The solution with two rings instead of one, as often as more is told so; or as it is.

    Rings that have been fitted as one lend it a false strain and, where their textures differ, a centre of its own. Where the
    cells scatter much it has been tried before, by `_deblended`.
    """
    def better(other):
        return is_better(other, solution)

    while solution.contradictory and solution.blended == 1 and len(solution.rings) < MAX_RINGS:
        other = part_ring(frame, None, solution, np.lexsort((-solution.rings[:, 1], -solution.own)), ellipse, better)
        if other is None:
            break
        solution = other
    return solution


def spotless(frame, solution, ellipse, fine=False):
    """The solution with no spots allowed for, if the sectors say so; or as it is. `fine` as in `fit_jointly`.

    That is if they contradict each other and agree much better so, or agree better and tell more. What has been taken for
    spots then is texture as narrow as these, or spots are so bright that their tails matter.
    """
    uneven = solution.chi2 > UNEVEN
    if uneven or (solution.weights < _TRUSTED * solution.agreement).any():
        other, _ = settle(frame, None, solution.state, solution.rings, ellipse, spots=False, fine=fine)
        if other is None or doubt_of(other):
            return solution
        agree = other.chi2 < solution.chi2 and len(other.rings) == len(solution.rings)
        if ((uneven and other.chi2 < _CALMER * solution.chi2)
                or (agree and center_variance(other, ellipse) < center_variance(solution, ellipse))):
            return other
    return solution


def _without(frame, solution, k, ellipse):
    """The solution without its ring k, or None where that does not settle."""
    return settle(frame, None, solution.state, np.delete(solution.rings, k, 0), ellipse)[0]


def _at_rest(frame, solution, ellipse):
    """A solution that has converged, if this one has not; or as it is.

    That is the one from where the fit rests without spots, or one without the faintest ring, if that tells next to nothing.
    """
    rings, faintest = solution.rings, solution.sure.argmin()
    if solution.gain > SETTLED:
        start, _ = settle(frame, None, solution.state, rings, ellipse, spots=False)
        others = [] if start is None else [settle(frame, None, start.state, start.rings, ellipse)[0]]
        if rings[faintest, 3] ** 2 < TELLING * told(rings):
            others.append(_without(frame, solution, faintest, ellipse))
        for other in others:
            if other is not None and other.gain < SETTLED and not doubt_of(other):
                return other
    return solution


def _without_one(frame, solution, ellipse):
    """The solution with one ring less, if sectors contradict each other and more is told without it; or as it is.

    No ring takes away from what the others tell, but the edge of a stop does, that passes for one.
    """
    rings = solution.rings
    if solution.chi2 > UNEVEN and len(rings) > 1:
        for k in range(len(rings)):
            other = _without(frame, solution, k, ellipse)
            if other is not None and told(other.rings) > WORTH * told(rings) and is_better(other, solution):
                return other
    return solution


def _concentric(frame, solution, ellipse):
    """The solution without rings that are not about the same centre as the others: the rim of a round stop is about its own.

    Rings are left out until the others agree, in each turn the one without which they do so best, but of more than two no more
    than a third; or it stays as it is.
    """
    best, least = solution, len(solution.rings) - max(len(solution.rings) // 3, 1)
    while best.apart > APART[1] and len(best.rings) > least:
        others = [_without(frame, best, k, ellipse) for k in range(len(best.rings))]
        others = [other for other in others if other is not None and not doubt_of(other)]
        if not others:
            return solution
        # A ring by itself contradicts none: of those that agree, the one that tells most.
        best = min(others, key=lambda other: (max(other.apart, APART[1]), -told(other.rings)))
    return best if best.apart <= APART[1] and len(best.rings) >= least else solution


def _joined(frame, solution, bumps, ellipse):
    """The solution with those bumps that are clear rings beside its own, if more is told with them; or as it is.

    That there is a pattern is settled: here a bump need not look like a ring by itself, as it may lie between others or at
    the edge of the frame.
    """
    rings = solution.rings
    while len(bumps):
        other, outcome = settle(frame, None, solution.state, np.concatenate([rings, bumps]), ellipse)
        if other is None or not which_touch(rings, outcome, 0.25).any(axis=1).all():
            break
        new = ~which_touch(outcome, rings, 0.25).any(axis=1)
        firm = new & (other.heights > HIGH * other.height_errors)
        if firm.sum() < new.sum():
            bumps = outcome[firm]
            continue
        move = other.state.center - solution.state.center
        spread = solution.covariance[:2, :2] * scatter_factor(solution, ellipse)
        near = move @ np.linalg.pinv(spread) @ move < _AGREEING ** 2
        much = told(outcome) > _MUCH * told(rings)
        return other if new.any() and (near or much) and is_better(other, solution) else solution
    return solution


def choose_rings(rings, radius, most):
    """The `most` rings that are nearest to `radius`, or the surest; all without a number. The surest come first.

    Those that may be chance, and without a number very dim ones, are left out where they tell little; unless they touch a
    clear one, whose place they may shift. So are, without a number, bumps that are much wider than the surest ring.
    """
    rings = rings[np.argsort(-rings[:, 3])]
    tells = rings[:, 3] ** 2 / told(rings)
    touch = which_touch(rings, rings, TOUCHING)
    np.fill_diagonal(touch, False)
    clear = rings[:, 3] > CHANCE
    touching = touch[:, clear].any(axis=1) & (tells > _NOTHING)
    little = (tells < 1 - _TOLD) & (most is None)
    dim, odd = little & (rings[:, 2] < _DIM * rings[:, 2].max()), little & (rings[:, 1] > _ODD * rings[0, 1])
    rings = rings[((clear & ~dim) | (np.cumsum(tells) - tells < _TOLD) | touching) & ~odd]
    if most is None or most >= len(rings):
        return rings
    return rings[:most] if radius is None else rings[np.sort(np.argsort(np.abs(rings[:, 0] - radius))[:most])]


def _settle_clearest(frame, radial, state, factor, rings, ellipse):
    """The last fit, of an image whose pixels are `factor` times smaller than those of `radial`, `state` and `rings`.

    Where not all rings (surest first) come to rest together, half of them are tried, and half of these.
    """
    number, why, size = len(rings), EDGE, np.array([factor, factor, 1.0, 1.0])
    while number:
        solution, outcome = settle(frame, None, state.scaled(factor), rings[:number] * size, ellipse)
        if solution is None:
            number, why = number // 2, outcome
            continue
        # What leant on one that fell must stand alone.
        left, why = outcome / size, EDGE
        standing = which_stand(radial, left, STANDING, fitted=len(left)) if len(left) < number else np.ones(number, bool)
        if standing.all():
            return solution
        if standing.any():
            rings, number = left[standing], standing.sum()
        else:
            number //= 2
    raise RingNotFoundError(why)


def freed(frame, solution, ellipse, missed=True):
    """(center, strain, covariance, chi2, last step) by a profile of any shape, if that is to be trusted more; or None.

    Where the rings have `missed` much of it, it must tell twice as much as they, or more and leave less scatter: what all
    sectors miss alike has been taken for noise by their fit, which does not make them tell more here. Elsewhere it must
    contradict them and leave less scatter.
    """
    from ._freeform import fit_freeform

    # The profile that light beside a stop has is not the same all round.
    free = fit_freeform(frame.shaded(_ASIDE), solution.state, ellipse)
    if free is None or not free.gain < _CLOSE:
        return None
    chi2, even = mean_square(free.scores), solution.chi2 <= CALM
    # Where the sectors contradict each other as rings too, they are not the same all round.
    if chi2 > (_FAIR if even else CALM):
        return None
    covariance = max(chance_factor(free.scores, 2 + 2 * ellipse + len(free.scores)), _CALMEST) * free.covariance
    share = math.sqrt(covariance[:2, :2].trace() / center_variance(solution, ellipse))
    roughness = free.roughness
    if not (missed and share < (_MORE if roughness < _SMOOTH * solution.roughness else _HALF)):
        move = free.center - solution.state.center
        apart = share < _LITTLE and move @ np.linalg.pinv(covariance[:2, :2]) @ move > _AWAY ** 2
        if not (even and apart and roughness < _SMOOTHER * solution.roughness):
            return None
    return free.center, free.strain, covariance, chi2, free.gain


def ring_fit(solution, factor, radius, ellipse, free=None):
    """The `RingFit` of a solution in blocks of `factor` pixels, with the centre and strain of `freed` if there are."""
    state, chi2, gain, n = solution.state, solution.chi2, solution.gain, len(solution.state.radii)
    variance = max(scatter_factor(solution, ellipse), _CALMEST) * solution.covariance
    if free is not None:
        center, strain, covariance, chi2, gain = free
        state = State(center, strain, state.radii, state.widths)
        variance[:4] = variance[:, :4] = 0
        variance[:4, :4] = covariance
    state = state.scaled(factor)
    for lengths in (slice(0, 2), slice(4, 4 + n)):
        variance[lengths] *= factor
        variance[:, lengths] *= factor
    heights, errors = solution.heights, solution.height_errors
    reference = int(np.argmax(heights / errors) if radius is None else np.argmin(np.abs(state.radii - radius)))
    if radius is not None and abs(state.radii[reference] - radius) > _ROUGHLY * radius:
        radii = np.array2string(state.radii, precision=1)
        raise RingNotFoundError(f"none is near radius={radius:g}; there are rings of {radii} pixel")
    size = math.hypot(*state.strain)
    grow = math.exp(size)
    r = float(state.radii[reference])
    direction = state.strain / size if size > 0 else np.array([1.0, 0.0])
    strain_var = float(direction @ variance[2:4, 2:4] @ direction)
    cross = float(direction @ variance[2:4, 4 + reference])
    r_var = float(variance[4 + reference, 4 + reference])
    a_var = grow ** 2 * (r_var + r * r * strain_var + 2 * r * cross)
    b_var = (r_var + r * r * strain_var - 2 * r * cross) / grow ** 2
    weights, _ = seen_sectors(solution, solution.weights)
    return RingFit(
        cx=float(state.center[0]), cy=float(state.center[1]), a=r * grow, b=r / grow,
        angle=0.5 * math.atan2(state.strain[1], state.strain[0]) if size > 0 else 0.0,
        cx_err=math.sqrt(variance[0, 0]), cy_err=math.sqrt(variance[1, 1]),
        a_err=math.sqrt(max(a_var, 0.0)), b_err=math.sqrt(max(b_var, 0.0)), cxy_err=float(variance[0, 1]),
        coverage=float((weights > 0.3).mean()), n_rings=n, chi2=chi2,
        converged=bool(gain < SETTLED),
        rings=tuple(Ring(float(state.radii[k]), math.sqrt(variance[4 + k, 4 + k]), float(state.widths[k]),
                         float(heights[k]), float(errors[k])) for k in range(n)),
        sectors=tuple(float(v) for v in weights), whole_profile=free is not None)
