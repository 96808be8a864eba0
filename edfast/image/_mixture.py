"""A mixture of two Gaussians on a line: where scores fall into two groups."""

from typing import NamedTuple

import numpy as np

FITTED = 50_000  # scores that are fitted at most; of more, evenly spaced ones in order of size
ROUNDS = 500


class Mixture(NamedTuple):
    """Weights, means and standard deviations of the lower and the upper component, and the value that divides them."""

    weights: np.ndarray
    means: np.ndarray
    deviations: np.ndarray
    cut: float


def two_gaussians(values):
    """Fit a mixture of two Gaussians to finite `values` by expectation maximisation, from several starts: the likeliest.

    Returns None where there are fewer than two different values. A component is at least a thousandth as wide as the two are
    apart, so that it does not shrink to one value.
    """
    values = np.sort(np.asarray(values, np.float64))
    if values.size < 2 or values[0] == values[-1]:
        return None
    values = values[np.linspace(0, values.size - 1, min(values.size, FITTED)).astype(np.int64)]
    low, scale = values[0], values[-1] - values[0]
    x = (values - low) / scale
    splits = {_best_split(x)} | {min(max(round(part * x.size), 1), x.size - 1) for part in (0.1, 0.25, 0.5, 0.75, 0.9)}
    _, weights, means, variances = max((_fit(x, split) for split in sorted(splits)), key=lambda fit: fit[0])
    order = np.argsort(means)
    weights, means, variances = weights[order], means[order], variances[order]
    return Mixture(weights, low + scale * means, scale * np.sqrt(variances),
                   float(low + scale * _cut(weights, means, variances)))


def _fit(x, split):
    """(mean log-likelihood, weights, means, variances) from sorted `x`, divided into two at `split` to begin with."""
    upper = (np.arange(x.size) >= split).astype(np.float64)
    share = np.stack([1 - upper, upper])
    before = -np.inf
    for _ in range(ROUNDS):
        weights = np.maximum(share.sum(axis=1), 1e-9)
        means = share @ x / weights
        floor = (1e-3 * abs(means[1] - means[0])) ** 2 + 1e-18
        variances = np.maximum((share * (x - means[:, None]) ** 2).sum(axis=1) / weights, floor)
        weights = weights / x.size
        joint = _log_joint(x, weights, means, variances)
        both = np.logaddexp(*joint)
        share = np.exp(joint - both)
        if abs(both.mean() - before) < 1e-8:
            break
        before = both.mean()
    return both.mean(), weights, means, variances


def _best_split(x):
    """Index that divides sorted `x` into two groups with the least sum of squares within."""
    n = np.arange(1, x.size)
    total = np.cumsum(x)
    lower, upper = total[:-1] / n, (total[-1] - total[:-1]) / (x.size - n)
    return int(np.argmax(n * (x.size - n) * (upper - lower) ** 2)) + 1


def _log_joint(x, weights, means, variances):
    """Logarithm of weight times density of both components, (2, N)."""
    x = np.atleast_1d(x)
    return (np.log(weights) - 0.5 * np.log(variances))[:, None] - 0.5 * (x - means[:, None]) ** 2 / variances[:, None]


def _cut(weights, means, variances):
    """Where the upper component becomes the likelier one, between the two means."""
    low, high = means
    for _ in range(100):
        middle = (low + high) / 2
        lower, upper = _log_joint(middle, weights, means, variances)[:, 0]
        low, high = (middle, high) if lower >= upper else (low, middle)
    return (low + high) / 2
