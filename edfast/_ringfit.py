"""Joint fit of concentric rings from a known start: what goes into it, what it leaves behind, and when it has settled."""

import math
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ._profile import SECTORS, averaged, calm_variance, unrolled
from ._results import RingNotFoundError

REACH = 6.0         # an annulus reaches so many widths to either side of its ring
_FINENESS = 2.6, 3.5    # bins per width: while looking for rings, and in the last fit
_DEGREES = (3, 9), (7, 11)  # of a group's background without rings (each adds 2), and at most: the same
FINE = 64           # sectors of a last fit, if a radius is 40 pixels at least or where wider ones are not the same all over
_ENOUGH = 0.1, 1e-3     # squared step at which the kernel stops, in standard errors: the same
STILL = 0.3         # squared last step that counts as come to rest
BRIGHT = 1e5        # what is told from where on a rough fit serves although its rings have moved by as much as their width
_TOO_WIDE = 1.4     # times as wide as the rings are may be the widths for which cells and annuli were chosen
_STRETCHED = 0.15   # strain from where on what was fitted is no ring: an axis ratio of 1.35
UNEVEN = 1.2        # chi2 of the sectors from where on they contradict each other
APART = 6.0, 15.0   # squared standard errors, in chi2 of the sectors, that the centre of a ring may be off the common one by
                    # chance, and from where on it is tried without that ring
_SHIFTED = 0.03     # widths that it is off then at least
_BLENDED = 2.5      # roughness from where on some rings are likely to be two
_SPOT = 3.0         # times the typical height beyond which a sector's is that of a spot
MERGED = 0.4        # rings nearer than this, in the sum of their widths, are one
_SHARP = 0.1        # widths that a ring may be off in a profile without blurring it
_SLOW = 20          # bins to either side over which the median tells how uneven a background is
_WIDE_ENOUGH = 1.5  # width from where on the bins of a profile serve for a fit
_ALIKE = 3.0        # widths that a ring may be off in the cells of a profile for these to serve still


class State:
    """Geometry and rings on one level of resolution; what a fit starts from and returns."""

    def __init__(self, center, strain, radii, widths):
        self.center, self.strain = np.array(center, float), np.array(strain, float)
        self.radii, self.widths = np.array(radii, float), np.array(widths, float)

    def near(self, other, part=0.25):
        """Whether no ring has moved so far, in its widths, that pixels stand in the wrong cells."""
        (dx, dy), (e1, e2) = (self.center - other.center).tolist(), (self.strain - other.strain).tolist()
        return max(abs(dx), abs(dy)) + max(abs(e1), abs(e2)) * self.radii.max() < part * self.widths.min()

    def about(self, other):
        """Shift and strain relative to another state, in the plane in which that one's strain is undone."""
        from .kernels import polar

        s11, s12, s22 = polar.stretch(*other.strain)
        dx, dy = self.center - other.center
        return np.array([s11 * dx + s12 * dy, s12 * dx + s22 * dy, *(self.strain - other.strain)])

    def moved(self, geometry, covariance):
        """(center, strain) of what is by `geometry` beside this state, as `about` has it; turns its covariance in place."""
        from .kernels import polar

        s11, s12, s22 = polar.stretch(*self.strain)
        unstretch = np.array([[s22, -s12], [-s12, s11]]) / (s11 * s22 - s12 * s12)
        covariance[:2] = unstretch @ covariance[:2]
        covariance[:, :2] = covariance[:, :2] @ unstretch.T
        return self.center + unstretch @ geometry[:2], self.strain + geometry[2:]

    def scaled(self, factor):
        """The same in pixels that are `factor` times smaller."""
        return State((self.center + 0.5) * factor - 0.5, self.strain, self.radii * factor, self.widths * factor)


