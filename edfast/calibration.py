"""From a crystal structure and an image of its rings to the geometry of the detector."""

import os
from pathlib import Path

from . import __version__
from ._calibrate import Calibration, CalibrationError, MatchedRing, calibrate_image
from ._validation import as_count, as_image, as_mask, as_number, choose

__all__ = ["Calibration", "CalibrationError", "MatchedRing", "build_calibration_data_from_cif", "calibrate", "example_cif",
           "get_calibration_parameters", "perform_geometric_calibration"]

_STRUCTURES = Path(__file__).parent / "structures"


def build_calibration_data_from_cif(cif_file, wavelength, n_peaks=15, two_theta_range=(0, 2), *, output="distances.txt"):
    """The strongest reflections of a crystal structure, and a file of their d-spacings that pyFAI takes as a calibrant.

    Parameters
    ----------
    cif_file : str or path-like
        The crystal structure. Occupancies and, where the file has them, temperature factors (the mean of each element) enter
        the intensities.
    wavelength : float
        Of the electrons [Angstrom].
    n_peaks : int, optional
        Number of reflections: the strongest in the range, or all of them if there are fewer.
    two_theta_range : (float, float), optional
        Lowest and highest scattering angle [degree].
    output : str or path-like or None, optional
        File for the d-spacings [Angstrom], one per line in decreasing order; None writes none.

    Returns
    -------
    list of dict
        ``hkl`` (three integers), ``d`` [Angstrom], ``two_theta`` [degree], ``intensity`` (of X-rays; the strongest is 1), in
        order of increasing angle. Reflections at the same angle are one, named after the most numerous of them.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        The CIF cannot be read (says why), an argument makes no sense, or there is no reflection in the range.
    OSError
        The output cannot be written.

    References
    ----------
    "Calibration and Recalibration Modules", part I. Intensities: pymatgen's XRDCalculator.

    Examples
    --------
    >>> peaks = build_calibration_data_from_cif(example_cif("gold"), 0.0251, n_peaks=3, output=None)
    >>> [(peak["hkl"], round(peak["d"], 4), round(peak["two_theta"], 3)) for peak in peaks]
    [((1, 1, 1), 2.3545, 0.611), ((2, 0, 0), 2.0391, 0.705), ((3, 1, 1), 1.2296, 1.17)]
    """
    from ._crystal import read_crystal, reflections
    from ._experiment import as_wavelength
    from ._files import check_not_input, write_atomically

    wavelength, n_peaks = as_wavelength(wavelength), as_count(n_peaks, "n_peaks", minimum=1)
    angles = _angles(two_theta_range)
    if output is not None:
        check_not_input(output, cif_file)
    found = reflections(read_crystal(cif_file), wavelength, angles)
    strongest = sorted(found, key=lambda peak: -peak["intensity"])[:n_peaks]
    peaks = sorted(strongest, key=lambda peak: peak["two_theta"])
    if output is not None:
        write_atomically(output, "".join(f"{peak['d']:.8f}\n" for peak in peaks))
    return peaks


