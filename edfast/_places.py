"""Where each ring of a pattern stands all round: its radius, its centre and its shape, with its neighbours in the model.

The pattern is unrolled about the common centre. Each sector shows rings, with heights of their own, on a smooth background.
How far a ring is from where it was expected depends on the azimuth by changes of its radius and its centre, and by a strain.
Those of all rings are fitted together (Gauss-Newton, the heights eliminated), so that close rings do not pull at each other.
The noise is what the sectors show of it, and where a ring is no ellipse, its errors grow with that.
"""

import math
from typing import NamedTuple

import numpy as np

from ._pawley import splines
from ._profile import unrolled
from ._validation import kernel_mask
from .rings import _levels

N, _WIDTHS = 5, 4   # numbers that describe a ring: change of its radius, shift of its centre, strain; and all widths
_SECTORS = 32
_FINENESS = 3.0     # bins per width of a ring, of one pixel at least
_KNOTS = 10.0       # widths between the knots of the background
_REACH = 5.0        # widths about a ring from where on nothing is told of it
_BESIDE = 2.0       # widths about a ring in which what the model leaves casts doubt on its radius
_LEAST = 0.25       # share of the azimuth that must be seen
_TURNS = 14
_STILL = 0.05       # step in standard errors that is the last
_OUTLIER = 3.0      # standard errors from where on a cell, or a ring in a sector, counts less
_RIDGE = 1e-6       # of what is usual: what a sector shows less of is not solved for
_MOST, _LOST = 0.3, 1.5     # widths that a ring moves at most in a turn, and in all


class Places(NamedTuple):
    """What was found of R rings.

    values : (R, 5), what is to be added to the expected radius [pixel], to the centre (x, y) of the fit [pixel], and to the
    components of its strain. information : (5 R, 5 R), the inverse of their covariance. width : of the rings [pixel].
    """

    values: np.ndarray
    information: np.ndarray
    width: float

    @property
    def covariance(self):
        """(5 R, 5 R); where nothing is told, the variance is infinite."""
        size = np.sqrt(np.diag(self.information))
        known = size > 0
        scaled = (self.information / np.outer(size + ~known, size + ~known))[np.ix_(known, known)]
        result = np.diag(np.where(known, 0, np.inf))
        result[np.ix_(known, known)] = np.linalg.pinv(scaled, hermitian=True) / np.outer(size[known], size[known])
        return result

    @property
    def errors(self):
        """Standard errors of the values, (R, 5)."""
        return np.sqrt(np.diag(self.covariance)).reshape(-1, N)


def find_places(image, mask, fit, radii, heights, ring, width):
    """The `Places` of rings, each made of one or several reflections that move together, about the centre of a `RingFit`.

    `radii` and `heights` are those of the reflections, `ring` says to which ring each of them belongs, or -1: it stays where
    it is. `width` is about that of a ring.
    """
    from threadpoolctl import threadpool_limits

    from .kernels import polar

    strain = fit.strain
    s11, s12, s22 = polar.stretch(*strain)
    plane = np.array([[s11, s12], [s12, s22]])
    cells = _cells(image, mask, fit, strain, radii[ring >= 0], width)
    # Small matrices: threads would only wait for each other.
    with threadpool_limits(1, "blas"):
        found = _Fit(cells, radii, heights, ring, width, polar.sector_angles(_SECTORS, s11, s12)).run()
    # What was found lies in the plane in which the strain of the fit is undone.
    turn = np.kron(np.eye(len(found.values)), np.block([[np.eye(1), np.zeros((1, 4))],
                                                        [np.zeros((2, 1)), plane, np.zeros((2, 2))],
                                                        [np.zeros((2, 3)), np.eye(2)]]))
    values = np.linalg.solve(turn, found.values.ravel()).reshape(-1, N)
    return found._replace(values=values, information=turn.T @ found.information @ turn)


class _Cells(NamedTuple):
    """Of an unrolled pattern, (sectors, bins): number of pixels, 0 where unknown, mean, mean radius; smooth functions."""

    number: np.ndarray
    data: np.ndarray
    place: np.ndarray
    smooth: np.ndarray


