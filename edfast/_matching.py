"""Which ring is which reflection: the ratio pattern of the radii against that of the d-spacings.

The camera length is unknown, so only ratios count. Pairs of a strong ring and a reflection propose camera lengths; each is
judged by how well the radial profile agrees with the one that the structure would give, and by the rings themselves: how
unlikely it is that so many radii fall on reflections by chance, and what is left unexplained, strong reflections without a
ring and strong rings without a reflection. Heights are known only roughly (they depend on thickness and texture), so profiles
are compared by the square root of their peaks, and heights may fall with the angle as they like.
"""

import math
from typing import NamedTuple

import numpy as np

from ._profile import ring_height

TOLERANCE = 1.5e-3      # of a radius: distortions by the lenses, and a cell that is not quite that of the CIF
_LEAST = 0.05           # the same in pixels
_STRAY = 0.05           # chance of a ring to belong to something else
_FALL = 3.0             # Angstrom^2: heights fall like exp(-_FALL / (4 d^2)) against X-ray intensities until that is fitted
_FALLS = (0.0, 3.0, 6.0, 10.0, 15.0)
_PROPOSERS = 5          # rings that propose camera lengths
_PROPOSED = 60          # reflections that each may be
_CLEAR = 4.0            # a reflection is missing if its ring should be so many times the limit of what can be there
_EXCESS = 8.0           # a ring so many times stronger than its reflection is not explained by it
_VAGUE = 0.35           # by what share the height of a reflection may be wrong, where it blends with others
_ONE = 1.2              # widths within which reflections are one ring
_FAINT = 1e-3           # of the strongest: reflections below are left out
_AGREEMENT = 0.885      # calibrated, see docs/calibration.rst: right structures stay above, wrong ones below
_UNEXPLAINED = 0.15
_EVIDENCE = 12.0


class Lines(NamedTuple):
    """Reflections in order of increasing angle: arrays of shape (K,).

    tangent : tan(2 theta). x : 1 / (4 d^2) [1 / square Angstrom]. intensity : of X-rays, relative.
    """

    tangent: np.ndarray
    x: np.ndarray
    intensity: np.ndarray

    def only(self, which):
        """The lines that `which` (indices or boolean) selects."""
        return Lines(self.tangent[which], self.x[which], self.intensity[which])

    def heights(self, fall=_FALL):
        """Expected heights of the rings, relative."""
        return self.intensity * np.exp(-fall * self.x)


class Pattern(NamedTuple):
    """What was measured, by increasing radius [pixel]: rings, and the radial profile.

    place, mean, error : of the bins of the profile, one pixel each. rest : the profile without the rings. width : standard
    deviation of a typical ring. inner, outer : where rings can be seen.
    """

    radii: np.ndarray
    errors: np.ndarray
    heights: np.ndarray
    width: float
    inner: float
    outer: float
    place: np.ndarray
    mean: np.ndarray
    rest: np.ndarray
    error: np.ndarray

    def probe(self, radius):
        """(height, its error) of a ring at a radius where none was found."""
        return ring_height(self.rest, self.error, radius, self.width)


class Judgement(NamedTuple):
    """One camera length, and what speaks for and against it.

    length : camera length [pixel]. error : standard error from the rings alone. lines : reflection of each ring, -1 for none.
    expected, blend : radius where each ring should be, and how vague that is where reflections blend [pixel]. agreement :
    correlation of the profiles. evidence : logarithm of the odds that the radii agree with the reflections against chance.
    missing, extra : shares of the intensity that is expected without a ring, and measured without a reflection. absent :
    reflections that are missing.
    """

    length: float
    error: float
    chi2: float
    lines: np.ndarray
    expected: np.ndarray
    blend: np.ndarray
    agreement: float
    evidence: float
    missing: float
    extra: float
    absent: tuple

    @property
    def n(self):
        """Number of rings that have a reflection."""
        return int(np.count_nonzero(self.lines >= 0))

    @property
    def complete(self):
        """Whether the rings themselves leave no doubt."""
        return self.n >= 4 and self.evidence > _EVIDENCE and self.missing + self.extra < _UNEXPLAINED

    @property
    def accepted(self):
        """Whether the structure is that of the sample."""
        return self.n >= 3 and (self.agreement > _AGREEMENT or self.complete)


