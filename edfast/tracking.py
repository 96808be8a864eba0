"""The centre of every frame while the detector is acquiring.

`fit_ring` finds the rings once. From then on only the pixels of a few annuli are read, and the rings that are known are fitted
again: the last centre is where the fit starts, never what it is pulled to.
"""

import contextlib
import dataclasses
import itertools
import math
import os
import time
from typing import Any

import numpy as np

from . import _stacks
from ._results import StackTrack, TrackResult
from ._validation import as_count, as_flag, as_image, as_mask, as_number, kernel_mask
from .rings import RingNotFoundError, fit_ring

__all__ = ["CenterTracker", "StackTrack", "TrackResult", "track_stack"]

_REACH = 4.0            # an annulus reaches so many widths to either side of its ring
_APART = 3.0            # rings whose distance is less than this, in the sum of their widths, are one group
_FINENESS = 2.6         # bins per width
_BLOCK_COST = {1: 1.2, 2: 2.6, 4: 7.0, 8: 22.0}     # nanoseconds, roughly, to add up a block of so many pixels a side
_RESOLVED = 2.0         # a block is at most so many times smaller than a width
_BUDGET = 15e3, 0.035   # nanoseconds that may go into adding up pixels, and more for each pixel of the frame
_INFORMED = 0.98        # share of what all rings tell of the centre that is enough
_FAR = 0.75             # pixels from the origin of the table from where on it moves along
_MANY_BLOCKS = 1000      # blocks in a bin, on average, from where on there are 64 sectors and not 32
_BENDS = 4              # degree of the polynomial that tells how the background leans
_HOT = 8.0              # standard deviations from where on a block is taken out of the table,
_UNEVEN = 0.25          # beyond this share of the ring's height, by which the signal differs within a cell
_ROUGH = 3.0            # chi2 of cells and sectors, or twice what it was in the first frame, that is taken for lost
_SEEN = 0.6             # share of the sectors that were there in the first frame and must not be missed
_AGREED = 5.0, 0.05     # standard errors, and pixels, that the first fit may be from that of fit_ring
_HIGH, _SURE = 5.0, 6.0     # standard errors by which heights and places of the rings must be known,
_BACK = 10.5            # or both, when they were lost before
_JUMP = 5.0             # standard deviations from where on a step is a jump
_STEP = 0.3             # what a step is reckoned to be before any has been seen [pixel]
_SPOTTED = 0.02         # share of the blocks of a sector that must not stand out, or all of them are left out
_SCREENINGS = 4         # times that the first frame is looked through for spots and hot pixels
_REMEMBERED = 50        # steps at most of which the usual size is the mean
_LONGEST = 32           # frames at most from one attempt to find a lost ring to the next one
_SHORTEST = 4           # and at least, once it has failed at first, when the frames change


