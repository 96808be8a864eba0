"""Bright spots of single crystallites on a ring, and how far they move it where they lie."""

import math

import numpy as np

from edfast.kernels._jit import jit

SPOT, BRIGHT = 4.0, 0.8  # times the usual scatter of the heights, and their size, by which a spot exceeds them
BROAD = 1.4             # times as wide as the ring may a spot be; texture is broader
EVEN = 1.0              # standard errors that the lower heights may lie apart where there is no texture


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
def shift_by_spots(heights, variances, seen, radius, width, shifts):
    """How far bright spots on a ring move it in each sector [pixel].

    A spot, round and as wide as its ring, runs straight on where the ring bends: an arc d away it stands d^2 / 2 R further in.
    Spots are taken out of the heights one by one, the most significant first.
    """
    lanes = heights.shape[0]
    shifts[:] = 0.0
    if seen.sum() < 8 or not 0.0 < width < radius:
        return
    known = np.sort(heights[seen])
    n = known.shape[0]
    even = known[n // 5] - known[n // 20] < EVEN * np.sqrt(np.median(variances[seen]))
    typical, low = (known[n // 5], known[n // 20]) if even else (known[2 * n // 5], known[n // 10])
    if not typical > 0.0:
        return
    usual, excess = np.sqrt((typical - low) ** 2 + variances), np.where(seen, heights - typical, 0.0)
    limits = np.maximum(SPOT * usual, 0.0 if even else BRIGHT * typical)
    arc = 2 * np.pi * radius / lanes
    reach = min(np.int64(4 * width / arc + 1.5), lanes // 2 - 1)
    beside = max(min(np.int64(width / arc + 0.5), reach), 1)
    # Where there is texture, only what is as narrow as a spot is one.
    most = np.exp(-(beside * arc / BROAD) ** 2 / (width ** 2 + arc ** 2 / 12))
    shape, moments = np.empty(2 * reach + 1), np.empty(2 * reach + 1)
    for _ in range(3 * lanes):
        j = np.argmax(excess / limits)
        if not excess[j] > limits[j]:
            break
        left, here, right = excess[(j - 1) % lanes], excess[j], excess[(j + 1) % lanes]
        flanks = max(excess[(j - beside) % lanes], 0.0) * max(excess[(j + beside) % lanes], 0.0)
        if not even and limits[j] > usual[j] and flanks > most * here * here:
            limits[j] = np.inf
            continue
        place = 0.0
        if min(left, right) > 0.0 and left * right < here * here:
            place = 0.5 * np.log(right / left) / np.log(here * here / (left * right))
        spot_in_sectors(min(max(place, -0.5), 0.5), arc, width, reach, shape, moments)
        height = 0.7 * here / shape[reach]
        for i in range(-reach, reach + 1):
            excess[(j + i) % lanes] -= height * shape[i + reach]
            shifts[(j + i) % lanes] -= height * moments[i + reach] / (2 * radius)
            # The rest of a spot that is beyond doubt belongs to it.
            if 2 * abs(i) <= reach:
                limits[(j + i) % lanes] = usual[(j + i) % lanes]
    for j in range(lanes):
        shifts[j] = shifts[j] / heights[j] if seen[j] and heights[j] > typical else 0.0
