"""Beam centre <-> PONI: the exact relations, orientation and binning, and PONI files.

The half pixel between index coordinates (the integer i is the centre of pixel i) and pyFAI's metres from the corner of the
detector lives here and nowhere else. With distance and tilts fixed, moving the beam is a pure translation of the PONI.

References
----------
J. Kieffer and J. P. Wright, Powder Diffraction 28 (2013) S339, doi:10.1017/S0885715613000924 (pyFAI's geometry).
P. Boesecke, J. Appl. Cryst. 40 (2007) s423, doi:10.1107/S0021889807001100 (its conventions).
"""

import math
from dataclasses import replace

import numpy as np

from ._ponifile import Poni, as_poni, is_named, make_config, read_poni, write_poni
from ._validation import as_number, as_shape, choose

__all__ = ["CONVENTIONS", "Poni", "beam_center", "center_to_poni", "electron_wavelength", "fit_binning", "from_integrator",
           "poni_with_center", "read_poni", "to_integrator", "write_poni"]

CONVENTIONS = ("documented", "pyfai")

# CODATA 2022; the first three are exact, by definition of the SI.
_PLANCK = 6.62607015e-34
_CHARGE = 1.602176634e-19
_LIGHT = 299792458.0
_ELECTRON_MASS = 9.1093837139e-31


def beam_center(poni, shape=None):
    """Where the direct beam meets the detector, exactly.

    Parameters
    ----------
    poni : Poni
        The geometry.
    shape : (int, int), optional
        Rows and columns of the image; ``poni.max_shape`` by default. Binning is recognised, see `fit_binning`.

    Returns
    -------
    cx, cy : float
        Column and row of the array as it is stored, whatever the orientation [pixel].

    Raises
    ------
    ValueError
        If the shape does not fit the PONI, is needed but unknown (orientations 1, 2, 4), or if the beam misses the detector's
        plane.

    See Also
    --------
    poni_with_center : the way back.

    Examples
    --------
    >>> poni = Poni(0.2, 0.005, 0.006, 0.01, 0, 0, None, 1e-5, 1e-5, max_shape=(1000, 1200))
    >>> cx, cy = beam_center(poni)
    >>> round(cx, 6), round(cy, 6)
    (399.493333, 499.5)
    """
    poni = as_poni(poni) if shape is None else fit_binning(poni, shape)
    offset1, offset2 = _beam_offset(poni)
    y = (poni.poni1 + offset1) / poni.pixel1 - 0.5
    x = (poni.poni2 + offset2) / poni.pixel2 - 0.5
    return _flip(x, y, poni, -1)


def poni_with_center(poni, cx, cy, shape=None, *, convention="pyfai"):
    """`poni` moved so that the direct beam is at column `cx` and row `cy`; distance and tilts stay.

    Parameters
    ----------
    poni : Poni
        The geometry to start from.
    cx, cy : float
        Column and row of the array as it is stored [pixel].
    shape : (int, int), optional
        Rows and columns of the image; ``poni.max_shape`` by default. Binning is recognised, see `fit_binning`.
    convention : {"pyfai", "documented"}
        "pyfai" puts the beam exactly where it was found. "documented" is the table of orientations and `center_to_poni` of
        the recalibration document, which is off by half a pixel, by a second-order term in rot1 and rot2, and by rot3 times
        the distance from the detector's corner: two pixels for each milliradian in the middle of a 4k camera.

    Returns
    -------
    Poni

    Raises
    ------
    ValueError
        As for `beam_center`, or if the centre is not finite.

    Examples
    --------
    >>> poni = Poni(0.2, 0, 0, 0.01, 0.02, 0.03, None, 1e-5, 1e-5, max_shape=(1000, 1200), orientation=2)
    >>> cx, cy = beam_center(poni_with_center(poni, 612.25, 487.5))
    >>> round(cx, 9), round(cy, 9)
    (612.25, 487.5)
    """
    choose(convention, "convention", CONVENTIONS)
    cx, cy = as_number(cx, "cx", unit="of pixels"), as_number(cy, "cy", unit="of pixels")
    poni = as_poni(poni) if shape is None else fit_binning(poni, shape)
    if convention == "documented":
        x, y = _flip(cx, cy, poni, 0)
        poni1, poni2 = center_to_poni(x, y, poni.pixel2, poni.pixel1, poni.distance, poni.rot1, poni.rot2, poni.rot3)
    else:
        x, y = _flip(cx, cy, poni, -1)
        offset1, offset2 = _beam_offset(poni)
        poni1, poni2 = (y + 0.5) * poni.pixel1 - offset1, (x + 0.5) * poni.pixel2 - offset2
    return replace(poni, poni1=poni1, poni2=poni2)


