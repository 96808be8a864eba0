"""Which patterns are hits, and what to do with the pixels of those that are.

Patterns are (Nd, Nx, Ny), centres are in array-axis order, (axis 0, axis 1), [pixel]. A stack may be an array, a memory map,
an HDF5 data set, a dask array, or anything with shape and slicing; it is read block by block.
"""

import functools
import math

import numpy as np

from .._stacks import blocks, open_stack, per_block, per_frame, rewrite
from .._validation import as_center, as_count, as_data, as_image, as_jobs, as_mask, as_number, choose
from ._friedel import checked_radii, friedel_center

__all__ = ["adu2photon", "avg_pooling", "cal_correction_factor", "fix_artifact", "fix_artifact_auto", "hit_find",
           "hit_find_pearson", "hit_scores"]

SAMPLE = 100  # patterns from which adu2photon learns the unit
STANDS_OUT = 6.0  # robust standard deviations from which fix_artifact_auto calls a pixel bad


def hit_find(dataset, background, radii_range=None, mask=None, cut_off=None, *, progress=True):
    """Tell patterns of particles (hits) from empty shots, by how far they are from a background.

    The score of a pattern p is ``sum((p - b)^2) / sum((b - mean(b))^2)`` over the pixels of the annulus, b the background. A
    pattern is a hit if its score is above `cut_off`; without one, a mixture of two Gaussians is fitted to the logarithms of
    all scores (those of hits span decades), and a pattern is a hit above the value where the upper one becomes the likelier.
    That needs hits and empty shots in the data.

    Parameters
    ----------
    dataset : array_like, h5py.Dataset, dask array or the like, of shape (Nd, Nx, Ny)
        Patterns of any real dtype. It is not changed.
    background : array_like of shape (Nx, Ny)
        Pattern of an empty shot, best the mean of many.
    radii_range : sequence of 4, optional
        ``[Cx, Cy, inner, outer]``, centre and radii of an annulus, ``inner <= r < outer`` [pixel]. None for Cx and Cy: the
        centre is that of Friedel symmetry in the mean pattern. By default the whole pattern.
    mask : array_like of shape (Nx, Ny), optional
        True or non-zero = leave the pixel out. So are pixels that are not finite, in the pattern or in the background.
    cut_off : real number, optional
        Least score of a hit (exclusive).
    progress : bool, optional
        Show a bar on a terminal, for work of more than a second.

    Returns
    -------
    ndarray of shape (Nd,), int64
        1 = hit, 0 = not.

    Raises
    ------
    ValueError
        Shapes that do not fit, an annulus without pixels, a background that is constant there, or a single pattern without
        `cut_off`.
    TypeError
        Data that are not real numbers, or a `cut_off` that is none.

    See Also
    --------
    hit_scores : the scores themselves.

    References
    ----------
    The "image" toolbox, preprocess.hit_find.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> patterns = rng.poisson(10, (30, 64, 64))
    >>> patterns[::5] += rng.poisson(5, (6, 64, 64))
    >>> hit_find(patterns, np.full((64, 64), 10) + rng.normal(size=(64, 64))).nonzero()[0].tolist()
    [0, 5, 10, 15, 20, 25]
    """
    if cut_off is not None:
        cut_off = as_number(cut_off, "cut_off")
    elif open_stack(dataset).shape[0] < 2:
        raise ValueError("cut_off must be given for a single pattern: there is nothing to compare it with")
    scores = hit_scores(dataset, background, radii_range, mask, progress=progress)
    return _labels(scores, score_cut(scores) if cut_off is None else cut_off)


