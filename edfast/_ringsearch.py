"""Where a ring pattern is, without any guess: the rough centre that the fit in `edfast.rings` starts from, and the shadows."""

import contextlib
import copy
import math
import threading
from functools import cached_property

import numpy as np

from ._memory import recycled
from ._validation import kernel_mask
from .kernels import coarse
from .kernels._bands import in_bands

_PEAKS = 4          # candidates that each method may name
_CLIMBS = 1, 3, 6    # how many of them are improved: of the quickest method, of all, and once shadows count as pattern
_PLAIN = 0.5        # share of the contrast that rings must explain about the best one of the quickest method, to try it first,
_AHEAD, _SEEN = 2.5, 0.1    # or, where it is so many times that about the second one, this share
_PENUMBRA = 2.0     # by so much a shadow is wider than where it is plainly dark [pixel]
_ASIDE, _PLANE = 2, 4   # blocks by which closed shadows are wider, and to either side of which a plane is laid
_FRINGES = 4.0      # blocks to either side in which a better place is looked for
_HIDDEN = 0.1       # share of the light just outside of a stop that is seen within it at most
_DEEP = 10.0        # times the noise of a block that such a shadow lies below the dark level if it is a level of its own
_SOLID, _LEAST, _MOST = 0.6, 9, 0.25    # share of its box that a saturated disc fills; its size: blocks, share of the image
MIDDLE = 512        # longest side of the image on which rings are looked for and roughly fitted [blocks]
COARSE = 160        # longest side of the small image that is searched [blocks]
_ORDINARY = 0.01, 0.9  # shares of the blocks between which the usual ones lie
_QUICK = 128        # the same for a quick look
_thread = threading.local()


def block_means(image, bad, size):
    """Means of size x size pixels and the share of them that is usable, float32."""
    means, share = _room(image.shape, size)

    def band(a, b):
        coarse.block_means(image, bad, size, a, means[a:b], share[a:b])

    in_bands(band, len(means), image.size)
    return means, share