def perform_geometric_calibration(cif_file, dm4_file, *, wavelength=None, voltage_kv=None, pixel_size=None, distance=None,
                                  n_peaks=15, two_theta_range=(0, 2), output="distances.txt", frame=None):
    """Calibrate by hand, as documented: print the settings and run pyFAI-calib2 with all that is known.

    The image goes to pyFAI-calib2 as an EDF file beside `output`, with the metadata as header; it is removed whatever happens.
    The program runs in the Python environment of edfast, and the call returns when its window is closed. The file of
    d-spacings stays, and what you save. `calibrate` does the same without a click.

    Parameters
    ----------
    cif_file : str or path-like
        The crystal structure.
    dm4_file : str or path-like
        The image: DM4, or any file that `load_data` reads.
    wavelength : float, optional
        [Angstrom], if the file does not say it, or says it wrongly.
    voltage_kv : float, optional
        The same, from the accelerating voltage [kV].
    pixel_size : float or (float, float), optional
        Of a pixel of the image, the camera's times the binning; (vertical, horizontal) if these differ [micrometre].
    distance : float, optional
        First guess of the camera length [m].
    n_peaks, two_theta_range, output
        As for `build_calibration_data_from_cif`.
    frame : int, optional
        Which image of a file with several, from 0.

    Raises
    ------
    FileNotFoundError, ValueError, OSError
        A file cannot be read or written, an argument makes no sense, or the file says no wavelength or pixel size and none
        is given.
    ImportError
        There is no GUI toolkit: ``pip install edfast[gui]``.
    RuntimeError
        pyFAI-calib2 stopped with an error; says which.

    References
    ----------
    "Calibration and Recalibration Modules", part I. https://pyfai.readthedocs.io/en/stable/man/pyFAI-calib2.html

    Examples
    --------
    >>> perform_geometric_calibration("gold.cif", "image.dm4", voltage_kv=200)  # doctest: +SKIP
    EXPERIMENT SETTINGS TO INPUT IN PYFAI-CALIB2
    ...
    """
    from ._calib2 import check_toolkit, run, settings
    from ._experiment import experiment
    from ._files import check_not_input
    from .filereader import load_data

    if output is None:
        raise ValueError("output must be the name of a file: pyFAI-calib2 reads the d-spacings from it")
    check_not_input(output, cif_file, dm4_file)
    check_toolkit()
    distance = None if distance is None else as_number(distance, "distance", above=0, unit="of metres")
    metadata, image = load_data(dm4_file, verbose=False, frame=frame)
    setup = experiment(metadata, wavelength, voltage_kv, pixel_size)
    image = as_image(image, os.fsdecode(dm4_file))
    build_calibration_data_from_cif(cif_file, setup.wavelength, n_peaks, two_theta_range, output=output)
    print(settings(metadata, setup, output), flush=True)
    if saved := run(image, metadata, setup, output, distance):
        print(f"The calibration was saved as {saved}")


def calibrate(cif_file, image_file, *, distance=None, wavelength=None, voltage_kv=None, pixel_size=None, mask=None, tilt=False,
              orientation=3, frame=None, output=None):
    """Calibrate without a click: find the rings, tell which reflections they are, refine camera length and centre on them.

    Only the ratios of the radii say which ring is which reflection, so that no camera length is needed; rings that are
    missing, extra or forbidden do no harm as long as most are explained.

    Parameters
    ----------
    cif_file : str or path-like
        The crystal structure.
    image_file : str, path-like or array_like of shape (H, W)
        An image of the rings: DM4, any file that `load_data` reads, or an array.
    distance : float, optional
        First guess of the camera length [m]. It decides between camera lengths that explain the rings equally well; it may be
        wrong.
    wavelength : float, optional
        [Angstrom], if the file does not say it, or says it wrongly.
    voltage_kv : float, optional
        The same, from the accelerating voltage [kV].
    pixel_size : float or (float, float), optional
        Of a pixel of the image, the camera's times the binning; (vertical, horizontal) if these differ [micrometre].
    mask : array_like of shape (H, W), optional
        True (or non-zero) = masked out. A beam stop is found without it.
    tilt : bool, optional
        Refine rot1 and rot2 too. They stay zero where the image does not support them: where the centres of the rings do not
        move apart more than by chance. Then ``tilt_note`` says so.
    orientation : int, optional
        pyFAI's, 1 to 4.
    frame : int, optional
        Which image of a file with several, from 0.
    output : str or path-like, optional
        PONI file to write, with the errors as a comment.

    Returns
    -------
    Calibration
        ``poni``, ``integrator``, ``distance`` [m] and centre [pixel] with standard errors, the matched rings with their
        residuals. Printed, it is a table of the rings.

    Raises
    ------
    CalibrationError
        (A ValueError.) The rings are not those of the structure, with the ratios side by side; they fit in several ways; or
        there are fewer than three.
    FileNotFoundError, ValueError, TypeError, OSError
        A file cannot be read or written, an argument makes no sense, or the file says no wavelength or pixel size and none
        is given.

    Notes
    -----
    A film whose grains share one direction shows few of the structure's rings; it is recognised (``axis``), but its ratios
    are those of any crystal with the same symmetry about that direction: the image does not tell whether the structure is
    right.
    The same holds for two powders with the same ratios, such as gold and aluminium.

    Examples
    --------
    >>> from edfast.geometry import Poni
    >>> from edfast.simulate import powder_pattern
    >>> truth = Poni(0.2, 0.0051, 0.0052, 0, 0, 0, 2.5079e-12, 2e-5, 2e-5, max_shape=(512, 512))
    >>> peaks = build_calibration_data_from_cif(example_cif("gold"), 0.025079, 6, output=None)
    >>> d = [peak["d"] for peak in peaks]
    >>> image, _ = powder_pattern(d, truth, amplitudes=[200 * peak["intensity"] for peak in peaks], random_state=0)
    >>> found = calibrate(example_cif("gold"), image, wavelength=0.025079, pixel_size=20)
    >>> found.rings[0].hkl, abs(found.distance - 0.2) < 4e-5
    ((1, 1, 1), True)
    """
    from ._crystal import read_crystal
    from ._experiment import experiment
    from ._files import check_not_input, is_array
    from ._ponifile import write_poni
    from .filereader import load_data

    distance = None if distance is None else as_number(distance, "distance", above=0, unit="of metres")
    choose(orientation, "orientation", (1, 2, 3, 4))
    if output is not None:
        check_not_input(output, image_file, cif_file)
    if is_array(image_file):
        metadata, image, name = {"wavelength": None, "image_pixel_size": None, "path": "the image"}, image_file, "image"
    else:
        metadata, image = load_data(image_file, verbose=False, frame=frame)
        name = metadata["path"]
    setup = experiment(metadata, wavelength, voltage_kv, pixel_size)
    image = as_image(image, name)
    mask = as_mask(mask, image.shape)
    crystal = read_crystal(cif_file)
    try:
        found = calibrate_image(image, crystal, setup, distance=distance, mask=mask, tilt=bool(tilt), orientation=orientation)
    except CalibrationError as error:
        raise CalibrationError(f"{name} with {crystal.path}: {error}") from error
    if output is not None:
        write_poni(output, found.poni, comment=_origin(found, name, crystal.path))
    return found


