"""A mixture of two Gaussians on a line: where scores fall into two groups."""

from typing import NamedTuple

import numpy as np

FITTED = 20_000  # values that are fitted at most; of more, evenly spaced ones in order of size
STARTS = (0.1, 0.25, 0.5, 0.75, 0.9)  # parts of the values that are in the lower component to begin with
FIRST_ROUNDS, ROUNDS = 15, 1000  # from each start, and from where the likeliest of them is then
FLOOR = 1e-3  # width of a component over the distance of the two, at least: it must not shrink to one value


class Mixture(NamedTuple):
    """Weights, means and standard deviations of the lower and the upper component, and the value that divides them."""

    weights: np.ndarray
    means: np.ndarray
    deviations: np.ndarray
    cut: float


def two_gaussians(values):
    """Fit a mixture of two Gaussians to finite `values` by expectation maximisation, from several starts.

    Returns None where there are fewer than two different values.
    """
    values = np.sort(np.asarray(values, np.float64))
    if values.size < 2 or values[0] == values[-1]:
        return None
    values = values[np.linspace(0, values.size - 1, min(values.size, FITTED)).astype(np.int64)]
    low, scale = values[0], values[-1] - values[0]
    x = (values - low) / scale

    from ..kernels.mixture import fit

    share, (weights, means, variances) = np.empty(x.size), np.empty((3, 2))

    def likelihood(split, rounds):
        return fit(x, split, rounds, 1e-9, FLOOR, share, weights, means, variances)

    splits = {_best_split(x)} | {min(max(round(part * x.size), 1), x.size - 1) for part in STARTS}
    best = max(sorted(splits), key=lambda split: likelihood(split, FIRST_ROUNDS))
    likelihood(best, ROUNDS)
    order = np.argsort(means)
    weights, means, variances = weights[order], means[order], variances[order]
    return Mixture(weights, low + scale * means, scale * np.sqrt(variances),
                   float(low + scale * _cut(weights, means, variances)))


def _best_split(x):
    """Index that divides sorted `x` into two groups with the least sum of squares within."""
    n = np.arange(1, x.size)
    total = np.cumsum(x)
    lower, upper = total[:-1] / n, (total[-1] - total[:-1]) / (x.size - n)
    return int(np.argmax(n * (x.size - n) * (upper - lower) ** 2)) + 1


def _cut(weights, means, variances):
    """Where the upper component becomes the likelier one, between the two means."""
    low, high = means.tolist()
    front, half = (np.log(weights) - 0.5 * np.log(variances)).tolist(), (0.5 / variances).tolist()
    first, second = low, high
    for _ in range(60):
        middle = (low + high) / 2
        lower, upper = front[0] - half[0] * (middle - first) ** 2, front[1] - half[1] * (middle - second) ** 2
        low, high = (middle, high) if lower >= upper else (low, middle)
    return (low + high) / 2
