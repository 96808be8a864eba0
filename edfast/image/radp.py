"""Radial profiles, and the shells, circles and spheres that they are made of.

Centres are given in array-axis order, (axis 0, axis 1) or (axis 0, axis 1, axis 2), [pixel], and need not be whole numbers;
the integer i is the centre of pixel i.
"""

import functools
import math

import numpy as np

from .._stacks import open_stack, per_frame
from .._validation import as_center, as_count, as_data, as_mask, as_number, choose

__all__ = ["RadialBins", "circle", "radial_profile", "radial_profile_stack", "radp_norm", "shells"]

KEPT = 1 << 24  # pixels of the largest geometry that is kept for the next call
NORMAL_MAD = 1.482602218505602  # standard deviation of a normal distribution over its median absolute deviation


def radial_profile(data, center, mask=None, *, error="sd", statistic="mean", clip=3.0):
    """Mean and deviation of the pixels at each distance from a centre.

    A pixel belongs to the shell ``rint(distance)`` of its exact distance from `center`. Masked and non-finite pixels are left
    out. For many frames with one centre, `radial_profile_stack` and `RadialBins` are faster.

    Parameters
    ----------
    data : array_like of shape (Nx, Ny) or (Nx, Ny, Nz)
        An image or a volume, of any real dtype.
    center : sequence of 2 or 3 floats
        Centre in array-axis order [pixel]; it may lie between pixels or outside of the data.
    mask : array_like of the shape of `data`, optional
        True or non-zero = leave the pixel out.
    error : {"sd", "sem"}, optional
        Third column: standard deviation of the pixels (ddof 1), or standard error of the mean, sd / sqrt(n).
    statistic : {"mean", "median", "clipped"}, optional
        Second column. With "median" the deviation is 1.4826 times the median absolute deviation (for normal noise that is the
        standard deviation), and its standard error sqrt(pi / 2) sd / sqrt(n). "clipped" is the mean of what is left when
        pixels beyond `clip` standard deviations have been left out, again and again until none is.
    clip : float, optional
        Limit for "clipped" [standard deviation], above 0.

    Returns
    -------
    ndarray of shape (Nr, 3), float64
        Radius 0, 1, ..., Nr - 1 [pixel], up to the farthest pixel; mean; deviation. Shells without a pixel to use have 0 for
        both, and a shell of one pixel has a deviation of 0.

    Raises
    ------
    ValueError
        A wrong number of axes or coordinates, a centre that is not finite or absurdly far away, a mask of another shape, or
        an unknown `error` or `statistic`.
    TypeError
        Data that are not real numbers.

    References
    ----------
    The "image" toolbox, radp.radial_profile.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.ones((5, 5))
    >>> image[2, 2] = 9
    >>> radial_profile(image, (2, 2))[:, :2]
    array([[0., 9.],
           [1., 1.],
           [2., 1.],
           [3., 1.]])
    """
    data = as_data(data)
    center = as_center(center, data.shape)
    mask = as_mask(mask, data.shape)
    choose(error, "error", ("sd", "sem"))
    choose(statistic, "statistic", ("mean", "median", "clipped"))
    clip = as_number(clip, "clip", above=0)
    if statistic != "mean":
        return RadialBins(data.shape, center, mask).profile(data, error=error, statistic=statistic, clip=clip)

    from ..kernels import radial

    shells, counts, ends = _geometry(data.shape, center)
    masked = radial.NO_MASK if mask is None else mask.reshape(-1)
    number, mean, scatter = radial.profile(data.reshape(-1), shells, masked, counts, ends)
    return _columns(number, mean, scatter, error)