def center_to_poni(cx, cy, px_size, py_size, dist, rot1=0.0, rot2=0.0, rot3=0.0):
    """Beam centre in pixels to PONI coordinates, by the formula of the recalibration document.

    v = (cy py_size, cx px_size, dist), R = Rz(rot3) Ry(rot2) Rx(rot1), (poni1, poni2, z) = R^-1 v. All arguments broadcast.
    For the exact relation see `poni_with_center`.

    Parameters
    ----------
    cx, cy : float or array_like
        Column and row of the beam, after the document's table of orientations [pixel].
    px_size, py_size : float or array_like
        Width (pyFAI's pixel2) and height (pyFAI's pixel1) of a pixel [m].
    dist : float or array_like
        Distance from the sample to the detector [m].
    rot1, rot2, rot3 : float or array_like
        Rotations [rad].

    Returns
    -------
    poni1, poni2 : float or ndarray
        Vertical and horizontal coordinate [m].

    Raises
    ------
    ValueError
        If an argument is not finite, a pixel size or the distance is not positive, or the shapes do not broadcast.

    References
    ----------
    "Calibration and Recalibration Modules", part II, center_to_poni.

    Examples
    --------
    >>> poni1, poni2 = center_to_poni(1024, 1000, 5e-6, 5e-6, 0.2)
    >>> round(poni1, 9), round(poni2, 9)
    (0.005, 0.00512)
    """
    cx, cy = _as_finite(cx, "cx"), _as_finite(cy, "cy")
    px_size, py_size, dist = (_as_finite(value, name, positive=True) for value, name in
                              ((px_size, "px_size"), (py_size, "py_size"), (dist, "dist")))
    rot1, rot2, rot3 = _as_finite(rot1, "rot1"), _as_finite(rot2, "rot2"), _as_finite(rot3, "rot3")
    # R^-1 = Rx^T Ry^T Rz^T, applied one after the other: around the third axis first.
    v1, v2 = cy * py_size, cx * px_size
    v1, v2 = np.cos(rot3) * v1 + np.sin(rot3) * v2, np.cos(rot3) * v2 - np.sin(rot3) * v1
    v1, v3 = np.cos(rot2) * v1 - np.sin(rot2) * dist, np.cos(rot2) * dist + np.sin(rot2) * v1
    v2 = np.cos(rot1) * v2 + np.sin(rot1) * v3
    poni1, poni2 = np.broadcast_arrays(v1, v2)
    return (float(poni1), float(poni2)) if poni1.ndim == 0 else (poni1.copy(), poni2.copy())


def fit_binning(poni, shape):
    """`poni` for an image of `shape`: pixel sizes scaled where image and detector differ by binning.

    Parameters
    ----------
    poni : Poni
        The geometry of the detector as it was calibrated.
    shape : (int, int)
        Rows and columns of the image.

    Returns
    -------
    Poni
        The same object where the shapes agree. Otherwise ``max_shape`` is the image's, the pixel sizes are multiplied by the
        binning (divided, where the image is the finer one), and a named detector becomes a plain one, because pyFAI's named
        detectors would bin once more.

    Raises
    ------
    ValueError
        If the two shapes do not differ by the same whole factor on both axes: a cut-out, or another camera.

    Examples
    --------
    >>> poni = Poni(0.2, 0.01, 0.01, 0, 0, 0, None, 5e-6, 5e-6, max_shape=(4096, 4096))
    >>> binned = fit_binning(poni, (1024, 1024))
    >>> binned.pixel1, binned.max_shape
    (2e-05, (1024, 1024))
    """
    shape = as_shape(shape)
    if as_poni(poni).max_shape == shape:
        return poni
    if poni.max_shape is None:
        return replace(poni, max_shape=shape)
    factor = _binning_factor(poni.max_shape, shape)
    if factor is None:
        raise ValueError(f"the image has shape {shape}, the PONI's detector {poni.max_shape}: they do not differ by a whole "
                         "binning factor; take the PONI of this camera and this read-out area")
    return replace(poni, pixel1=poni.pixel1 * factor, pixel2=poni.pixel2 * factor, max_shape=shape, detector=None,
                   detector_config=None)


def electron_wavelength(voltage_kv):
    """Wavelength of electrons, relativistic: h / sqrt(2 m e V (1 + e V / (2 m c^2))).

    Parameters
    ----------
    voltage_kv : float
        Accelerating voltage [kV].

    Returns
    -------
    float
        [Angstrom]

    Raises
    ------
    ValueError
        If the voltage is not a positive number.

    References
    ----------
    CODATA 2022 constants, https://physics.nist.gov/cuu/Constants.

    Examples
    --------
    >>> round(electron_wavelength(200), 6), round(electron_wavelength(300), 6)
    (0.025079, 0.019687)
    """
    energy = as_number(voltage_kv, "voltage_kv", above=0, unit="of kilovolts") * 1e3 * _CHARGE
    momentum = math.sqrt(2 * _ELECTRON_MASS * energy * (1 + energy / (2 * _ELECTRON_MASS * _LIGHT**2)))
    return _PLANCK / momentum * 1e10


