"""The documented ring fit: the covariance ellipse of the largest bright region."""

from ._results import EllipseFit
from ._validation import as_count, as_image, as_mask, as_number


def fit_ellipse_to_ring(image, threshold_rel=0.5, min_size=50, *, mask=None):
    """Centre and semi-axes of the largest bright region of an image, as the recalibration document defines them.

    Pixels above ``threshold_rel`` times Otsu's threshold are bright. 4-connected groups of fewer than `min_size` bright pixels
    are dropped; of what is left, the 8-connected region with most pixels is the ring (the first in raster order on a tie).
    Threshold, region and centre are those of scikit-image 0.26 to the last bit. Non-finite pixels count as masked.

    For a ring behind a beam stop, or one that is not the brightest thing in the image, the centroid of a region is not the
    centre of the ring: `edfast.fit_ring` finds that.

    Parameters
    ----------
    image : array_like of shape (H, W)
        Any real dtype.
    threshold_rel : float, default 0.5
        Factor on Otsu's threshold, above 0.
    min_size : int, default 50
        Smallest group of bright pixels that is kept [pixel].
    mask : array_like of shape (H, W), optional
        True or non-zero = leave the pixel out, of the threshold too.

    Returns
    -------
    EllipseFit
        Named tuple ``(cx, cy, a, b, angle)``: centroid (column, row) [pixel], square roots of the eigenvalues of the region's
        covariance (ddof 1), ``a >= b`` [pixel], direction of the major axis in (-pi/2, pi/2], from x towards y [radian].

    Raises
    ------
    ValueError
        "No ring detected" and why: nothing is left, the image is constant, nothing is finite; or an argument of wrong shape
        or value.
    TypeError
        An image, mask or parameter that is not numeric.

    References
    ----------
    "Calibration and Recalibration Modules", part II, fit_ellipse_to_ring.

    N. Otsu (1979), https://doi.org/10.1109/TSMC.1979.4310076

    Examples
    --------
    >>> import numpy as np
    >>> y, x = np.mgrid[:200, :300]
    >>> ring = np.exp(-((np.hypot(x - 160, y - 90) - 60) / 4) ** 2)
    >>> fit = fit_ellipse_to_ring(ring)
    >>> print(f"({fit.cx:.2f}, {fit.cy:.2f})")
    (160.00, 90.00)
    """
    image = as_image(image)
    threshold_rel = as_number(threshold_rel, "threshold_rel", above=0)
    min_size = as_count(min_size, "min_size")
    mask = as_mask(mask, image.shape)

    from .kernels import ellipse

    masked = ellipse.NO_MASK if mask is None else mask
    low, high, reason = ellipse.bright_from(image.reshape(-1), masked.reshape(-1), threshold_rel)
    if reason:
        raise ValueError(f"No ring detected: {reason}")
    region = ellipse.largest_region(image, masked, low, high, min_size)
    if region is None:
        raise ValueError(f"No ring detected: no group of at least min_size={min_size} pixels is brighter than "
                         f"threshold_rel={threshold_rel:g} times Otsu's threshold; lower either of them")
    return EllipseFit(float(region.cx), float(region.cy), *ellipse.principal_axes(*region[3:6]))