def radial_profile_stack(dataset, center, mask=None, *, error="sd", statistic="mean", clip=3.0, progress=True):
    """Radial profile of each pattern of a stack.

    Equal to `radial_profile` of each; the geometry is computed once, and a stack in a file is read block by block.

    Parameters
    ----------
    dataset : array_like, h5py.Dataset, dask array or the like, of shape (Nd, Nx, Ny)
        The patterns. A dask array is computed by its own scheduler.
    center, mask, error, statistic, clip
        As for `radial_profile`; the mask has shape (Nx, Ny).
    progress : bool, optional
        Show a bar on a terminal, for work of more than a second.

    Returns
    -------
    ndarray of shape (Nd, Nr, 3), float64

    Raises
    ------
    ValueError, TypeError
        As `radial_profile`; or `dataset` is no stack.

    Examples
    --------
    >>> import numpy as np
    >>> radial_profile_stack(np.ones((10, 32, 32)), (15.5, 15.5)).shape
    (10, 23, 3)
    """
    stack = open_stack(dataset)
    bins = RadialBins(stack.shape[1:], center, mask)
    return bins.profile_stack(dataset, error=error, statistic=statistic, clip=clip, progress=progress)


class RadialBins:
    """The shells of all pixels about a centre: computed once, applied to many frames.

    Parameters
    ----------
    shape : tuple of 2 or 3 ints
        Shape of the data.
    center : sequence of floats
        Centre in array-axis order [pixel], one coordinate for each axis.
    mask : array_like of `shape`, optional
        True or non-zero = leave the pixel out.

    Attributes
    ----------
    shape, center : tuple
        As given.
    counts : ndarray of shape (Nr,), int64
        Number of pixels in each shell, without masked ones.

    Raises
    ------
    ValueError
        As `radial_profile`.

    Examples
    --------
    >>> import numpy as np
    >>> bins = RadialBins((64, 64), (31.5, 31.5))
    >>> bins.profile(np.full((64, 64), 3.0))[5].tolist()
    [5.0, 3.0, 0.0]
    """

    def __init__(self, shape, center, mask=None):
        try:
            self.shape = tuple(as_count(size, "shape", minimum=1) for size in shape)
        except TypeError:
            self.shape = ()
        if len(self.shape) not in (2, 3):
            raise ValueError(f"shape must be 2 or 3 numbers of pixels, not {shape!r}")
        self.center = as_center(center, self.shape)
        self._mask = as_mask(mask, self.shape)
        shells, counts, ends = _geometry(self.shape, self.center)
        if self._mask is not None:  # masked pixels have a shell of their own, behind the last one
            from ..kernels import radial

            n, hidden = counts.size, self._mask.reshape(-1)
            shells = np.where(hidden, n, shells).astype(np.uint16 if n < 65535 else np.int32)
            counts, ends = np.bincount(shells, minlength=n + 1), radial.ends_of(shells, n + 1)
        self._shells, self._counts, self._ends = shells, counts, ends

    @property
    def counts(self):
        """Number of pixels in each shell, without masked ones."""
        return self._counts[:self._size].copy()

    @property
    def _size(self):
        return self._counts.size - (self._mask is not None)

    @functools.cached_property
    def _sorted(self):
        from ..kernels import radial

        starts, order = radial.sorted_pixels(self._shells, self._counts)
        return starts[:self._size + 1], order

    def profile(self, data, *, error="sd", statistic="mean", clip=3.0):
        """Radial profile of `data`, of this shape: see `radial_profile`. ndarray of shape (Nr, 3)."""
        data = as_data(data)
        if data.shape != self.shape:
            raise ValueError(f"data has shape {data.shape}, but these bins are for {self.shape}")
        options = _checked_options(error, statistic, clip)
        if statistic != "mean":
            return self._of_block(data[None], *options)[0]

        from ..kernels import radial

        number, mean, scatter = (column[:self._size] for column in radial.profile(
            data.reshape(-1), self._shells, radial.NO_MASK, self._counts, self._ends))
        return _columns(number, mean, scatter, error)

    def profile_stack(self, dataset, *, error="sd", statistic="mean", clip=3.0, progress=True):
        """Radial profile of each pattern of a stack: see `radial_profile_stack`. ndarray of shape (Nd, Nr, 3)."""
        if (shape := open_stack(dataset).shape[1:]) != self.shape:
            raise ValueError(f"dataset has patterns of shape {shape}, but these bins are for {self.shape}")
        if statistic != "mean":
            self._sorted  # noqa: B018 (made here, not by each of dask's workers)
        options = _checked_options(error, statistic, clip)
        work = functools.partial(RadialBins._of_block, self, error=options[0], statistic=options[1], clip=options[2])
        return per_frame(work, dataset, progress=progress, lean=True)

    def _of_block(self, block, error, statistic, clip):
        from ..kernels import radial

        frames = block.reshape(block.shape[0], -1)
        if statistic == "mean":
            found = radial.profiles(frames, self._shells, self._counts, self._ends)
        else:
            starts, order = self._sorted
            found = radial.robust_profiles(frames, starts, order, None if statistic == "median" else clip)
        number, mean, spread = (column[:, :self._size] for column in found)
        return _columns(number, mean, spread, error, statistic)


