"""A DM4 image and a PONI file in, a recalibrated PONI file out: the functions of the recalibration document, part II.

The sample's rings or the direct beam say where the beam is; distance and tilts stay as they were calibrated. The functions
behave as documented by default; ``convention="pyfai"`` is exact, and ``method="ring"`` precise.
"""

import warnings
from dataclasses import replace

from ._ellipse import fit_ellipse_to_ring
from ._files import check_not_input, is_array
from ._recalibrate import Options, recalibrate_file, rings_elsewhere
from ._validation import as_flag, as_number, as_path
from .geometry import center_to_poni, read_poni, to_integrator, write_poni

__all__ = ["CenterWarning", "ConventionWarning", "center_to_poni", "fit_ellipse_to_ring", "recalibrate_no_beamstop",
           "recalibrate_with_beamstop", "update_ai"]


class CenterWarning(UserWarning):
    """The documented centroid is pixels away from where the rings have their centre; ``method="ring"`` finds that."""


class ConventionWarning(UserWarning):
    """The documented formula puts the beam more than a pixel from where it was found; ``convention="pyfai"`` does not."""


def recalibrate_no_beamstop(dm4file, ponifile, output_ponifile=None, *, method="max", convention="documented", mask=None,
                            frame=None):
    """Recalibrate a PONI by the direct beam.

    Parameters
    ----------
    dm4file : str, path-like or array_like of shape (H, W)
        The image: any file that `edfast.load_data` reads, or the pixels themselves.
    ponifile : str or path-like
        The PONI file with the distance and the tilts.
    output_ponifile : str or path-like, optional
        Where to write the new PONI; its folder must exist.
    method : {"max", "centroid", "ring"}, optional
        "max" is the first of the largest finite pixels. "centroid" is the intensity-weighted centroid of the direct beam, in
        fractions of a pixel: the largest 3 x 3 median finds the beam, the area above half of that (background removed) its
        width, and a Gaussian weight of that width is moved along until it stays; pixels that stick out of their neighbours as
        no such beam does (hot ones), and masked ones, count as their neighbours' median. "ring" is `edfast.fit_ring`.
    convention : {"documented", "pyfai"}, optional
        See `edfast.geometry.poni_with_center`; "pyfai" is the exact one.
    mask : array_like of shape (H, W), optional
        True where a pixel is to be left out. Non-finite pixels always are.
    frame : int, optional
        Which image of a file with several.

    Returns
    -------
    pyFAI.integrator.azimuthal.AzimuthalIntegrator

    Raises
    ------
    FileNotFoundError, OSError
        An input is not there, or the output cannot be written.
    ValueError
        An input cannot be read, the shapes do not fit, or no beam is found; the message says in which file.

    Warns
    -----
    ConventionWarning
        If the documented formula puts the beam more than a pixel from where it was found.

    References
    ----------
    "Calibration and Recalibration Modules", part II, recalibrate_no_beamstop.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np
    >>> from edfast.geometry import Poni, beam_center, from_integrator, write_poni
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "cal.poni"
    >>> write_poni(path, Poni(0.2, 0.001, 0.001, 0, 0, 0, None, 1e-5, 1e-5, max_shape=(100, 120)))
    >>> y, x = np.mgrid[:100, :120]
    >>> image = np.exp(-((x - 61.3) ** 2 + (y - 48.6) ** 2) / 18)
    >>> ai = recalibrate_no_beamstop(image, path, method="centroid", convention="pyfai")
    >>> [round(value, 3) for value in beam_center(from_integrator(ai))]
    [61.3, 48.6]
    """
    options = Options(False, method, convention)
    return to_integrator(_recalibrate(dm4file, ponifile, output_ponifile, options, mask, frame)[0].poni)


