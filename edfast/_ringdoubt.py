"""How sure a joint fit of rings is: whether it rests on rings at all, whether another one is better, what its errors are."""

import math

import numpy as np

from ._ringfit import APART, BRIGHT, told
from ._ringlook import SURE

_EVEN = 0.45        # share of the azimuth that the strongest ring must fill at least, as a participation ratio
CALM = 1.6          # chi2 of the sectors up to which a plain ring with gaps passes, which must fill
_WHOLE = 0.65       # this share of the azimuth otherwise
HIGH = 5.0          # standard errors by which the heights of the rings must exceed zero,
_FAINT = 3.5        # or somewhat less where they stand out twice as clearly as they must
_FOUND = 4.0        # squared, that a further ring adds to this by having been looked for
_ROUGH = 5.0        # times that the cells may scatter more than their pixels allow, if the rings do not stand out by
_PLAIN = 60.0       # so many standard errors, and
_ALL_ROUND = 0.35   # if chi2 is above this: below it the cells miss the model in the same way all round, which spots do not
_BETWEEN = 0.25, 6.0    # unless all but this share of the sectors show the ring by so many standard errors each
_SMALL = 0.06       # width of a ring, in its radius, from where on a few spots may fill it: it must be so even,
_EVENLY = 0.9       # as a participation ratio,
_ROUND = 0.75       # or its texture of lower orders, in the root mean square and in radii over widths (0.71: round spots)
_STRAINED = 0.06    # strain at which the rings must stand out twice as clearly: what lies there by chance fits some ellipse
_RAGGED = 0.35      # widths that the sectors may stand off their ellipse, in the root mean square, beyond their errors
_AGREED = 0.6       # share of the sectors in which a ring can be seen that must not contradict it
_BY_CHANCE = 1.5    # standard errors by which the scatter of the sectors may differ from the usual one without a reason
WORTH = 1.1         # times as much as before must be told by another fit to be better
SPOILT = 0.5        # share of what was told before that is lost only to what is no ring


def is_spoilt(before, after):
    """Whether, in a bright pattern, rings that a fit was tried with took others away, or most of what these tell."""
    return told(before) > BRIGHT and told(after) < (1.0 if len(after) < len(before) else SPOILT) * told(before)


def is_better(other, solution):
    """Whether another solution is beyond doubt too and worth more."""
    return other.worth > WORTH * solution.worth and not doubt_of(other)


def doubt_of(solution, demand=1):
    """Why a fit does not rest on rings beyond doubt, or ""; these must stand out `demand` times as clearly as usual."""
    sure, even = solution.sure, solution.even
    total, best = math.hypot(*sure), np.argmax(sure)
    high = math.sqrt(max(np.sum((solution.heights / solution.height_errors) ** 2) - _FOUND * (len(sure) - 1), 0.0))
    least = demand * SURE * (1 + (math.hypot(*solution.state.strain) / _STRAINED) ** 4)
    if total < least or high < (_FAINT if total > 2 * SURE else HIGH):
        return f"what looks like one stands out by {min(total, high):.1f} standard errors only"
    chi2 = solution.chi2
    if not _between_spots(solution, best):
        scattered = total < _PLAIN and chi2 > _ALL_ROUND and solution.roughness > _ROUGH
        if scattered or _is_a_few_spots(solution, best):
            return "what looks like one consists of spots; a single crystal?"
        # One clear ring that is whole is enough, however uneven the others.
        whole = even[sure >= min(sure[best], _PLAIN)].max()
        if whole < (_EVEN if chi2 <= CALM and total > _PLAIN else _WHOLE):
            return f"what looks like one fills {100 * whole:.0f} % of the azimuth only; spots of a single crystal?"
    weights, there = seen_sectors(solution, solution.agreement)
    used = (weights > 0.3).sum()
    if used < _AGREED * there.sum():
        return f"only {used} of the {there.sum()} parts of what looks like one agree; spots of a single crystal?"
    # Scatter of the sectors' radii beyond their errors, in widths of the ring.
    n = len(solution.angles)
    excess = math.sqrt(max(chi2 - 1 - 4 * math.sqrt(2 / solution.scores.size), 0) * 2 * n) / sure[best]
    if excess > _RAGGED:
        return f"the parts of what looks like one are {excess:.1f} of its widths away from an ellipse"
    return ""