def _checked_options(error, statistic, clip):
    return (choose(error, "error", ("sd", "sem")), choose(statistic, "statistic", ("mean", "median", "clipped")),
            as_number(clip, "clip", above=0))


def _geometry(shape, center):
    """`radial.shell_image`; those of the last two calls are kept, unless they are huge."""
    return (_kept_geometry if math.prod(shape) <= KEPT else _kept_geometry.__wrapped__)(tuple(shape), center)


@functools.lru_cache(maxsize=2)
def _kept_geometry(shape, center):
    from ..kernels import radial

    return radial.shell_image(shape, center)


def _columns(number, mean, spread, error, statistic="mean"):
    """(..., Nr, 3) from the number, the mean and the sum of squared deviations (or the median deviation) of each shell."""
    if statistic == "median":
        spread = spread * NORMAL_MAD * (number > 1)
        per_mean = math.sqrt(math.pi / 2)
    else:
        spread, per_mean = np.sqrt(spread / np.maximum(number - 1, 1)), 1.0
    if error == "sem":
        spread = spread * per_mean / np.sqrt(np.maximum(number, 1))
    return np.stack([np.broadcast_to(np.arange(mean.shape[-1], dtype=np.float64), mean.shape), mean, spread], axis=-1)


def radp_norm(ref_Iq, data, center, mask=None):
    """Scale each shell of an image or a volume so that its radial profile becomes a given one.

    Parameters
    ----------
    ref_Iq : array_like of shape (Nr,) or (Nr, 3)
        The wanted mean of each shell, from radius 0 on; or a radial profile as `radial_profile` returns it. It must reach to
        the farthest pixel of `data`.
    data, center, mask
        As for `radial_profile`. Masked pixels do not count for the profile, and are scaled with their shell.

    Returns
    -------
    ndarray of the shape of `data`, float64 (float32 for float32 data)
        A scaled copy. Shells whose mean is 0, or that have no pixel to use, stay as they are.

    Raises
    ------
    ValueError
        As `radial_profile`; or `ref_Iq` has another shape, is too short, or is not finite.

    References
    ----------
    The "image" toolbox, radp.radp_norm.

    Examples
    --------
    >>> import numpy as np
    >>> data = np.random.default_rng(0).random((9, 9))
    >>> scaled = radp_norm(np.arange(7.0), data, (4, 4))
    >>> radial_profile(scaled, (4, 4))[:, 1].round(6).tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    """
    data = as_data(data)
    wanted = np.asarray(ref_Iq, np.float64)
    wanted = wanted[:, 1] if wanted.ndim == 2 and wanted.shape[1] == 3 else wanted
    if wanted.ndim != 1 or not np.isfinite(wanted).all():
        raise ValueError(f"ref_Iq must be finite numbers, one for each radius, or a radial profile of shape (Nr, 3), not an "
                         f"array of shape {np.shape(ref_Iq)}{'' if wanted.ndim != 1 else ' with values that are not finite'}")
    mean = radial_profile(data, center, mask)[:, 1]
    if wanted.size < mean.size:
        raise ValueError(f"ref_Iq has {wanted.size} radii, but the farthest pixel of the data is at radius {mean.size - 1}")
    factor = np.divide(wanted[:mean.size], mean, out=np.ones(mean.size), where=mean != 0)
    shell_of_pixel, _, _ = _geometry(data.shape, as_center(center, data.shape))
    scale = factor.astype(np.float32 if data.dtype == np.float32 else np.float64)
    return data * scale[shell_of_pixel].reshape(data.shape)


