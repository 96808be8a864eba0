"""The centre of a ring pattern by other programs, called as their documentation has a user call them.

Each function of `PEERS` takes ``(image, mask)``, mask True = masked out or None, and returns (cx, cy), column and row in index
coordinates. ``python -m benchmarks.centre_peers IMAGE`` prints what each of them makes of one image.

What is done to the image before is what a user would do: the dark level is taken off, and masked pixels are dark where a
program takes no mask. Where a program needs the beam stop to be masked and no mask is given, it is masked the way that the
program's documentation says. None of these programs is edfast's to repair: their exceptions are failures.

Left out, since they look for the direct beam and not for rings: pyxem's methods "blur", "interpolate" and "cross_correlate",
py4DSTEM's get_origin, EDIFF's detections "intensity" and "curvefit". EDIFF's refinement "var" ends with a TypeError in
version 1.2.0.
"""

import contextlib
import importlib
import io
import sys
import time
import warnings
from dataclasses import dataclass

import numpy as np

import edfast


def _dark(image, mask):
    """`image` as float64 over its dark level; what is masked or not finite is as dark as the dark level itself."""
    bad = ~np.isfinite(image) if mask is None else mask | ~np.isfinite(image)
    pixels = np.where(bad, np.nan, image).astype(float)
    return np.nan_to_num(pixels - np.nanmin(pixels))


def documented_centroid(image, mask):
    """The recalibration document's method, by edfast."""
    fit = edfast.fit_ellipse_to_ring(image, mask=mask)
    return fit.cx, fit.cy


def scikit_ued(image, mask):
    """skued.autocenter; its mask is True where pixels count, auto_masking makes one.

    It counts half pixels, and half a pixel too much: it inverts a cut-out with an even number of pixels about pixel r.
    """
    import skued

    pixels = _dark(image, mask)
    row, column = skued.autocenter(pixels, mask=skued.auto_masking(pixels) if mask is None else ~mask)
    return column, row


def pyxem_centre_of_mass(image, mask):
    """Diffraction2D.get_direct_beam_position, without what is below the mean; it returns shifts to the middle of the frame."""
    from pyxem.signals import Diffraction2D

    shift = Diffraction2D(_dark(image, mask)).get_direct_beam_position(method="center_of_mass", threshold=1).data
    return image.shape[1] / 2 - shift[..., 0].item(), image.shape[0] / 2 - shift[..., 1].item()


def pyxem_ellipse(image, mask):
    """pyxem.utils.determine_ellipse, for rings: an ellipse through the brightest pixels, by RANSAC (not repeatable)."""
    from pyxem.signals import Diffraction2D
    from pyxem.utils import determine_ellipse

    (row, column), _ = determine_ellipse(Diffraction2D(_dark(image, mask)), mask=mask, use_ransac=True)
    return column, row


def py4dstem_friedel(image, mask):
    """get_origin_friedel; its mask is True where there is no beam stop, made by a threshold and an opening."""
    from py4DSTEM import DataCube
    from py4DSTEM.process.calibration import get_origin_friedel
    from scipy.ndimage import binary_opening

    pixels = _dark(image, mask)
    usable = ~binary_opening(pixels < 0.1 * np.median(pixels), iterations=2) if mask is None else ~mask
    rows, columns = get_origin_friedel(DataCube((pixels * usable)[None, None]), mask=usable, upsample_factor=16)
    return columns.item(), rows.item()


def py4dstem_ring(image, mask):
    """fit_ellipse_amorphous_ring about what get_origin_friedel finds, on the annulus that a look at the profile suggests."""
    from py4DSTEM.process.calibration import fit_ellipse_amorphous_ring
    from py4DSTEM.process.utils import radial_integral

    column, row = py4dstem_friedel(image, mask)
    pixels = _dark(image, mask)
    radii = _clearest_ring(*radial_integral(pixels, row, column, 1))
    (row, column, *_), _ = fit_ellipse_amorphous_ring(pixels, (row, column), radii, mask=None if mask is None else ~mask)
    return column, row


