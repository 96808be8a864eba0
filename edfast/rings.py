"""The centre of a ring pattern, known to the limit of the counts.

All concentric rings are fitted together: centre, ellipticity, radii and widths are common, height and background belong to
each sector of the azimuth. Beam stop, hot pixels and gaps are left out by what they do to the sectors; bright spots on a ring,
taken to be round and as wide as the ring, and a background that is brighter on one side are allowed for. Where the rings leave
much of the profile unexplained, as fringes of particles do, the profile as a whole tells the centre. The errors come from the
noise that the image itself shows.
"""

import contextlib
import itertools
import math
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ._profile import SECTORS, averaged, unrolled
from ._results import Ring, RingFit
from ._validation import as_count, as_flag, as_image, as_mask, as_number, kernel_mask

if TYPE_CHECKING:
    from ._ringsearch import Search

__all__ = ["Ring", "RingFit", "RingNotFoundError", "fit_ring"]

_REACH = 6.0        # an annulus reaches so many widths to either side of its ring
_FINENESS = 2.6, 3.5    # bins per width: while looking for rings, and in the last fit
_DEGREES = (3, 9), (7, 11)  # of a group's background without rings (each adds 2), and at most: the same
_ENOUGH = 0.1, 1e-3     # squared step at which the kernel stops, in standard errors: the same
_MAX_RINGS = 10
_EVEN = 0.45        # share of the azimuth that the strongest ring must fill at least, as a participation ratio
_CALM = 1.6         # chi2 of the sectors up to which a plain ring with gaps passes, which must fill
_WHOLE = 0.65       # this share of the azimuth otherwise
_SURE = 10.5        # standard errors by which the rings together must stand out,
_HIGH = 5.0         # and by which their heights must exceed zero, or the somewhat less of _FAINT
_FOUND = 4.0        # squared, that a further ring adds to this by having been looked for
_FAINT = 3.5        # where they stand out twice as clearly
_CLEARLY = 4        # times as clearly must they if they are seen only where the background is taken to be uneven
_ROUGH = 5.0        # times that the cells may scatter more than their pixels allow, if the rings do not stand out by
_PLAIN = 60.0       # so many standard errors, and
_BY_CHANCE = 1.5    # standard errors by which the scatter of the sectors may differ from the usual one without a reason
_CALMEST = 0.06     # share of the variances that is left at least where the sectors scatter less
_APART = 6.0, 15.0  # squared standard errors, in the chi2 of the sectors, that the centre of a ring may be off the common one
                    # by chance, and from where on it is tried without that ring
_SHIFTED = 0.03     # widths that it is off then at least
_ALL_ROUND = 0.35   # if chi2 is above this: below it the cells miss the model in the same way all round, which spots do not
_HOPEFUL = 0.1, 2.0     # depth of the feet, in heights, and benefit of the doubt, in standard errors, of rings to be fitted
_STANDING = 0.14, 1.0   # and of those that were
_FIRM = 30.0        # standard errors from where on a ring that agrees with one that stands need not stand itself
_STILL = 0.3        # squared last step, in standard errors, that counts as come to rest,
_SETTLED = 1e-2     # and as converged
_SHARP = 0.1        # widths that a ring may be off in a profile without blurring it
_SLOW = 20          # bins to either side over which the median tells how uneven a background is
_WIDE_ENOUGH = 1.5  # width from where on the bins of a profile serve for a fit
_ALIKE = 3.0        # widths that a ring may be off in the cells of a profile for these to serve still
_CLEARANCE = 0.5    # widths that a ring is kept off a shadow, and what has been taken for its penumbra
_RESOLVED = 2.0     # a ring whose width is so many blocks loses little by being fitted on blocks (1.5 % of its errors)
_CLEAR = 2000.0     # quality from where on no other candidate is tried, if the sectors are calm
_BRIGHT = 1e5       # what is told from where on a rough fit serves although its rings have moved by as much as their width
_TOO_WIDE = 1.4     # times as wide as the rings are may be the widths for which cells and annuli were chosen
_SYMMETRIC = 0.6    # share of the best score of the search that the place of a fit must have
_STRAINED = 0.06    # strain at which the rings must stand out twice as clearly: what lies there by chance fits some ellipse
_STRETCHED = 0.15   # strain from where on what was fitted is no ring: an axis ratio of 1.35
_SPOT = 3.0         # times the typical height beyond which a sector's is that of a spot
_RAGGED = 0.35      # widths that the sectors may stand off their ellipse, in the root mean square, beyond their errors
_AGREED = 0.6        # share of the sectors in which a ring can be seen that must not contradict it
_CHANCE = 7.0       # standard errors by which bumps stand out now and then that are none,
_TOLD = 0.95        # and the share of all that is told of the centre that is enough without them
_NOTHING = 1e-3     # share of it from where on a ring can disturb another one that it touches
_AGREEING = 4.0     # standard errors by which bumps that join the rings may move the centre at most,
_MUCH = 5.0         # if less than so many times as much is told with them,
_WORTH = 1.1        # times as much as before must be told by another fit to be better,
_USUAL = 16.0, 2.0  # radius and width of a ring, where nothing is known of them yet
_MISSED = 0.25      # told by the rest of a profile, in what its rings tell, from where on the whole of it is fitted:
_CLOSE = 0.1        # squared last step, in standard errors, that is enough for it; most of it is the profile's slow motion
_MORE, _FAIR = 1.2, 2.5     # that must leave this share of the errors at most, and have no higher chi2
_UNEVEN, _CALMER = 1.2, 0.75    # chi2 from where on a wider shade is tried, or a ring less; share of it that a shade may leave
_SPOILT = 0.5       # share of what was told before that is lost only to what is no ring
_DIM = 0.01         # height of a very dim ring, in that of the brightest
_ODD = 2.5          # and width, in that of the surest, from where on a bump is hardly a ring of the same pattern
_TOUCHING = 2.5     # rings nearer than this, in the sum of their widths, change each other's shape
_MERGED = 0.4       # rings nearer than this are one,
_LEFT = 0.05        # share of its height that a ring may leave beside itself when it is subtracted from the profile
_STANDS_OUT = 4.0   # significance of a bump [standard errors],
_FAINTEST = 0.004   # and in that of all known rings, from where on it is worth a fit
_TELLING = 0.02     # share of all that is told that a ring tells which is worth parting, or keeping a fit from its rest
_WIDE = 1.3         # times the width of the others from where on a ring may be two
_SMOOTH = 0.02      # share of its height by which the profile of a ring that is no two departs from a Gaussian at most
_PARTED = 0.3, 0.03     # shares of what all rings told, and of what a ring told, that must be told with two in its place, and
                        # by these: halves of one ring tell next to nothing