def match(pattern, lines, *, by_rings=False):
    """Judgements of the camera lengths that come into question, the best first.

    `by_rings` leaves out those for which only the profile could speak: all that a textured film needs.
    """
    lengths = _propose(pattern, lines)
    evidence = _evidence(pattern, lines, lengths)
    orders = [np.argsort(-evidence)]
    if by_rings:
        orders[0] = orders[0][evidence[orders[0]] > 0.5 * _EVIDENCE]
    else:
        orders.append(np.argsort(-_agreement(pattern, lines, lengths)))
    chosen = [lengths[order[k]] for order in orders for k in _distinct(lengths[order])[:3]]
    judged = [judge(pattern, lines, _climb(pattern, lines, chosen[k])) for k in _distinct(chosen)]
    judged.sort(key=lambda found: (found.accepted, found.agreement), reverse=True)
    return [judged[k] for k in _distinct([found.length for found in judged])]


def judge(pattern, lines, length):
    """The `Judgement` of a camera length, refined on the rings that it explains."""
    for _ in range(4):
        owner, expected, blend = assign(pattern, lines, length)
        used = owner >= 0
        if not used.any():
            break
        tangents = expected[used] / length
        weights = 1 / (_sigma(pattern)[used] ** 2 + blend[used] ** 2)
        length = float(np.sum(weights * tangents * pattern.radii[used]) / np.sum(weights * tangents**2))
    owner, expected, blend = assign(pattern, lines, length)
    return _account(pattern, lines, length, owner, expected, blend)


class Distance(NamedTuple):
    """Camera length [pixel] from the rings that have a reflection, its standard error, chi2 per degree of freedom, weights."""

    length: float
    error: float
    chi2: float
    weights: np.ndarray


def refine(radii, errors, tangents):
    """The `Distance` for which radii = length * tangents, robustly: rings beyond three standard errors count less.

    Where the scatter is larger than the errors explain, or where the length hangs on single rings (the jackknife tells), its
    error grows with that.
    """
    trust = np.ones(len(radii))
    for _ in range(20):
        weights = trust / errors**2
        norm = np.sum(weights * tangents**2)
        length = np.sum(weights * tangents * radii) / norm
        pulls = np.abs(radii - length * tangents) / errors
        limit = 3 * max(1.0, np.median(pulls) / 0.6745)
        trust = np.minimum(1.0, limit / np.maximum(pulls, 1e-9)) ** 2
    chi2 = float(np.sum(trust * pulls**2) / max(trust.sum() - 1, 1))
    weights = trust / errors**2 * tangents
    top, bottom, n = np.sum(weights * radii), np.sum(weights * tangents), len(radii)
    left_out = (top - weights * radii) / (bottom - weights * tangents) if n > 2 else np.full(n, length)
    jackknife = (n - 1) / n * float(np.sum((left_out - length) ** 2))
    return Distance(float(length), math.sqrt(max(max(chi2, 1.0) / norm, jackknife)), chi2, trust)


def _distinct(lengths):
    """Indices of the lengths that differ by more than the tolerance from all before them."""
    kept: list[int] = []
    for k, length in enumerate(lengths):
        if all(abs(math.log(length / lengths[other])) > 4 * TOLERANCE for other in kept):
            kept.append(k)
    return kept


def _sigma(pattern):
    return np.sqrt(pattern.errors**2 + (TOLERANCE * pattern.radii) ** 2 + _LEAST**2)


def _propose(pattern, lines):
    """Camera lengths [pixel] that put one of the strongest rings on one of the likely reflections."""
    strong = np.argsort(-pattern.heights)[:_PROPOSERS]
    likely = np.argsort(-lines.heights())[:_PROPOSED]
    return np.unique(pattern.radii[strong][:, None] / lines.tangent[likely])


# -------------------------------------------------------------------------------------------------------------- agreement