class Frame:
    """An image with what is masked in it: single pixels, and blocks of `size` x `size` pixels in the shade of a beam stop.

    Where it is `uneven`, sectors are levelled before they make up a profile.
    """

    def __init__(self, image, bad, shade, size, uneven=False):
        self.image, self.bad, self.shade, self.size, self.uneven = image, bad, shade, size, uneven

    def shaded(self, by):
        """The same with a shade that is wider by so many blocks."""
        from ._ringsearch import grown

        return Frame(self.image, self.bad, grown(self.shade, by), self.size, self.uneven)

    def showing(self, image):
        """The same with another image."""
        return Frame(image, self.bad, self.shade, self.size, self.uneven)


class Solution:
    """What the kernel leaves behind: common parameters with covariance, sectors with weights, and what they say of each ring.

    Of each ring: mean height with its error, share of the azimuth where it can be seen, height without the brightest and the
    faintest sectors, as the robust profile shows it.
    """

    def __init__(self, state, table, angles, plan, gain, covariance, weights, trust, scores, moves, signal, variances,
                 noise):
        from .kernels import rings

        self.state, self.table, self.angles, self.plan, self.gain, self.noise = state, table, angles, plan, gain, noise
        self.covariance, self.agreement, self.weights, self.scores = covariance, weights, weights * trust, scores
        self.moves, self.signal, self.variances = moves, signal, variances
        n = len(state.radii)
        self.heights, self.even, self.typical = np.zeros((3, n))
        seen = rings.judge_rings(signal, variances, self.weights, plan[3], _SPOT, self.heights, self.even, self.typical)
        variance = np.diag(covariance)[4 + 2 * n:4 + 3 * n]
        self.height_errors = np.sqrt(np.where(seen & (variance > 0), variance, np.inf))

    @cached_property
    def sure(self):
        """How many standard errors each ring stands out: what its radius's error says (texture does not count as doubt)."""
        n = len(self.heights)
        variance = np.diag(self.covariance)[4:4 + n]
        errors = np.sqrt(np.where(variance > 0, variance, np.inf))
        return np.sign(self.heights) * math.sqrt(2) * self.state.widths / errors

    @cached_property
    def rings(self):
        """Rows of radius, width, height, significance."""
        return np.array([self.state.radii, self.state.widths, self.typical, self.sure]).T.copy()

    @cached_property
    def own(self):
        """How far each ring by itself would have its centre from the common one: squared, in standard errors.

        By a small part of its width a ring may be off because its neighbours are no Gaussians.
        """
        dx, dy, xx, xy, yy = self.moves.T
        determinant = xx * yy - xy * xy
        known = determinant > 1e-6 * xx * yy
        determinant = np.where(known, determinant, np.inf)
        x, y = (yy * dx - xy * dy) / determinant, (xx * dy - xy * dx) / determinant
        return np.where(np.hypot(x, y) > _SHIFTED * self.state.widths, x * dx + y * dy, 0) / max(self.chi2, 1.0)

    @property
    def apart(self):
        """The largest of these."""
        return float(self.own.max())

    @property
    def contradictory(self):
        """Whether sectors or rings contradict each other."""
        return self.chi2 > UNEVEN or self.apart > APART[1]

    @cached_property
    def roughness(self):
        """Variance of a pixel as the scatter of the cells tells it, over that which pixels within the calmer cells have."""
        return self.noise[3] / calm_variance(self.table)

    @property
    def blended(self):
        """How much more the cells scatter than they may, where rings contradict each other so that some are likely to be two.

        What all sectors have alike, as profiles that are no Gaussians, does no harm: 1.
        """
        return max(self.roughness / _BLENDED, 1.0) if self.contradictory else 1.0

    @cached_property
    def worth(self):
        """What all of the rings tell; it counts less where sectors or rings contradict each other, or cells scatter."""
        return told(self.rings) / max(self.chi2, 1.0) ** 2 / max(self.apart / APART[0], 1.0) / self.blended

    @cached_property
    def chi2(self):
        """Scatter about the common solution of what the sectors say of the radii, per degree of freedom; clipped at 4."""
        return mean_square(self.scores)


