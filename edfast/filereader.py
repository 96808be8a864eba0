"""Any supported file in, its image and what it says about it out."""

import logging
import math
import stat
from pathlib import Path

import numpy as np

from ._cameras import camera_pixel_size
from ._dm import FileFormatError
from ._formats import READERS, sniff
from ._validation import as_count, as_path
from .geometry import electron_wavelength

__all__ = ["FileFormatError", "load_data"]

log = logging.getLogger("edfast")


def load_data(path, normalize=False, verbose=True, *, frame=None, dataset=None):
    """Read an image, and what its file says about how it was taken.

    DM4 and DM3, EDF, TIFF, CBF and what else fabio reads, MRC, SER, and HDF5 with its relatives NeXus, CXI and EMD. The
    format is known by the content; the extension does not matter. The file is only read.

    Parameters
    ----------
    path : str or path-like
        The file.
    normalize : bool, optional
        Divide by the exposure time: counts per second (float32, or float64 where that is needed).
    verbose : bool, optional
        Log what was found (level INFO), and what had to be assumed (level WARNING), to the logger ``edfast``.
    frame : int, optional
        Number (from 0) of the one frame to read from a stack. Nothing else is read from DM, MRC, SER and HDF5 files.
    dataset : str or int, optional
        HDF5: path of the data set, or of an NXdata group. DM: name of the image, or its number (from 0, thumbnails not
        counted). By default the one that the file marks (NeXus ``default`` and ``signal``, CXI ``entry_1/data_1/data``),
        otherwise the largest (HDF5) or the first (DM).

    Returns
    -------
    metadata : dict
        ``wavelength`` [Angstrom], ``voltage_kv`` [kV], ``pixel_size`` [micrometre] (physical, of the camera),
        ``image_pixel_size`` [micrometre] (of the image: the camera's times the binning; the one for distances in the image),
        ``image_width`` and ``image_height`` [pixel], ``description``, ``camera_type``, ``binning``, ``exposure_time`` [s],
        ``path``. Pixel sizes and binning are tuples (vertical, horizontal) only if these differ. None where the file does not
        say. A camera without a pixel size is looked up in a table (see Notes).
    image : ndarray of shape (H, W), or (N, H, W) for a stack
        In the file's dtype, native-endian and C-contiguous. A stack of one frame is an image; the leading axes of data with
        more than three are counted through. Complex data are complex; colour pictures are refused.

    Raises
    ------
    FileFormatError
        (A ValueError.) The file is truncated, damaged, of no known format, a folder, without permission, or has no such frame
        or data set; one line with its name.
    FileNotFoundError
        There is no such file.
    ValueError
        An argument makes no sense, ``normalize`` without a known exposure time, or a broken table of cameras.

    Notes
    -----
    The file ``cameras.toml`` in the user's configuration folder (``~/.config/edfast`` on Linux) adds cameras to the table::

        [pixel_size_um]
        "My camera" = 27.5

    References
    ----------
    "Calibration and Recalibration Modules", part II, ``load_data``.

    Examples
    --------
    >>> import tempfile, pathlib, numpy as np
    >>> from edfast.simulate import write_dm4
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "rings.dm4"
    >>> write_dm4(path, np.ones((512, 512), np.float32), voltage_kv=200, pixel_size=30.0, binning=2)
    >>> metadata, image = load_data(path, verbose=False)
    >>> image.shape, image.dtype.name, metadata["image_pixel_size"], round(metadata["wavelength"], 6)
    ((512, 512), 'float32', 60.0, 0.025079)
    """
    path = as_path(path, "path")
    frame = None if frame is None else as_count(frame, "frame")
    image, facts = _read(path, frame, dataset)
    warn = log.warning if verbose else log.debug
    for note in facts.get("notes", ()):
        warn("%s: %s", path, note)
    metadata = _metadata(path, image.shape, facts, warn)
    if verbose:
        said = ", ".join(f"{key} {value}" for key, value in metadata.items() if value is not None and key != "path")
        log.info("%s: %s, shape %s, %s", path, image.dtype, image.shape, said)
    return metadata, _per_second(image, metadata) if normalize else image


