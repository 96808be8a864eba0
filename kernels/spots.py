"""Bright spots of single crystallites on a ring, and how far they move it where they lie.

A spot, round and as wide as its ring, runs straight on where the ring bends: an arc d away it stands d^2 / 2 R further in.
"""

import math

import numpy as np

from edfast.kernels._jit import jit

SPOT = 4.0      # times what is usual by which a spot exceeds what lies under it
EVEN = 1.5      # standard errors that the lower heights may lie apart where there is no texture
BESIDE = 2      # sectors on either side of a spot that tell, with those under it, the texture there
LIKE = 0.7      # share of what stands out of the texture there that a spot must explain
CROWDED = 0.6   # of the middle height: if sectors stand out by more in the end, spots are too many to be told from texture
BRIGHT, BROAD = 0.8, 1.4    # there, in typical heights and in widths of the ring, what a spot exceeds and is narrower than
GAIN = 0.7      # share of a spot on a floor that is taken out at once: spots that overlap are not told at first
FAINT = 0.1     # of the middle height: what is fainter of a ring is not moved


@jit
def spot_in_sectors(place, arc, width, reach, heights, moments):
    """Means over the sectors around a round spot of height 1: of the spot, and of the spot times its squared distance.

    The spot is `place` sectors from the middle of sector 0; sectors -reach to reach, each `arc` long.
    """
    for i in range(-reach, reach + 1):
        low, high = (i - place - 0.5) * arc / width, (i - place + 0.5) * arc / width
        area = np.sqrt(np.pi / 2) * (math.erf(high / np.sqrt(2)) - math.erf(low / np.sqrt(2)))
        rim = high * np.exp(-0.5 * high * high) - low * np.exp(-0.5 * low * low)
        heights[i + reach], moments[i + reach] = area * width / arc, (area - rim) * width ** 3 / arc