def _climb(pattern, lines, length):
    """The length near by where the profiles agree best."""
    near = length * np.linspace(0.988, 1.012, 13)
    return near[np.argmax(_agreement(pattern, lines, near))]


def _agreement(pattern, lines, lengths):
    """Correlation of the measured profile with the one expected for each camera length, at the most favourable fall."""
    first, end = math.ceil(pattern.inner), min(math.floor(pattern.outer), len(pattern.mean))
    lines = lines.only(lines.heights() > 1e-3 * lines.heights().max())
    radii, half = np.arange(first, end) + 0.5, math.ceil(4 * pattern.width)
    if len(radii) < 3 * half:
        return np.zeros(len(lengths))
    measured = _peaks(pattern.mean[first:end], half)
    heights = lines.intensity[:, None] * np.exp(-np.outer(lines.x, _FALLS))
    result = np.zeros(len(lengths))
    for k, length in enumerate(lengths):
        places = length * lines.tangent
        here = (places > radii[0] - 3 * pattern.width) & (places < radii[-1] + 3 * pattern.width)
        if np.count_nonzero(here) < 3:
            continue
        rings = np.exp(-0.5 * ((radii - places[here, None]) / pattern.width) ** 2)
        model = _peaks(heights[here].T @ rings, half)
        result[k] = np.max(model @ measured / np.sqrt((model**2).sum(axis=1) * (measured @ measured) + 1e-300))
    return result


def _peaks(profile, half):
    """Profile less its moving average, compressed by a square root that keeps the sign."""
    sums = np.cumsum(np.concatenate([np.zeros((*profile.shape[:-1], 1)), profile], axis=-1), axis=-1)
    places = np.arange(profile.shape[-1])
    low, high = np.maximum(places - half, 0), np.minimum(places + half + 1, len(places))
    rest = profile - (sums[..., high] - sums[..., low]) / (high - low)
    return np.sign(rest) * np.sqrt(np.abs(rest))


def _evidence(pattern, lines, lengths):
    """For each camera length: the sum over the rings of log(density of the reflections there / uniform density)."""
    span = math.log(pattern.outer / pattern.inner)
    radii = lengths[:, None] * lines.tangent
    weight = np.where((radii > pattern.inner) & (radii < pattern.outer), np.sqrt(lines.heights()), 0)
    total = np.maximum(weight.sum(axis=1), 1e-300)
    result = np.where(np.count_nonzero(weight, axis=1) >= 3, 0.0, -np.inf)
    for radius, sigma in zip(pattern.radii, _sigma(pattern) / pattern.radii, strict=True):
        deviation = (math.log(radius) - np.log(radii)) / sigma
        density = (weight * np.exp(-0.5 * deviation**2)).sum(axis=1) / (total * sigma * math.sqrt(2 * math.pi))
        result += np.log(_STRAY + (1 - _STRAY) * density * span)
    return result


# ------------------------------------------------------------------------------------------------------------- the rings


def assign(pattern, lines, length, heights=None):
    """(reflection of each ring or -1, radius where the ring should be, how vague that is).

    `heights` are those of the structure unless they are given.
    A reflection belongs to the ring next to it. Where several share a ring, it is expected at their mean, weighted by height
    and by how much a neighbour at that distance moves a fitted Gaussian (exp(-distance^2 / (4 width^2)), to first order).
    """
    places, heights = length * lines.tangent, lines.heights() if heights is None else heights
    n, width = len(pattern.radii), pattern.width
    owner, expected, blend = np.full(n, -1), np.full(n, np.nan), np.zeros(n)
    nearest = np.abs(places[:, None] - pattern.radii).argmin(axis=1)
    for i in range(n):
        mine = np.flatnonzero(nearest == i)
        weights = heights[mine] * np.exp(-(((places[mine] - pattern.radii[i]) / (2 * width)) ** 2))
        if not len(mine) or weights.max() < 1e-6 * heights.max():
            continue
        share = weights / weights.sum()
        expected[i] = share @ places[mine]
        blend[i] = _VAGUE * math.sqrt(np.sum((share * (places[mine] - expected[i])) ** 2))
        if abs(expected[i] - pattern.radii[i]) < 3 * math.hypot(_sigma(pattern)[i], blend[i]):
            owner[i] = mine[np.argmax(weights)]
    return owner, expected, blend


