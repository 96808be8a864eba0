"""PONI files: the record of what they say, reading of every version, atomic writing of one block of version 2.1."""

import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from ._files import check_output, write_atomically
from ._validation import as_number, as_path, as_shape, choose

_NEWEST_VERSION = 3.0
_LARGEST_FILE = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Poni:
    """What a PONI file says: where the detector stands. Lengths in metre, angles in radian, None where the file is silent.

    Attributes
    ----------
    distance : float
        From the sample to the detector's plane, perpendicular to it [m].
    poni1, poni2 : float
        Point of normal incidence, vertical (rows) and horizontal (columns), from the corner of the detector [m].
    rot1, rot2, rot3 : float
        Tilts in pyFAI's sense: the first two are left-handed, the third is right-handed [rad].
    wavelength : float or None
        [m]
    pixel1, pixel2 : float
        Height and width of a pixel [m].
    max_shape : (int, int) or None
        Rows and columns of the image that the pixel size belongs to.
    orientation : int
        1 to 4 as in pyFAI; a file without one means 3.
    detector : str or None
        pyFAI's name of the detector; None and "Detector" are the plain rectangular one.
    detector_config : dict or None
        The rest of the detector's configuration, as it stands in the file.

    See Also
    --------
    edfast.geometry.beam_center, edfast.geometry.poni_with_center

    Examples
    --------
    >>> poni = Poni(0.2344, 0.0096, 0.0098, 0, 0, 0, 2.51e-12, 5e-6, 5e-6, max_shape=(3712, 3840))
    >>> poni.orientation
    3
    """

    distance: float
    poni1: float
    poni2: float
    rot1: float
    rot2: float
    rot3: float
    wavelength: float | None
    pixel1: float
    pixel2: float
    max_shape: tuple[int, int] | None = None
    orientation: int = 3
    detector: str | None = None
    detector_config: dict | None = field(default=None, hash=False)

    def __post_init__(self):
        for name in ("distance", "pixel1", "pixel2"):
            as_number(getattr(self, name), name, above=0, unit="of metres")
        for name in ("poni1", "poni2", "rot1", "rot2", "rot3"):
            as_number(getattr(self, name), name)
        if self.wavelength is not None:
            as_number(self.wavelength, "wavelength", above=0, unit="of metres")
        choose(self.orientation, "orientation", (1, 2, 3, 4))
        if self.max_shape is not None:
            # pyFAI and JSON give lists, numpy gives its own integers: one form, so that equal geometries compare equal.
            object.__setattr__(self, "max_shape", as_shape(self.max_shape, "max_shape"))


def as_poni(poni):
    """`poni`, if it is one."""
    if not isinstance(poni, Poni):
        raise TypeError(f"poni must be a Poni, as read_poni returns it, not {poni!r}")
    return poni


def read_poni(path):
    r"""Read a PONI file of any version (1, 2, 2.1, 3).

    Files are logs that programs append to: the last value of each key wins, as in pyFAI. The upper and lower case of keys does
    not matter; lines that start with # are comments. A Detector_config without a Detector line, as in the recalibration
    document's example, is a plain detector.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    Poni

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        Naming the file, and the line where there is one: not a PONI file, a value that cannot be read, no distance, no point
        of normal incidence, no pixel size.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "old.poni"
    >>> _ = path.write_text("PixelSize1: 1e-5\nPixelSize2: 1e-5\nDistance: 0.2\nPoni1: 0.01\nPoni2: 0.01\n")
    >>> read_poni(path).pixel1
    1e-05
    """
    return _poni(_Entries(as_path(path, "path")))


def read_parameters(path):
    """What `read_poni` reads as a dict; ``orientation`` and ``detector`` are in it only where the file names them."""
    entries = _Entries(as_path(path, "poni_file"))
    poni = _poni(entries)
    names = ["distance", "poni1", "poni2", "rot1", "rot2", "rot3", "wavelength", "pixel1", "pixel2", "max_shape"]
    names += ["orientation"] * ("orientation" in (entries.config() or {})) + ["detector"] * (poni.detector is not None)
    return {name: getattr(poni, name) for name in names}