@jit
def spots_on_floor(heights, variances, seen, even, typical, low, arc, width, pulled):
    """Take spots out of what exceeds a `typical` height of a ring, one by one, the most significant first.

    The ring is `even`, and of this height all round, or so crowded that no other floor can be told: then only what is bright,
    and as narrow as a spot, is one. `pulled` gets height times squared distance, the mean over each sector.
    """
    lanes = heights.shape[0]
    usual, excess = np.sqrt((typical - low) ** 2 + variances), np.where(seen, heights - typical, 0.0)
    limits = np.maximum(SPOT * usual, 0.0 if even else BRIGHT * typical)
    reach = min(np.int64(4 * width / arc + 1.5), lanes // 2 - 1)
    beside = max(min(np.int64(width / arc + 0.5), reach), 1)
    most = np.exp(-(beside * arc / BROAD) ** 2 / (width ** 2 + arc ** 2 / 12))
    shape, moments = np.empty(2 * reach + 1), np.empty(2 * reach + 1)
    for _ in range(3 * lanes):
        j = np.argmax(excess / limits)
        if not excess[j] > limits[j]:
            return
        left, here, right = excess[(j - 1) % lanes], excess[j], excess[(j + 1) % lanes]
        flanks = max(excess[(j - beside) % lanes], 0.0) * max(excess[(j + beside) % lanes], 0.0)
        if not even and limits[j] > usual[j] and flanks > most * here * here:
            limits[j] = np.inf
            continue
        place = 0.0
        if min(left, right) > 0.0 and left * right < here * here:
            place = 0.5 * np.log(right / left) / np.log(here * here / (left * right))
        spot_in_sectors(min(max(place, -0.5), 0.5), arc, width, reach, shape, moments)
        height = GAIN * here / shape[reach]
        for i in range(-reach, reach + 1):
            k = (j + i) % lanes
            excess[k] -= height * shape[i + reach]
            pulled[k] += height * moments[i + reach]
            # The rest of a spot that is beyond doubt belongs to it.
            if 2 * abs(i) <= reach:
                limits[k] = usual[k]


@jit
def fill_gaps(values, seen):
    """Straight lines, around the circle, where nothing is seen."""
    lanes, last = values.shape[0], np.argmax(seen)
    for k in range(last + 1, last + lanes + 1):
        if seen[k % lanes]:
            for j in range(last + 1, k):
                values[j % lanes] = ((k - j) * values[last % lanes] + (j - last) * values[k % lanes]) / (k - last)
            last = k


@jit
def off_parabola(values, out):
    """Values of neighbouring sectors, an odd number, less the parabola through them by least squares."""
    n, half = values.shape[0], values.shape[0] // 2
    two = four = total = slope = bend = 0.0
    for i in range(-half, half + 1):
        two += i ** 2
        four += i ** 4
        total += values[i + half]
        slope += values[i + half] * i
        bend += values[i + half] * i * i
    det = n * four - two * two
    for i in range(-half, half + 1):
        under = (total * four - bend * two) / det + slope / two * i + (n * bend - two * total) / det * i * i
        out[i + half] = values[i + half] - under


@jit
def matched(shape, weights):
    """Weights with which neighbouring sectors tell the height of a spot of this `shape` on a parabola, by least squares."""
    off_parabola(shape, weights)
    weights /= np.sum(weights * shape)


@jit
def _correlate(values, weights, out):
    """Weighted sums of neighbouring values, around the circle."""
    lanes, half = values.shape[0], weights.shape[0] // 2
    around = np.concatenate((values[lanes - half:], values, values[:half]))
    for j in range(lanes):
        out[j] = np.sum(weights * around[j:j + weights.shape[0]])


@jit
def spots_in_texture(heights, variances, seen, arc, width, pulled):
    """Take the spots out of the heights of a ring with texture: what stands out of a parabola, in the shape of a spot.

    Texture that is as narrow is told by how much all sectors stand out: returned is how much they do in the end. `pulled` as
    in `spots_on_floor`.
    """
    lanes = heights.shape[0]
    reach = min(np.int64(4 * width / arc + 1.5), lanes // 4 - BESIDE)
    half = reach + BESIDE
    shape, moments, weights, near = np.zeros((4, 2 * half + 1))
    inner = slice(BESIDE, BESIDE + 2 * reach + 1)
    rest, found, noise = heights.copy(), np.empty(lanes), np.empty(lanes)
    fill_gaps(rest, seen)
    spot_in_sectors(0.0, arc, width, reach, shape[inner], moments[inner])
    matched(shape, weights)
    narrow, free = weights.copy(), seen.copy()
    _correlate(np.where(seen, variances, 0.0), narrow * narrow, noise)
    for _ in range(2 * lanes):
        _correlate(rest, narrow, found)
        usual = np.median(np.abs(found[seen])) / 0.6745
        limits = np.where(free, SPOT * np.sqrt(noise + usual * usual) + 1e-300, np.inf)
        j = np.argmax(found / limits)
        if not found[j] > limits[j]:
            break
        left, right = found[(j - 1) % lanes], found[(j + 1) % lanes]
        bend = left + right - 2 * found[j]
        place = min(max(0.5 * (left - right) / bend, -0.5), 0.5) if bend < 0.0 else 0.0
        spot_in_sectors(place, arc, width, reach, shape[inner], moments[inner])
        matched(shape, weights)
        chance = 0.0
        for i in range(-half, half + 1):
            near[i + half] = rest[(j + i) % lanes]
            chance += variances[(j + i) % lanes] if seen[(j + i) % lanes] else 0.0
        height = np.sum(weights * near)
        off_parabola(near, near)
        if height * height < LIKE * np.sum(weights * weights) * (np.sum(near * near) - chance):
            free[j] = False
            continue
        free[:] = seen
        for i in range(-half, half + 1):
            rest[(j + i) % lanes] -= height * shape[i + half]
            pulled[(j + i) % lanes] += height * moments[i + half]
    return usual


@jit
def shift_by_spots(heights, variances, seen, radius, width, shifts):
    """How far bright spots on a ring move it in each sector [pixel]."""
    lanes = heights.shape[0]
    shifts[:] = 0.0
    if seen.sum() < 8 or not 0.0 < width < radius:
        return
    known, arc, pulled = np.sort(heights[seen]), 2 * np.pi * radius / lanes, np.zeros(lanes)
    n = known.shape[0]
    middle = known[n // 2]
    if not known[n // 5] > 0.0:
        return
    if known[n // 5] - known[n // 20] < EVEN * np.sqrt(np.median(variances[seen])):
        spots_on_floor(heights, variances, seen, True, known[n // 5], known[n // 20], arc, width, pulled)
    elif spots_in_texture(heights, variances, seen, arc, width, pulled) > CROWDED * middle:
        pulled[:] = 0.0
        spots_on_floor(heights, variances, seen, False, known[2 * n // 5], known[n // 10], arc, width, pulled)
    for j in range(lanes):
        if seen[j] and heights[j] > FAINT * middle:
            shifts[j] = -pulled[j] / (2 * radius * heights[j])