def mean_square(scores):
    """Of scores that are clipped at 4."""
    return float(np.mean(np.minimum(scores ** 2, 16.0)))


def _unroll(frame, state, first, lo, step, n_sectors):
    return unrolled(frame.image, frame.bad, frame.shade, frame.size, state.center, state.strain, first, lo, step, n_sectors)


def _plan(state, shape, final, whole):
    """Annuli around the rings: (first bin of each, inner radius, step, first ring of each, degree of the background).

    They are those of the last fit if it is the `final` one. Where `whole` is true they are made up of whole pixels.
    """
    from .kernels import rings

    n = len(state.radii)
    ring_first, bins, degrees = np.zeros((3, n + 1), np.int64)
    lo, step = np.zeros((2, n))
    groups = rings.plan_groups(state.radii, state.widths, REACH, 2.0 * math.hypot(*shape), _FINENESS[final], whole,
                               _DEGREES[final], ring_first, lo, step, bins, degrees)
    first = np.zeros(groups + 1, np.int64)
    np.cumsum(bins[:groups], out=first[1:])
    return first, lo[:groups], step[:groups], ring_first[:groups + 1], degrees[:groups]


def fit_jointly(frame, radial, state, ellipse, final=True, spots=True, fine=False):
    """One joint fit from `state`, for good or quick and rough: of the cells of a profile, or without one of the pixels.

    For good, `spots` on the rings are allowed for, unless that is False; it may be in `fine` sectors if the rings are small.
    """
    from .kernels import polar, rings

    anew = radial is None or state.widths.min() < _WIDE_ENOUGH
    first, lo, step, ring_first, degrees = plan = _plan(state, frame.image.shape, final, not anew)
    if anew:
        origin, n_sectors = state, FINE if fine or (final and state.radii.max() >= 40) else SECTORS
        table = _unroll(frame, origin, first, lo, step, n_sectors)
    else:
        origin, n_sectors = radial.origin, SECTORS
        table = np.empty((n_sectors, first[-1], 4))
        polar.rebin(radial.table, first, lo, step, table)
    s11, s12, _ = polar.stretch(*origin.strain)
    angles = polar.sector_angles(n_sectors, s11, s12)
    n, groups, most = len(state.radii), len(lo), int((ring_first[1:] - ring_first[:-1]).max())
    size, m = 4 + 3 * n + int((degrees + 1).sum()), 4 * most + 3 + int(degrees.max())
    spans = np.ones(groups)
    signal, noise = np.zeros((groups, most + 1 + int(degrees.max()), n_sectors)), np.zeros(4)
    if not np.isfinite(table[..., 1]).any() or not table[..., 0].any():
        raise RingNotFoundError("no usable pixels where rings were looked for")
    rings.start_values(table, first, lo, step, ring_first, state.radii, signal, noise, spans)
    radii, widths, geometry = state.radii.copy(), state.widths.copy(), state.about(origin)
    covariance = np.zeros((4 + 3 * n,) * 2)
    weights, trust, scores = np.ones((3, groups, n_sectors))
    moves = np.zeros((n, 5))
    variances = np.zeros((groups, most + 2, n_sectors))
    _, gain, _ = rings.fit_rings(
        table, angles, first, lo, step, ring_first, degrees, radii, widths, geometry, ellipse, final and spots, final, spans,
        noise, signal, _ENOUGH[final], np.zeros((groups, most + 2)), variances, weights, trust, scores, moves,
        np.empty((groups, m, m + 2, n_sectors)), np.zeros((size, size + 2)), covariance)
    center, strain = origin.moved(geometry, covariance)
    found = State(center, strain, radii, widths)
    return Solution(found, table, angles, plan, gain, covariance, weights, trust, scores, moves, signal, variances, noise)