def heights_of(solution, k):
    """Heights of ring k in the sectors, and their variances: infinite where it is not seen."""
    groups = solution.plan[3]
    group = np.searchsorted(groups, k, side="right") - 1
    return solution.signal[group, k - groups[group]], solution.variances[group, k - groups[group]]


def _between_spots(solution, k):
    """Whether ring k is plainly there between its spots too, in most sectors; the more plainly the less these agree."""
    heights, variances = heights_of(solution, k)
    known = np.isfinite(variances)
    share, least = _BETWEEN
    clear = np.sort(heights[known] / np.sqrt(variances[known]))
    return len(clear) > 0 and clear[int(share * len(clear))] > least * max(solution.chi2 / CALM, 1.0) ** 2


def _is_a_few_spots(solution, k):
    """Whether ring k is small, and uneven over arcs that are no longer than it is wide, as a few round spots are."""
    relative = solution.state.widths[k] / solution.state.radii[k]
    heights, variances = heights_of(solution, k)
    known = np.isfinite(variances)
    if relative < _SMALL or not known.any():
        return False
    mean, noise = heights[known].mean(), variances[known].mean()
    if mean ** 2 > _EVENLY * (np.mean(heights[known] ** 2) - noise):
        return False
    power = np.abs(np.fft.rfft(np.where(known, heights - mean, 0))) ** 2 - len(heights) * noise
    power[power < 0] = 0
    return relative ** 2 * (np.arange(len(power)) ** 2 @ power) > _ROUND ** 2 * power.sum()


def seen_sectors(solution, by_group):
    """Weight of each sector of the azimuth, and where at least half of a ring's pixels are; both the best over the rings.

    `by_group` are the weights in each group of rings.
    """
    from .kernels import rings

    n_sectors = len(solution.angles)
    weights, there = np.zeros(n_sectors), np.zeros(n_sectors, bool)
    first, lo, step, ring_first, _ = solution.plan
    rings.show_sectors(solution.table, first, lo, step, ring_first, solution.state.radii, solution.state.widths, by_group,
                       weights, there)
    return weights, there


def scatter_factor(solution, ellipse):
    """Factor on all variances: `chance_factor`, and more where the rings are not about one centre."""
    return chance_factor(solution.scores, 2 + 2 * ellipse + len(solution.state.radii)) * max(1, solution.apart / APART[0])


def center_variance(solution, ellipse):
    """Variance of the centre, the sum over both axes, at least what the noise between pixels lets it have."""
    return max(scatter_factor(solution, ellipse), 1.0) * solution.covariance[:2, :2].trace()


def chance_factor(scores, unknowns):
    """Factor on all variances by which the sectors scatter more than the noise between pixels lets them, or less.

    More where the noise of neighbours is alike (a camera's point spread, smoothing), or the rings are no ellipses about one
    centre; less where they are no Gaussians: what all sectors miss alike has been taken for noise, and is none. Where sectors
    side by side are off alike, as where rings overlap whose texture differs, the less do they average out.
    """
    known = scores != 0
    squares = scores[known] ** 2
    free = max(squares.size - unknowns, 1)
    # Few sectors may contradict all others by any amount.
    most = 16 * max(np.median(squares) / 0.455, 1) if squares.size else 0.0
    ratio = np.minimum(squares, most).sum() / free if squares.size else 1.0
    beyond = abs(ratio - 1) / math.sqrt(2 / free)
    factor = 1 + (float(ratio) - 1) * min(max(beyond / _BY_CHANCE - 1, 0), 1)
    return factor * _alike(np.clip(scores, -math.sqrt(most), math.sqrt(most)), known)


def _alike(scores, known):
    """Factor on the variance of a mean of scores that are alike side by side, around the circle: 1 where they may not be."""
    both = known & np.roll(known, 1, axis=1)
    power = (scores[both] ** 2).sum()
    if not power:
        return 1.0
    alike = (scores * np.roll(scores, 1, axis=1))[both].sum() / power
    return (1 + alike) / (1 - alike) if alike > 2 / math.sqrt(both.sum()) else 1.0
