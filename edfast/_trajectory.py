"""The centres of a series of files: which of them jump or are badly known, and a robust trajectory beside them."""

import itertools

import numpy as np

SPAN = 11           # files of which the running median is taken
_STEADY = 31        # files over which the speed of the trajectory is taken
_CALM = 101         # files over which the trajectory's own scatter is taken
_FAR = 6.0          # times scatter and error together that a centre may be away from its neighbours' median
_FEW = 20.0         # files with which that is doubled
_VAGUE = 5.0        # times the typical error of the run from where on a centre is badly determined
_NORMAL = 1.4826    # standard deviation of a normal distribution over its median absolute deviation


def find_flags(centers, errors, converged, resolution=0.05):
    """Which centres of a series stand out, which are badly determined, and where the trajectory steps aside.

    A centre is alone if it is far from the running median of its neighbours, and a step leads to it if the trajectory goes on
    from it elsewhere than it came from: by more than six times its error and the scatter that the trajectory has there anyway.
    It is uncertain if its error is more than five times the median of all, or its fit has not converged.

    Parameters
    ----------
    centers, errors : ndarray of shape (N, 2)
        Finite centres, and their standard errors or NaN [pixel].
    converged : ndarray of shape (N,)
        bool
    resolution : float, optional
        What the scatter is at least [pixel].

    Returns
    -------
    alone, steps, uncertain : ndarray of shape (N,), bool
    """
    errors = np.nan_to_num(errors)
    radius = np.hypot(*errors.T)
    known = radius[radius > 0]
    uncertain = ~converged | (radius > _VAGUE * np.median(known) if known.size else False)
    alone, steps = np.zeros((2, len(centers)), bool)
    if len(centers) > SPAN:
        for axis in (0, 1):
            alone |= _stands_out(centers[:, axis], errors[:, axis], resolution)
        for axis in (0, 1):
            # Without those that stand out alone, since going there and back is two steps.
            steps |= _steps(_without(centers[:, axis], alone | uncertain), errors[:, axis], resolution)
    return alone, steps & ~alone, uncertain


def smooth(centers, left_out, steps):
    """A robust trajectory of shape (N, 2): parabolas through the neighbours, without those `left_out`, and not across `steps`.

    The parabolas are least-squares fits to 11 files, those of Savitzky and Golay (https://doi.org/10.1021/ac60214a047).
    """
    from scipy.signal import savgol_filter

    found = np.empty_like(centers)
    edges = [0, *np.flatnonzero(steps[1:]) + 1, len(centers)]
    for start, stop in itertools.pairwise(edges):
        span = min(SPAN, (stop - start) - 1 + (stop - start) % 2)
        for axis in (0, 1):
            part = _without(centers[start:stop, axis], left_out[start:stop])
            found[start:stop, axis] = savgol_filter(part, span, 2) if span > 2 else part
    return found


def _stands_out(values, errors, resolution):
    """Which values are far from the median of their neighbours, apart from the speed at which they move there anyway."""
    level = values - _trend(values)
    return _far(level - _running_median(level, SPAN), errors, resolution)


def _steps(values, errors, resolution):
    """Which values are far from the one before, more than the trajectory moves there anyway."""
    moves = np.diff(values)
    found = _far(moves - _running_median(moves, SPAN), np.hypot(errors[1:], errors[:-1]), resolution)
    return np.concatenate([[False], found])


def _far(off, errors, resolution):
    size = np.abs(off)
    scatter = np.maximum(_NORMAL * np.maximum(_running_median(size, _CALM), np.median(size)), resolution)
    # What the scatter of a dozen files is, a dozen files hardly tell.
    return size > _FAR * (1 + _FEW / len(size)) * np.hypot(scatter, errors)


def _running_median(values, span):
    from scipy.ndimage import median_filter

    return median_filter(values, min(span, len(values) - 1 + len(values) % 2), mode="mirror")


def _trend(values):
    """How the values move on in the median, summed up."""
    return np.concatenate([[0.0], np.cumsum(_running_median(np.diff(values), _STEADY))])


def _without(values, left_out):
    """The values, with those `left_out` on lines between the others and along the trend beyond them."""
    keep = ~left_out
    if keep.all() or not keep.any():
        return values
    trend, place = _trend(values), np.arange(len(values))
    return trend + np.interp(place, place[keep], (values - trend)[keep])
