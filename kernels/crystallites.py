"""Spots of single crystallites on a ring with texture: how many, where and how high, all at once, from heights in sectors.

Texture is the exponential of a Fourier series along the azimuth, positive and smooth; a spot is round and as wide as its ring.
How many harmonics and spots there are is decided by the Bayesian information criterion (doi:10.1214/aos/1176344136).
"""

import math

import numpy as np

from edfast.kernels._jit import jit
from edfast.kernels.rings import back_substitute, eliminate, invert

HARMONICS = 10      # of the texture, at most
SPOTS = 16          # on a ring, at most
CLEAR = 20.0        # by which chi2 must fall with a further spot,
CERTAIN = 14.0      # and rise without one that stays
PLACED = 6.0        # what a spot costs in addition to its two unknowns: it has been looked for all round
ROUGH = 0.02        # share of their heights by which sectors may be off the model
LOW = 0.3           # of the middle height: what is lower may be off by as much as this
HIDDEN = 0.02       # share of a spot that the texture must not be able to take for its own
TURNS = 12          # of a fit, at most
SETTLED = 1e-3      # share of chi2 by which it falls in the last turn
PATIENCE = 3        # further harmonics that are tried after the best number of them
FAR = 6.0           # a spot is nothing beyond so many widths


@jit
def along_ring(place, width, heights, slopes):
    """Mean over each sector of a spot of height 1, `place` sectors from the beginning of sector 0 and `width` sectors wide.

    `slopes` is how it changes with the place.
    """
    n, root = heights.shape[0], np.sqrt(0.5)
    for j in range(n):
        away = (j + 0.5 - place + 0.5 * n) % n - 0.5 * n
        low, high = (away - 0.5) / width, (away + 0.5) / width
        heights[j] = slopes[j] = 0.0
        if low < FAR and high > -FAR:
            heights[j] = width * np.sqrt(0.5 * np.pi) * (math.erf(high * root) - math.erf(low * root))
            slopes[j] = np.exp(-0.5 * low * low) - np.exp(-0.5 * high * high)


@jit(fastmath=True)
def _product(one, other, weights):
    total = 0.0
    for j in range(weights.shape[0]):
        total += one[j] * other[j] * weights[j]
    return total


@jit
def _model(waves, series, spots, width, columns, model):
    """Heights of the sectors, and in `columns` their derivatives: by the series, by place and height of each spot."""
    m = series.shape[0]
    model[:] = 0.0
    for p in range(m):
        model += series[p] * waves[p]
    for j in range(model.shape[0]):
        model[j] = np.exp(min(max(model[j], -30.0), 30.0))
    for p in range(m):
        columns[p] = waves[p] * model
    for k in range(spots.shape[0]):
        along_ring(spots[k, 0], width, columns[m + 2 * k + 1], columns[m + 2 * k])
        columns[m + 2 * k] *= spots[k, 1]
        model += spots[k, 1] * columns[m + 2 * k + 1]


@jit
def _fit(heights, precision, waves, series, spots, width, columns, model):
    """Least squares of series and spots, in place, after Levenberg and Marquardt; returns chi2 and the lowest gain.

    That is by how much chi2 would rise without the spot that tells least; its number is returned too.
    """
    m, n_spots = series.shape[0], spots.shape[0]
    size = m + 2 * n_spots
    equations, matrix, step = np.empty((size, size + 2)), np.empty((size, size + 2)), np.empty(size)
    tried, placed, damping, lower = series.copy(), spots.copy(), 1e-3, True
    _model(waves, series, spots, width, columns, model)
    chi2 = _product(heights - model, heights - model, precision)
    for _ in range(TURNS):
        rest, before = heights - model, chi2
        for p in range(size):
            for q in range(p, size):
                equations[p, q] = _product(columns[p], columns[q], precision)
            equations[p, size] = _product(columns[p], rest, precision)
        for _ in range(6):
            matrix[:] = equations
            for p in range(size):
                matrix[p, p] *= 1 + damping
            eliminate(matrix, size)
            back_substitute(matrix, size, step)
            for p in range(m):
                tried[p] = series[p] + min(max(step[p], -1.0), 1.0)
            for k in range(n_spots):
                placed[k, 0] = spots[k, 0] + min(max(step[m + 2 * k], -0.4), 0.4)
                placed[k, 1] = spots[k, 1] + step[m + 2 * k + 1]
            _model(waves, tried, placed, width, columns, model)
            chi2 = _product(heights - model, heights - model, precision)
            lower = chi2 <= before
            if lower:
                break
            damping *= 8
        if not lower:
            _model(waves, series, spots, width, columns, model)
            chi2 = before
            break
        series[:], spots[:] = tried, placed
        damping = max(damping / 8, 1e-6)
        if before - chi2 < SETTLED * max(chi2, 1.0):
            break
    weakest, least = -1, np.inf
    if n_spots > 0:
        inverse = np.empty((size, size))
        eliminate(equations, size)
        invert(equations, inverse)
        for k in range(n_spots):
            variance = inverse[m + 2 * k + 1, m + 2 * k + 1]
            gain = spots[k, 1] ** 2 / variance if variance > 0.0 and spots[k, 1] > 0.0 else 0.0
            if gain < least:
                weakest, least = k, gain
    return chi2, least, weakest