def recalibrate_with_beamstop(dm4file, ponifile, threshold_rel=0.5, min_size=50, output_ponifile=None, plot=False, *,
                              method="covariance", convention="documented", mask=None, frame=None):
    """Recalibrate a PONI by the rings around a beam stop.

    Parameters
    ----------
    dm4file : str, path-like or array_like of shape (H, W)
        The image: any file that `edfast.load_data` reads, or the pixels themselves.
    ponifile : str or path-like
        The PONI file with the distance and the tilts.
    threshold_rel, min_size : float, int, optional
        For the method "covariance", see `fit_ellipse_to_ring`.
    output_ponifile : str or path-like, optional
        Where to write the new PONI; its folder must exist.
    plot : bool, optional
        Show the image with the ellipse and the centre.
    method : {"covariance", "ring"}, optional
        "covariance" is the documented `fit_ellipse_to_ring`: the centroid of the brightest region. "ring" is
        `edfast.fit_ring`, which a beam stop does not pull aside.
    convention : {"documented", "pyfai"}, optional
        See `edfast.geometry.poni_with_center`; "pyfai" is the exact one.
    mask : array_like of shape (H, W), optional
        True where a pixel is to be left out. Non-finite pixels always are.
    frame : int, optional
        Which image of a file with several.

    Returns
    -------
    pyFAI.integrator.azimuthal.AzimuthalIntegrator

    Raises
    ------
    FileNotFoundError, OSError
        An input is not there, or the output cannot be written.
    ValueError
        An input cannot be read, the shapes do not fit, or no ring is found; the message says in which file.

    Warns
    -----
    ConventionWarning
        If the documented formula puts the beam more than a pixel from where it was found.
    CenterWarning
        If a quick look at the rings puts their centre more than a few pixels from the centroid of the documented method.

    References
    ----------
    "Calibration and Recalibration Modules", part II, recalibrate_with_beamstop.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from edfast.geometry import Poni, beam_center, from_integrator, write_poni
    >>> from edfast.simulate import ring_pattern
    >>> image, truth = ring_pattern((512, 512), center=(250.0, 260.0), radii=[120], random_state=0)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "cal.poni"
    >>> write_poni(path, Poni(0.2, 0.002, 0.002, 0, 0, 0, None, 1e-5, 1e-5, max_shape=(512, 512)))
    >>> ai = recalibrate_with_beamstop(image, path, convention="pyfai")
    >>> [round(value) for value in beam_center(from_integrator(ai))]
    [250, 260]
    """
    options, plot = Options(True, method, convention, threshold_rel, min_size), as_flag(plot, "plot")
    result, image = _recalibrate(dm4file, ponifile, output_ponifile, options, mask, frame)
    if plot:
        from .plots import plot_recalibration, show

        show(plot_recalibration, image, result.fit, orientation=result.poni.orientation)
    return to_integrator(result.poni)


def update_ai(initial_ponifile, poni1_new, poni2_new, output_ponifile=None):
    """A PONI file with another point of normal incidence.

    Parameters
    ----------
    initial_ponifile : str or path-like
        The PONI file with everything else.
    poni1_new, poni2_new : float
        Vertical and horizontal coordinate [m].
    output_ponifile : str or path-like, optional
        Where to write the new PONI; its folder must exist.

    Returns
    -------
    pyFAI.integrator.azimuthal.AzimuthalIntegrator

    Raises
    ------
    FileNotFoundError, OSError
        The input is not there, or the output cannot be written.
    ValueError
        The input cannot be read, or a coordinate is not finite.

    References
    ----------
    "Calibration and Recalibration Modules", part II, update_ai.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from edfast.geometry import Poni, write_poni
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "cal.poni"
    >>> write_poni(path, Poni(0.2, 0.001, 0.001, 0, 0, 0, None, 1e-5, 1e-5, max_shape=(100, 120)))
    >>> ai = update_ai(path, 0.0015, 0.0016)
    >>> ai.poni1, ai.poni2, ai.dist
    (0.0015, 0.0016, 0.2)
    """
    poni1 = as_number(poni1_new, "poni1_new", unit="of metres")
    poni2 = as_number(poni2_new, "poni2_new", unit="of metres")
    if output_ponifile is not None:
        check_not_input(output_ponifile, initial_ponifile)
    poni = replace(read_poni(as_path(initial_ponifile, "initial_ponifile")), poni1=poni1, poni2=poni2)
    if output_ponifile is not None:
        write_poni(output_ponifile, poni)
    return to_integrator(poni)


def _recalibrate(dm4file, ponifile, output, options, mask, frame):
    """(`Recalibration`, image): checks first, then one parse of the PONI and one read of the image."""
    if output is not None:
        check_not_input(output, dm4file, ponifile)
    poni = read_poni(as_path(ponifile, "ponifile"))
    result, image = recalibrate_file(dm4file, poni, options, output, mask=mask, frame=frame, source=ponifile)
    name = "the image" if is_array(dm4file) else dm4file
    if options.method == "covariance" and (elsewhere := rings_elsewhere(image, result.cx, result.cy, mask)):
        message = (f"{name}: the brightest region has its centroid at ({result.cx:.1f}, {result.cy:.1f}), but the rings have "
                   f'their centre near ({elsewhere[0]:.0f}, {elsewhere[1]:.0f}); method="ring" finds it')
        warnings.warn(message, CenterWarning, stacklevel=3)
    if result.error > 1:
        message = (f"{name}: the documented formula puts the beam {result.error:.1f} "
                   f"pixels from where it was found, ({result.cx:.1f}, {result.cy:.1f}); convention=\"pyfai\" puts it there")
        warnings.warn(message, ConventionWarning, stacklevel=3)
    return result, image
