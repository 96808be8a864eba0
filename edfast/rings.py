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
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ._results import Ring, RingFit, RingNotFoundError
from ._ringdoubt import CALM, SPOILT, doubt_of, scatter_factor
from ._ringfit import APART, STILL, UNEVEN, Frame, Profile, Solution, State, fit_jointly, prune, settle, told
from ._ringlast import SETTLED, choose_rings, freed, refined, ring_fit
from ._ringlook import falls_to_both_sides
from ._ringspots import with_bent_spots
from ._ringtry import CHANCE, try_every, try_highest, try_rings
from ._validation import as_count, as_flag, as_image, as_mask, as_number, kernel_mask

if TYPE_CHECKING:
    from ._ringsearch import Search

__all__ = ["Ring", "RingFit", "RingNotFoundError", "fit_ring"]

_TRIALS = 6         # candidates for the centre that are fitted before giving up
_SECOND = 2         # of them that get further chances
_CLEAR = 2000.0     # quality from where on no other candidate is tried, if the sectors are calm
_CLEARLY = 4        # times as clearly must rings stand out that are seen only where the background is taken to be uneven, or
                    # beside closed shadows
_FAR = 4.0          # blocks of the first step from the centre of a rim on the way to that of rings about it
_ASTRAY = 0.75      # blocks that a start may have been off its place before its shadows are looked for once more
_CONTRADICTORY = 2.5    # chi2 of a fit from where on sectors plainly contradict each other
_SYMMETRIC = 0.6, 0.95  # shares of the best score of the search that the place of a fit must have: of any, and of such a one
_USUAL = 16.0, 2.0  # radius and width of a ring, where nothing is known of them yet
_NEARBY = 10.0      # squared step, in standard errors, with which the whole profile is near enough for rings to be tried
_CLEARANCE = 0.5    # widths that a ring is kept off a shadow, and what has been taken for its penumbra
_RESOLVED = 2.0     # a ring whose width is so many blocks loses little by being fitted on blocks (1.5 % of its errors)
_SCATTERED, _LESS = 2.5, 0.5    # roughness from where on narrow shadows are looked for, and share that may be left without
_MISSED = 0.25      # told by the rest of a profile, in what its rings tell, from where on the whole of it is fitted,
_SOME, _ROUGH = 0.02, 1.6   # or this share, if the cells scatter so much more about the rings than their pixels let them


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
    tried: list = []
    agreed, reason = False, "nothing in the image is symmetric about a centre"
    for attempt, places, look in (
            (try_rings, _noted(_starts(levels, levels.search, center), tried), {}),
            (try_rings, _centred(levels, itertools.islice(_promising(levels, tried), 1), ellipse), {}),
            (try_rings, _starts(levels, levels.search.off_planes, center), {"closed": True}),
            (try_rings, (levels.search.stretched(*place) for place in _promising(levels, tried)), {"uneven": True}),
            (try_every, _promising(levels, tried), {}),
            (try_highest, _promising(levels, tried), {})):
        if agreed and attempt is try_every:
            continue
        found, why = _best(levels, places, attempt, ellipse, look)
        if found is not None:
            agreed = True
            try:
                found = _behind_arm(levels, _behind_rim(levels, found, ellipse), ellipse)
                fit = _last_fit(levels, found, radius, ellipse, max_rings)
                if not _astray(levels, fit, tried):
                    return fit
                why = "what looks like one is not where the image is symmetric about a centre"
            except RingNotFoundError as error:
                why = str(error)
        reason = why or reason
    raise RingNotFoundError(f"no ring found: {reason}")


def _starts(levels, search, center):
    """Candidates of a search, the best one near `center` first if that is given."""
    if center is not None:
        yield search.near(*levels.place(center))
    yield from itertools.islice(search.centers(), _TRIALS)


def _astray(levels, fit, tried):
    """Whether the image is so much more symmetric about a place of the search that a fit must have missed its centre.

    Where sectors contradict each other the search may have been led to a wrong fringe: any better place nearby is enough.
    """
    contradictory = fit.chi2 > _CONTRADICTORY

    def better(search):
        places = [*tried, *(search.around(*place) for place in tried[:_SECOND])] if contradictory else tried
        best = max(search.score(*place) for place in places)
        return search.score(*levels.place(fit.center), *fit.strain) < _SYMMETRIC[contradictory] * best

    # About a stop the glow of a bright background is symmetric too.
    return better(levels.search) and better(levels.search.off_planes)


def _noted(starts, tried):
    """The starts, as they are asked for; those that were stay in `tried`."""
    for start in starts:
        tried.append(start)
        yield start


def _promising(levels, tried):
    """Those of the starts that were tried about which the image is most symmetric, once they have been."""
    yield from sorted(tried, key=lambda place: levels.search.score(*place), reverse=True)[:_SECOND]