def hit_find_pearson(dataset, background, radii_range=None, mask=None, max_cc=0.5, *, progress=True):
    """Tell hits from empty shots, by the correlation of radial profiles with that of a background.

    Parameters
    ----------
    dataset, background, mask, progress
        As for `hit_find`.
    radii_range : sequence of 4, optional
        ``[Cx, Cy, inner, outer]``: centre, and range of the profile, radii from `inner` up to, not including, `outer`
        [pixel]. None for Cx and Cy: the centre is that of Friedel symmetry in the mean pattern. By default all radii about
        this centre.
    max_cc : float, optional
        A pattern is a hit if Pearson's coefficient of the two profiles is below this, -1 to 1.

    Returns
    -------
    ndarray of shape (Nd,), int64
        1 = hit, 0 = not. A pattern without a coefficient (constant, or nothing finite) is none.

    Raises
    ------
    ValueError, TypeError
        As `hit_find`; fewer than two radii with pixels, or a `max_cc` that is not from -1 to 1.

    References
    ----------
    The "image" toolbox, preprocess.hit_find_pearson.

    Examples
    --------
    >>> import numpy as np
    >>> r = np.hypot(*np.mgrid[-32:32, -32:32])
    >>> background, particle = np.exp(-r / 20), np.cos(r / 4) ** 2
    >>> patterns = np.stack([background, particle, 2 * background])
    >>> hit_find_pearson(patterns, background, [32, 32, 2, 30])
    array([0, 1, 0])
    """
    max_cc = as_number(max_cc, "max_cc", minimum=-1, maximum=1)
    scores = hit_scores(dataset, background, radii_range, mask, method="pearson", progress=progress)
    return (scores < max_cc).astype(np.int64)


def hit_scores(dataset, background, radii_range=None, mask=None, *, method="chi2", progress=True):
    """The numbers by which `hit_find` and `hit_find_pearson` decide.

    Parameters
    ----------
    dataset, background, radii_range, mask, progress
        As for `hit_find` and `hit_find_pearson`.
    method : {"chi2", "pearson"}, optional
        Whose score.

    Returns
    -------
    ndarray of shape (Nd,), float64
        Chi-square scores (high for hits) or Pearson coefficients (low for hits); NaN where there is none.

    Raises
    ------
    ValueError, TypeError
        As `hit_find`.

    Examples
    --------
    >>> import numpy as np
    >>> background = np.arange(16.0).reshape(4, 4)
    >>> hit_scores([background, background + 10], background).round(3)
    array([0.   , 4.706])
    """
    stack = open_stack(dataset)
    background = as_image(background, "background").astype(np.float64, copy=False)
    if background.shape != stack.shape[1:]:
        raise ValueError(f"background has shape {background.shape}, but the patterns have shape {stack.shape[1:]}")
    mask = as_mask(mask, background.shape)
    choose(method, "method", ("chi2", "pearson"))
    hidden = ~np.isfinite(background) if mask is None else mask | ~np.isfinite(background)
    center, inner, outer = checked_radii(radii_range)
    if center is not None:
        center = as_center(center, background.shape, "radii_range's centre")
    elif radii_range is not None or method == "pearson":
        center = friedel_center(_mean_pattern(dataset, background.shape, progress), hidden)
    if hidden.any():
        background = np.where(hidden, 0, background)
    work = (_chi_square if method == "chi2" else _pearson)(background, ~hidden, center, inner, outer)
    return per_frame(work, dataset, progress=progress, lean=True)


def score_cut(scores):
    """The value that divides chi-square scores into those of empty shots and of hits, or infinity where all are equal."""
    from ._mixture import two_gaussians

    scores = scores[np.isfinite(scores) & (scores > 0)]  # a score of 0 is the background itself
    found = two_gaussians(np.log(scores))
    return math.inf if found is None else math.exp(found.cut)


def _labels(scores, cut):
    return (scores > cut).astype(np.int64)  # NaN is no hit


def _mean_pattern(dataset, shape, progress):
    """Mean of the finite values of each pixel, NaN where there is none."""
    total, number = np.zeros(math.prod(shape)), np.zeros(math.prod(shape), np.int64)
    for part, count in per_block(_sums, dataset, progress=progress):
        total += part
        number += count
    return _mean(total, number).reshape(shape)


def _mean(total, number):
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)


def _sums(block):
    from ..kernels import hits

    return hits.sums_of_finite(block.reshape(block.shape[0], -1))


def _chosen_runs(chosen, what):
    from ..kernels import hits

    starts, ends = hits.runs_of(chosen.reshape(-1))
    if starts.size == 0:
        raise ValueError(f"{what} leaves no pixel that is unmasked and finite in the background")
    return starts, ends


