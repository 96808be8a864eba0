"""The one road from an image and a PONI to a recalibrated PONI, for the documented functions and the command line alike."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import __version__
from ._files import is_array
from ._ponifile import Poni, write_poni
from ._validation import as_count, as_image, as_mask, as_number, choose, kernel_mask
from .geometry import CONVENTIONS, beam_center, fit_binning, poni_with_center

WITH_BEAMSTOP = ("covariance", "ring")
WITHOUT_BEAMSTOP = ("max", "centroid", "ring")


@dataclass(frozen=True, slots=True)
class Options:
    """How the centre is found and turned into a PONI; checked when it is made."""

    beamstop: bool
    method: str
    convention: str = "pyfai"
    threshold_rel: float = 0.5
    min_size: int = 50

    def __post_init__(self):
        choose(self.method, "method", WITH_BEAMSTOP if self.beamstop else WITHOUT_BEAMSTOP)
        choose(self.convention, "convention", CONVENTIONS)
        as_number(self.threshold_rel, "threshold_rel", minimum=0)
        as_count(self.min_size, "min_size")


@dataclass(frozen=True, slots=True)
class Recalibration:
    """Where the beam was found, where the input PONI had it, and the PONI that has it where it was found.

    Attributes
    ----------
    cx, cy : float
        Column and row of the beam [pixel].
    before : (float, float)
        Column and row where the input PONI puts the beam in this image, exactly [pixel].
    fit : EllipseFit, RingFit or None
        What the centre was taken from; None for a single spot.
    poni : Poni
        Moved, and binned as the image is.
    error : float
        How far from the centre `poni` puts the beam, by the exact relations: 0, unless the convention is the documented one
        [pixel].
    """

    cx: float
    cy: float
    before: tuple[float, float]
    fit: object
    poni: Poni
    error: float


def recalibrate_image(image, poni, options, mask=None, like=None):
    """`Recalibration` of `poni` by one image (2-D array), with the fit of another one `like` it, if there is one."""
    image = as_image(image)
    start = fit_binning(poni, image.shape)
    cx, cy, fit = find_center(image, options, mask, like)
    moved = poni_with_center(start, cx, cy, convention=options.convention)
    x, y = beam_center(moved)
    return Recalibration(cx, cy, beam_center(start), fit, moved, math.hypot(x - cx, y - cy))


def find_center(image, options, mask=None, like=None):
    """(cx, cy, fit) of an image by the method of the options; `fit` is None where the method gives no ellipse.

    `like` is the `RingFit` of another image of the same pattern, for `fit_ring`.
    """
    if options.method == "ring":
        from .rings import fit_ring

        fit = fit_ring(image, mask=mask, like=like)
    elif options.method == "covariance":
        from ._ellipse import fit_ellipse_to_ring

        fit = fit_ellipse_to_ring(image, options.threshold_rel, options.min_size, mask=mask)
    else:
        find = first_maximum if options.method == "max" else beam_centroid
        return *find(image, as_mask(mask, image.shape)), None
    return fit.cx, fit.cy, fit


def first_maximum(image, mask):
    """Column and row of the first (in raster order) largest finite, unmasked pixel."""
    from .kernels.ellipse import NO_MASK, maximum

    index = maximum(image.reshape(-1), (NO_MASK if mask is None else mask).reshape(-1))
    if index < 0:
        raise ValueError("no pixel is finite and unmasked: there is no beam to find")
    return float(index % image.shape[1]), float(index // image.shape[1])


def beam_centroid(image, mask):
    """Column and row of the direct beam's centroid."""
    from .kernels.beam import direct_beam
    from .kernels.ellipse import NO_MASK

    found = direct_beam(image, NO_MASK if mask is None else mask)
    if found is None:
        raise ValueError("no direct beam stands out from the background; with a beam stop, fit the rings instead")
    return found[:2]


def rings_elsewhere(image, cx, cy, mask=None):
    """(cx, cy) of rings whose centre is, at a quick look, more than a few pixels away from the given one; or None."""
    from ._ringsearch import nearby_center

    image = as_image(image)
    mask = as_mask(mask, image.shape)
    found = nearby_center(image, kernel_mask(mask), cx, cy)
    return found[:2] if found and math.dist(found[:2], (cx, cy)) > max(3, 0.7 * found[2]) else None


def recalibrate_file(image_path, poni, options, output=None, *, mask=None, frame=None, source="", like=None):
    """(`Recalibration`, image) of one file or array; the PONI is written if `output` is given, and names its `source`.

    `like` as for `find_center`. Errors in what the file holds name the file.
    """
    image = read_image(image_path, frame)
    try:
        result = recalibrate_image(image, poni, options, mask, like)
    except (ValueError, TypeError) as error:
        if is_array(image_path):
            raise
        raise type(error)(f"{image_path}: {error}") from error
    if output is not None:
        write_recalibration(output, image_path, result, options, source)
    return result, image


def write_recalibration(output, image_path, result, options, source="", *, sync=False):
    """Write the PONI of a `Recalibration`; with `sync` a power cut leaves no half of it either."""
    write_poni(output, result.poni, comment=_origin(image_path, result, options, source), sync=sync)


def read_image(image_path, frame=None):
    """The image of a file, or the array itself."""
    if is_array(image_path):
        if frame is not None:
            raise ValueError(f"frame must be None for an array, not {frame!r}: give the image, array[{frame!r}]")
        return np.asanyarray(image_path)
    from .filereader import load_data

    return load_data(image_path, verbose=False, frame=frame)[1]


def read_mask(path):
    """A mask (True = left out) from a .npy file or from any file that `load_data` reads."""
    if Path(path).suffix.lower() == ".npy":
        try:
            mask = np.load(path, allow_pickle=False)
        except FileNotFoundError:
            raise FileNotFoundError(f"there is no mask {path}") from None
        except (ValueError, EOFError) as error:
            raise ValueError(f"mask {path} cannot be read: {error}") from None
    else:
        mask = read_image(path)
    if mask.ndim != 2:
        raise ValueError(f"mask {path} must be two-dimensional (rows, columns), not of shape {mask.shape}")
    return as_mask(mask, mask.shape)


def _origin(image_path, result, options, source):
    where = "an array" if is_array(image_path) else os.fsdecode(image_path)
    lines = [f"Beam centre (column, row) = ({result.cx:.4f}, {result.cy:.4f}) pixel, found in {where}",
             f"by edfast {__version__}: method {options.method}, convention {options.convention}"]
    return "\n".join(lines + [f"Distance and tilts from {os.fsdecode(source)}"] * bool(source))
