"""Slow, obvious twins of `edfast.image.quat`, `edfast.image.io` and `edfast.image.classify`."""

import math

import numpy as np


def quat_mul(p, q):
    """Hamilton's product from i^2 = j^2 = k^2 = ijk = -1, as products of complex 2 x 2 matrices (Pauli)."""
    def matrix(a):
        w, x, y, z = map(float, a)
        return np.array([[complex(w, x), complex(y, z)], [complex(-y, z), complex(w, -x)]])

    m = matrix(p) @ matrix(q)
    return np.array([m[0, 0].real, m[0, 0].imag, m[0, 1].real, m[0, 1].imag])


def rotate(vector, angle, axis):
    """`vector` turned about `axis` by `angle`: Rodrigues' formula."""
    v, k = np.asarray(vector, float), np.asarray(axis, float) / np.linalg.norm(axis)
    return v * math.cos(angle) + np.cross(k, v) * math.sin(angle) + k * (k @ v) * (1 - math.cos(angle))


def density(positions, occupancies, b_factors, form_factors, resolution, voxel_size, n):
    """Density in a cube of n voxels with the origin in the middle one: a sum over reciprocal space and over all atoms.

    form_factors[i](s2) is the form factor of atom i at s^2 [1 / square Angstrom].
    """
    length, volume = n * voxel_size, np.zeros((n, n, n))
    most = math.ceil(length / resolution) + 1
    grid = (np.arange(n) - n // 2) * voxel_size
    for h in range(-most, most + 1):
        for k in range(-most, most + 1):
            for m in range(-most, most + 1):
                s = np.array([h, k, m]) / length
                if s @ s > (1 + 1e-9) / resolution**2:
                    continue
                factor = sum(occupancy * f(s @ s) * math.exp(-b * (s @ s) / 4) * np.exp(-2j * math.pi * (s @ r))
                             for r, occupancy, b, f in zip(positions, occupancies, b_factors, form_factors, strict=True))
                x, y, z = (np.exp(2j * math.pi * component * grid) for component in s)
                volume += (factor * x[:, None, None] * y[:, None] * z).real / length**3
    return volume


def pdb_atoms(text):
    """Lists of [serial, name, altloc, residue name, chain, number, icode, x, y, z, occupancy, b, element], by the columns."""
    cuts = [(6, 11), (12, 16), (16, 17), (17, 20), (21, 22), (22, 26), (26, 27), (30, 38), (38, 46), (46, 54), (54, 60),
            (60, 66), (76, 78)]
    return [[line[a:b].strip() for a, b in cuts] for line in text.splitlines() if line[:6] in ("ATOM  ", "HETATM")]


def pattern_features(patterns, masked, low_filter):
    """Features of patterns, the whole plane of low frequencies: |FFT|, each shell scaled to the mean profile, log(1 + x)."""
    n, height, width = patterns.shape
    rows, columns = (min(int(low_filter * size / 2), (size - 1) // 2) for size in (height, width))
    ky, kx = np.arange(-rows, rows + 1), np.arange(-columns, columns + 1)
    planes = np.empty((n, ky.size, kx.size))
    for i in range(n):
        pattern = patterns[i].astype(float)
        pattern[masked | ~np.isfinite(pattern)] = 0
        planes[i] = np.abs(np.fft.fft2(pattern))[np.ix_(ky % height, kx % width)]
    shells = np.rint(np.hypot(ky[:, None] / height, kx / width) * max(height, width)).astype(int)
    for shell in np.unique(shells):
        means = np.array([plane[shells == shell].mean() for plane in planes])
        for plane, mean in zip(planes, means, strict=True):
            plane[shells == shell] *= means.mean() / mean if mean > 0 else 0
    return np.log(1 + planes).reshape(n, -1)


def hits(count, size, seed=0, photons=1500.0):
    """Photon counts of spheres (label 0) and of pairs of them (label 1), in any direction and flux: (patterns, labels)."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.4).astype(int)
    q = 3 * (np.arange(size) - size // 2) / size
    ky, kx = np.meshgrid(q, q, indexing="ij")
    patterns = np.empty((count, size, size), np.uint16)
    for i in range(count):
        x = math.pi * np.maximum(np.hypot(kx, ky), 1e-6) * rng.normal(6, 0.4)
        intensity = (3 * (np.sin(x) - x * np.cos(x)) / x**3) ** 2
        angle, apart = rng.uniform(0, math.pi), rng.uniform(8, 14)
        if labels[i]:
            intensity = 2 * intensity * (1 + np.cos(math.pi * apart * (kx * math.cos(angle) + ky * math.sin(angle))))
        patterns[i] = rng.poisson(np.minimum(intensity * rng.lognormal(0, 0.4) * photons, 6e4) + 0.2)
    return patterns, labels