class _Rings:
    """The rings that are followed: the table of their pixels, and what the frames have taught about them."""

    # Parts of `state`.
    radii: np.ndarray
    widths: np.ndarray
    geometry: np.ndarray        # d1, d2, e1, e2, relative to the table
    noise: np.ndarray
    seen: np.ndarray
    learned: np.ndarray
    known: np.ndarray
    used: np.ndarray
    scale: np.ndarray
    trend: np.ndarray
    spread: np.ndarray
    rest: np.ndarray
    grip: np.ndarray
    weights: np.ndarray

    def __init__(self, fit, frame, bad, radius, ellipse):
        from .kernels import polar, tracking

        self.strain = fit.strain
        groups, edges, self.size = _choose(fit.rings, frame.shape, radius)
        self.frames = 0
        lo, hi = np.array(edges).T
        bins = [math.ceil((high - low) * _FINENESS / min(ring.width for ring in group) - 0.01)
                for group, (low, high) in zip(groups, edges, strict=True)]
        blocks = math.pi * float(np.sum(hi ** 2 - lo ** 2)) / self.size ** 2
        self.sectors = 64 if blocks > _MANY_BLOCKS * sum(bins) else 32
        first, ring_first = (np.concatenate([[0], np.cumsum(numbers)]) for numbers in (bins, [len(g) for g in groups]))
        self.plan = first, ring_first, (lo + hi) / 2, (hi - lo) / 2
        s11, s12, s22 = polar.stretch(*self.strain)
        self.stretch = np.array([[s11, s12], [s12, s22]])
        self.unstretch = np.linalg.inv(self.stretch)
        angles, half = polar.sector_angles(self.sectors, s11, s12), math.pi / self.sectors
        # The mean over a sector, not the value in its middle.
        one, two = math.sin(half) / half, math.sin(2 * half) / (2 * half)
        self.harmonics = np.array([one * np.cos(angles), one * np.sin(angles), two * np.cos(2 * angles),
                                   two * np.sin(2 * angles), np.ones(self.sectors)])
        self._list_blocks(lo, (hi - lo) / bins, first, tracking)
        self._make_state(np.array([ring.radius for group in groups for ring in group]),
                         np.sqrt([ring.width ** 2 + (self.size ** 2 - 1) / 12 for group in groups for ring in group]),
                         len(groups), max(len(group) for group in groups) + 2, first[-1])
        self.tilt = _tilt(first, hi - lo)
        self.report = np.zeros(tracking.REPORTED)
        self.covariance = np.zeros((4 + 2 * len(self.radii),) * 2)
        self.sums, self.count, self.place = np.zeros((3, first[-1], self.sectors))
        self.reach = 0.5 * _REACH * float(self.widths.max())
        self.flat_sums, self._at_x = self.sums.reshape(-1), tracking.X
        # What fit_frame takes besides the number of frames: arrays that stay where they are.
        self.arguments = (self.sums, self.size ** 2, self.count, self.place, self.plan, self.harmonics, self.unstretch,
                          ellipse, self.radii, self.widths, self.geometry, self.noise, self.learned, self.known, self.scale,
                          self.trend, self.spread, self.rest, self.grip, self.tilt, self.weights, self.seen, self.used,
                          self.report, self.covariance)
        self.bad = _spread_over_blocks(bad, self.size)
        self.x, self.y = round(fit.cx), round(fit.cy)
        self.geometry[:2] = self.stretch @ (fit.cx - self.x, fit.cy - self.y)
        self._place(frame.shape)

    def _list_blocks(self, lo, step, first, tracking):
        nothing = np.empty(0, np.int32)
        where = lo, step, first, self.size, *self.strain, self.sectors
        number = tracking.list_blocks(*where, False, nothing, nothing, nothing.astype(np.uint16), np.empty(0, np.float32))
        self.dx, self.dy, self.chosen = np.empty((3, number), np.int32)
        self.cell, self.radius = np.empty(number, np.uint16), np.empty(number, np.float32)
        tracking.list_blocks(*where, True, self.dx, self.dy, self.cell, self.radius)
        self.offsets, self.cells = np.empty(number, np.uint32), np.empty(number, np.uint16)

    def _make_state(self, radii, widths, groups, columns, bins):
        """All that goes from frame to frame lies in one array, so that a frame that proves to be none can be undone."""
        sectors, every = (groups, self.sectors), (groups, columns, self.sectors)
        shapes = {"radii": radii.shape, "widths": widths.shape, "geometry": (4,), "noise": (4,), "seen": (8,),
                  "learned": every, "known": every, "used": every, "scale": every[:2], "trend": every[:2], "spread": every[:2],
                  "rest": (bins,), "grip": (bins,), "weights": sectors}
        self.state = np.zeros(sum(map(math.prod, shapes.values())))
        self.before, place = self.state.copy(), 0
        for name, shape in shapes.items():
            setattr(self, name, self.state[place:place + math.prod(shape)].reshape(shape))
            place += math.prod(shape)
        self.radii[:], self.widths[:], self.scale[:], self.weights[:] = radii, widths, 1.0, 1.0

    def _place(self, shape):
        """Put the table where its origin is; the stop and the mask stay where they are in the frame."""
        from .kernels import tracking

        self.number = tracking.place_blocks(self.dx, self.dy, self.cell, self.radius, self.x, self.y, self.size, self.bad,
                                            *shape, self.offsets, self.cells, self.chosen, self.count.reshape(-1),
                                            self.place.reshape(-1))
        self.screened, self.active = False, (self.offsets[:self.number], self.cells[:self.number])

    def _screen(self, frame):
        """Take hot and dead pixels out of the table, once after it was put somewhere; return whether there were any."""
        from .kernels import tracking

        expected = np.empty((3, *self.count.shape))
        tracking.predict(self.plan, self.harmonics, self.geometry, self.radii, self.widths, self.scale, self.rest, self.used,
                         self.noise, self.place, expected)
        mean, variance, height = expected.reshape(3, -1)
        reach = _HOT * (np.sqrt(variance) + self.noise[1]) + _UNEVEN * np.maximum(height, 0)
        before, self.screened = self.number, True
        self.number = tracking.drop_blocks(frame.reshape(-1), frame.shape[1], self.size, mean - reach, mean + reach,
                                           self.radius, self.offsets[:before], self.cells[:before], self.chosen[:before],
                                           self.count.reshape(-1), self.place.reshape(-1))
        self.active = self.offsets[:self.number], self.cells[:self.number]
        return self.number < before

    def fit(self, frame):
        """(cx, cy, cx_err, cy_err) in the next frame; the numbers to judge it by stand in `report`."""
        from .kernels import tracking

        self.before[:] = self.state
        self._fit(frame, tracking)
        if not self.screened and self._screen(frame):
            self.undo()
            self._fit(frame, tracking)
            if self.frames == 0:
                self._leave_out(frame, tracking)
        self.frames += 1
        self.told = self.report.tolist()
        x, y, x_err, y_err = self.told[tracking.X:]
        return self.x + x, self.y + y, x_err, y_err

    def _leave_out(self, frame, tracking):
        """Screen the first frame until nothing stands out any more, and forget what did: spots move with the rings."""
        for _ in range(_SCREENINGS):
            if not self._screen(frame):
                break
            self.undo()
            self._fit(frame, tracking)
        good, stay = self.chosen[:self.number].copy(), np.ones(len(self.dx), bool)
        self._place(frame.shape)
        stay[self.chosen[:self.number]] = False
        stay[good] = True
        stay &= ~self._spotted(~stay)[self.cell]
        self.dx, self.dy, self.cell, self.radius = (table[stay] for table in (self.dx, self.dy, self.cell, self.radius))
        self._place(frame.shape)
        self.screened = True
        self.undo()
        self._fit(frame, tracking)

    def _spotted(self, out):
        """Whether cells lie in a part of a ring of which more than a few blocks are `out`: what stays of a spot misleads."""
        groups = np.repeat(np.arange(len(self.plan[2])), np.diff(self.plan[0]))
        parts = groups[:, None] * self.sectors + np.arange(self.sectors)
        part = parts.reshape(-1)[self.cell]
        number = len(self.plan[2]) * self.sectors
        spotted = np.bincount(part, out, number) > _SPOTTED * np.bincount(part, minlength=number)
        return (spotted if spotted.mean() < 1 - _SEEN else np.zeros(number, bool))[parts].reshape(-1)

    def _fit(self, frame, tracking):
        tracking.gather(frame.reshape(-1), frame.shape[1], self.size, *self.active, self.flat_sums)
        tracking.fit_frame(self.frames, *self.arguments)

    def fit_again(self, frame):
        """`fit` of the frame that was fitted last, after the table has moved along."""
        geometry = self.geometry.copy()
        self.undo()
        self.geometry[:] = geometry
        self.frames -= 1
        return self.fit(frame)

    def undo(self):
        """Forget the frame that was fitted last."""
        self.state[:] = self.before

    def move_along(self, shape):
        """Let the table follow when the centre is more than `_FAR` from its origin; return whether it did."""
        x, y = self.told[self._at_x:self._at_x + 2]
        if abs(x) <= _FAR and abs(y) <= _FAR:
            return False
        whole = np.rint((x, y))
        self.x, self.y = int(self.x + whole[0]), int(self.y + whole[1])
        self.geometry[:2] -= self.stretch @ whole
        self._place(shape)
        return True