def _clearest_ring(radius, profile):
    """(inner, outer) radius around the most prominent peak of a radial profile: what a user would read from the plot."""
    from scipy.signal import find_peaks, peak_widths

    peaks, found = find_peaks(profile, prominence=0)
    best = found["prominences"].argmax()
    half = 1.5 * max(peak_widths(profile, peaks[[best]])[0].item(), 2.0)
    return max(radius[peaks[best]] - half, 1.0), radius[peaks[best]] + half


def ediff_phase(image, mask):
    """CenterLocator by correlation with the inverted image, refined by the sum along a ring; it masks dark pixels itself."""
    return _ediff(_dark(image, mask), "phase")


def ediff_hough(image, mask):
    """CenterLocator by Hough transform, refined; its thresholds are for 8-bit images, its radii 50 to 120 pixels."""
    pixels = _dark(image, mask)
    return _ediff((255 * np.clip(pixels / np.percentile(pixels, 99.9), 0, 1)).astype(np.uint8), "hough")


def _ediff(pixels, detection):
    from ediff.center import CenterLocator

    found = CenterLocator(pixels, detection=detection, refinement="sum", final_print=False)
    return found.x2, found.y2


PEERS = {
    "documented centroid": documented_centroid,
    "scikit-ued autocenter": scikit_ued,
    "pyxem centre of mass": pyxem_centre_of_mass,
    "pyxem ellipse": pyxem_ellipse,
    "py4DSTEM Friedel": py4dstem_friedel,
    "py4DSTEM ring fit": py4dstem_ring,
    "EDIFF phase": ediff_phase,
    "EDIFF Hough": ediff_hough,
}
_MODULES = {"documented": "edfast", "scikit-ued": "skued", "pyxem": "pyxem.signals", "py4DSTEM": "py4DSTEM",
            "EDIFF": "ediff.center"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one call: the centre (cx, cy) or None, seconds, and why there is no centre ("" where there is one)."""

    center: tuple | None
    seconds: float
    problem: str


def absent(name):
    """Why a peer cannot run here ("not installed: ..."), or "" if it can."""
    with _quiet():
        try:
            importlib.import_module(_MODULES[name.split()[0]])
        except ImportError as error:
            return f"not installed: {error}"
    return ""


def locate(name, image, mask=None):
    """Have one peer find the centre; what it raises, prints or warns of ends in the `Outcome`, its import is not timed."""
    problem = absent(name)
    if problem:
        return Outcome(None, 0.0, problem)
    with _quiet():
        start = time.perf_counter()
        try:
            center = tuple(float(value) for value in PEERS[name](image, mask))
            problem = "" if np.isfinite(center).all() else f"centre {center}"
        except (Exception, SystemExit) as error:  # EDIFF leaves by sys.exit
            problem = f"{type(error).__name__}: {error}".partition("\n")[0]
        seconds = time.perf_counter() - start
    return Outcome(None if problem else center, seconds, problem)


@contextlib.contextmanager
def _quiet():
    """Without progress bars and messages, and with the warning filters (EDIFF sets them for all) as they were."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def main():
    """Print each program's centre and time for one image."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.centre_peers IMAGE")
    _, image = edfast.load_data(sys.argv[1], verbose=False)
    edfast.fit_ring(image)  # compiles the kernels
    start = time.perf_counter()
    fit = edfast.fit_ring(image)
    print(f"{'edfast fit_ring':24}{fit.cx:9.3f}{fit.cy:9.3f}{1e3 * (time.perf_counter() - start):10.1f} ms")
    for name in PEERS:
        locate(name, image)  # first calls load and compile
        outcome = locate(name, image)
        found = f"{outcome.center[0]:9.3f}{outcome.center[1]:9.3f}{1e3 * outcome.seconds:10.1f} ms" if outcome.center else None
        print(f"{name:24}{found or '  ' + outcome.problem}")


if __name__ == "__main__":
    main()