_LOPSIDED = 0.4     # how far the steeper flank of a ring reaches to its half height, in the length of the other one, at least
_FLAT = 0.2         # height that the profile falls at least on either side, in that of the highest of several rings
_ROUGHLY = 0.25     # share of the radius asked for by which that of a ring may differ
_ASTRAY = 0.75      # blocks that a start may have been off its place before its shadows are looked for once more
_TRIALS = 6         # candidates for the centre that are fitted before giving up
_BLENDED = 2.5      # roughness from where on some rings are likely to be two,
_RELIEVED = 0.8     # and share of it that two in place of one may leave
_TRIED = 3          # rings that are parted at most to see whether two tell more
_SECOND = 2         # of them that get further chances
_WIDTHS = np.array([0.5, 0.8, 1.1, 1.5, 2.1, 3.0, 4.2, 6.0, 8.5, 12.0, 17.0])     # of rings that are looked for [bins]


_EDGE = "what stands out of the radial profile is an edge or a shoulder, no ring"


class RingNotFoundError(ValueError):
    """There is no ring pattern in the image, or none whose centre can be told."""


class _State:
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
        return _State((self.center + 0.5) * factor - 0.5, self.strain, self.radii * factor, self.widths * factor)


class _Frame:
    """An image with what is masked in it: single pixels, and blocks of `size` x `size` pixels in the shade of a beam stop.

    Where it is `uneven`, sectors are levelled before they make up a profile.
    """

    def __init__(self, image, bad, shade, size, uneven=False):
        self.image, self.bad, self.shade, self.size, self.uneven = image, bad, shade, size, uneven

    def shaded(self, by):
        """The same with a shade that is wider by so many blocks."""
        from ._ringsearch import grown

        return _Frame(self.image, self.bad, grown(self.shade, by), self.size, self.uneven)


class _Solution:
    """What the kernel leaves behind: common parameters with covariance, sectors with weights, and what they say of each ring.

    Of each ring: mean height with its error, share of the azimuth where it can be seen, height without the brightest and the
    faintest sectors, as the robust profile shows it.
    """

    def __init__(self, state, table, angles, plan, gain, covariance, weights, trust, scores, moves, signal, variances,
                 noise):
        from .kernels import rings

        self.state, self.table, self.angles, self.plan, self.gain, self.noise = state, table, angles, plan, gain, noise
        self.covariance, self.agreement, self.weights, self.scores = covariance, weights, weights * trust, scores
        self.moves = moves
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
        return self.chi2 > _UNEVEN or self.apart > _APART[1]

    @cached_property
    def roughness(self):
        """Variance of a pixel as the scatter of the cells tells it, over that which pixels within the calmer cells have."""
        number, total, _, square = np.moveaxis(self.table, -1, 0)
        usable = np.isfinite(total) & (number > 1)
        inside = np.where(usable, square - total ** 2 / np.maximum(number, 1), 0) / np.maximum(number - 1, 1)
        inside = np.sort(np.where(usable, inside, np.inf), axis=0)
        calm = 0.8 * usable.sum(axis=0)
        inside = np.where(np.arange(len(inside))[:, None] < calm, inside, 0)
        return self.noise[3] / (inside.sum() / max(calm.sum(), 1) + 1e-300)

    @property
    def blended(self):
        """How much more the cells scatter than they may, where rings contradict each other so that some are likely to be two.

        What all sectors have alike, as profiles that are no Gaussians, does no harm: 1.
        """
        return max(self.roughness / _BLENDED, 1.0) if self.contradictory else 1.0

    @cached_property
    def worth(self):
        """What all of the rings tell; it counts less where sectors or rings contradict each other, or cells scatter."""
        return _told(self.rings) / max(self.chi2, 1.0) ** 2 / max(self.apart / _APART[0], 1.0) / self.blended

    @cached_property
    def chi2(self):
        """Scatter about the common solution of what the sectors say of the radii, per degree of freedom; clipped at 4."""
        return _mean_square(self.scores)


def _mean_square(scores):
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
    groups = rings.plan_groups(state.radii, state.widths, _REACH, 2.0 * math.hypot(*shape), _FINENESS[final], whole,
                               _DEGREES[final], ring_first, lo, step, bins, degrees)
    first = np.zeros(groups + 1, np.int64)
    np.cumsum(bins[:groups], out=first[1:])
    return first, lo[:groups], step[:groups], ring_first[:groups + 1], degrees[:groups]


def _fit(frame, radial, state, ellipse, final=True, spots=True):
    """One joint fit from `state`, for good or quick and rough: of the cells of a profile, or without one of the pixels.

    For good, `spots` on the rings are allowed for, unless that is False.
    """
    from .kernels import polar, rings

    anew = radial is None or state.widths.min() < _WIDE_ENOUGH
    first, lo, step, ring_first, degrees = plan = _plan(state, frame.image.shape, final, not anew)
    if anew:
        origin, n_sectors = state, 64 if final and state.radii.max() >= 40 else SECTORS
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
    found = _State(center, strain, radii, widths)
    return _Solution(found, table, angles, plan, gain, covariance, weights, trust, scores, moves, signal, variances, noise)


class _Profile(NamedTuple):
    """Robust radial profile about `state`, in steps of a pixel, with its error; the cells that it is from, about `origin`."""

    state: _State
    mean: np.ndarray
    error: np.ndarray
    origin: _State
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
    return _Profile(state, mean, error, state, table)


def _realigned(before, state):
    """The profile about a state not far from that of the one `before`, from the same cells."""
    from .kernels import polar

    s11, s12, _ = polar.stretch(*before.origin.strain)
    table = np.empty_like(before.table)
    polar.realign(before.table, polar.sector_angles(SECTORS, s11, s12), state.about(before.origin), table)
    mean, error, _ = averaged(table)
    return _Profile(state, mean, error, before.origin, before.table)


def _sharp(frame, state, before):
    """The profile about a state: the one `before` if that is sharp for this state too, or else one from its cells."""
    if before and state.near(before.state, _SHARP):
        return before
    again = before is None or frame.uneven or not state.near(before.origin, _ALIKE)
    return _profile(frame, state) if again else _realigned(before, state)


