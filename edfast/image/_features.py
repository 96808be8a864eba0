"""Features of patterns for classification: logarithms of the moduli of their low frequencies, with one profile for all."""

import functools

import numpy as np

from .. import _stacks

_FRAMES = 16            # transformed at once: what is in work stays in the cache
_ROWS_AT_ONCE = 1024    # of the features, in the passes over them


def pattern_features(dataset, mask, low_filter, progress=False):
    """Features (N, M), float32, of a stack (N, H, W): half of the plane of low frequencies, see `cluster_fSpec`.

    The modulus is symmetric, so that half of the plane will do: what it stands for twice is multiplied by the root of two, and
    distances between patterns are those between the whole planes.
    """
    stack = _stacks.open_stack(dataset)
    _, height, width = stack.shape
    rows, columns = (min(int(low_filter * size / 2), (size - 1) // 2) for size in (height, width))
    ky, kx = np.r_[0:rows + 1, -rows:0], np.arange(columns + 1)
    shells, counts = _half_plane(ky / height, kx / width, max(height, width))
    masked = np.zeros(height * width, bool) if mask is None else mask.reshape(-1)
    features = np.empty((stack.shape[0], shells.size), np.float32)
    function, done = functools.partial(_moduli, masked=masked, ky=ky, columns=kx.size), 0
    for part in _stacks.per_block(function, dataset, progress=progress):
        features[done:done + len(part)] = part
        done += len(part)
    _normalise(features, shells, counts)
    return features


def _half_plane(fy, fx, size):
    """Shell of each frequency of the half plane, and how many of the whole plane it stands for (1 or 2)."""
    shells = np.rint(np.hypot(fy[:, None], fx) * size).astype(np.intp)
    counts = np.broadcast_to(np.where(fx > 0, 2.0, 1.0), shells.shape)
    _, shells = np.unique(shells, return_inverse=True)  # without the empty ones
    return shells.reshape(-1), counts.reshape(-1).copy()


def _moduli(block, *, masked, ky, columns):
    """Moduli (n, M) of the low frequencies of the frames of a block."""
    from scipy.fft import fft, rfft

    from ..kernels import features
    from ..kernels._bands import in_bands

    n, height, width = block.shape
    out = np.empty((n, ky.size, columns), np.float32)

    def band(start, stop):
        work = np.empty((min(_FRAMES, stop - start), height, width), np.float32)
        for first in range(start, stop, _FRAMES):
            frames = block[first:min(first + _FRAMES, stop)]
            real = work[:len(frames)]
            features.clean(frames.reshape(len(frames), -1), masked, real.reshape(len(frames), -1))
            # Rows first, of which only the low columns are transformed further.
            np.abs(fft(rfft(real, axis=2)[:, :, :columns], axis=1)[:, ky], out=out[first:first + len(frames)])

    in_bands(band, n, block.size)
    return out.reshape(n, -1)


def _normalise(values, shells, counts):
    """Give each row the mean profile of all, and take log(1 + x), in place."""
    from ..kernels import features
    from ..kernels._bands import in_bands

    means = np.empty((len(values), int(shells.max()) + 1))
    in_bands(lambda a, b: features.radial_means(values[a:b], shells, counts, means[a:b]), len(values), values.size)
    wanted, weights = means.mean(axis=0), np.sqrt(counts).astype(np.float32)

    def band(start, stop):
        for first in range(start, stop, _ROWS_AT_ONCE):
            part = slice(first, min(first + _ROWS_AT_ONCE, stop))
            features.scale_shells_inplace(values[part], shells, means[part], wanted)
            np.log1p(values[part], out=values[part])
            values[part] *= weights

    in_bands(band, len(values), values.size)