def _centred(levels, places, ellipse):
    """The places, with strain, that a profile of any shape shows about some: for rings so narrow that they must be right."""
    from ._freeform import fit_freeform

    for place in places:
        frame, start = levels.look(levels.search.around(*place))
        free = fit_freeform(frame, State(start.center, start.strain, [_USUAL[0]], [_USUAL[1]]), ellipse, enough=1e-2)
        if free is not None and free.gain < _NEARBY:
            yield *((free.center + 0.5) / levels.size - 0.5).tolist(), *free.strain.tolist()


class _Found(NamedTuple):
    """What an attempt finds on the middle-sized image: its solution, the rings of it that stand, other bumps, the profile."""

    frame: Frame
    solution: Solution
    rings: np.ndarray
    bumps: np.ndarray
    radial: Profile


def _best(levels, starts, attempt, ellipse, look):
    """What an attempt finds at the best of some starts, or None; and why it finds nothing at others.

    With any but a plain `look` at the starts it must stand out `_CLEARLY` times as clearly.
    """
    most, best, reason = 0.0, None, ""
    for start in starts:
        for frame, solution, outcome, bumps, radial in _tries(levels, start, ellipse, attempt, look):
            if solution is None or (doubt := doubt_of(solution, _CLEARLY if look else 1)):
                reason = outcome if solution is None else doubt
                break
            quality = told(outcome) / max(solution.chi2, 1.0) / solution.blended
            if quality > most:
                most, best = quality, _Found(frame, solution, outcome, bumps, radial)
        if best and most > _CLEAR * max(best.solution.chi2 / CALM, 1.0) ** 4:
            break
    return best, reason


def _dark_within(found):
    """Whether it is darker within the innermost ring than between the rings: there may be a round stop, and this its rim."""
    radial, rings = found.radial, found.solution.rings
    place, known, width = np.arange(len(radial.mean)) + 0.5 - rings[0, 0], radial.error < np.inf, rings[0, 1]
    within, beyond = known & (place < -2.5 * width), known & (place > 2 * width) & (place < 12 * width)
    # A rim is about its own centre.
    agreed = len(rings) > 1 and found.solution.apart < APART[0] and not found.solution.contradictory
    if agreed or not within.any() or not beyond.any():
        return False
    error = math.hypot(radial.error[within].min(), radial.error[beyond].min())
    return radial.mean[within].mean() + CHANCE * error < radial.mean[beyond].min()


def _elsewhere(levels, found, far):
    """A place about which the image is more symmetric off a stop than about that of what was found; or None.

    It is near that, or if it may be `far` it is any of the best.
    """
    search, place = levels.search.off_planes, (found.solution.state.center + 0.5) / levels.size - 0.5
    places = [search.near(*place, step=_FAR), *itertools.islice(search.centers(), _SECOND * far)]
    other = max(places, key=lambda place: search.score(*place))
    here, there = search.score(*place, *found.solution.state.strain), search.score(*other)
    if math.dist(place, other) < _ASTRAY or there < max(here / _SYMMETRIC[1], here + search.chance):
        return None
    return other


def _behind_rim(levels, found, ellipse):
    """What was found, or what is found without the innermost ring and all within, if that has another centre.

    The rim of a round stop looks like a ring about its own centre, the more so on a steep background. If what was found
    contradicts itself, the other one need only be worth more.
    """
    frame, solution, dark = found.frame, found.solution, _dark_within(found)
    place = _elsewhere(levels, found, dark) if dark or frame.shade.any() else None
    if place is None and not dark:
        return found
    end, state = solution.rings[0, 0] + 2.5 * solution.rings[0, 1], solution.state
    y, x = np.ogrid[:frame.shade.shape[0], :frame.shade.shape[1]]
    far = np.hypot(*(frame.size * (v + 0.5) - 0.5 - center for v, center in zip((x, y), state.center, strict=True)))
    hidden = Frame(frame.image, frame.bad, frame.shade | (far < end + frame.size), frame.size, frame.uneven)
    if place is None:
        looks = [(hidden, State(state.center, (0, 0), [], []))]
    else:
        # Where the rings are as near as that, what is hidden of the stop must do.
        clear, start = levels.look(place, closed=True)
        looks = [(hidden, start), (clear, start)]
    for hidden, start in looks:
        other = _Found(hidden, *try_rings(hidden, start, ellipse))
        if other.solution is not None and not doubt_of(other.solution):
            break
    else:
        return found
    if told(other.rings) < SPOILT * told(solution.rings[solution.rings[:, 0] > end]):
        return found
    move = other.solution.state.center - solution.state.center
    spread = sum(one.solution.covariance[:2, :2] * scatter_factor(one.solution, ellipse) for one in (found, other))
    doubtful = solution.contradictory and other.solution.worth > solution.worth
    return other if doubtful or move @ np.linalg.pinv(spread) @ move > APART[1] else found