def _beam_offset(poni):
    """The beam's position minus the PONI's, vertical and horizontal [m]; rot3 turns around the beam and never enters."""
    if (poni.detector_config or {}).get("splinefile"):
        raise ValueError("the PONI's detector is distorted (splinefile): undistort the images and take a PONI without it")
    if math.cos(poni.rot1) * math.cos(poni.rot2) < 1e-9:
        raise ValueError(f"the beam never meets a detector tilted by rot1 = {poni.rot1:g} and rot2 = {poni.rot2:g} rad")
    return poni.distance * math.tan(poni.rot2) / math.cos(poni.rot1), -poni.distance * math.tan(poni.rot1)


def _flip(x, y, poni, last):
    """Column and row counted from the other side where the orientation says so, and back: it is its own inverse.

    `last` is -1 for index coordinates (W - 1 - x) and 0 for the document's table (W - x).
    """
    if poni.orientation != 3 and poni.max_shape is None:
        raise ValueError(f"orientation {poni.orientation} counts from the far side: give the shape of the image")
    if poni.orientation in (1, 2):
        y = poni.max_shape[0] + last - y
    if poni.orientation in (1, 4):
        x = poni.max_shape[1] + last - x
    return x, y


def _binning_factor(detector, image):
    """What the pixel size is multiplied by, or None if there is no whole factor."""
    for larger, smaller, exponent in ((detector, image, 1), (image, detector, -1)):
        factor = larger[0] // smaller[0] if smaller[0] else 0
        if factor and (factor * smaller[0], factor * smaller[1]) == larger:
            return float(factor) ** exponent
    return None


def _as_finite(value, name, positive=False):
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be a number or an array of numbers, not {value!r}")
    if not np.isfinite(array).all() or (positive and (array <= 0).any()):
        raise ValueError(f"{name} must be finite{' and above 0' if positive else ''}, not {value!r}")
    return array.astype(np.float64)


def to_integrator(poni):
    """The AzimuthalIntegrator of pyFAI, built from the parsed values: microseconds, where `pyFAI.load` takes milliseconds.

    Parameters
    ----------
    poni : Poni
        The geometry.

    Returns
    -------
    pyFAI.integrator.azimuthal.AzimuthalIntegrator
        With its wavelength None where the PONI has none. Its ``energy`` is that of a photon, not of an electron.

    Examples
    --------
    >>> ai = to_integrator(Poni(0.2, 0.01, 0.01, 0, 0, 0, None, 5e-6, 5e-6, max_shape=(2048, 2048)))
    >>> ai.dist, ai.pixel1
    (0.2, 5e-06)
    """
    from pyFAI import detector_factory

    detector = detector_factory(as_poni(poni).detector or "Detector", make_config(poni))
    return _integrator_class()(poni.distance, poni.poni1, poni.poni2, poni.rot1, poni.rot2, poni.rot3, detector=detector,
                               wavelength=poni.wavelength)


def from_integrator(ai):
    """The `Poni` of a pyFAI integrator (or Geometry).

    Parameters
    ----------
    ai : pyFAI.integrator.azimuthal.AzimuthalIntegrator
        Any object with its geometry and a detector.

    Returns
    -------
    Poni

    Raises
    ------
    ValueError
        If its detector has no pixel size.

    Examples
    --------
    >>> poni = Poni(0.2, 0.01, 0.01, 0, 0, 0, None, 5e-6, 5e-6, max_shape=(2048, 2048), orientation=2)
    >>> from_integrator(to_integrator(poni)) == poni
    True
    """
    detector = ai.detector
    if not detector.pixel1 or not detector.pixel2:
        raise ValueError("the integrator's detector has no pixel size: set ai.detector.pixel1 and pixel2 [metre]")
    name = type(detector).__name__
    own = ("orientation",) if is_named(name) else ("orientation", "pixel1", "pixel2", "max_shape")
    config = {key.lower(): value for key, value in detector.get_config().items() if key not in own}
    return Poni(
        float(ai.dist), float(ai.poni1), float(ai.poni2), float(ai.rot1), float(ai.rot2), float(ai.rot3), ai.wavelength,
        float(detector.pixel1), float(detector.pixel2), detector.shape, int(detector.orientation) or 3,
        name if is_named(name) else None, config or None)


def _integrator_class():
    try:
        from pyFAI.integrator.azimuthal import AzimuthalIntegrator
    except ImportError:  # before pyFAI 2025.1
        from pyFAI.azimuthalIntegrator import AzimuthalIntegrator
    return AzimuthalIntegrator