def _chi_square(background, chosen, center, inner, outer):
    """Function from a block of patterns to their chi-square scores."""
    from ..kernels import hits

    if center is not None:
        chosen = chosen.copy()
        hits.keep_annulus(chosen, *center, float(inner), float(outer))
    starts, ends = _chosen_runs(chosen, "radii_range" if center is not None else "mask")
    values = background[chosen]
    shift = values.mean()
    values -= shift
    whole = np.array([values.size, values.sum(), (values ** 2).sum()])
    if np.ptp(values) == 0:
        raise ValueError(f"background is constant ({shift:g}) in the pixels that count: it gives the score no scale; "
                         "hit_find_pearson, or a background with noise, does without")
    return functools.partial(_chi_square_block, background.reshape(-1), shift, starts, ends, whole)


def _chi_square_block(background, shift, starts, ends, whole, block):
    from ..kernels import hits

    return hits.chi_square_scores(block.reshape(block.shape[0], -1), background, shift, starts, ends, whole)


def _pearson(background, chosen, center, inner, outer):
    """Function from a block of patterns to the Pearson coefficients of their radial profiles."""
    from ..kernels import radial

    shell_of, _, _ = radial.shell_image(chosen.shape, center)
    shell_of = shell_of.reshape(chosen.shape)
    chosen = chosen & (shell_of >= inner) & (shell_of < outer)
    starts, ends = _chosen_runs(chosen, "radii_range")
    found = shell_of[chosen]
    first = int(found.min())
    used = np.ascontiguousarray(found - first)
    counts = np.bincount(used)
    if np.count_nonzero(counts) < 2:
        raise ValueError(f"radii_range must hold at least two radii with pixels to correlate, not {np.count_nonzero(counts)}")
    reference = np.bincount(used, background[chosen]) / np.maximum(counts, 1)
    if np.ptp(reference[counts > 0]) == 0:
        raise ValueError("background has a constant radial profile in the radii that count: nothing correlates with it")
    return functools.partial(_pearson_block, used, starts, ends, counts, reference)


def _pearson_block(shells, starts, ends, counts, reference, block):
    from ..kernels import hits

    return hits.pearson_scores(block.reshape(block.shape[0], -1), shells, starts, ends, counts, reference)


def fix_artifact(dataset, estimated_center, artifacts, mask=None, *, out=None, progress=True):
    """Repair known bad pixels, by the symmetry of diffraction patterns.

    A bad pixel takes the value of its partner on the other side of the centre (Friedel's law). Where that is outside of the
    pattern, masked, not finite or itself bad, it takes the mean of the good pixels of its shell, of the same radius; if
    there are none, of the nearest shell that has some. Values are those before any repair. Masked pixels are left as they are.

    Parameters
    ----------
    dataset : array_like, h5py.Dataset, dask array or the like, of shape (Nd, Nx, Ny)
        The patterns, repaired in place if they can be written (an array, a memory map or HDF5 file of mode "r+").
    estimated_center : sequence of 2 floats
        Centre of the patterns, (axis 0, axis 1) [pixel]; it may lie between pixels. The partner is the nearest pixel.
    artifacts : array_like of shape (Nx, Ny)
        True or non-zero = bad pixel.
    mask : array_like of shape (Nx, Ny), optional
        True or non-zero = a pixel that has no meaning, such as behind a beam stop.
    out : array or data set of shape (Nd, Nx, Ny), optional
        Where to put the result, instead of `dataset`.
    progress : bool, optional
        Show a bar on a terminal, for work of more than a second.

    Returns
    -------
    array or data set
        `dataset` itself, repaired; `out` where that was given; a repaired copy of lists and of read-only arrays in memory.

    Raises
    ------
    ValueError
        Shapes that do not fit, a centre that makes no sense; a file opened for reading only, or a dask array, without `out`.

    References
    ----------
    The "image" toolbox, preprocess.fix_artifact. The published code indexes bad pixels wrongly, and measures shells from the
    corner.

    Examples
    --------
    >>> import numpy as np
    >>> pattern = np.add.outer(abs(np.arange(-3.0, 4)), abs(np.arange(-3.0, 4)))
    >>> broken = pattern.copy()
    >>> broken[1, 2] = 1000
    >>> np.array_equal(fix_artifact(broken[None], (3, 3), broken > 99)[0], pattern)
    True
    """
    shape = open_stack(dataset).shape[1:]
    center = as_center(estimated_center, shape, "estimated_center")
    if artifacts is None:
        raise TypeError("artifacts must be an array of the shape of a pattern, 1 = bad pixel, not None")
    bad, mask = as_mask(artifacts, shape, "artifacts"), as_mask(mask, shape)
    work = _repairer(bad, np.zeros(shape, bool) if mask is None else mask, center)
    return rewrite(work, dataset, out=out, progress=progress)