def _poni(entries):
    version = entries.number("poni_version", default=1.0)
    if version > _NEWEST_VERSION:
        raise entries.error("poni_version", f"version {version:g} is newer than the newest known one, {_NEWEST_VERSION:g}")
    if entries.text("parallax", "").lower() == "true":
        warnings.warn(f"{entries.path}: the parallax correction is left out", stacklevel=3)
    parameters = {name: entries.number(name, default=0.0) for name in ("rot1", "rot2", "rot3")}
    parameters |= {name: entries.number(name) for name in ("poni1", "poni2")}
    distance = entries.number("distance" if "distance" in entries else "dist" if "dist" in entries else "distance", above=0)
    wavelength = entries.number("wavelength", default=None, above=0)
    return Poni(distance=distance, wavelength=wavelength, **parameters, **_detector(entries))


def write_poni(path, poni, *, comment=None, sync=False):
    """Write `poni` as one block of version 2.1, all digits, atomically: the file is there complete, or not at all.

    An existing file is replaced; a symbolic link keeps pointing to the file that it names.

    Parameters
    ----------
    path : str or path-like
        Its folder must exist.
    poni : Poni
        The geometry.
    comment : str, optional
        Written above the block, each line behind a #.
    sync : bool, optional
        Wait until the disk has it: then not even a power cut leaves half a file.

    Raises
    ------
    OSError
        If the file cannot be written: one line that names it. Nothing is left behind.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "new.poni"
    >>> write_poni(path, Poni(0.2, 0.01, 0.01, 0, 0, 0, None, 5e-6, 5e-6, max_shape=(2048, 2048)))
    >>> read_poni(path).max_shape
    (2048, 2048)
    """
    path, poni = as_path(path, "path"), as_poni(poni)
    try:
        write_atomically(path, _block(poni, comment), sync=sync)
    except OSError:
        check_output(path)  # says more, if it finds the reason
        raise


def _block(poni, comment):
    lines = [f"# {line}".rstrip() for line in (comment or "").splitlines()]
    lines += ["# Written by edfast. 1 is the vertical axis (rows), 2 the horizontal one (columns); metre and radian.",
              "poni_version: 2.1",
              f"Detector: {poni.detector or 'Detector'}",
              f"Detector_config: {json.dumps(make_config(poni))}"]
    names = ("distance", "poni1", "poni2", "rot1", "rot2", "rot3", "wavelength")
    lines += [f"{name.capitalize()}: {float(getattr(poni, name))!r}" for name in names if getattr(poni, name) is not None]
    return "\n".join(lines) + "\n"


def make_config(poni):
    """The detector's configuration as pyFAI wants it. A named detector knows its own shape and takes no other."""
    config = dict(poni.detector_config or {})
    if not is_named(poni.detector):
        config["max_shape"] = list(poni.max_shape) if poni.max_shape else None
    if not is_named(poni.detector) or "pixel1" in config or "pixel2" in config:
        config |= {"pixel1": float(poni.pixel1), "pixel2": float(poni.pixel2)}
    return config | {"orientation": int(poni.orientation)}


def is_named(detector):
    """Whether `detector` is one that pyFAI knows by name, rather than a plain grid of pixels."""
    return detector is not None and detector.lower() not in ("detector", "none", "")