def _look_for_rings(radial, known, widest=math.inf):
    """Bumps in a radial profile, besides the rings that are `known` (first): rows of radius, width, height, significance.

    They are narrower than `widest`, about.
    """
    from .kernels import profile

    rest, error = radial.mean.copy(), radial.error
    profile.subtract_rings(rest, *np.ascontiguousarray(known.T[:3]), -1)
    rings, least = np.zeros((_MAX_RINGS, 4)), max(_STANDS_OUT, _FAINTEST * math.hypot(*known[:, 3]))
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
        left = (_touch(rings, known, _MERGED) & (rings[:, 2:3] < _LEFT * known[:, 2])).any(axis=1)
        rings = rings[~left]
    return np.concatenate([known, rings])


def _touch(some, others, part):
    """Whether each of some rings lies within `part` of both widths of each of the others."""
    return np.abs(some[:, :1] - others[:, 0]) < part * (some[:, 1:2] + others[:, 1])


def _stand(radial, rings, demands, fitted):
    """Which rings stand on two feet, or on one if they are strong: edges and shoulders of discs and blobs do not.

    The first ones are `fitted`. What agrees so well with one that stands is a ring all the same: its feet may lie beyond the
    frame.
    """
    from .kernels import profile

    radii, widths, heights, _ = np.ascontiguousarray(rings.T)
    feet = profile.count_feet(radial.mean, radial.error, radii, widths, heights, *demands)
    standing = (feet == 2) | ((feet == 1) & (heights > 0.3 * heights[feet > 0].max(initial=0)))
    plain = (rings[:, 3] > _FIRM) & (np.arange(len(rings)) < fitted)
    return standing | plain if (plain & standing).any() else standing


def _prune(solution):
    """Which rings to keep: significant, present around the azimuth, of sensible width, and no two the same."""
    state, sure = solution.state, solution.sure
    keep = (sure > 2.5) & (solution.typical > 0) & (solution.even > 0.25)
    keep &= (state.widths > 0.3) & (state.widths < 0.4 * state.radii) & (state.radii > 3)
    for k in range(1, len(keep)):
        if state.radii[k] - state.radii[k - 1] < _MERGED * (state.widths[k] + state.widths[k - 1]):
            keep[k if sure[k] < sure[k - 1] else k - 1] = False
    return keep


def _settle(frame, radial, state, rings, ellipse, spots=True):
    """Fit, and drop what proves to be no ring, until all are sure and stay: (solution, rings), or why not.

    Rings that are still missing keep a fit from converging. Where it is one of a profile, a geometry that stays is enough.
    `spots` as in `_fit`.
    """
    final = radial is None
    for turn in range(6):
        rings = rings[np.argsort(rings[:, 0])]
        start = _State(state.center, state.strain, rings[:, 0], rings[:, 1])
        if not final and not start.near(radial.origin, _ALIKE):
            radial = _profile(frame, start)
        solution = _fit(frame, radial, start, ellipse, final, spots)
        found, rings = solution.state, solution.rings
        keep = _prune(solution)
        close = np.abs(found.center - state.center).max() < 0.25 * max(frame.image.shape)
        if not close or math.hypot(*found.strain) > _STRETCHED:
            return None, "what stands out of the radial profile has no centre"
        if not keep.any():
            return None, "what stands out of the radial profile is no ring around the azimuth"
        enough = 1.0 if _told(rings) > _BRIGHT and not final else 0.25
        fine = (start.widths < _TOO_WIDE * found.widths).all()
        if keep.all() and fine and found.near(start, enough) and (solution.gain < _STILL or (turn > 0 and not final)):
            return solution, rings
        if keep.all() and turn > 2:
            # Something among the rings is none, and throws the fit about.
            keep[np.argmin(rings[:, 3])] = len(rings) == 1
        rings = rings[keep]
        if solution.gain < 1000:
            state = found
    return None, "what stands out of the radial profile does not agree on a centre"


def _told(rings):
    """How much all of the rings tell together."""
    return float(rings[:, 3] @ rings[:, 3])


def _spoilt(before, after):
    """Whether, in a bright pattern, rings that a fit was tried with took others away, or most of what these tell."""
    return _told(before) > _BRIGHT and _told(after) < (1.0 if len(after) < len(before) else _SPOILT) * _told(before)


def _halves(ring):
    """Two rings that together look like one."""
    return ring * (1, 0.6, 1, 0.7) + np.outer((-1, 1), (0.75 * ring[1], 0, 0, 0))


def _with_halves(rings, k):
    """The rings with two instead of ring k."""
    return np.concatenate([np.delete(rings, k, 0), _halves(rings[k])])


def _widest(rings):
    """Which of the rings that tell something is the widest."""
    return np.argmax(np.where(rings[:, 3] ** 2 > _TELLING * _told(rings), rings[:, 1], 0))


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
    if not (wide or solution.chi2 > _CALM):
        return solution
    halves = _halves(rings[k])
    parted, outcome = _settle(frame, radial, solution.state, _with_halves(rings, k), ellipse)
    if parted is None or parted.gain > 1 or parted.noise[3] > solution.noise[3] or _told(outcome) < _PARTED[0] * _told(rings):
        return solution
    both = np.abs(outcome[:, :1] - halves[:, 0]).argmin(axis=0)
    # As many rings as before: what fell was none if they tell more without it.
    fewer = len(outcome) <= len(rings) and _told(outcome) < _told(rings)
    if both[0] == both[1] or fewer or _told(outcome[both]) < _PARTED[1] * rings[k, 3] ** 2:
        return solution
    stand = _stand(_sharp(frame, parted.state, radial), outcome, _STANDING, fitted=len(outcome))
    return parted if stand[both].all() else solution


def _part(frame, radial, solution, order, ellipse, better):
    """The solution with two rings instead of one, of the first few in this order, if that is `better`; or None."""
    for k in order[:_TRIED]:
        other, outcome = _settle(frame, radial, solution.state, _with_halves(solution.rings, k), ellipse)
        if other is not None and len(outcome) > len(solution.rings) and better(other):
            return other
    return None


def _deblended(frame, solution, ellipse, radial):
    """The solution with two rings instead of one, the widest first, as often as the cells scatter much less so."""
    def calmer(other):
        return (other.gain < 1 and other.noise[3] < _RELIEVED * solution.noise[3]
                and _stand(_sharp(frame, other.state, radial), other.rings, _STANDING, fitted=len(other.rings)).all())

    while solution.blended > 1 and len(solution.rings) < _MAX_RINGS:
        other = _part(frame, radial, solution, np.argsort(-solution.rings[:, 1]), ellipse, calmer)
        if other is None:
            break
        solution = other
    return solution


