"""What patterns are told apart by: the moduli of their low frequencies, made comparable shell by shell."""

import numpy as np

from ._jit import jit

LARGEST = np.finfo(np.float32).max


@jit(fastmath=True)
def clean(frames, masked, out):
    """Copy `frames` (N, P), any real dtype, to `out`, float32: zero where masked (P,) or not finite."""
    for i in range(frames.shape[0]):
        clean_frame(frames[i], masked, out[i])


@jit(fastmath=True)
def clean_frame(frame, masked, out):
    """One frame: a function of its own, so that it is vectorised."""
    for p in range(frame.size):
        value = np.float32(frame[p])
        out[p] = value if abs(value) <= LARGEST and not masked[p] else np.float32(0)


@jit
def radial_means(features, shells, counts, out):
    """Mean over each shell of each row of `features` (N, M), float32: `out` (N, R), float64.

    Element m belongs to shell shells[m] and stands for counts[m] elements of the whole plane.
    """
    total = np.zeros(out.shape[1])
    for m in range(shells.size):
        total[shells[m]] += counts[m]
    for i in range(features.shape[0]):
        out[i] = 0
        for m in range(shells.size):
            out[i, shells[m]] += counts[m] * features[i, m]
        for r in range(total.size):
            out[i, r] /= total[r]


@jit
def scale_shells_inplace(features, shells, means, wanted):
    """Scale each row of `features` (N, M) shell by shell: from its `means` (N, R) to the `wanted` ones (R,)."""
    factors = np.empty(wanted.size, np.float32)
    for i in range(features.shape[0]):
        for r in range(wanted.size):
            factors[r] = wanted[r] / means[i, r] if means[i, r] > 0 else 0
        for m in range(shells.size):
            features[i, m] *= factors[shells[m]]