def _cells(image, mask, fit, strain, radii, width):
    step = max(1.0, width / _FINENESS)
    lo = max(math.floor(radii.min() - _REACH * width), 0)
    n = math.ceil((radii.max() + _REACH * width - lo) / step)
    levels = _levels(image, kernel_mask(mask))
    frame, _ = levels.look(levels.place(fit.center))    # in the shade of a beam stop rings are somewhere else
    table = unrolled(image, levels.bad, frame.shade, frame.size * levels.factor, fit.center, strain, np.array([0, n]),
                     np.array([float(lo)]), np.array([step]), _SECTORS)
    middle = lo + (np.arange(n) + 0.5) * step
    smooth = splines(middle, _KNOTS * width)
    number = np.where(np.isfinite(table[..., 1]), table[..., 0], 0)
    known = number > 0
    data, place = (np.where(known, table[..., k], 0) / np.maximum(number, 1) for k in (1, 2))
    near = ((number > 0).mean(axis=0) > _LEAST) & (np.abs(middle[:, None] - radii) < _REACH * width).any(axis=1)
    return _Cells(number[:, near], data[:, near], (middle + place * step)[:, near], smooth[near])


class _Fit:
    """The fit, turn by turn."""

    def __init__(self, cells, radii, heights, ring, width, angles):
        self.cells, self.radii, self.heights = cells, radii, heights / heights.max()
        self.width, self.wider = width, np.zeros(_WIDTHS)
        # Of the rings, and of all that stays where it is.
        self.mine = (ring[:, None] == [*range(ring.max() + 1), -1]).astype(float)
        self.mine = self.mine[:, self.mine.any(axis=0)]
        self.rings = ring.max() + 1
        # Widths change along the radius, and on a tilted detector more than the radius does from one side to the other.
        ends = radii[ring >= 0].min(), radii[ring >= 0].max()
        even, along = np.ones(len(radii)), (radii - np.mean(ends)) / max(np.ptp(ends) / 2, 1)
        self.widening = [np.stack([even, along, radii / ends[1] * math.cos(angle), radii / ends[1] * math.sin(angle)], axis=1)
                         for angle in angles]
        self.middle = np.array([np.average(radii[ring == k], weights=heights[ring == k] + 1e-300) for k in range(self.rings)])
        ones = np.ones((len(angles), self.rings))
        # Means over a sector, and the direction across it, in which a shift moves a ring in second order.
        waves = [np.sinc(m / len(angles)) * wave(m * angles) for m in (1, 2) for wave in (np.cos, np.sin)]
        self.basis = np.stack([ones, *(ones * wave[:, None] for wave in waves)], axis=-1)
        self.basis[..., 3:] *= self.middle[:, None]
        self.across = np.stack([-np.sin(angles), np.cos(angles)], axis=-1)
        self.values = np.zeros((self.rings, N))
        self.weights, self.trust, self.noise = cells.number > 0, ones, np.ones(cells.data.shape[1])

    def run(self):
        """The `Places` when nothing moves any more."""
        for turn in range(_TURNS):
            gradient, information, scores = self._turn()
            step = _solve(information, gradient)
            steps = step[:-_WIDTHS].reshape(-1, N)
            moves = np.abs(np.einsum("jka,ka->jk", self.basis, steps)).max(axis=0)
            self.values += steps * np.minimum(1, _MOST * self.width / np.maximum(moves, 1e-300))[:, None]
            # What has run away is none, and would spoil its neighbours.
            self.mine[:, :self.rings] *= np.abs(self.values[:, 0]) < _LOST * self.width
            self.wider = np.clip(self.wider + np.clip(step[-_WIDTHS:], -0.2, 0.2), -0.6, 0.6)
            if turn > 4 and gradient @ step < _STILL**2 * len(step):
                break
        w = slice(-_WIDTHS, None)
        kept = information - information[:, w] @ np.linalg.pinv(information[w, w]) @ information[w]
        kept = kept[:-_WIDTHS, :-_WIDTHS]
        doubt = np.repeat(self._excess(scores)[:, None], N, axis=1)
        doubt[:, 0] *= self._misfit()
        return Places(self.values, kept / np.outer(doubt, doubt), self.width * math.exp(self.wider[0]))

    def _turn(self):
        """(gradient, information, scores of the rings in the sectors) at the present places."""
        cells, size = self.cells, N * self.rings + _WIDTHS
        gradient, information, rests = np.zeros(size), np.zeros((size, size)), np.zeros(cells.data.shape)
        scores = np.zeros((len(rests), self.rings))
        for j in range(len(rests)):
            weights = self.weights[j] * cells.number[j] / self.noise**2
            rests[j], moved = self._sector(j, weights)
            pulls, inner = moved.T @ (weights * rests[j]), (moved.T * weights) @ moved
            own = np.diag(inner)[:self.rings]
            scores[j] = np.where(own > 0, pulls[:self.rings] / np.sqrt(np.maximum(own, 1e-300)), 0)
            spread = np.zeros((self.rings + _WIDTHS, size))
            for k in range(self.rings):
                spread[k, N * k:N * k + N] = self.basis[j, k]
            spread[-_WIDTHS:, -_WIDTHS:] = np.eye(_WIDTHS)
            trust = np.append(self.trust[j], np.ones(_WIDTHS))
            gradient += spread.T @ (trust * pulls)
            information += spread.T @ (inner * np.sqrt(np.outer(trust, trust))) @ spread
        self.rests = rests
        self._learn(rests, scores)
        return gradient, information, scores

    def _sector(self, j, weights):
        """(data less the best model of a sector, what it changes by if rings move or widen and heights follow)."""
        aside = self.values[:, 1:3] @ self.across[j]
        place = np.append(np.einsum("ka,ka->k", self.basis[j], self.values) - aside**2 / (2 * self.middle), 0)
        widths = self.width * np.exp(self.widening[j] @ self.wider)
        radii = self.radii + self.mine @ place[:self.mine.shape[1]]
        u = (self.cells.place[j][:, None] - radii) / widths
        shapes = self.heights * np.exp(-0.5 * u**2)
        linear = np.concatenate([shapes @ self.mine, self.cells.smooth], axis=1)
        usual = np.median(self.cells.number) * (linear**2 / self.noise[:, None] ** 2).sum(axis=0)
        normal = (linear.T * weights) @ linear + np.diag(_RIDGE * usual + 1e-300)
        found = np.linalg.solve(normal, linear.T @ (weights * self.cells.data[j]))
        high = np.maximum(found[:self.mine.shape[1]], 0)
        moved = (shapes * u / widths) @ self.mine * high
        wider = shapes * u**2 * (self.mine @ high)
        moved = np.concatenate([moved[:, :self.rings], wider @ self.widening[j]], axis=1)
        follows = np.linalg.solve(normal, (linear.T * weights) @ moved)
        return self.cells.data[j] - linear @ found, moved - linear @ follows

    def _learn(self, rests, scores):
        """Noise and outliers from what the model has left."""
        known = self.cells.number > 0
        lone = np.where(known, rests, np.nan)
        lone = np.where(known, rests - np.nanmedian(lone, axis=0), 0) * np.sqrt(self.cells.number)
        square = np.nanmedian(np.where(known, lone**2, np.nan), axis=0)
        free = 1 - (self.mine.shape[1] + self.cells.smooth.shape[1]) / rests.shape[1]
        wide = np.ones(5) / 5
        self.noise = np.sqrt(np.convolve(np.pad(square, 2, "edge"), wide, "valid") / 0.4549 / max(free, 0.2)) + 1e-12
        self.weights = known * np.minimum(1, _OUTLIER / np.maximum(np.abs(lone) / self.noise, 1e-9))
        usual = np.maximum(np.median(np.abs(scores), axis=0) / 0.6745, 1)
        self.trust = np.minimum(1, _OUTLIER * usual / np.maximum(np.abs(scores), 1e-9))

    def _misfit(self):
        """By how much all sectors alike differ from the model beside each ring, in standard errors, at least 1.

        No ring is exactly Gaussian, and some hide another one.
        """
        weights = self.weights * self.cells.number / self.noise**2
        total = weights.sum(axis=0)
        square = (weights * self.rests).sum(axis=0) ** 2 / np.maximum(total, 1e-300)
        middle = np.median(self.cells.place, axis=0)
        near = (np.abs(middle - self.middle[:, None]) < _BESIDE * self.width) & (total > 0)
        n = np.maximum(near.sum(axis=1), 1)
        return np.sqrt(np.maximum(near @ square / n / (1 + 2 * np.sqrt(2 / n)), 1))

    def _excess(self, scores):
        """By how much the sectors of each ring scatter more than the noise allows, at least 1."""
        number = np.maximum((scores != 0).sum(axis=0) - N, 1)
        return np.sqrt(np.maximum((self.trust * scores**2).sum(axis=0) / number, 1))


def _solve(matrix, right):
    """The solution where there is one, and nothing where the matrix is empty."""
    size = np.sqrt(np.diag(matrix)) + 1e-150
    return np.linalg.solve(matrix / np.outer(size, size) + _RIDGE * np.eye(len(size)), right / size) / size