def _try(frame, start, ellipse, every=False):
    """Fit the middle-sized image from a start without rings: (solution, rings that stand, other bumps, profile).

    Where there are no rings: (None, why not, bumps, profile). With `every`, all bumps of the first profile are fitted,
    whether or not they look like rings.
    """
    state, rings, why = start, np.empty((0, 4)), "no ring stands out of the radial profile"
    best = radial = None
    for turn in range(4):
        before, radial = radial, _sharp(frame, state, radial)
        if turn > 1 and radial is before:
            break
        bumps, known = _look_for_rings(radial, rings), len(rings)
        looked = bumps if every and turn == 0 else bumps[_stand(radial, bumps, _HOPEFUL, fitted=known)]
        if best is not None and best.gain < 1:
            # What else there is in the profile is a ring only if it fits in with those that do agree.
            wide = (looked[:, 1] >= 2 * rings[:, 1].max()) & (looked[:, 2] <= rings[:, 2].max())
            looked[wide, 1] = rings[:, 1].max()
            looked = looked[~wide | (looked[:, 3] > _CHANCE)]
        if len(looked) == 0 or np.array_equal(looked, rings) or (turn > 1 and len(looked) <= len(rings)):
            break
        if turn == 0 and not every:
            # The clear ones fix centre and strain, with which the profile becomes so sharp that the others can be told.
            looked = looked[(looked[:, 2] > 0.08 * looked[0, 2]) & (looked[:, 3] > 0.3 * looked[0, 3])]
        if every and len(looked) == 1:
            # One ring would not do.
            looked = _halves(looked[0])
        solution, outcome = _settle(frame, radial, state, looked, ellipse)
        if solution is None and len(looked) == 1:
            solution, outcome = _settle(frame, radial, state, _halves(looked[0]), ellipse)
        if solution is None:
            why = outcome
            break
        if best is not None and (solution.gain >= 1 > best.gain or _spoilt(rings, outcome)):
            break
        best, state, rings = solution, solution.state, outcome
    if best is None:
        return None, why, bumps, radial
    radial = _sharp(frame, best.state, radial)
    best = _deblended(frame, _split(frame, best, ellipse, radial), ellipse, radial)
    rings = best.rings
    radial = _sharp(frame, best.state, radial)
    bumps = np.concatenate([rings, bumps[known:]])
    while len(rings) and not (standing := _stand(radial, rings, _STANDING, fitted=len(rings))).all():
        # What leant on one that fell must stand alone.
        rings = rings[standing]
    if len(rings) < 1 + every or _is_rim(radial, rings):
        return None, _EDGE, bumps, radial
    return best, rings, bumps[~_touch(bumps, rings, _MERGED).any(axis=1)], radial


def _try_every(frame, start, ellipse):
    """As `_try`, where nothing that looks like rings agrees on a centre: all bumps of the first profile are fitted."""
    return _try(frame, start, ellipse, every=True)


def _try_highest(frame, start, ellipse):
    """As `_try`, where no set of Gaussians stands by itself: the highest bump, if the profile falls to both sides of it.

    A lopsided or flat ring falls into several Gaussians, none of which need look like a ring.
    """
    state, none, radial = start, np.empty((0, 4)), None
    for _ in range(2):
        radial = _sharp(frame, state, radial)
        bumps = _look_for_rings(radial, none)
        bumps = bumps[bumps[:, 3] > _CHANCE]
        if len(bumps) == 0:
            return None, "no ring stands out of the radial profile", bumps, radial
        highest = bumps[:, 2].argmax()
        solution, rings = _settle(frame, radial, state, bumps[highest:highest + 1], ellipse)
        if solution is None:
            return None, rings, bumps, radial
        state = solution.state
    radial = _sharp(frame, state, radial)
    if not _falls(radial, rings[0]):
        return None, _EDGE, bumps, radial
    return solution, rings, bumps[~_touch(bumps, rings, _TOUCHING).any(axis=1)], radial


class _Sides(NamedTuple):
    """How far a profile falls within a crest and beyond, with the errors of the lowest bins, and where.

    The flanks [pixel] are those to half the smaller depth; they tell something if it falls to both sides.
    """

    depths: np.ndarray
    errors: np.ndarray
    flanks: tuple

    def fall(self, height):
        """Whether it falls to both sides by at least half of a height, and beyond doubt."""
        return (self.depths > np.maximum(0.5 * height, _SURE * self.errors)).all()

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
    half = mean[top] - 0.5 * max(depths.min(), 0)
    low = np.flatnonzero(known & (mean < half))

    def flank(lower, step):
        if not len(lower):
            return len(mean)
        end = lower[0]
        part = (half - mean[end]) / (mean[end + step] - mean[end]) if known[end + step] else 0.0
        return abs(end + step * part - top)

    return _Sides(depths, radial.error[lows], (flank(low[low < top][::-1], 1), flank(low[low > top], -1)))


def _falls(radial, ring):
    """Whether the profile falls to both sides of a ring beyond doubt, and as steeply: at the rim of a stop it does not.

    So it must near the ring, and in all.
    """
    near, in_all = _sides(radial, ring, _REACH * ring[1]), _sides(radial, ring)
    return all(sides is not None and sides.fall(ring[2]) and not sides.lopsided for sides in (near, in_all))


def _is_rim(radial, rings):
    """Whether rings that overlap are Gaussians of one edge, or of the light around a stop, and there is no other ring."""
    if len(rings) < 2 or (np.diff(rings[:, 0]) > rings[1:, 1] + rings[:-1, 1]).any():
        return False
    highest = rings[rings[:, 2].argmax()]
    sides = _sides(radial, highest)
    if sides is None:
        return False
    if sides.fall(highest[2]):
        return sides.lopsided
    return bool((sides.depths + 3 * sides.errors < _FLAT * highest[2]).any())