def get_calibration_parameters(poni_file):
    r"""The parameters of a PONI file of any version, also of the calibration document's example.

    Parameters
    ----------
    poni_file : str or path-like
        The file. In files that programs have appended to, the last block wins.

    Returns
    -------
    dict
        ``distance, poni1, poni2, rot1, rot2, rot3, wavelength, pixel1, pixel2, max_shape`` [metre, radian], None where the
        file is silent; ``orientation`` and ``detector`` if the file names them.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        Naming the file, and the line that cannot be read.

    See Also
    --------
    edfast.geometry.read_poni : the same as a record that the other functions take.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "old.poni"
    >>> _ = path.write_text("PixelSize1: 1e-5\nPixelSize2: 1e-5\nDistance: 0.2\nPoni1: 0.01\nPoni2: 0.01\n")
    >>> get_calibration_parameters(path)["distance"]
    0.2
    """
    from ._ponifile import read_parameters

    return read_parameters(poni_file)


def example_cif(name):
    """Path of a crystal structure that comes with edfast, from the literature that it names.

    Parameters
    ----------
    name : {"aluminium", "bismuth", "gold", "silicon", "thallium_chloride"}
        The substance.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        There is no such structure.

    Examples
    --------
    >>> example_cif("gold").name
    'gold.cif'
    """
    names = sorted(path.stem for path in _STRUCTURES.glob("*.cif"))
    return _STRUCTURES / f"{choose(name, 'name', names)}.cif"


def _origin(found, image, structure):
    """What a PONI says above its block: the errors, and where it comes from."""
    return f"Calibrated by edfast {__version__} with {image} and {structure}; chi2 of the radii {found.chi2:.2f}\n{found}"


def _angles(two_theta_range):
    try:
        low, high = (as_number(angle, "two_theta_range", minimum=0, maximum=180) for angle in two_theta_range)
    except (TypeError, ValueError):
        low = high = 0
    if low >= high:
        raise ValueError(f"two_theta_range must be (lowest, highest), in degrees from 0 to 180, not {two_theta_range!r}")
    return low, high