class _Entries:
    """The key-value lines of a PONI file, the last of each key, with their line numbers for the messages."""

    def __init__(self, path):
        self.path = path
        self.lines = {}
        for number, line in enumerate(_poni_text(path).splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            key, colon, value = line.partition(":")
            if not colon:
                raise ValueError(f"{path}, line {number}: {_short(line)} is not of the form 'key: value'")
            self.lines[key.strip().lower()] = (number, value.strip())

    def __contains__(self, key):
        return key in self.lines

    def text(self, key, default=None):
        return self.lines[key][1] if key in self.lines else default

    def error(self, key, message):
        return ValueError(f"{self.path}, line {self.lines[key][0]}: {message}")

    def number(self, key, *, above=None, **default):
        """Finite number behind `key`. A missing one is `default`, or an error where there is no default."""
        text = self.text(key)
        if text is None or (text == "None" and default):
            if default:
                return default["default"]
            raise ValueError(f"{self.path}: no line '{key.capitalize()}: ...'; is this a PONI file?")
        try:
            return as_number(float(text), key, above=above)
        except ValueError:
            condition = "" if above is None else f" above {above:g}"
            raise self.error(key, f"{key.capitalize()} must be a finite number{condition}, not {_short(text)}") from None

    def config(self):
        """The Detector_config, its keys in lower case as pyFAI takes them, or None."""
        text = self.text("detector_config")
        if text is None or text == "None":
            return None
        try:
            config = json.loads(text)
        except ValueError as error:
            raise self.error("detector_config", f"Detector_config is not valid JSON ({error})") from None
        if not isinstance(config, dict):
            raise self.error("detector_config", f"Detector_config must be a JSON object, not {_short(text)}")
        return {key.lower(): value for key, value in config.items()}


def _poni_text(path):
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no PONI file {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a PONI file")
    with path.open("rb") as file:
        data = file.read(_LARGEST_FILE + 1)
    if b"\0" in data or len(data) > _LARGEST_FILE:
        raise ValueError(f"{path} is not a PONI file (it is not text); are image and PONI file in the right order?")
    if not data.strip():
        raise ValueError(f"{path} is empty, not a PONI file")
    return data.decode("utf-8-sig", errors="replace")


def _short(text):
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _detector(entries):
    """The detector's fields of a `Poni`; pyFAI is asked only about detectors that it knows by name."""
    name, config = entries.text("detector"), entries.config()
    if config is None:
        config = _version_1_config(entries)
    fields = {"orientation": _orientation(entries, config.pop("orientation", None))}
    if is_named(name):
        return fields | {"detector": name, "detector_config": config or None} | _named_detector(entries, name, config)
    for axis in ("pixel1", "pixel2"):
        fields[axis] = _pixel_size(entries, axis, config.pop(axis, None))
    fields["max_shape"] = _shape(entries, config.pop("max_shape", None))
    return fields | {"detector_config": config or None}


def _version_1_config(entries):
    """What a file without Detector_config says of its detector, in the words of a Detector_config."""
    config = {f"pixel{axis}": entries.number(f"pixelsize{axis}") for axis in (1, 2) if f"pixelsize{axis}" in entries}
    spline = entries.text("splinefile", "none")
    return config if spline.lower() in ("none", "") else config | {"splinefile": spline}


def _pixel_size(entries, axis, value):
    if value is None:
        raise ValueError(f'{entries.path}: no {axis}, the size of a pixel; add it to Detector_config: {{"{axis}": metres}}')
    try:
        return as_number(value, axis, above=0)
    except (TypeError, ValueError):
        key = "detector_config" if "detector_config" in entries else f"pixelsize{axis[-1]}"
        raise entries.error(key, f"{axis} must be the size of a pixel above 0 [metre], not {value!r}") from None


def _shape(entries, value):
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 2 and all(type(n) is int and n > 0 for n in value):
        return tuple(value)
    raise entries.error("detector_config", f"max_shape must be two whole numbers above 0, not {value!r}")


def _named_detector(entries, name, config):
    from pyFAI import detector_factory

    try:
        detector = detector_factory(name, config or None)
    except Exception as error:
        reason = "is unknown to pyFAI" if isinstance(error, RuntimeError) else f"cannot be set up: {_short(str(error))}"
        raise entries.error("detector", f"detector {_short(name)} {reason}") from None
    if not detector.pixel1 or not detector.pixel2:
        raise entries.error("detector", f"pyFAI knows no pixel size of detector {_short(name)}; add it to Detector_config")
    if not detector.IS_FLAT:
        raise entries.error("detector", f"detector {_short(name)} is not flat: there is no single PONI to move")
    # detector.shape, not max_shape: for a binned named detector pyFAI keeps the unbinned shape in the latter.
    return {"pixel1": float(detector.pixel1), "pixel2": float(detector.pixel2), "max_shape": detector.shape}


def _orientation(entries, value):
    if value in (None, 0):
        return 3
    if value in (1, 2, 3, 4) and not isinstance(value, bool):
        return int(value)
    raise entries.error("detector_config", f"orientation must be 1, 2, 3 or 4, not {value!r}")