def fit_ring(image, *, mask=None, center=None, radius=None, ellipse=True, max_rings=None, like=None):
    """Centre of a ring pattern, with its uncertainty.

    Parameters
    ----------
    image : array_like of shape (H, W)
        Any integer or floating dtype; offset and sign do not matter. Non-finite pixels are left out.
    mask : array_like of shape (H, W), optional
        True (or non-zero) = masked out. A beam stop is found without it.
    center : (float, float), optional
        (cx, cy), column and row [pixel]: where the centre is, roughly. Without it the pattern is searched for.
    radius : float, optional
        Radius of the ring [pixel] whose semi-axes are wanted, within a quarter. The other rings still help to find the
        centre, unless ``max_rings=1``. Without it: the surest ring.
    ellipse : bool, default True
        Fit ellipses of one common shape; False: circles.
    max_rings : int, optional
        Use no more than so many rings in the last fit: the nearest to `radius`, or the surest; what touches them is not
        allowed for then. Without it very dim ones that would add next to nothing are left out, and where the profile is more
        than its rings (fringes of particles), centre and strain are those that all of it shows.
    like : RingFit, optional
        What was found in another image of the same pattern. If all of its rings are here too, near its centre (or `center`)
        and as clear as there, they are fitted, and no others are looked for: half the time. Otherwise it changes nothing.

    Returns
    -------
    RingFit
        Centre (cx, cy) = (column, row), semi-axes, orientation, standard errors [pixel], and what they rest on.

    Raises
    ------
    RingNotFoundError
        No ring pattern, or no ring near `radius`, and why it is thought so. A ring must fill about half of the azimuth, a
        faint one two thirds: arcs that fill less cannot be told from spots of a single crystal. It is a ValueError.
    ValueError, TypeError
        An argument makes no sense.

    Examples
    --------
    >>> import numpy as np
    >>> from edfast.rings import fit_ring
    >>> y, x = np.mgrid[:128, :160]
    >>> r = np.hypot(x - 83.25, y - 60.5)
    >>> image = np.random.default_rng(0).poisson(5 + 200 * np.exp(-0.5 * ((r - 40) / 2) ** 2))
    >>> fit = fit_ring(image)
    >>> abs(fit.cx - 83.25) < 0.05, abs(fit.cy - 60.5) < 0.05, fit.n_rings
    (True, True, 1)
    """
    image = as_image(image)
    mask, ellipse = as_mask(mask, image.shape), as_flag(ellipse, "ellipse")
    radius = None if radius is None else as_number(radius, "radius", above=0, unit="pixel")
    if max_rings is not None:
        max_rings = as_count(max_rings, "max_rings", minimum=1)
    if center is not None:
        center = np.ravel(center).tolist()
        if len(center) != 2:
            raise ValueError(f"center must be (cx, cy), column and row, not {len(center)} numbers")
        center = tuple(as_number(value, "center") for value in center)
    if like is not None and not isinstance(like, RingFit):
        raise TypeError(f"like must be a RingFit, not {type(like).__name__}")
    if min(image.shape) < 16:
        raise RingNotFoundError(f"an image of shape {image.shape} is too small to tell a ring")
    return _search_and_fit(image, kernel_mask(mask), center, radius, ellipse, max_rings, like)


def _search_and_fit(image, bad, center, radius, ellipse, max_rings, like):
    levels = _levels(image, bad)
    if levels.search.empty:
        raise RingNotFoundError("no ring found: the image is constant, masked or not finite")
    if like is not None:
        with contextlib.suppress(RingNotFoundError):
            return _fit_again(levels, like, center or like.center, radius, ellipse, max_rings)
    starts = levels.search.centers()
    if center is not None:
        starts = itertools.chain([levels.search.near(*levels.place(center))], starts)
    tried: list = []
    agreed, reason = False, "nothing in the image is symmetric about a centre"
    for attempt, places, uneven in (
            (_try, _noted(itertools.islice(starts, _TRIALS), tried), False),
            (_try, _centred(levels, itertools.islice(_first(tried), 1), ellipse), False),
            (_try, (levels.search.stretched(*place) for place in _first(tried)), True),
            (_try_every, _first(tried), False),
            (_try_highest, _first(tried), False)):
        if agreed and attempt is _try_every:
            continue
        found, why = _best(levels, places, attempt, ellipse, uneven)
        if found is not None:
            agreed = True
            try:
                fit = _last_fit(levels, _behind_rim(found, ellipse), radius, ellipse, max_rings)
                if levels.symmetry(fit) > _SYMMETRIC * max(levels.search.score(*levels.search.lit, *place) for place in tried):
                    return fit
                why = "what looks like one is not where the image is symmetric about a centre"
            except RingNotFoundError as error:
                why = str(error)
        reason = why or reason
    raise RingNotFoundError(f"no ring found: {reason}")


def _noted(starts, tried):
    """The starts, as they are asked for; those that were stay in `tried`."""
    for start in starts:
        tried.append(start)
        yield start


def _first(tried):
    """The first of the starts that were tried, once they have been."""
    yield from tried[:_SECOND]


def _centred(levels, places, ellipse):
    """The places, with strain, that a profile of any shape shows next to some: for rings so narrow that they must be right."""
    from ._freeform import fit_freeform

    for place in places:
        frame, start = levels.look(place)
        free = fit_freeform(frame, _State(start.center, start.strain, [_USUAL[0]], [_USUAL[1]]), ellipse, enough=1e-2)
        if free is not None and free.gain < 1:
            yield *((free.center + 0.5) / levels.size - 0.5).tolist(), *free.strain.tolist()


class _Found(NamedTuple):
    """What an attempt finds on the middle-sized image: its solution, the rings of it that stand, other bumps, the profile."""

    frame: _Frame
    solution: _Solution
    rings: np.ndarray
    bumps: np.ndarray
    radial: _Profile


def _best(levels, starts, attempt, ellipse, uneven):
    """What an attempt finds at the best of some starts, or None; and why it finds nothing at others.

    On a background that is taken to be `uneven` it must stand out `_CLEARLY` times as clearly.
    """
    most, best, reason = 0.0, None, ""
    for start in starts:
        for frame, solution, outcome, bumps, radial in _tries(levels, start, ellipse, attempt, uneven):
            if solution is None or (doubt := _doubt(solution, _CLEARLY if uneven else 1)):
                reason = outcome if solution is None else doubt
                break
            quality = _told(outcome) / max(solution.chi2, 1.0) / solution.blended
            if quality > most:
                most, best = quality, _Found(frame, solution, outcome, bumps, radial)
        if best and most > _CLEAR * max(best.solution.chi2 / _CALM, 1.0) ** 4:
            break
    return best, reason


def _behind_rim(found, ellipse):
    """What was found, or what is found without the innermost ring and all within, if that has another centre.

    Where it is darker within than between the rings there may be a round stop: its rim looks like a ring about its own centre.
    If what was found contradicts itself, the other one need only be worth more.
    """
    frame, solution, radial = found.frame, found.solution, found.radial
    radius, width = solution.rings[0, :2]
    place, known = np.arange(len(radial.mean)) + 0.5 - radius, radial.error < np.inf
    within, beyond = known & (place < -2.5 * width), known & (place > 2 * width) & (place < 12 * width)
    if not within.any() or not beyond.any():
        return found
    error = math.hypot(radial.error[within].min(), radial.error[beyond].min())
    if radial.mean[within].mean() + _CHANCE * error > radial.mean[beyond].min():
        return found
    y, x = np.ogrid[:frame.shade.shape[0], :frame.shade.shape[1]]
    far = np.hypot(*(frame.size * (v + 0.5) - 0.5 - center for v, center in zip((x, y), solution.state.center, strict=True)))
    hidden = _Frame(frame.image, frame.bad, frame.shade | (far < radius + 2.5 * width + frame.size), frame.size,
                    frame.uneven)
    other = _Found(hidden, *_try(hidden, _State(solution.state.center, (0, 0), [], []), ellipse))
    left = solution.rings[solution.rings[:, 0] > radius + 2.5 * width]
    if other.solution is None or _doubt(other.solution) or _told(other.rings) < _SPOILT * _told(left):
        return found
    move = other.solution.state.center - solution.state.center
    spread = sum(one.solution.covariance[:2, :2] * _scatter(one.solution, ellipse) for one in (found, other))
    doubtful = solution.contradictory and other.solution.worth > solution.worth
    return other if doubtful or move @ np.linalg.pinv(spread) @ move > _APART[1] else found