def _tilt(first, spans):
    """(smooth, slope) of the annuli: matrices that make a polynomial of values in their bins, and its slope per pixel."""
    smooth, slope = np.zeros((2, first[-1], first[-1]))
    for (start, stop), span in zip(itertools.pairwise(first), spans, strict=True):
        x = (2 * np.arange(stop - start) + 1) / (stop - start) - 1
        degree = min(_BENDS, stop - start - 1)
        columns = np.polynomial.legendre.legvander(x, degree)
        slopes = np.stack([np.polynomial.legendre.Legendre.basis(d).deriv()(x) for d in range(degree + 1)], axis=1)
        solve = np.linalg.pinv(columns)
        smooth[start:stop, start:stop], slope[start:stop, start:stop] = columns @ solve, slopes @ solve * (2 / span)
    return smooth, slope


def _spread_over_blocks(bad, size):
    """Whether the block of size x size pixels that begins at a pixel has a bad one in it; `bad` is used up."""
    step = 1
    while step < size:
        bad[:, :-step] |= bad[:, step:]
        bad[:-step] |= bad[step:]
        step *= 2
    return bad


def _bad_pixels(frame, mask, center):
    """What is masked, not finite, dead or in the shade of a beam stop, as uint8; without rows where nothing is."""
    from . import _ringsearch

    bad = kernel_mask(mask)
    bad = _ringsearch.without_dead_pixels(frame, bad)
    size, means, share = _ringsearch.blocks(frame, bad, _ringsearch.COARSE)
    search = _ringsearch.Search(means, share)
    shade = search.stop(*((v + 0.5) / size - 0.5 for v in center), size=size)
    broken = None if frame.dtype.kind != "f" else ~np.isfinite(frame)
    if not bad.size and not shade.any() and (broken is None or not broken.any()):
        return bad
    rows, columns = (np.arange(n) // size for n in frame.shape)
    hidden = shade[rows][:, columns].astype(np.uint8)
    for more in (bad if bad.size else None, broken):
        if more is not None:
            hidden |= more.astype(np.uint8)
    return hidden


def _choose(rings, shape, radius):
    """Groups of rings worth following, their annuli, and the size of the blocks to add up: (groups, edges, size)."""
    groups: list = []
    for ring in rings:
        before = groups[-1][-1] if groups else None
        if before and ring.radius - before.radius < _APART * (ring.width + before.width):
            groups[-1].append(ring)
        else:
            groups.append([ring])
    edges = [[max(group[0].radius - _REACH * group[0].width, 1.5), group[-1].radius + _REACH * group[-1].width]
             for group in groups]
    for (one, other), (inner, outer) in zip(itertools.pairwise(groups), itertools.pairwise(edges), strict=True):
        if inner[1] > outer[0]:
            gap = (other[0].radius - one[-1].radius) * one[-1].width / (one[-1].width + other[0].width)
            inner[1] = outer[0] = one[-1].radius + gap
    if radius is not None:
        nearest = min(range(len(groups)), key=lambda g: min(abs(ring.radius - radius) for ring in groups[g]))
        chosen = [nearest]
    else:
        chosen = _worth(groups, edges, math.prod(shape))
    groups, edges = [groups[g] for g in chosen], [edges[g] for g in chosen]
    return groups, edges, _block_size(ring for group in groups for ring in group)


def _block_size(rings):
    finest = min(ring.width for ring in rings)
    return max(size for size in _BLOCK_COST if size == 1 or size * _RESOLVED <= finest)


def _worth(groups, edges, pixels):
    """Numbers of the groups to follow: those that tell most for their cost, until enough is known or it costs too much."""
    told = [sum(1 / ring.radius_err ** 2 for ring in group) for group in groups]
    sizes = [_block_size(group) for group in groups]
    cost = [math.pi * (high ** 2 - low ** 2) / size ** 2 * _BLOCK_COST[size]
            for (low, high), size in zip(edges, sizes, strict=True)]
    order = sorted(range(len(groups)), key=lambda g: cost[g] / told[g])
    chosen: list = []
    for g in order:
        spent = sum(cost[i] for i in chosen)
        if chosen and (sum(told[i] for i in chosen) > _INFORMED * sum(told)
                       or spent + cost[g] > _BUDGET[0] + _BUDGET[1] * pixels):
            continue
        chosen.append(g)
    return sorted(chosen)


class CenterTracker:
    """Follows the centre of a ring pattern from frame to frame.

    The first frame is searched for rings by `edfast.fit_ring`. In the frames after it, only the pixels around the most telling
    rings are read; centre, radii and (unless switched off) the ellipse are fitted to each frame by itself. What the frames
    before have taught, heights and background of each sector of the azimuth and the noise, serves as weights.

    A frame in which the known rings cannot be followed, because they have moved by more than about 1.5 of their widths, become
    something else or vanished, is searched anew. Where nothing is found, the result is `lost`, and the search is tried again
    1, 2, 4, 8, 16, 32, 32 ... frames later; rings that are back where they were are seen at once. A frame that is evidently
    another one than that of the last attempt shortens the wait to 4 frames. A ring that appears is found within 32 frames.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the frames.
    mask : array_like of shape (H, W), optional
        True (or non-zero) = masked out. A beam stop is found without it.
    radius : float, optional
        Radius of the ring [pixel] that is followed, roughly. Without it those that tell most of the centre.
    ellipse : bool, default True
        Rings may be ellipses of one common shape, which may change; False: circles.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns of the frames.
    fit : RingFit or None
        The rings that are followed, with the newest centre; None where they are lost.

    Raises
    ------
    ValueError, TypeError
        An argument makes no sense.

    Notes
    -----
    A step is a jump if it exceeds, in units of its standard deviation, a distance of 5. The variance is that of both centres,
    and of the recent steps. Nothing is smoothed: a jump shows at full length in the frame in which it happens.

    A tracker belongs to one thread at a time; several trackers may work side by side.

    Examples
    --------
    >>> from edfast.simulate import drift_series
    >>> from edfast.tracking import CenterTracker
    >>> tracker = CenterTracker((128, 128))
    >>> for frame, truth in drift_series(4, (128, 128), radii=[40], velocity=(0.5, 0), random_state=0):
    ...     result = tracker.update(frame)
    ...     print(result.lost, abs(result.cx - truth.cx) < 5 * result.cx_err)
    False True
    False True
    False True
    False True
    """

    def __init__(self, shape, *, mask=None, radius=None, ellipse=True):
        if not isinstance(shape, (tuple, list)) or len(shape) != 2:
            raise ValueError(f"shape must be (rows, columns), not {shape!r}")
        self.shape = tuple(as_count(size, "shape", minimum=1) for size in shape)
        self._mask = as_mask(mask, self.shape)
        self._radius = None if radius is None else as_number(radius, "radius", above=0, unit="pixel")
        self._ellipse = as_flag(ellipse, "ellipse")
        self.reset()

    def reset(self):
        """Forget all frames: the next one is searched for its rings."""
        self._fit: Any = None       # RingFit of the last search,
        self._rings: Any = None     # the rings that it found,
        self._last: Any = None      # and the newest (cx, cy, cx_err, cy_err)
        self._lost, self._failed, self._waited, self._sample = 0, 0, 0, (0.0, 0.0)
        self._step, self._steps = _STEP ** 2, 1

    @property
    def fit(self):
        """The `RingFit` of the rings that are followed, with the newest centre; None where they are lost."""
        if self._fit is None or self._lost:
            return None
        cx, cy, cx_err, cy_err = self._last
        return dataclasses.replace(self._fit, cx=cx, cy=cy, cx_err=cx_err, cy_err=cy_err)

    def update(self, frame):
        """The centre of the next frame.

        Parameters
        ----------
        frame : array_like of shape (H, W)
            Any integer or floating dtype. Non-finite pixels are left out. It is neither changed nor kept.

        Returns
        -------
        TrackResult

        Raises
        ------
        ValueError, TypeError
            Not an image of the tracker's shape.
        """
        start = time.perf_counter()
        frame = as_image(frame, "frame")
        if frame.shape != self.shape:
            raise ValueError(f"frame has shape {frame.shape}, but the tracker was made for {self.shape}")
        found: Any = self._follow(frame) or self._search(frame)
        if found is None:
            self._lost += 1
            return TrackResult(math.nan, math.nan, math.nan, math.nan, True, False, time.perf_counter() - start)
        jumped = self._last is not None and self._is_jump(found)
        self._last, self._lost = found, 0
        cx, cy, cx_err, cy_err = found
        return TrackResult(cx, cy, cx_err, cy_err, False, jumped, time.perf_counter() - start)

    def _follow(self, frame):
        """Centre and errors by the rings that are known, or None where they are not what they were."""
        rings = self._rings
        if rings is None:
            return None
        found = rings.fit(frame)
        holds = self._holds()
        if holds and rings.move_along(self.shape):
            found = rings.fit_again(frame)
            holds = self._holds()
        if not holds:
            rings.undo()
            return None
        self._failed = 0
        return found

    def _holds(self):
        """Whether the fit of the known rings can be believed."""
        gain, cells, sectors, _, sure, high, share, height, x, y, *_ = self._rings.told
        enough = (_HIGH, _SURE) if not self._failed else (_BACK, _BACK)
        return (high > enough[0] and sure > enough[1] and gain < 1 and height > 0 and cells < max(_ROUGH, 2 * self._usual[0])
                and sectors < max(_ROUGH, 2 * self._usual[1]) and share > _SEEN * self._usual[2]
                and math.hypot(x, y) < self._rings.reach)

    def _search(self, frame):
        """Centre and errors by `fit_ring`, and rings to follow; None where there are none, or it is not yet tried again."""
        from .kernels.tracking import CELLS, SECTORS, SHARE

        self._waited += 1
        if self._failed and self._waited < min(2 ** (self._failed - 1), _LONGEST) and not (
                self._waited >= _SHORTEST and self._differs(frame)):
            return None
        self._waited = 0
        try:
            fit = fit_ring(frame, mask=self._mask, center=self._last and self._last[:2], radius=self._radius,
                           ellipse=self._ellipse, like=self._fit)
        except RingNotFoundError:
            self._failed, self._sample = self._failed + 1, _sample(frame)
            return None
        self._failed, self._fit = 0, fit
        rings = self._rings = _Rings(fit, frame, _bad_pixels(frame, self._mask, fit.center), self._radius, self._ellipse)
        found = rings.fit(frame)
        self._usual = rings.told[CELLS], rings.told[SECTORS], rings.told[SHARE]
        apart = math.dist(found[:2], fit.center)
        if not self._holds() or apart > max(_AGREED[0] * math.hypot(*found[2:], fit.center_err), _AGREED[1]):
            self._rings = None      # not to be followed: every frame is searched
        return *fit.center, fit.cx_err, fit.cy_err

    def _differs(self, frame):
        """Whether a frame is evidently another one than that in which nothing was found."""
        mean, _ = _sample(frame)
        return not abs(mean - self._sample[0]) <= 10 * self._sample[1]

    def _is_jump(self, found):
        """Whether the step to this centre is longer than errors and recent steps explain; the steps are learned."""
        frames, (x, y, x_err, y_err), (x0, y0, x0_err, y0_err) = self._lost + 1, found, self._last
        usual, dx, dy = frames * self._step, x - x0, y - y0
        far = dx * dx / (x_err * x_err + x0_err * x0_err + usual) + dy * dy / (y_err * y_err + y0_err * y0_err + usual)
        self._steps = min(self._steps + 1, _REMEMBERED)
        self._step += (min((dx * dx + dy * dy) / (2 * frames), 9 * self._step) - self._step) / self._steps
        return far > _JUMP ** 2


def _sample(frame):
    """(mean, its standard error) of a few pixels all over the frame."""
    step = max(1, math.isqrt(frame.size // 1024))
    values = frame[step // 2::step, step // 2::step].astype(np.float64)
    values = values[np.isfinite(values)]
    return (float(values.mean()), float(values.std()) / math.sqrt(values.size)) if values.size else (math.nan, 0.0)


def track_stack(dataset, *, name=None, mask=None, radius=None, ellipse=True, progress=False):
    """The centre of every frame of a stack, in the order of the scan.

    Parameters
    ----------
    dataset : array_like, h5py.Dataset, dask array or the like, of shape (N, H, W) or (rows, columns, H, W), or a path
        The frames. Memory maps and data sets are read in blocks, the next one while the last is worked on. A path is that
        of an HDF5, NeXus or .npy file.
    name : str, optional
        Of the data set in the file; by default the one that the file marks, otherwise the largest.
    mask, radius, ellipse
        As for `CenterTracker`.
    progress : bool, default False
        Show a bar on stderr, where that is a terminal.

    Returns
    -------
    StackTrack
        Arrays of shape (N,) or (rows, columns).

    Raises
    ------
    ValueError, TypeError
        No stack of frames, or an argument that makes no sense.
    FileNotFoundError, FileFormatError
        There is no such file, or it cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> from edfast.simulate import drift_series
    >>> from edfast.tracking import track_stack
    >>> series = drift_series(6, (128, 128), radii=[40], velocity=(0.5, 0), jitter=0, random_state=0)
    >>> frames = [frame for frame, truth in series]
    >>> track = track_stack(np.reshape(frames, (2, 3, 128, 128)))
    >>> track.cx.shape, bool(track.lost.any()), np.round(track.cx[0], 1).tolist()
    ((2, 3), False, [63.5, 64.0, 64.5])
    """
    with _opened(dataset, name) as stack:
        scan, frames = _in_one_row(stack)
        frames = _stacks.open_stack(frames)
        tracker = CenterTracker(frames.shape[1:], mask=mask, radius=radius, ellipse=ellipse)
        centers, flags = np.empty((4, frames.shape[0])), np.empty((2, frames.shape[0]), bool)
        for where, block in _stacks.blocks(frames, progress=progress):
            for number, frame in enumerate(block, where.start):
                result = tracker.update(frame)
                centers[:, number] = result.cx, result.cy, result.cx_err, result.cy_err
                flags[:, number] = result.lost, result.jumped
    return StackTrack(*centers.reshape(4, *scan), *flags.reshape(2, *scan))


@contextlib.contextmanager
def _opened(dataset, name):
    """The data set, of a file if it is a path."""
    if not isinstance(dataset, (str, os.PathLike)):
        if name is not None:
            raise ValueError(f"name is that of a data set in a file; there is no file to look for {name!r} in")
        yield dataset
        return
    from ._formats import open_dataset

    with open_dataset(dataset, name) as stack:
        yield stack


def _in_one_row(stack):
    """(shape of the scan, the frames of a stack as one of shape (N, H, W))."""
    if not hasattr(stack, "shape"):
        stack = np.asarray(stack)
    shape = tuple(stack.shape)
    if len(shape) != 4:
        return shape[:1], stack
    if 0 in shape:
        raise ValueError(f"dataset is empty (shape {shape})")
    if _stacks._is_h5(stack) and (mapped := _stacks._contiguous(stack)):
        stack.file.flush()  # the file has to have what was written
        stack = np.memmap(mapped[0], stack.dtype, "r", mapped[1], shape)
    if hasattr(stack, "reshape"):
        return shape[:2], stack.reshape((shape[0] * shape[1], *shape[2:]))
    return shape[:2], _Scan(stack)


class _Scan:
    """A 4-D data set that can only be sliced, as one of shape (N, H, W)."""

    def __init__(self, dataset):
        self.dataset, self.dtype = dataset, dataset.dtype
        self.columns = dataset.shape[1]
        self.shape = (dataset.shape[0] * self.columns, *dataset.shape[2:])

    def __getitem__(self, where):
        start, stop, _ = where.indices(self.shape[0])
        rows = range(start // self.columns, -(-stop // self.columns))
        return np.concatenate([self.dataset[row, max(start - row * self.columns, 0):stop - row * self.columns]
                               for row in rows])
