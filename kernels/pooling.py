"""Averages over blocks of pixels."""

import numpy as np

from ._jit import jit


@jit
def pool(volume, factors, out):
    """Mean of the finite voxels in each block of `factors` (3,) voxels, NaN where there is none; the last may be cut."""
    f0, f1, f2 = factors
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for k in range(out.shape[2]):
                total, n = 0.0, 0
                for a in range(i * f0, min((i + 1) * f0, volume.shape[0])):
                    for b in range(j * f1, min((j + 1) * f1, volume.shape[1])):
                        for c in range(k * f2, min((k + 1) * f2, volume.shape[2])):
                            if np.isfinite(volume[a, b, c]):
                                total += np.float64(volume[a, b, c])
                                n += 1
                out[i, j, k] = total / n if n else np.nan