def _repairer(bad, mask, center):
    """Function that repairs the `bad` pixels of a block of patterns in place."""
    from ..kernels import radial, repair

    shell_of, counts, _ = radial.shell_image(bad.shape, center)
    hidden = (bad | mask).reshape(-1)
    pixels = np.flatnonzero(bad & ~mask)
    found = np.empty(pixels.size, np.int64)
    repair.partners(*bad.shape, *center, hidden, pixels, found)

    def work(block):
        repair.repair_frames(block.reshape(block.shape[0], -1), pixels, found, shell_of, ~hidden, counts.size)

    return work


def fix_artifact_auto(dataset, estimated_center, njobs=1, mask=None, vol_of_bins=100, *, threshold=STANDS_OUT, out=None,
                      progress=True):
    """Find bad pixels in groups of patterns, and repair them as `fix_artifact` does.

    Patterns are taken in groups of `vol_of_bins`, in their order. In the mean of a group, a pixel is bad if it differs from
    its centrosymmetric partner by more than `threshold` times the usual difference in its shell and is the one of the two that
    is farther from the median of the shell; or if it is more than twice `threshold` times the usual deviation from this
    median; usual is 1.4826 times the median absolute deviation. So the patterns of a group should share their artefacts, and
    there should be enough of them that speckles average out.

    Parameters
    ----------
    dataset, estimated_center, mask, out, progress
        As for `fix_artifact`.
    njobs : int, optional
        1 = one thread; otherwise as many as there are cores.
    vol_of_bins : int, optional
        Number of patterns in a group; so many are in memory at a time.
    threshold : float, optional
        Number of robust standard deviations, above 0.

    Returns
    -------
    array or data set
        As `fix_artifact`.

    Raises
    ------
    ValueError, TypeError
        As `fix_artifact`; or a `vol_of_bins`, `njobs` or `threshold` that makes no sense.

    References
    ----------
    The "image" toolbox, preprocess.fix_artifact_auto; the rule for bad pixels is edfast's own.

    Examples
    --------
    >>> import numpy as np
    >>> patterns = np.random.default_rng(0).poisson(100, (50, 64, 64)).astype(float)
    >>> patterns[:, 20, 30] = 1e4
    >>> print(fix_artifact_auto(patterns, (31.5, 31.5))[:, 20, 30].max() < 200)
    True
    """
    shape = open_stack(dataset).shape[1:]
    center = as_center(estimated_center, shape, "estimated_center")
    mask = as_mask(mask, shape)
    mask = np.zeros(shape, bool) if mask is None else mask
    size = as_count(vol_of_bins, "vol_of_bins", minimum=1)
    threshold = as_number(threshold, "threshold", above=0)
    njobs = as_jobs(njobs)

    def work(block):
        mean = _mean(*_sums(block)).reshape(shape)
        _repairer(_find_bad(mean, mask, center, threshold), mask, center)(block)

    from ..kernels._bands import one_thread

    if njobs != 1:
        return rewrite(work, dataset, out=out, rows=size, progress=progress)
    with one_thread():
        return rewrite(work, dataset, out=out, rows=size, progress=progress)


def _find_bad(mean, mask, center, threshold):
    """Bad pixels of a mean pattern: see `fix_artifact_auto`."""
    from ..kernels import radial, repair

    shell_of, counts, _ = radial.shell_image(mean.shape, center)
    values = np.where(mask, np.nan, mean).reshape(-1)
    everywhere = np.arange(values.size)
    partner = np.empty(values.size, np.int64)
    repair.partners(*mean.shape, *center, mask.reshape(-1), everywhere, partner)
    starts, order = radial.sorted_pixels(shell_of, counts)

    def deviation(values):
        """How far each of `values` is from the median of its shell, and the usual distance."""
        _, middle, spread = (column[0] for column in radial.robust_profiles(values[None], starts, order, None))
        return values - middle[shell_of], 1.4826 * spread[shell_of]

    off, usual = deviation(values)
    across = np.where(partner >= 0, values - values[partner], np.nan)
    with np.errstate(invalid="ignore"):
        unlike = np.abs(across) > threshold * deviation(across)[1]
        farther = np.abs(off) > np.abs(off[partner])
        bad = (unlike & farther) | (np.abs(off) > 2 * threshold * usual) | (~np.isfinite(values) & ~mask.reshape(-1))
    return bad.reshape(mean.shape)