def _room(shape, size):
    """For the means of blocks and the share of each that is usable."""
    return np.empty((2, *(-(-n // size) for n in shape)), np.float32)


class _MeansWhileRead:
    """Block means of the image that is being read, of each part when it has come: it is in the cache then."""

    def __init__(self):
        self.image = None

    def __call__(self, pixels, stop):
        """The first `stop` of the pixels have come."""
        if pixels.ndim != 2 or pixels.dtype.kind not in "iuf" or not pixels.dtype.isnative:
            return
        if self.image is not pixels:
            self.image, self.row, self.factor = pixels, 0, _factor(pixels.shape, MIDDLE)
            self.means, self.share = _room(pixels.shape, self.factor)
        rows = len(self.means) if stop == pixels.size else stop // pixels.shape[1] // self.factor
        here = slice(self.row, rows)
        coarse.block_means(pixels, kernel_mask(None), self.factor, self.row, self.means[here], self.share[here])
        self.row = rows

    def of(self, image, factor):
        """(means, share) of the image, if it is the one that was read, or None."""
        if self.image is None or self.factor != factor or self.row < len(self.means) or self.image.shape != image.shape:
            return None
        return (self.means, self.share) if self.image.ctypes.data == image.ctypes.data else None


@contextlib.contextmanager
def reading():
    """`recycled` for an image that this thread reads in the block to look for rings in it, and does not change."""
    _thread.means = _MeansWhileRead()
    try:
        with recycled(_thread.means):
            yield
    finally:
        _thread.means = None


def _least_shadow(size):
    """How many of so many blocks a shadow has at least as long as no centre is known."""
    return max(10, int(0.0006 * size))


def _factor(shape, longest):
    return -(-max(shape) // longest)


def blocks(image, bad, longest):
    """(factor, block means, share of usable pixels): the image made small enough that no side exceeds `longest`."""
    factor, read = _factor(image.shape, longest), getattr(_thread, "means", None)
    made = read.of(image, factor) if read and not bad.size else None
    return factor, *(made or block_means(image, bad, factor))


def hide_spikes(means, share):
    """Set the share of those blocks to 0 that hold zingers or hot pixels, far brighter than all around."""
    coarse.hide_spikes(means, share, *(coarse.quantile(means, share, part) for part in _ORDINARY))


def without_dead_pixels(image, bad):
    """The mask `bad` with what it need not name: rows and columns that hold one value throughout, and marked pixels.

    Cameras mark pixels that they cannot read by the highest number of 32 or 64 bits.
    """
    rows, columns = (np.empty(n, bool) for n in image.shape)
    coarse.constant_lines(image, rows, columns)
    dead = (rows.any() or columns.any()) and not rows.all()
    marked = image == np.iinfo(image.dtype).max if image.dtype.kind in "iu" and image.dtype.itemsize > 2 else None
    if marked is not None and not marked.any():
        marked = None
    if not dead and marked is None:
        return bad
    bad = bad.copy() if bad.size else np.zeros(image.shape, np.uint8)
    if dead:
        bad[rows] = 1
        bad[:, columns] = 1
    if marked is not None:
        bad[marked] = 1
    return bad


def _smooth(values, weights, radius):
    out = np.empty_like(values)
    coarse.box_mean(values, weights, radius, out)
    return out


def _clean(flags, least, growth):
    """`flags` (uint8, used up) without small regions, grown by so many blocks."""
    coarse.keep_large(flags, least, np.empty(flags.size, np.int64))
    return grown(flags, growth)


def grown(flags, by):
    """`flags` and what is within `by` blocks of them: uint8."""
    out = np.empty_like(flags)
    coarse.grow(flags, by, out)
    return out


class Search:
    """The small image, and all that is asked of it."""

    def __init__(self, means, share):
        self.means = means = means.astype(float)
        self.usable = (share > 0.5).astype(float)
        good = means[self.usable > 0]
        self.empty = not good.size or good.min() == good.max()
        if self.empty:
            return
        self._bins = np.empty((int(np.hypot(*means.shape)) + 2, 2))
        self._glare = self._saturated(good.max())
        around = _smooth(means, self.usable, 4)
        middle = coarse.quantile(around, self.usable, 0.5)
        self._noise = coarse.quantile(np.abs(means - around), self.usable, 0.5) / 0.6745
        self.dark = coarse.quantile(around, self.usable, 0.01)
        # The second time the dark level itself is averaged.
        for _ in range(2):
            self._average(middle)
            self.dark = coarse.quantile(_smooth(means, self.usable, min(self._reach, 2)), self.usable, 0.01)
        # Where the background is flat, a stop that hides less than that lies far below.
        deepest = coarse.quantile(_smooth(means, self.usable, 1), self.usable, _least_shadow(means.size) / means.size)
        if self.dark - deepest > _DEEP * self._noise:
            self.dark = deepest
            self._average(middle)

    def _average(self, middle):
        """Over how many blocks to either side, so that a shadow as deep as the dark level is told from the noise."""
        self._typical = max(middle - self.dark, 1e-3 * self._noise)
        self._reach = min(max(math.ceil((5 * self._noise / (self._typical + 1e-300) - 1) / 2), 0), 3)

    def _saturated(self, most):
        """What a direct beam saturates, and a block around it: uint8. The crest of a ring that is saturated is left alone."""
        flags = (self.means == most) & (self.usable > 0)
        y, x = np.nonzero(flags)
        solid = len(x) > _SOLID * (np.ptp(y) + 1) * (np.ptp(x) + 1)
        if not solid or not _LEAST <= len(x) <= _MOST * flags.size:
            return np.zeros(flags.shape, np.uint8)
        glare = grown(flags.astype(np.uint8), 1)
        self.usable[glare > 0] = 0
        return glare

    @cached_property
    def shadows(self):
        """Dark regions beside bright ones, taken for a beam stop as long as no centre is known: uint8."""
        level = self._levels[0][0]
        around = _smooth(self.means, self.usable, 4 + self._reach) - self.dark
        flags = ((level < 0.25 * around) | (level < 0.08 * self._typical)) & (self.usable > 0)
        flags = _clean(flags.astype(np.uint8), _least_shadow(flags.size), 1 + self._reach // 2)
        # So much shadow is no beam stop, but a dark background.
        return flags if flags.mean() < 0.5 else np.zeros_like(flags)

    def stop(self, x, y, e1=0.0, e2=0.0, *, size, narrow=False):
        """What is dark for its distance from a known centre (x, y), and its penumbra: uint8. A block is `size` pixels wide.

        The distance is that in the plane in which the strain (e1, e2) is undone. About the centre of a fit shadows may be as
        `narrow` as a block; about another place gaps between rings look so.
        """
        away, (profile, expected) = np.empty(self.means.shape, np.int32), np.empty((2, len(self._bins)))
        coarse.distances(x, y, e1, e2, len(profile) - 1, away)
        coarse.radial_quantile(self.means, self.usable, away, 0.65, 8, profile)
        if np.isfinite(profile).sum() < 8:
            return self._glare
        # About the centre, where a stop hides every direction, the first radius that is bright tells what to expect.
        profile -= self.dark
        inner = coarse.expected_light(profile, 5 * self._noise / (2 * self._reach + 1), expected)
        rules = [*self._levels, (self.means - self.dark, 0.1, self._unit)] if narrow else self._levels
        least, growth = max(6, int(0.0003 * self.means.size)), max(1 + self._reach // 2, math.ceil(_PENUMBRA / size))

        def shadow():
            flags = np.zeros(self.means.shape, np.uint8)
            for level, share, noise in rules:
                coarse.add_darker(level, self.usable, away, expected, share, noise, flags)
            return _clean(flags, least, growth)

        found = shadow()
        if found.any() and (inner := max(inner, _rim(int(away[found > 0].min()) + growth, profile, expected))):
            expected[:inner] = expected[inner:inner + 3].min()
            found = shadow()
        return found | self._glare

    @property
    def _unit(self):
        """Noise of a block where 1 is expected; it grows with the square root."""
        return self._noise / math.sqrt(max(self._typical, 1e-300))

    @cached_property
    def _levels(self):
        """What is dark: (means above the dark level, share of what is expected, noise where 1 is expected) of each rule.

        Where much is averaged a shadow is found in the faintest background, and lost where it is narrow or beside a bright
        ring: there little need be averaged. A gap in the texture of a ring is not as dark as that.
        """
        rules = [(self._reach, 0.3), (1, 0.1)] if self._reach > 1 else [(self._reach, 0.3)]
        return [(_smooth(self.means, self.usable, reach) - self.dark, share, self._unit / (2 * reach + 1))
                for reach, share in rules]

    def contrast(self, weights, level=coarse.box_mean, reach=8):
        """Block means less the `level` around, in units that grow with the square root, clipped at four times the usual."""
        around, out = np.empty((2, *self.means.shape))
        level(self.means, weights, reach, around)
        coarse.contrast(self.means, weights, around, self.dark, out)
        return out

    def score(self, x, y, e1=0.0, e2=0.0):
        """How much of the contrast is a function of the distance from (x, y), with the strain (e1, e2) undone."""
        return coarse.ellipse_score(*self.lit, (x, y, e1, e2), self._bins)

    def climb(self, best, x, y, step=1.0):
        """The nearest maximum of the score: (score, x, y)."""
        return coarse.climb(*self.lit, best, float(x), float(y), step, self._bins)

    @cached_property
    def lit(self):
        """(contrast, weights) of what does not lie in the shadows."""
        open_ = self.usable * (1 - self.shadows)
        if open_.sum() < 0.1 * open_.size:
            open_ = self.usable
        return self.contrast(open_), open_

    @cached_property
    def closed(self):
        """`shadows` without holes, as the beam makes them that shines through a stop, and what is near them: uint8."""
        flags = self.shadows.copy()
        coarse.fill_holes(flags, np.empty(flags.size, np.int64))
        flags = grown(flags, _ASIDE)
        # As in `shadows`: so much is no stop.
        return flags if flags.mean() < 0.5 else np.zeros_like(flags)

    @cached_property
    def off_planes(self):
        """The same search beside closed shadows, of what differs from planes: a steep background along a stop does not."""
        other, open_ = copy.copy(self), self.usable * (1 - self.closed)
        other.lit = self.contrast(open_, coarse.box_plane, _PLANE), open_
        return other

    @property
    def chance(self):
        """By so much scores differ by chance: each of the radii adds something like 1."""
        return 5 * math.sqrt(len(self._bins))

    def near(self, x, y, step=2.0):
        """Candidate (x, y) in blocks from a guess, by climbing in steps of so many blocks at first."""
        return self.climb(self.score(x, y), x, y, step)[1:]

    def around(self, x, y):
        """The best (x, y) nearby: where fringes are hardly wider than blocks, each of them is a maximum of its own."""
        steps = np.arange(-_FRINGES, _FRINGES + 0.25, 0.5)
        places = [(x + dx, y + dy) for dx in steps for dy in steps]
        return self.near(*max(places, key=lambda place: self.score(*place)), step=1.0)

    def stretched(self, x, y):
        """(x, y, e1, e2): where ellipses about a place nearby explain most, and their strain."""
        place = np.array([x, y, 0.0, 0.0])
        coarse.climb_ellipse(*self.lit, place, self._bins)
        return tuple(place.tolist())

    def _proposals(self, contrast, open_):
        """Places (x, y) where the centre may be, as the different methods find them, the quickest first."""
        yield by_slopes(contrast, open_)
        yield by_symmetry(contrast, open_)
        # What was taken for shadows may be the pattern.
        yield by_slopes(self.contrast(self.usable), self.usable)

    def centers(self):
        """Candidates (x, y) in blocks, the most promising first; each is looked for when it is asked for."""
        contrast, open_ = self.lit
        given: list = []
        starts: list = []
        for most, found in zip(_CLIMBS, self._proposals(contrast, open_), strict=True):
            starts += [(self.score(x, y), x, y) for x, y in found]
            starts = _apart(sorted(starts, reverse=True))
            for start in starts[:most]:
                best, x, y = self.climb(*start)
                if most == _CLIMBS[0] and not _plain(best, [score for score, *_ in starts[1:]], open_.sum()):
                    break
                if len(_apart([*given, (best, x, y)])) > len(given):
                    given.append((best, x, y))
                    yield x, y


def _rim(last, profile, expected):
    """The first bright radius where all is dark up to the `last` one before shadows show: a stop hides all of it. Or 0."""
    within, beyond = profile[:last + 1], expected[last + 3:last + 6]
    return last + 3 if len(beyond) and within.max() < _HIDDEN * beyond.min() else 0


def nearby_center(image, bad, cx, cy):
    """Where rings put the centre, to a fraction of a block, looked for from (cx, cy) on: (cx, cy, one block) [pixel], or None.

    A quick look on a small image, to tell whether a centre that was found otherwise can be that of rings.
    """
    size, means, share = blocks(image, bad, _QUICK)
    hide_spikes(means, share)
    search = Search(means, share)
    if search.empty:
        return None
    x, y = (cx + 0.5) / size - 0.5, (cy + 0.5) / size - 0.5
    here = search.score(x, y)
    best, x, y = search.climb(here, x, y, step=4.0)
    if best < search.chance or best < 1.2 * here:
        return None
    return (x + 0.5) * size - 0.5, (y + 0.5) * size - 0.5, size


def _plain(best, others, whole):
    """Whether the best of the scores leaves no doubt, without a look at what other methods find."""
    return best > _PLAIN * whole or best > max(_AHEAD * max(others, default=0.0), _SEEN * whole)


def _apart(starts):
    """Those of the starts (score, x, y) that do not lie within 1.5 blocks of an earlier one."""
    chosen: list = []
    for start in starts:
        if all(math.dist(start[1:], other[1:]) > 1.5 for other in chosen):
            chosen.append(start)
    return chosen


def _peaks(surface, reach, scale):
    """The highest points of `surface`, no two within `reach`, as (x, y) divided by `scale`; the surface is used up."""
    for _ in range(_PEAKS):
        y, x = np.unravel_index(surface.argmax(), surface.shape)
        yield x / scale, y / scale
        surface[max(y - reach, 0):y + reach + 1, max(x - reach, 0):x + reach + 1] = -np.inf


def by_symmetry(contrast, weights):
    """Candidates from centrosymmetry: peaks of the correlation with the image turned by half a turn."""
    values = (contrast * weights).astype(np.float32)
    height, width = values.shape
    shape = 2 * height, 2 * width
    surface = np.fft.irfft2(np.fft.rfft2(values, s=shape) ** 2, s=shape)[:-1, :-1]
    pairs = np.multiply.outer(*(np.minimum(np.arange(1, 2 * n), np.arange(2 * n - 1, 0, -1)) for n in (height, width)))
    surface /= np.sqrt(pairs)
    surface[pairs < 0.04 * height * width] = 0
    smooth = surface[1:-1] + surface[:-2] + surface[2:]
    smooth = smooth[:, 1:-1] + smooth[:, :-2] + smooth[:, 2:]
    return [(x + 0.5, y + 0.5) for x, y in _peaks(smooth, 6, 2.0)]


def by_slopes(contrast, weights):
    """Candidates from the slopes: where the lines along the gradients meet."""
    votes = np.empty_like(contrast)
    return list(_peaks(votes, 4, 1.0)) if coarse.slope_votes(contrast, weights, 4.0, votes) else []