@jit
def _likeliest(rest, precision, columns, shapes, spot):
    """By how much a further spot would lower chi2, all else refitted, where it would most; its place and height in `spot`."""
    size, n = columns.shape
    base, one, number, best, root = np.empty((size, n)), np.ones(n), 0, 0.0, np.sqrt(precision)
    for p in range(size):
        new = columns[p] * root
        length = _product(new, new, one)
        for _ in range(2):
            for q in range(number):
                new -= _product(new, base[q], one) * base[q]
        left = _product(new, new, one)
        if left > 1e-12 * length:
            base[number] = new / np.sqrt(left)
            number += 1
    left = rest * root
    for q in range(number):
        left -= _product(left, base[q], one) * base[q]
    for i in range(shapes.shape[0]):
        shape = shapes[i] * root
        whole, told = _product(shape, shape, one), _product(shape, left, one)
        own = whole
        for q in range(number):
            own -= _product(shape, base[q], one) ** 2
        if told > 0.0 and own > HIDDEN * whole > 0.0 and told * told / own > best:
            best = told * told / own
            spot[0], spot[1] = i * n / shapes.shape[0], told / own
    return best


@jit
def find_spots(heights, variances, known, width, spots):
    """How many spots there are, `width` sectors wide; in `spots` their places (from the beginning of sector 0) and heights.

    Heights and their variances are those of the sectors that are `known`.
    """
    n, number, middle = heights.shape[0], known.sum(), np.median(heights[known])
    scaled, precision = np.zeros(n), np.zeros(n)
    for j in range(n):
        if known[j]:
            scaled[j] = heights[j] / middle
            precision[j] = 1 / (variances[j] / middle ** 2 + (ROUGH * max(scaled[j], LOW)) ** 2)
    most = min(2 * HARMONICS + 1, number // 2)
    waves, shapes, slopes = np.ones((2 * HARMONICS + 1, n)), np.empty((2 * n, n)), np.empty(n)
    for i in range(shapes.shape[0]):
        along_ring(0.5 * i, width, shapes[i], slopes)
    for p in range(1, waves.shape[0]):
        for j in range(n):
            waves[p, j] = np.cos((p + 1) // 2 * 2 * np.pi * (j + 0.5) / n - (p + 1) % 2 * 0.5 * np.pi)
    columns, model, found, other = np.empty((most + 2 * SPOTS, n)), np.empty(n), np.zeros((SPOTS, 2)), np.zeros((SPOTS, 2))
    series, trial, cost = np.zeros(most), np.zeros(most), np.log(number)
    n_found = n_best = harmonics = 0
    least = np.inf
    for m in range(1, most + 1, 2):
        if m // 2 > harmonics + PATIENCE:
            break
        chi2, gain, weakest = _fit(scaled, precision, waves[:m], series[:m], found[:n_found], width, columns, model)
        while n_found < SPOTS and m + 2 * n_found + 2 < 0.8 * number:
            other[:], trial[:] = found, series
            if not _likeliest(scaled - model, precision, columns[:m + 2 * n_found], shapes, other[n_found]) > CLEAR:
                break
            new, new_gain, new_weakest = _fit(scaled, precision, waves[:m], trial[:m], other[:n_found + 1], width, columns,
                                              model)
            if not (new < chi2 - CLEAR and new_gain > 0.0):
                break
            n_found += 1
            chi2, gain, weakest = new, new_gain, new_weakest
            found[:], series[:] = other, trial
        while n_found > 0 and gain < CERTAIN:
            n_found -= 1
            found[weakest] = found[n_found]
            chi2, gain, weakest = _fit(scaled, precision, waves[:m], series[:m], found[:n_found], width, columns, model)
        information = chi2 + cost * m + n_found * (2 * cost + PLACED)
        if information < least:
            least, harmonics, n_best = information, m // 2, n_found
            for k in range(n_found):
                spots[k, 0], spots[k, 1] = found[k, 0] % n, found[k, 1] * middle
    return n_best