def _last_fit(levels, found, radius, ellipse, max_rings):
    """The `RingFit` of what was found, from the pixels themselves, or from blocks that tell as much."""
    from ._freeform import unexplained

    frame, block = levels.resolve(found.frame, found.solution.state.widths.min())
    shrink = block / levels.factor
    try:
        frame, solution = _refined(frame, found, 1 / shrink, radius and radius / levels.factor, ellipse, max_rings)
    except RingNotFoundError:
        # Fringes are no rings that stand alone, but the same all round.
        falls = max_rings is None and any(_falls(found.radial, ring) for ring in found.rings)
        free = _freed(found.frame, found.solution, ellipse) if falls else None
        if free is None:
            raise
        return _result(found.solution, levels.factor, radius, ellipse, free)
    free = None
    if max_rings is None and unexplained(found.radial, solution.rings * (shrink, shrink, 1, 1)) > _MISSED:
        free = _freed(frame, solution, ellipse)
    return _result(solution, block, radius, ellipse, free)


def _refined(frame, found, factor, radius, ellipse, max_rings):
    """(frame, solution) of what was found, whose pixels are `factor` times as large as those of the frame."""
    rings = _choose(found.rings, radius, max_rings)
    solution = _settle_clearest(frame, found.radial, found.solution.state, factor, rings, ellipse)
    if doubt := _doubt(solution):
        raise RingNotFoundError(doubt)
    if max_rings is None:
        solution = _completed(frame, solution, found, factor, ellipse)
    frame, solution = _reshaded(frame, solution, ellipse)
    solution = _concentric(frame, solution, ellipse)
    if max_rings is None:
        solution = _parted(frame, solution, ellipse)
    for improve in _at_rest, _without_one, _spotless:
        solution = improve(frame, solution, ellipse)
    return frame, solution


def _completed(frame, solution, found, factor, ellipse):
    """The solution with what else stands out of the profile in which its rings were found, at first and with these known.

    Its pixels are `factor` times smaller than those of the profile.
    """
    size, widest = np.array([factor, factor, 1.0, 1.0]), 2 * found.rings[:, 1].max()

    def joined(bumps):
        return _joined(frame, solution, bumps[(bumps[:, 3] > _CHANCE) & (bumps[:, 1] < widest)] * size, ellipse)

    solution = joined(found.bumps)
    # In the profile the rings are as much wider as its blocks are than the pixels.
    known = solution.rings / size
    blurred = np.sqrt(known[:, 1] ** 2 + (1 - 1 / factor ** 2) / 12)
    known[:, 2] *= known[:, 1] / blurred
    known[:, 1] = blurred
    return joined(_look_for_rings(found.radial, known, widest)[len(known):])


class _Levels(NamedTuple):
    """An image; its means over blocks of factor x factor pixels, on which rings are fitted first; and the `Search` of these.

    In the latter, a block has size x size of those of the middle-sized image.
    """

    image: np.ndarray
    bad: np.ndarray
    factor: int
    middle: np.ndarray
    hidden: np.ndarray
    size: int
    search: "Search"

    def place(self, center):
        """(x, y) of the search [blocks] where a centre is [pixel]."""
        return np.array([(v + 0.5) / self.factor / self.size - 0.5 for v in center])

    def symmetry(self, fit):
        """How much of the contrast of the small image is a function of the distance from a fitted centre, as `Search.score`."""
        stretch = 0.5 * math.log(fit.axis_ratio)
        return self.search.score(*self.search.lit, *self.place(fit.center), stretch * math.cos(2 * fit.angle),
                                 stretch * math.sin(2 * fit.angle))

    def look(self, place, uneven=False):
        """(frame, start): the middle-sized image with the shadows about a place of the search, and that place in it.

        The place is (x, y), or (x, y, e1, e2) with a strain.
        """
        frame = _Frame(self.middle, self.hidden, self.search.stop(*place, size=self.factor * self.size), self.size, uneven)
        return frame, _State((np.array(place[:2]) + 0.5) * self.size - 0.5, place[2:] if len(place) > 2 else (0, 0), [], [])

    def resolve(self, frame, width):
        """The frame for the last fit, and the size of its blocks [pixel]; `width` is that of the narrowest ring in `frame`.

        Wide rings are kept off the shade by part of their width: even the faint end of a penumbra would lend them a slope.
        """
        if frame.shade.any() and (by := int(_CLEARANCE * width / frame.size)):
            frame = frame.shaded(by)
        # Blocks of the search's blocks, so that one shade fits both.
        factor = self.factor
        block = max(n for n in range(1, factor + 1) if factor % n == 0 and n <= max(factor * width / _RESOLVED, 1))
        size = self.size * factor // block
        if block == factor:
            return frame, block
        if block == 1:
            return _Frame(self.image, self.bad, frame.shade, size), block
        from ._ringsearch import block_means

        means, share = block_means(self.image, self.bad, block)
        return _Frame(means, kernel_mask(share < 1), frame.shade, size), block


def _levels(image, bad):
    from ._ringsearch import COARSE, MIDDLE, Search, blocks, hide_spikes, without_dead_pixels

    bad = without_dead_pixels(image, bad)
    factor, middle, share = blocks(image, bad, MIDDLE)
    hide_spikes(middle, share)
    hidden = kernel_mask(share < 0.7)
    size, means, share = blocks(middle, hidden, COARSE)
    return _Levels(image, bad, factor, middle, hidden, size, Search(means, share))


