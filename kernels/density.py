"""Electron density of atoms: Gaussians added to some planes of a grid."""

import math

import numpy as np

from ._jit import jit


@jit(fastmath=True)
def add_gaussians(planes, first, positions, kinds, weights, widths, amplitudes, exponents, reach):
    """Add the Gaussians of all atoms to `planes` (P, N, N), float32, the planes from `first` on of an (N, N, N) grid.

    Atom i stands at positions[i] (in voxels, axis by axis), is of kind kinds[i], counts weights[i]-fold and is blurred by
    widths[i]. Gaussian g of kind k holds amplitudes[k, g] electrons; its transform is exp(-(exponents[k, g] + widths[i]) s^2 /
    4) with s in 1 / voxel. It is cut off `reach` standard deviations from its middle, and lies inside of the grid up to there.
    """
    n = planes.shape[1]
    along_y, along_x = np.empty(n), np.empty(n, np.float32)
    for i in range(kinds.size):
        z0, y0, x0 = positions[i, 0], positions[i, 1], positions[i, 2]
        for g in range(amplitudes.shape[1]):
            width = exponents[kinds[i], g] + widths[i]
            amount = weights[i] * amplitudes[kinds[i], g] * (4 * math.pi / width) ** 1.5
            slope = 4 * math.pi * math.pi / width
            radius = reach * math.sqrt(width / (8 * math.pi * math.pi))
            top, bottom = max(math.ceil(z0 - radius), first), min(math.floor(z0 + radius), first + planes.shape[0] - 1)
            if amount == 0 or top > bottom:
                continue
            y1, y2, x1, x2 = math.ceil(y0 - radius), math.floor(y0 + radius), math.ceil(x0 - radius), math.floor(x0 + radius)
            for y in range(y1, y2 + 1):
                along_y[y] = math.exp(-slope * (y - y0) ** 2)
            for x in range(x1, x2 + 1):
                along_x[x] = math.exp(-slope * (x - x0) ** 2)
            for z in range(top, bottom + 1):
                left = radius * radius - (z - z0) ** 2
                plane = amount * math.exp(-slope * (z - z0) ** 2)
                for y in range(y1, y2 + 1):
                    half = left - (y - y0) ** 2
                    if half >= 0:
                        half = math.sqrt(half)
                        a, b = math.ceil(x0 - half), math.floor(x0 + half) + 1
                        add_row(planes[z - first, y, a:b], along_x[a:b], np.float32(plane * along_y[y]))


@jit(fastmath=True)
def add_row(row, values, factor):
    """Add `factor` times `values` to `row`: a function of its own, so that it is vectorised."""
    for i in range(row.size):
        row[i] += factor * values[i]