class Groups(NamedTuple):
    """Reflections that look like one ring each: G groups.

    lines, owner : the reflections in them, and the group of each. radii, heights : of the groups; the mean radius, weighted by
    height. blend : how vague that is [pixel].
    """

    lines: np.ndarray
    owner: np.ndarray
    radii: np.ndarray
    heights: np.ndarray
    blend: np.ndarray

    def strongest(self, k, heights):
        """Index of the strongest line of a group, by the heights of all lines."""
        mine = self.lines[self.owner == k]
        return int(mine[np.argmax(heights[mine])])


def group(places, heights, width, inner, outer):
    """The `Groups` of reflections at `places` from `inner` to `outer`: each takes in what is within _ONE of its strongest."""
    left = np.flatnonzero((heights > _FAINT * heights.max()) & (places > inner) & (places < outer))
    members: list[np.ndarray] = []
    while len(left):
        mine = np.abs(places[left] - places[left[np.argmax(heights[left])]]) < _ONE * width
        members.append(left[mine])
        left = left[~mine]
    shares = [heights[mine] / heights[mine].sum() for mine in members]
    means = [share @ places[mine] for share, mine in zip(shares, members, strict=True)]
    vague = [_VAGUE * math.sqrt(np.sum((share * (places[mine] - mean)) ** 2))
             for share, mine, mean in zip(shares, members, means, strict=True)]
    owner = np.repeat(np.arange(len(members)), [len(mine) for mine in members])
    return Groups(np.concatenate([np.zeros(0, int), *members]), owner, np.array(means),
                  np.array([heights[mine].sum() for mine in members]), np.array(vague))


def _account(pattern, lines, length, owner, expected, blend):
    """What the camera length explains and what not."""
    used = owner >= 0
    places, width = length * lines.tangent, pattern.width
    error, chi2 = math.inf, math.inf
    if used.any():
        final = refine(pattern.radii[used], np.hypot(pattern.errors, blend)[used], expected[used] / length)
        expected = expected * (final.length / length)
        length, error, chi2 = final.length, final.error, final.chi2
    near = _nearness(pattern, lines, length)
    heights = expected_heights(pattern, lines, length, used)
    alone = np.abs(places - pattern.radii[:, None]).min(axis=0) > 2 * width
    sight = (places > pattern.inner) & (places < pattern.outer)
    absent = [k for k in np.flatnonzero(sight & alone) if _is_missing(pattern, places[k], heights[k])]
    excess = np.where(used, np.maximum(pattern.heights - _EXCESS * (near @ heights), 0), pattern.heights)
    return Judgement(
        length, error, chi2, owner, expected, blend, float(_agreement(pattern, lines, np.array([length]))[0]),
        float(_evidence(pattern, lines, np.array([length]))[0]),
        float(heights[absent].sum() / max(heights[sight].sum(), 1e-300)), float(excess.sum() / pattern.heights.sum()),
        tuple(int(k) for k in absent))


def _is_missing(pattern, radius, height):
    seen, error = pattern.probe(radius)
    return error < np.inf and height > _CLEAR * (max(seen, 0.0) + 2 * error)


def _nearness(pattern, lines, length):
    """How much each reflection counts to the height of each ring: what stands within a ring's width."""
    return np.exp(-0.5 * ((length * lines.tangent - pattern.radii[:, None]) / pattern.width) ** 2)


def expected_heights(pattern, lines, length, used):
    """Heights of all reflections, scale * intensity * exp(-fall * x), by least absolute deviations of their logarithms."""
    near, best = _nearness(pattern, lines, length), (math.inf, 0.0, _FALL)
    for fall in np.linspace(0, 16, 33) if used.any() else ():
        ratio = np.log(pattern.heights[used] / (near[used] @ lines.heights(fall)))
        cost = np.abs(ratio - np.median(ratio)).sum() + 0.1 * abs(fall - _FALL)
        best = min(best, (cost, math.exp(np.median(ratio)), fall))
    return best[1] * lines.heights(best[2])