def shells(rads, data_shape, center):
    """Indices of the pixels at given distances from a centre.

    Parameters
    ----------
    rads : sequence of floats
        Radii [pixel], not negative; they need not be whole numbers.
    data_shape : tuple of 2 or 3 ints
        Shape of the image or the volume.
    center : sequence of floats
        Centre in array-axis order [pixel].

    Returns
    -------
    list of ndarray of shape (Ni, ndim), int64
        For each of `rads`, the indices of the pixels with ``abs(distance - rad) < 0.5``, in raster order; there may be none.

    Raises
    ------
    ValueError
        A radius, shape or centre that makes no sense.

    References
    ----------
    The "image" toolbox, radp.shells.

    Examples
    --------
    >>> [len(shell) for shell in shells([0, 1, 2], (5, 5), (2, 2))]
    [1, 8, 12]
    """
    shape = _checked_shape(data_shape)
    center = as_center(center, shape)
    radii = [as_number(rad, "rads", minimum=0) for rad in np.atleast_1d(np.asarray(rads, object)).tolist()]
    return [_pixels(shape, center, radius, 0.5) for radius in radii]


def circle(data_shape, rad, *, center=None):
    """Indices of the pixels in a circle or a sphere.

    Parameters
    ----------
    data_shape : {2, 3} or tuple of 2 or 3 ints
        The number of axes: the result is relative to the centre, and negative on one side (add the centre, and leave out what
        lies outside of the image). Or the shape of an image or a volume: the result are indices into it, none outside.
    rad : float
        Radius [pixel], above 0.
    center : sequence of floats, optional
        Centre in array-axis order [pixel], where `data_shape` is a shape; by default the middle.

    Returns
    -------
    ndarray of shape (N, ndim), int64
        The indices with a distance less than `rad` from the centre, in raster order.

    Raises
    ------
    ValueError
        A shape, radius or centre that makes no sense, or a centre without a shape.

    References
    ----------
    The "image" toolbox, radp.circle. The published code lets indices beyond the edge wrap round.

    Examples
    --------
    >>> circle(2, 1.2).tolist()
    [[-1, 0], [0, -1], [0, 0], [0, 1], [1, 0]]
    >>> circle((4, 4), 1.2, center=(0, 0)).tolist()
    [[0, 0], [0, 1], [1, 0]]
    """
    rad = as_number(rad, "rad", above=0)
    if np.ndim(data_shape) == 0:
        if data_shape not in (2, 3):
            raise ValueError(f"data_shape must be 2, 3 or a shape of 2 or 3 numbers, not {data_shape!r}")
        if center is not None:
            raise ValueError("center needs the shape of the data as data_shape, not their number of axes")
        side = math.ceil(rad)
        return _pixels((2 * side + 1,) * int(data_shape), (float(side),) * int(data_shape), 0.0, rad) - side
    shape = _checked_shape(data_shape)
    center = tuple((size - 1) / 2 for size in shape) if center is None else as_center(center, shape)
    return _pixels(shape, center, 0.0, rad)


def _checked_shape(data_shape):
    if np.ndim(data_shape) != 1 or len(data_shape) not in (2, 3):
        raise ValueError(f"data_shape must be a shape of 2 or 3 numbers, not {data_shape!r}")
    return tuple(as_count(size, "data_shape", minimum=1) for size in data_shape)


def _pixels(shape, center, middle, half):
    """Indices (N, ndim) of the pixels whose distance from `center` is less than `half` from `middle`, in raster order."""
    from ..kernels import radial
    from ..kernels.shells import within

    _, _, rest, _, _ = radial.geometry(shape, center)
    at = np.array([center[-1], shape[-1]])
    pixels = np.empty(within(rest, at, middle, half, np.empty(0, np.int64)), np.int64)
    if pixels.size:
        within(rest, at, middle, half, pixels)
    return np.stack(np.unravel_index(pixels, shape), axis=-1)