def _read(path, frame, dataset):
    """(image, facts) of the file, or one line that says what is wrong with it."""
    kind, read = READERS[sniff(_head(path))]
    try:
        image, facts = read(path, frame, dataset)
    except FileFormatError as error:
        raise type(error)(f"{path}: {error}") from error.__cause__
    except ImportError:
        raise
    except Exception as error:
        # What the libraries raise on damaged files is anything from struct.error to MemoryError.
        detail = " ".join(str(error).split()) or type(error).__name__
        raise FileFormatError(f"{path}: " + (f"truncated or damaged {kind} file ({detail})" if kind else
                                             "not an image that edfast reads (DM3, DM4, EDF, TIFF, CBF, MRC, SER, HDF5 and "
                                             "what fabio knows)")) from error
    if image.dtype.kind not in "biufc":
        raise FileFormatError(f"{path}: its pixels are no numbers, but {image.dtype}")
    return np.ascontiguousarray(image, image.dtype.newbyteorder("=")), facts


def _head(path):
    """The first bytes of the file, by which its format is known."""
    try:
        # Opening a pipe would wait for somebody who writes to it.
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode):
            raise FileFormatError(f"{path}: this is {'a folder' if stat.S_ISDIR(mode) else 'no regular file'}; "
                                  "give the name of an image file")
        with Path(path).open("rb", buffering=0) as file:
            head = file.read(512)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: there is no such file") from error
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not head:
        raise FileFormatError(f"{path}: the file is empty")
    return head


def _metadata(path, shape, facts, warn):
    """The documented keys, from what the file says and the table of cameras."""
    binning, voltage = facts.get("binning"), facts.get("voltage_kv")
    if binning:
        binning = tuple(int(factor) if factor == int(factor) else factor for factor in binning)
    wavelength = facts.get("wavelength") or (electron_wavelength(voltage) if voltage else None)
    pixel, camera = facts.get("pixel_size"), None
    if pixel:
        camera = tuple(size / factor for size, factor in zip(pixel, binning or (1, 1), strict=True))
    elif camera := _camera_pixel(path, facts, warn):
        if binning is None:
            warn("%s: the binning is unknown and taken as 1 for the pixel size", path)
        pixel = tuple(size * factor for size, factor in zip(camera, binning or (1, 1), strict=True))
    return {
        "wavelength": wavelength, "voltage_kv": voltage, "pixel_size": _one_or_two(camera),
        "image_pixel_size": _one_or_two(pixel), "image_width": shape[-1], "image_height": shape[-2],
        "description": facts.get("description"), "camera_type": facts.get("camera_type"), "binning": _one_or_two(binning),
        "exposure_time": facts.get("exposure_time"), "path": path,
    }


def _camera_pixel(path, facts, warn):
    """(vertical, horizontal) physical pixel of the camera [micrometre]: what the file says, otherwise the table."""
    if facts.get("camera_pixel"):
        return facts["camera_pixel"]
    names = (facts.get("camera_type"), *facts.get("models", ()))
    size, source = camera_pixel_size(*names)
    if size is None:
        return None
    warn("%s: the pixel size is not in the file; %g micrometre for the camera %s is from the %s", path, size, names[0], source)
    return size, size


def _one_or_two(pair):
    """(vertical, horizontal) as one number where both are the same."""
    if pair is None:
        return None
    vertical, horizontal = pair
    return vertical if math.isclose(vertical, horizontal, rel_tol=1e-9) else pair


def _per_second(image, metadata):
    seconds = metadata["exposure_time"]
    if seconds is None:
        raise ValueError(f"{metadata['path']}: normalize needs the exposure time, which the file does not say")
    return image / np.asarray(seconds, np.result_type(image.dtype, np.float32))
