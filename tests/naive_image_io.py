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