def _fit_again(levels, like, center, radius, ellipse, max_rings):
    """The fit of the rings of another one, `like` it, about a `center` nearby; RingNotFoundError unless all are there."""
    factor = levels.factor
    rings = np.array([(ring.radius / factor, ring.width / factor, 0.0,
                       math.sqrt(2) * ring.width / (ring.radius_err or math.inf)) for ring in like.rings])
    share = 1.0     # of all that these rings told, which those that are fitted did
    if max_rings is not None:
        chosen = _choose(rings, radius and radius / factor, max_rings)
        share, rings = _told(chosen) / _told(rings), chosen[np.argsort(chosen[:, 0])]
    frame, start = levels.look(levels.search.near(*levels.place(center), step=1.0))
    stretch = 0.5 * math.log(like.axis_ratio) * ellipse
    strain = stretch * math.cos(2 * like.angle), stretch * math.sin(2 * like.angle)
    rough = _fit(frame, None, _State(start.center, strain, rings[:, 0], rings[:, 1]), ellipse, final=False)
    astray = frame.shade.any() and math.dist(rough.state.center, start.center) > _ASTRAY * levels.size
    if astray or rough.gain > _STILL or not _prune(rough).all():
        raise RingNotFoundError("the rings are not where they were")
    frame, block = levels.resolve(frame, rings[:, 1].min())
    scale = factor / block
    solution, outcome = _settle(frame, None, rough.state.scaled(scale), rings * (scale, scale, 1, 1), ellipse)
    if (solution is None or len(outcome) < len(rings) or solution.gain > _SETTLED
            or solution.chi2 > _UNEVEN * max(like.chi2, 1.0) or solution.apart > _APART[1] or _doubt(solution)):
        raise RingNotFoundError("the rings are not as they were")
    free = None
    if like.whole_profile and max_rings is None and (free := _freed(frame, solution, ellipse)) is None:
        raise RingNotFoundError("the profile is not what it was")
    fit = _result(solution, block, radius, ellipse, free)
    if _SPOILT * share * fit.center_err ** 2 > like.center_err ** 2:
        raise RingNotFoundError("the rings are not as clear as they were")
    return fit


def _tries(levels, start, ellipse, attempt, uneven):
    """The frame, and what `attempt` makes of it from a start; once more from what it found, if the shadows may be false.

    About a place that is off the centre gaps beside narrow rings look dark.
    """
    here = tuple(start)
    for _ in range(2):
        frame, state = levels.look(here, uneven)
        solution, *more = attempt(frame, state, ellipse)
        yield frame, solution, *more
        before, here = here, tuple((solution.state.center + 0.5) / levels.size - 0.5)
        if not frame.shade.any() or math.dist(before[:2], here) < _ASTRAY:
            return
        if uneven:
            here += tuple(solution.state.strain)


def _reshaded(frame, solution, ellipse):
    """(frame, solution) with a wider shade, if sectors contradict each other and agree better with it; or as they are."""
    if solution.chi2 > _UNEVEN and frame.shade.any():
        wider = frame.shaded(1)
        other, _ = _settle(wider, None, solution.state, solution.rings, ellipse)
        if other is not None and other.chi2 < _CALMER * solution.chi2 and _better(other, solution):
            return wider, other
    return frame, solution


def _parted(frame, solution, ellipse):
    """The solution with two rings instead of one, as often as more is told so; or as it is.

    Rings that have been fitted as one lend it a false strain and, where their textures differ, a centre of its own. Where the
    cells scatter much it has been tried before, by `_deblended`.
    """
    def better(other):
        return _better(other, solution)

    while solution.contradictory and solution.blended == 1 and len(solution.rings) < _MAX_RINGS:
        other = _part(frame, None, solution, np.lexsort((-solution.rings[:, 1], -solution.own)), ellipse, better)
        if other is None:
            break
        solution = other
    return solution


def _spotless(frame, solution, ellipse):
    """The solution with no spots allowed for, if sectors contradict each other and agree much better so; or as it is.

    What has been taken for spots then is texture as narrow as these, or spots are so bright that their tails matter.
    """
    if solution.chi2 > _UNEVEN:
        other, _ = _settle(frame, None, solution.state, solution.rings, ellipse, spots=False)
        if other is not None and other.chi2 < _CALMER * solution.chi2 and not _doubt(other):
            return other
    return solution


def _without(frame, solution, k, ellipse):
    """The solution without its ring k, or None where that does not settle."""
    return _settle(frame, None, solution.state, np.delete(solution.rings, k, 0), ellipse)[0]


def _at_rest(frame, solution, ellipse):
    """A solution that has converged, if this one has not; or as it is.

    That is the one from where the fit rests without spots, or one without the faintest ring, if that tells next to nothing.
    """
    rings, faintest = solution.rings, solution.sure.argmin()
    if solution.gain > _SETTLED:
        start, _ = _settle(frame, None, solution.state, rings, ellipse, spots=False)
        others = [] if start is None else [_settle(frame, None, start.state, start.rings, ellipse)[0]]
        if rings[faintest, 3] ** 2 < _TELLING * _told(rings):
            others.append(_without(frame, solution, faintest, ellipse))
        for other in others:
            if other is not None and other.gain < _SETTLED and not _doubt(other):
                return other
    return solution


def _without_one(frame, solution, ellipse):
    """The solution with one ring less, if sectors contradict each other and more is told without it; or as it is.

    No ring takes away from what the others tell, but the edge of a stop does, that passes for one.
    """
    rings = solution.rings
    if solution.chi2 > _UNEVEN and len(rings) > 1:
        for k in range(len(rings)):
            other = _without(frame, solution, k, ellipse)
            if other is not None and _told(other.rings) > _WORTH * _told(rings) and _better(other, solution):
                return other
    return solution


def _concentric(frame, solution, ellipse):
    """The solution without rings that are not about the same centre as the others: the rim of a round stop is about its own.

    Rings are left out until the others agree, in each turn the one without which they do so best; or it stays as it is, if
    less than two thirds of them would be left.
    """
    best, least = solution, math.ceil(2 * len(solution.rings) / 3)
    while best.apart > _APART[1] and len(best.rings) > least:
        others = [_without(frame, best, k, ellipse) for k in range(len(best.rings))]
        others = [other for other in others if other is not None and not _doubt(other)]
        if not others:
            return solution
        # A ring by itself contradicts none: of those that agree, the one that tells most.
        best = min(others, key=lambda other: (max(other.apart, _APART[1]), -_told(other.rings)))
    return best if best.apart <= _APART[1] and len(best.rings) >= least else solution


