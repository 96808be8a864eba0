"""A mixture of two Gaussians on a line, by expectation maximisation."""

import numpy as np

from ._jit import jit


@jit(fastmath=True)
def maximise(x, share, floor, weights, means, variances):
    """Weights, means and variances (2,) from the `share` of each of `x` in the upper component.

    A component is at least `floor` times as wide as the two are apart.
    """
    whole = 0.0
    for i in range(x.size):
        whole += share[i]
    weights[1] = min(max(whole / x.size, 1e-9), 1 - 1e-9)
    weights[0] = 1 - weights[1]
    means[:], variances[:] = 0.0, 0.0
    for i in range(x.size):
        means[0] += (1 - share[i]) * x[i]
        means[1] += share[i] * x[i]
    means /= weights * x.size
    for i in range(x.size):
        variances[0] += (1 - share[i]) * (x[i] - means[0]) ** 2
        variances[1] += share[i] * (x[i] - means[1]) ** 2
    variances /= weights * x.size
    least = (floor * (means[1] - means[0])) ** 2 + 1e-18
    for j in range(2):
        variances[j] = max(variances[j], least)


@jit
def fit(x, split, rounds, tolerance, floor, share, weights, means, variances):
    """Fit from the division of sorted `x` at `split` (0: from `share` as it is); return the mean log-likelihood.

    Ends after `rounds`, or when the likelihood grows by less than `tolerance`.
    """
    for i in range(x.size if split else 0):
        share[i] = 1.0 if i >= split else 0.0
    before = likelihood = -np.inf
    for _ in range(rounds):
        maximise(x, share, floor, weights, means, variances)
        likelihood = 0.0
        front0, front1 = np.log(weights[0]) - 0.5 * np.log(variances[0]), np.log(weights[1]) - 0.5 * np.log(variances[1])
        half0, half1 = 0.5 / variances[0], 0.5 / variances[1]
        product = 1.0
        for i in range(x.size):
            lower = front0 - half0 * (x[i] - means[0]) ** 2
            upper = front1 - half1 * (x[i] - means[1]) ** 2
            most = max(lower, upper)
            rest = np.exp(min(lower, upper) - most)
            share[i] = (1.0 if upper >= lower else rest) / (1 + rest)
            likelihood += most
            product *= 1 + rest
            if i % 512 == 511:  # a logarithm of hundreds of factors, each at most 2, rather than hundreds of logarithms
                likelihood += np.log(product)
                product = 1.0
        likelihood = (likelihood + np.log(product)) / x.size
        if abs(likelihood - before) < tolerance:
            break
        before = likelihood
    return likelihood