def cal_correction_factor(det_size, polarization, detd, pixsize, center=None):
    """Factor by which polarization and solid angle reduce the intensity of each pixel of a flat detector.

    Divide a pattern by it. With x and y the distances from the centre along axis 0 and axis 1 and l the distance of the pixel
    from the sample, the factor is ``1 - x^2 / l^2`` for "x", ``1 - y^2 / l^2`` for "y" and ``1 - (x^2 + y^2) / (2 l^2)`` for
    "none", times the solid angle ``detd pixsize^2 / l^3`` [steradian].

    Parameters
    ----------
    det_size : sequence of 2 ints
        (Nx, Ny), shape of the pattern.
    polarization : {"x", "y", "none"}
        Direction of polarization; "none" = unpolarized.
    detd : float
        Distance from the sample to the detector.
    pixsize : float
        Side of a pixel, in the unit of `detd`.
    center : sequence of 2 floats, optional
        Where the beam meets the detector, (axis 0, axis 1) [pixel]; by default the middle.

    Returns
    -------
    ndarray of shape (Nx, Ny), float64

    Raises
    ------
    ValueError
        A size, a distance or a pixel that is not positive, another polarization, or a centre that makes no sense.

    References
    ----------
    The "image" toolbox, preprocess.cal_correction_factor.

    Examples
    --------
    >>> factor = cal_correction_factor((3, 3), "none", 100.0, 0.1)
    >>> f"{factor[1, 1]:.3e}"
    '1.000e-06'
    """
    if np.ndim(det_size) != 1 or len(det_size) != 2:
        raise ValueError(f"det_size must be two numbers of pixels, not {det_size!r}")
    shape = tuple(as_count(size, "det_size", minimum=1) for size in det_size)
    choose(polarization, "polarization", ("x", "y", "none"))
    detd, pixsize = as_number(detd, "detd", above=0), as_number(pixsize, "pixsize", above=0)
    center = tuple((size - 1) / 2 for size in shape) if center is None else as_center(center, shape)
    x2, y2 = (((np.arange(size) - at) * pixsize) ** 2 for size, at in zip(shape, center, strict=True))
    x2, y2 = x2[:, None], y2[None, :]
    l2 = x2 + y2 + detd ** 2
    lost = {"x": x2, "y": y2, "none": (x2 + y2) / 2}[polarization]
    return (1 - lost / l2) * (detd * pixsize ** 2 / l2 ** 1.5)


