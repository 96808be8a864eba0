"""The camera length from the whole radial profile: all reflections at once, each with a height of its own.

Where reflections blend, the radius of a ring depends on heights that nobody knows well. Here they are fitted: places follow
from the camera length alone, heights are free (and held only loosely to those that the structure gives), width and background
vary slowly. The error of the camera length contains what is unknown about all of them (Pawley, doi:10.1107/S0021889881009618).
"""

import math
from typing import NamedTuple

import numpy as np

_FAINT = 1e-3       # of the strongest: reflections below are left out
_LOOSE = 0.5        # relative standard deviation of a height from that of the structure
_NOTHING = 0.01     # of the strongest: the same for heights near zero
_KNOTS = 10.0       # widths between the knots of the background
_TIED = 0.3         # relative standard deviation of the width from that of the rings, and of its change along the profile
_LEAST = 30         # bins that a profile must have
_TURNS = 40
_STILL = 0.02       # step of the length, in standard errors, that is the last
_OUTLIER = 3.0      # standard errors of the profile from where on a bin counts less


class Length(NamedTuple):
    """Camera length and its standard error [pixel], chi2 per degree of freedom, heights of the reflections (0: left out)."""

    length: float
    error: float
    chi2: float
    heights: np.ndarray


def fit_profile(pattern, lines, length, heights, strangers):
    """The `Length` that explains the profile of a `Pattern`, looked for from `length` on; None where that does not tell.

    `heights` are those that the structure gives, for all `lines`; `strangers` are radii of rings without a reflection.
    """
    first, end = math.ceil(pattern.inner), min(math.floor(pattern.outer), len(pattern.mean))
    seen = first + np.flatnonzero(pattern.error[first:end] < np.inf)
    places = length * lines.tangent
    used = np.flatnonzero((heights > _FAINT * heights.max()) & (places > first - 3 * pattern.width)
                          & (places < end + 3 * pattern.width))
    if len(used) < 2 or len(seen) < _LEAST:
        return None
    radii, data, error = pattern.place[seen], pattern.mean[seen], pattern.error[seen]
    background, along = splines(radii, _KNOTS * pattern.width), np.linspace(-1, 1, len(radii))
    tangents, expected, n = lines.tangent[used], heights[used], len(used)
    current, trust, width, slope = expected, np.ones(len(radii)), pattern.width, 0.0
    for _ in range(_TURNS):
        u = (radii[:, None] - np.concatenate([length * tangents, strangers])) / (width * (1 + slope * along))[:, None]
        shapes = np.exp(-0.5 * u**2)
        lean = shapes[:, :n] * u[:, :n] * current / width
        broad = (lean * u[:, :n]).sum(axis=1)
        columns = np.column_stack([shapes, background, lean @ tangents, broad, broad * width * along])
        # Of the last three, the steps, the widths are held to the start; heights to those of the structure.
        loose = np.full(columns.shape[1], np.inf)
        loose[:n] = np.hypot(_LOOSE * expected, _NOTHING * heights.max())
        loose[-2:] = _TIED * pattern.width, _TIED
        held = np.concatenate([expected, np.zeros(len(loose) - n - 2), [pattern.width - width, -slope]])
        x, variance = _least_squares(columns, data, trust / error, held, loose)
        rest = (data - columns @ x) / error
        free = max(np.sum(trust**2) - len(x), 1.0)
        chi2 = float(np.sum((trust * rest) ** 2) / free)
        trust = np.minimum(1.0, _OUTLIER * max(1.0, np.median(np.abs(rest)) / 0.6745) / np.maximum(np.abs(rest), 1e-9))
        current = np.maximum(x[:n], 0)
        most, sigma = 0.3 * width / tangents.max(), math.sqrt(max(chi2, 1.0) * variance[-3])
        length += float(np.clip(x[-3], -most, most))
        width = float(np.clip(width + x[-2], 0.5 * pattern.width, 2 * pattern.width))
        slope = float(np.clip(slope + x[-1], -0.5, 0.5))
        if abs(x[-3]) < _STILL * sigma:
            found = np.zeros(len(heights))
            found[used] = current
            return Length(length, sigma, chi2, found)
    return None


def _least_squares(columns, data, weights, held, loose):
    """(solution, variances) of weighted equations, with unknowns held to values by standard deviations (inf: not)."""
    matrix = np.concatenate([columns * weights[:, None], np.diag(1 / loose)])
    scale = np.sqrt((matrix**2).sum(axis=0)) + 1e-300
    matrix /= scale
    inverse = np.linalg.inv(matrix.T @ matrix + 1e-12 * np.eye(len(scale)))
    return inverse @ (matrix.T @ np.concatenate([data * weights, held / loose])) / scale, np.diag(inverse) / scale**2


def splines(radii, gap):
    """Cubic B-splines about `gap` apart, as columns."""
    from scipy.interpolate import BSpline

    pieces = max(int((radii[-1] - radii[0]) / gap), 3)
    knots = np.linspace(radii[0], radii[-1], pieces + 1)
    knots = np.concatenate([[knots[0]] * 3, knots, [knots[-1]] * 3])
    return BSpline.design_matrix(radii, knots, 3).toarray()
