"""What a calibration must know of the experiment, from the image's file or from the user."""

import numbers
from typing import NamedTuple

from ._validation import as_number
from .geometry import electron_wavelength


class Experiment(NamedTuple):
    """Wavelength [Angstrom] and (vertical, horizontal) pixel size of the image [micrometre]."""

    wavelength: float
    pixel_size: tuple[float, float]


def as_wavelength(value):
    """A wavelength that atoms can diffract [Angstrom]; one in metres or kilovolts is caught."""
    return as_number(value, "wavelength", minimum=1e-4, maximum=10, unit="of Angstrom")


def experiment(metadata, wavelength=None, voltage_kv=None, pixel_size=None):
    """`Experiment` of an image; what the user gives goes before what the file says.

    ValueError, naming the keyword, for what neither says.
    """
    where = metadata["path"]
    if wavelength is not None and voltage_kv is not None:
        raise ValueError(f"wavelength = {wavelength!r} and voltage_kv = {voltage_kv!r} say the same: give one of them")
    if voltage_kv is not None:
        wavelength = electron_wavelength(voltage_kv)
    wavelength = metadata["wavelength"] if wavelength is None else wavelength
    if wavelength is None:
        raise ValueError(f"{where} does not say the wavelength: give wavelength [Angstrom] or voltage_kv [kV]")
    pixel_size = metadata["image_pixel_size"] if pixel_size is None else pixel_size
    if pixel_size is None:
        raise ValueError(f"{where} does not say the size of a pixel: give pixel_size [micrometre], the camera's pixel times "
                         "the binning")
    return Experiment(as_wavelength(wavelength), _both(pixel_size))


def _both(size):
    """(vertical, horizontal) of a pixel size that is one number or such a pair."""
    pair = (size, size) if isinstance(size, numbers.Real) else tuple(size)
    if len(pair) != 2:
        raise ValueError(f"pixel_size must be one number or (vertical, horizontal), not {size!r}")
    return tuple(as_number(value, "pixel_size", above=0, maximum=1e5, unit="of micrometres") for value in pair)