class Profile(NamedTuple):
    """Robust radial profile about `state`, in steps of a pixel, with its error; the cells that it is from, about `origin`."""

    state: State
    mean: np.ndarray
    error: np.ndarray
    origin: State
    table: np.ndarray


def _profile(frame, state):
    """The profile about the centre of `state`, in the plane in which its strain is undone."""
    from .kernels import profile

    height, width = frame.image.shape
    far = max(math.hypot(state.center[0] - x, state.center[1] - y) for x in (0, width) for y in (0, height))
    n = int(min(far, 1.2 * max(height, width)))
    table = _unroll(frame, state, np.array([0, n]), np.array([0.0]), np.array([1.0]), SECTORS)
    if frame.uneven:
        profile.level_sectors(table, _SLOW)
    mean, error, _ = averaged(table)
    return Profile(state, mean, error, state, table)


def _realigned(before, state):
    """The profile about a state not far from that of the one `before`, from the same cells."""
    from .kernels import polar

    s11, s12, _ = polar.stretch(*before.origin.strain)
    table = np.empty_like(before.table)
    polar.realign(before.table, polar.sector_angles(SECTORS, s11, s12), state.about(before.origin), table)
    mean, error, _ = averaged(table)
    return Profile(state, mean, error, before.origin, before.table)


def sharp_profile(frame, state, before):
    """The profile about a state: the one `before` if that is sharp for this state too, or else one from its cells."""
    if before and state.near(before.state, _SHARP):
        return before
    again = before is None or frame.uneven or not state.near(before.origin, _ALIKE)
    return _profile(frame, state) if again else _realigned(before, state)


def prune(solution):
    """Which rings to keep: significant, present around the azimuth, of sensible width, and no two the same."""
    state, sure = solution.state, solution.sure
    keep = (sure > 2.5) & (solution.typical > 0) & (solution.even > 0.25)
    keep &= (state.widths > 0.3) & (state.widths < 0.4 * state.radii) & (state.radii > 3)
    for k in range(1, len(keep)):
        if state.radii[k] - state.radii[k - 1] < MERGED * (state.widths[k] + state.widths[k - 1]):
            keep[k if sure[k] < sure[k - 1] else k - 1] = False
    return keep


def settle(frame, radial, state, rings, ellipse, spots=True, fine=False):
    """Fit, and drop what proves to be no ring, until all are sure and stay: (solution, rings), or why not.

    Rings that are still missing keep a fit from converging. Where it is one of a profile, a geometry that stays is enough.
    `spots` and `fine` as in `fit_jointly`.
    """
    final = radial is None
    for turn in range(6):
        rings = rings[np.argsort(rings[:, 0])]
        start = State(state.center, state.strain, rings[:, 0], rings[:, 1])
        if not final and not start.near(radial.origin, _ALIKE):
            radial = _profile(frame, start)
        solution = fit_jointly(frame, radial, start, ellipse, final, spots, fine)
        found, rings = solution.state, solution.rings
        keep = prune(solution)
        close = np.abs(found.center - state.center).max() < 0.25 * max(frame.image.shape)
        if not close or math.hypot(*found.strain) > _STRETCHED:
            return None, "what stands out of the radial profile has no centre"
        if not keep.any():
            return None, "what stands out of the radial profile is no ring around the azimuth"
        enough = 1.0 if told(rings) > BRIGHT and not final else 0.25
        narrow = (start.widths < _TOO_WIDE * found.widths).all()
        if keep.all() and narrow and found.near(start, enough) and (solution.gain < STILL or (turn > 0 and not final)):
            return solution, rings
        if keep.all() and turn > 2:
            # Something among the rings is none, and throws the fit about.
            keep[np.argmin(rings[:, 3])] = len(rings) == 1
        rings = rings[keep]
        if solution.gain < 1000:
            state = found
    return None, "what stands out of the radial profile does not agree on a centre"


def told(rings):
    """How much all of the rings tell together."""
    return float(rings[:, 3] @ rings[:, 3])
