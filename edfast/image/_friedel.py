"""The centre of symmetry of a pattern: Friedel's law makes a diffraction pattern equal to itself turned by half a turn."""

import numpy as np

from .._validation import as_number

OVERLAP = 0.25  # share of the pixels that must have a partner


def friedel_center(pattern, hidden):
    """Centre (row, column) [pixel] about which `pattern` correlates best with itself turned by 180 degrees.

    Logarithms are compared, so that a few bright pixels do not decide alone. All centres are tried at once, on a grid of half
    pixels: the correlation of the pixels that have a partner, by Fourier transforms; a parabola finds the place between.
    """
    valid = ~hidden & np.isfinite(pattern)
    low = np.median(pattern[valid]) if valid.any() else 0.0
    values = np.where(valid, np.log1p(np.maximum(np.where(valid, pattern, 0) - low, 0)), 0.0)
    values -= np.where(valid, values[valid].mean() if valid.any() else 0, 0)
    shape = [2 * size for size in pattern.shape]
    weight, first, second = (np.fft.rfft2(x, shape) for x in (valid.astype(float), values, values ** 2))

    def product(a, b):
        return np.fft.irfft2(a * b, shape)[:shape[0] - 1, :shape[1] - 1]

    number = np.rint(product(weight, weight))
    mean, squares, pairs = (product(a, b) / np.maximum(number, 1)
                            for a, b in ((first, weight), (second, weight), (first, first)))
    spread = squares - mean ** 2
    enough = (number >= OVERLAP * valid.sum()) & (spread > 1e-9 * squares.max())
    if not enough.any():
        raise ValueError("the centre cannot be found: the mean pattern has no structure; give its coordinates in radii_range")
    # By chance, few pairs correlate better than many: the square root of their number makes up for that.
    score = np.where(enough, (pairs - mean ** 2) / np.where(enough, spread, 1) * np.sqrt(number), -np.inf)
    place = np.unravel_index(score.argmax(), score.shape)
    return tuple((at + _summit(score, place, axis)) / 2 for axis, at in enumerate(place))


def _summit(score, place, axis):
    """Where between its neighbours along `axis` the parabola through a maximum has its summit, -0.5 to 0.5."""
    before, after = (tuple(at + step * (k == axis) for k, at in enumerate(place)) for step in (-1, 1))
    if place[axis] == 0 or place[axis] == score.shape[axis] - 1:
        return 0.0
    a, b, c = score[before], score[place], score[after]
    return float((a - c) / (2 * (a - 2 * b + c))) if np.isfinite(a + c) and a - 2 * b + c < 0 else 0.0


def checked_radii(radii_range):
    """(center or None, inner, outer) from the document's list [Cx, Cy, inner, outer]; None is the whole pattern."""
    if radii_range is None:
        return None, 0.0, np.inf
    try:
        cx, cy, inner, outer = radii_range
    except (TypeError, ValueError):
        raise ValueError("radii_range must be [center x, center y, inner radius, outer radius], with None for a centre to be "
                         f"found, not {radii_range!r}") from None
    inner = as_number(inner, "radii_range's inner radius", minimum=0)
    outer = as_number(outer, "radii_range's outer radius", above=inner)
    if (cx is None) != (cy is None):
        raise ValueError(f"radii_range must have both coordinates of the centre or None for both, not {radii_range!r}")
    return None if cx is None else (cx, cy), inner, outer