def adu2photon(dataset, mask=None, photon_percent=0.1, transfer=True, force_poisson=False, *, random_state=None,
               progress=True):
    """Estimate the detector's units (ADU) per photon, and turn patterns into photon counts.

    The brightest `photon_percent` of the pixels are taken to hold at least one photon, and the dimmest of these about one. The
    estimate is the median of the pixels from half of that to one and a half, taken again until it stays.

    Parameters
    ----------
    dataset : array_like, h5py.Dataset, dask array or the like, of shape (Nd, Nx, Ny)
        Patterns in ADU. Of large stacks, a hundred patterns, evenly spaced, give the estimate.
    mask : array_like of shape (Nx, Ny), optional
        True or non-zero = leave the pixel out; it has no photons.
    photon_percent : float, optional
        Share of the pixels that hold photons, between 0 and 1.
    transfer : bool, optional
        Whether to count; otherwise only the estimate is made.
    force_poisson : bool, optional
        Draw each count from a Poisson distribution with the expected number, instead of rounding it.
    random_state : int or numpy.random.Generator, optional
        For `force_poisson`: makes it repeatable.
    progress : bool, optional
        Show a bar on a terminal, for work of more than a second.

    Returns
    -------
    adu : float
        ADU per photon.
    photons : ndarray of shape (Nd, Nx, Ny), int32
        Only where `transfer`: the counts, at least 0; 0 where a pixel is masked or not finite.

    Raises
    ------
    ValueError
        Shapes that do not fit, a share that is none, or data without positive values among its brightest.

    References
    ----------
    The "image" toolbox.

    Examples
    --------
    >>> import numpy as np
    >>> counts = np.random.default_rng(0).poisson(0.1, (20, 32, 32))
    >>> adu, photons = adu2photon(26.5 * counts, photon_percent=0.05)
    >>> adu, np.array_equal(photons, counts)
    (26.5, True)
    """
    stack = open_stack(dataset)
    mask = as_mask(mask, stack.shape[1:])
    share = as_number(photon_percent, "photon_percent", above=0, maximum=1)
    adu = _adu_per_photon(stack, mask, share)
    if not transfer:
        return adu
    rng = np.random.default_rng(random_state)
    photons = np.empty(stack.shape, np.int32)
    for where, block in blocks(stack, progress=progress):
        expected = np.nan_to_num(np.maximum(block / adu, 0), nan=0, posinf=0)
        if mask is not None:
            expected[:, mask] = 0
        photons[where] = rng.poisson(expected) if force_poisson else np.rint(expected)
    return adu, photons


def _adu_per_photon(stack, mask, share):
    chosen = np.unique(np.linspace(0, stack.shape[0] - 1, SAMPLE).astype(np.int64))
    parts = []
    for index in chosen.tolist():
        pattern = next(block for _, block in blocks(stack, part=slice(index, index + 1)))[0]
        parts.append(pattern[np.isfinite(pattern) if mask is None else np.isfinite(pattern) & ~mask])
    values = np.concatenate(parts)
    if values.size == 0:
        raise ValueError("dataset has no pixel that is finite and unmasked")
    rank = max(values.size - max(math.floor(share * values.size), 1), 0)
    adu = float(np.partition(values, rank)[rank])
    if adu <= 0:
        raise ValueError(f"photon_percent={share:g} is too large: the dimmest of the brightest pixels would have {adu:g} ADU")
    for _ in range(SAMPLE):
        before, adu = adu, float(np.median(values[(values > 0.5 * adu) & (values < 1.5 * adu)]))
        if adu == before:
            break
    return adu


def avg_pooling(data, factor, padding=False):
    """Average blocks of pixels: an image or a volume that is smaller by a whole factor.

    Parameters
    ----------
    data : array_like of shape (Nx, Ny) or (Nx, Ny, Nz)
        Any real dtype. Pixels that are not finite are left out.
    factor : int or sequence of ints
        Side of a block [pixel], for all axes or for each.
    padding : bool, optional
        Whether incomplete blocks at the end of an axis count (the mean of the pixels that there are); otherwise they are
        dropped.

    Returns
    -------
    ndarray, float64
        Means of the blocks; NaN where a block has no finite pixel.

    Raises
    ------
    ValueError
        A factor below 1, not one for each axis, or larger than the data.

    References
    ----------
    The "image" toolbox.

    Examples
    --------
    >>> import numpy as np
    >>> avg_pooling(np.arange(12).reshape(3, 4), 2).tolist()
    [[2.5, 4.5]]
    >>> avg_pooling(np.arange(12).reshape(3, 4), 2, padding=True).tolist()
    [[2.5, 4.5], [8.5, 10.5]]
    """
    data = as_data(data)
    given = [factor] * data.ndim if np.ndim(factor) == 0 else list(factor)
    factors = [as_count(one, "factor", minimum=1) for one in given]
    if len(factors) != data.ndim:
        raise ValueError(f"factor must be one number or {data.ndim}, one for each axis, not {factor!r}")
    size = [-(-n // f) if padding else n // f for n, f in zip(data.shape, factors, strict=True)]
    if 0 in size:
        raise ValueError(f"factor {factor!r} is larger than data of shape {data.shape}; padding=True averages what there is")

    from ..kernels.pooling import pool

    flat = (1,) * (3 - data.ndim)
    out = np.empty(flat + tuple(size))
    pool(data.reshape(flat + data.shape), flat + tuple(factors), out)
    return out.reshape(size)
