"""Electron density on a grid from what atoms scatter: Gaussians spread over a grid, the exact transform made of it.

The sharpest atoms would need a grid far finer than the resolution. All are therefore blurred by the same Gaussian before they
are spread over a grid half as fine again as the resolution wants, and its transform, known exactly, is divided by that of the
blur: what the blur and the grid did is gone up to some 1e-6 of the largest density.
"""

import math

import numpy as np

_FINER = 1.5       # voxels of the working grid in half the resolution: with _NARROWEST, aliases stay below 1e-6
_NARROWEST = 12.0  # B of the narrowest Gaussian that is spread, in squares of the resolution [1]
_REACH = 5.5       # standard deviations after which a Gaussian is cut off; a millionth of it is beyond
_PLANES = 16       # of the working grid that are in memory at a time, on each thread


def density_cube(positions, kinds, occupancies, b_factors, amplitudes, exponents, resolution, voxel_size):
    """Density (n, n, n), float32 [electron / cubic Angstrom], n odd, positions[..., 0] along axis 0, the origin in the middle.

    Atom i, of kind k = kinds[i], has the form factor sum over g of amplitudes[k, g] exp(-exponents[k, g] s^2 / 4), where
    s = 1 / d = 2 sin(theta) / lambda; nothing beyond s = 1 / resolution is in the density. Lengths in Angstrom.
    """
    from scipy.fft import irfftn

    blur = _NARROWEST * resolution**2 - (b_factors.min() + exponents.min())
    widest = b_factors.max() + exponents.max() + blur
    radius = np.linalg.norm(positions, axis=1).max() + _REACH * math.sqrt(widest / 8) / math.pi
    n = _odd_fast(2 * math.ceil(radius / voxel_size) + 1)
    spectrum = _spectrum(positions, kinds, occupancies, b_factors + blur, amplitudes, exponents, resolution, n, voxel_size)
    kept = spectrum.shape[2] - 1
    s = np.r_[0:kept + 1, -kept:0] / (n * voxel_size)
    s2 = (s * s)[:, None, None] + (s * s)[:, None] + (s * s)[:kept + 1]
    inside = s2 * resolution**2 <= 1 + 1e-9
    spectrum *= np.exp(blur / 4 * s2, out=np.zeros(s2.shape), where=inside) / voxel_size**3
    whole = np.zeros((n, n, n // 2 + 1), np.complex64)
    index = np.r_[0:kept + 1, n - kept:n]
    whole[index[:, None], index, :kept + 1] = spectrum
    return irfftn(whole, (n, n, n), overwrite_x=True)


def _spectrum(positions, kinds, occupancies, widths, amplitudes, exponents, resolution, n, voxel_size):
    """Transform of the blurred atoms in a box of n voxels: frequencies -k..k, -k..k and 0..k, those of the resolution."""
    from scipy.fft import fft, next_fast_len, rfft

    from ..kernels import density
    from ..kernels._bands import in_bands

    length = n * voxel_size
    kept = math.floor(length / resolution + 1e-9)
    m = next_fast_len(math.ceil(_FINER * 2 * length / resolution), real=True)
    step = length / m
    index = np.r_[0:kept + 1, m - kept:m]
    in_voxels = (positions + n // 2 * voxel_size) / step
    halfway = np.empty((m, index.size, kept + 1), np.complex64)

    def planes(start, stop):
        # Never the whole working grid: some planes, of whose transform only the low frequencies are kept.
        for first in range(start, stop, _PLANES):
            work = np.zeros((min(_PLANES, stop - first), m, m), np.float32)
            density.add_gaussians(work, first, in_voxels, kinds, occupancies, widths / step**2, amplitudes,
                                  exponents / step**2, _REACH)
            halfway[first:first + len(work)] = fft(rfft(work, axis=2)[:, :, :kept + 1], axis=1)[:, index]

    def columns(start, stop):
        spectrum[:, start:stop] = fft(halfway[:, start:stop], axis=0)[index]

    in_bands(planes, m, m**3)
    spectrum = np.empty((index.size, index.size, kept + 1), np.complex64)
    in_bands(columns, index.size, m**3)
    return spectrum


def _odd_fast(n):
    """Smallest odd number of at least `n` with no prime factor above 11."""
    n |= 1
    while True:
        rest = n
        for prime in (3, 5, 7, 11):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 2