def _behind_arm(levels, found, ellipse):
    """What was found, or, if its cells scatter much, what is found without narrow shadows if these then scatter much less.

    An arm of a stop that is hardly wider than the blocks of the search may be all that tells of it.
    """
    frame, solution = found.frame, found.solution
    if solution.roughness < _SCATTERED:
        return found
    place = (solution.state.center + 0.5) / levels.size - 0.5
    clear, _ = levels.look((*place, *solution.state.strain), frame.uneven, narrow=True)
    clear.shade = clear.shade | frame.shade
    if (clear.shade == frame.shade).all():
        return found
    other = _Found(clear, *try_rings(clear, State(solution.state.center, (0, 0), [], []), ellipse))
    if other.solution is None or doubt_of(other.solution) or other.solution.roughness > _LESS * solution.roughness:
        return found
    return other


def _last_fit(levels, found, radius, ellipse, max_rings):
    """The `RingFit` of what was found, from the pixels themselves, or from blocks that tell as much."""
    from ._freeform import unexplained

    frame, block = levels.resolve(found.frame, found.solution.state.widths.min())
    shrink = block / levels.factor
    try:
        frame, solution = refined(frame, found, 1 / shrink, radius and radius / levels.factor, ellipse, max_rings)
    except RingNotFoundError:
        # Fringes are no rings that stand alone, but the same all round.
        fringes = max_rings is None and unexplained(found.radial, found.rings) > 0
        falls = fringes and any(falls_to_both_sides(found.radial, ring) for ring in found.rings)
        free = freed(found.frame, found.solution, ellipse) if falls else None
        if free is None:
            raise
        return ring_fit(found.solution, levels.factor, radius, ellipse, free)
    free = None
    if max_rings is None:
        rest = unexplained(found.radial, solution.rings * (shrink, shrink, 1, 1))
        if rest > _MISSED or (rest > _SOME and solution.roughness > _ROUGH):
            free = freed(frame, solution, ellipse, rest > _MISSED)
    if free is None:
        solution = with_bent_spots(frame, solution, ellipse)
    return ring_fit(solution, block, radius, ellipse, free)


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

    def look(self, place, uneven=False, narrow=False, closed=False):
        """(frame, start): the middle-sized image with the shadows about a place of the search, and that place in it.

        The place is (x, y), or (x, y, e1, e2) with a strain. `narrow` as in `Search.stop`; with the `closed` shadows too.
        """
        shade = self.search.stop(*place, size=self.factor * self.size, narrow=narrow)
        if closed:
            shade = shade | self.search.closed
        frame = Frame(self.middle, self.hidden, shade, self.size, uneven)
        return frame, State((np.array(place[:2]) + 0.5) * self.size - 0.5, place[2:] if len(place) > 2 else (0, 0), [], [])

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
            return Frame(self.image, self.bad, frame.shade, size), block
        from ._ringsearch import block_means

        means, share = block_means(self.image, self.bad, block)
        return Frame(means, kernel_mask(share < 1), frame.shade, size), block


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
        chosen = choose_rings(rings, radius and radius / factor, max_rings)
        share, rings = told(chosen) / told(rings), chosen[np.argsort(chosen[:, 0])]
    frame, start = levels.look(levels.search.near(*levels.place(center), step=1.0))
    strain = like.strain if ellipse else (0.0, 0.0)
    rough = fit_jointly(frame, None, State(start.center, strain, rings[:, 0], rings[:, 1]), ellipse, final=False)
    astray = frame.shade.any() and math.dist(rough.state.center, start.center) > _ASTRAY * levels.size
    if astray or rough.gain > STILL or not prune(rough).all():
        raise RingNotFoundError("the rings are not where they were")
    frame, block = levels.resolve(frame, rings[:, 1].min())
    scale = factor / block
    solution, outcome = settle(frame, None, rough.state.scaled(scale), rings * (scale, scale, 1, 1), ellipse)
    if (solution is None or len(outcome) < len(rings) or solution.gain > SETTLED
            or solution.chi2 > UNEVEN * max(like.chi2, 1.0) or solution.apart > APART[1] or doubt_of(solution)):
        raise RingNotFoundError("the rings are not as they were")
    free = None
    if like.whole_profile and max_rings is None and (free := freed(frame, solution, ellipse)) is None:
        raise RingNotFoundError("the profile is not what it was")
    if free is None:
        solution = with_bent_spots(frame, solution, ellipse)
    fit = ring_fit(solution, block, radius, ellipse, free)
    if SPOILT * share * fit.center_err ** 2 > like.center_err ** 2:
        raise RingNotFoundError("the rings are not as clear as they were")
    return fit


def _tries(levels, start, ellipse, attempt, look):
    """The frame, and what `attempt` makes of it from a start; once more from what it found, if the shadows may be false.

    About a place that is off the centre gaps beside narrow rings look dark.
    """
    here = tuple(start)
    for _ in range(2):
        frame, state = levels.look(here, **look)
        solution, *more = attempt(frame, state, ellipse)
        yield frame, solution, *more
        before, here = here, tuple((solution.state.center + 0.5) / levels.size - 0.5)
        if not frame.shade.any() or math.dist(before[:2], here) < _ASTRAY:
            return
        if frame.uneven:
            here += tuple(solution.state.strain)