def _joined(frame, solution, bumps, ellipse):
    """The solution with those bumps that are clear rings beside its own, if more is told with them; or as it is.

    That there is a pattern is settled: here a bump need not look like a ring by itself, as it may lie between others or at
    the edge of the frame.
    """
    rings = solution.rings
    while len(bumps):
        other, outcome = _settle(frame, None, solution.state, np.concatenate([rings, bumps]), ellipse)
        if other is None or not _touch(rings, outcome, 0.25).any(axis=1).all():
            break
        new = ~_touch(outcome, rings, 0.25).any(axis=1)
        firm = new & (other.heights > _HIGH * other.height_errors)
        if firm.sum() < new.sum():
            bumps = outcome[firm]
            continue
        move = other.state.center - solution.state.center
        spread = solution.covariance[:2, :2] * _scatter(solution, ellipse)
        near = move @ np.linalg.pinv(spread) @ move < _AGREEING ** 2
        much = _told(outcome) > _MUCH * _told(rings)
        return other if new.any() and (near or much) and _better(other, solution) else solution
    return solution


def _better(other, solution):
    """Whether another solution is beyond doubt too and worth more."""
    return other.worth > _WORTH * solution.worth and not _doubt(other)


def _choose(rings, radius, most):
    """The `most` rings that are nearest to `radius`, or the surest; all without a number. The surest come first.

    Those that may be chance, and without a number very dim ones, are left out where they tell little; unless they touch a
    clear one, whose place they may shift. So are, without a number, bumps that are much wider than the surest ring.
    """
    rings = rings[np.argsort(-rings[:, 3])]
    tells = rings[:, 3] ** 2 / _told(rings)
    touch = _touch(rings, rings, _TOUCHING)
    np.fill_diagonal(touch, False)
    clear = rings[:, 3] > _CHANCE
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
    number, why, size = len(rings), _EDGE, np.array([factor, factor, 1.0, 1.0])
    while number:
        solution, outcome = _settle(frame, None, state.scaled(factor), rings[:number] * size, ellipse)
        if solution is None:
            number, why = number // 2, outcome
            continue
        # What leant on one that fell must stand alone.
        left, why = outcome / size, _EDGE
        standing = _stand(radial, left, _STANDING, fitted=len(left)) if len(left) < number else np.ones(number, bool)
        if standing.all():
            return solution
        if standing.any():
            rings, number = left[standing], standing.sum()
        else:
            number //= 2
    raise RingNotFoundError(why)


def _doubt(solution, demand=1):
    """Why a fit does not rest on rings beyond doubt, or ""; these must stand out `demand` times as clearly as usual."""
    sure, even = solution.sure, solution.even
    total, best = math.hypot(*sure), np.argmax(sure)
    high = math.sqrt(max(np.sum((solution.heights / solution.height_errors) ** 2) - _FOUND * (len(sure) - 1), 0.0))
    least = demand * _SURE * (1 + (math.hypot(*solution.state.strain) / _STRAINED) ** 4)
    if total < least or high < (_FAINT if total > 2 * _SURE else _HIGH):
        return f"what looks like one stands out by {min(total, high):.1f} standard errors only"
    chi2 = solution.chi2
    if total < _PLAIN and chi2 > _ALL_ROUND and solution.roughness > _ROUGH:
        return "what looks like one consists of spots; a single crystal?"
    # One clear ring that is whole is enough, however uneven the others.
    whole = even[sure >= min(sure[best], _PLAIN)].max()
    if whole < (_EVEN if chi2 <= _CALM and total > _PLAIN else _WHOLE):
        return f"what looks like one fills {100 * whole:.0f} % of the azimuth only; spots of a single crystal?"
    weights, there = _seen(solution, solution.agreement)
    used = (weights > 0.3).sum()
    if used < _AGREED * there.sum():
        return f"only {used} of the {there.sum()} parts of what looks like one agree; spots of a single crystal?"
    # Scatter of the sectors' radii beyond their errors, in widths of the ring.
    n = len(solution.angles)
    excess = math.sqrt(max(chi2 - 1 - 4 * math.sqrt(2 / solution.scores.size), 0) * 2 * n) / sure[best]
    if excess > _RAGGED:
        return f"the parts of what looks like one are {excess:.1f} of its widths away from an ellipse"
    return ""


def _seen(solution, by_group):
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


def _scatter(solution, ellipse):
    """Factor on all variances: `_chance`, and more where the rings are not about one centre."""
    return _chance(solution.scores, 2 + 2 * ellipse + len(solution.state.radii)) * max(1, solution.apart / _APART[0])


def _chance(scores, unknowns):
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


def _freed(frame, solution, ellipse):
    """(center, strain, covariance, chi2, last step) by a profile of any shape, if that tells more than the rings; or None.

    What all sectors miss alike has been taken for noise by the fit of the rings: it does not make them tell more here.
    """
    from ._freeform import fit_freeform

    free = fit_freeform(frame, solution.state, ellipse)
    if free is None or not free.gain < _CLOSE:
        return None
    chi2 = _mean_square(free.scores)
    covariance = max(_chance(free.scores, 2 + 2 * ellipse + len(free.scores)), _CALMEST) * free.covariance
    known = max(_scatter(solution, ellipse), 1.0) * solution.covariance[:2, :2].trace()
    # Where the sectors contradict each other as rings too, they are not the same all round.
    if chi2 > (_CALM if solution.chi2 > _CALM else _FAIR) or not covariance[:2, :2].trace() < _MORE ** 2 * known:
        return None
    return free.center, free.strain, covariance, chi2, free.gain


def _result(solution, factor, radius, ellipse, free=None):
    """The `RingFit` of a solution in blocks of `factor` pixels, with the centre and strain of `_freed` if there are."""
    state, chi2, gain, n = solution.state, solution.chi2, solution.gain, len(solution.state.radii)
    variance = max(_scatter(solution, ellipse), _CALMEST) * solution.covariance
    if free is not None:
        center, strain, covariance, chi2, gain = free
        state = _State(center, strain, state.radii, state.widths)
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
    weights, _ = _seen(solution, solution.weights)
    return RingFit(
        cx=float(state.center[0]), cy=float(state.center[1]), a=r * grow, b=r / grow,
        angle=0.5 * math.atan2(state.strain[1], state.strain[0]) if size > 0 else 0.0,
        cx_err=math.sqrt(variance[0, 0]), cy_err=math.sqrt(variance[1, 1]),
        a_err=math.sqrt(max(a_var, 0.0)), b_err=math.sqrt(max(b_var, 0.0)), cxy_err=float(variance[0, 1]),
        coverage=float((weights > 0.3).mean()), n_rings=n, chi2=chi2,
        converged=bool(gain < _SETTLED),
        rings=tuple(Ring(float(state.radii[k]), math.sqrt(variance[4 + k, 4 + k]), float(state.widths[k]),
                         float(heights[k]), float(errors[k])) for k in range(n)),
        sectors=tuple(float(v) for v in weights), whole_profile=free is not None)
