"""The documented calibration by hand: the image as EDF, the settings on the screen, pyFAI-calib2 with all that is known."""

import importlib.util
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from ._ponifile import Poni, write_poni
from .geometry import poni_with_center

_QT = ("PySide6", "PyQt6", "PyQt5")
_MODULE = "pyFAI.app.calib2"


def check_toolkit():
    """Raise ImportError, before any work, if pyFAI-calib2 has no GUI toolkit to run with."""
    if not any(importlib.util.find_spec(name) for name in _QT):
        raise ImportError("pyFAI-calib2 needs a GUI toolkit, and there is none: pip install edfast[gui]")


def settings(metadata, setup, calibrant):
    """The block of settings that the calibration document prints, as text."""
    camera = ", ".join(str(value) for value in (metadata["camera_type"], metadata["description"]) if value) or "unknown"
    vertical, horizontal = setup.pixel_size
    return "\n".join((
        "EXPERIMENT SETTINGS TO INPUT IN PYFAI-CALIB2",
        f"Camera description: {camera}",
        f"Pixel size: {horizontal:g} x {vertical:g} micrometres (horizontal x vertical)",
        f"Image dimension: {metadata['image_width']} x {metadata['image_height']} pixels (width x height)",
        f"Wavelength: {setup.wavelength:.6g} Angstrom",
        f"Calibrant: {calibrant}"))


def run(image, metadata, setup, calibrant, distance=None):
    """Run pyFAI-calib2 on the image and wait until it is closed; the path of a PONI file that was saved from it, or None.

    Its EDF file goes away whatever happens. Both files lie beside the calibrant's, where its dialogs will save.
    """
    folder, stem = Path(calibrant).parent, Path(metadata["path"]).stem
    with _own_file(folder, stem, ".edf") as edf, _own_file(folder, stem, ".poni") as poni:
        write_edf(edf, image, metadata)
        write_poni(poni, _start_geometry(image.shape, setup, distance))
        before = poni.read_bytes()
        _start(_command(edf, poni, setup, calibrant))
        if poni.read_bytes() == before:
            return None
        # Saved over the start: it is the user's from now on.
        return poni.rename(poni.with_name(f"{poni.stem}-calibrated.poni"))


@contextmanager
def _own_file(folder, stem, suffix):
    """Path of a new file that is removed at the end, if it is still there."""
    handle, path = tempfile.mkstemp(suffix, f"{stem}-", folder)
    os.close(handle)
    try:
        yield Path(path)
    finally:
        Path(path).unlink(missing_ok=True)


def _start_geometry(shape, setup, distance):
    """The detector straight behind the sample: pyFAI-calib2's own start, with the size of the image.

    By a PONI file and not by the option -p, with which pyFAI (2026.9) stops on any image, and which knows no oblong pixels.
    """
    vertical, horizontal = (size * 1e-6 for size in setup.pixel_size)
    poni = Poni(0.1 if distance is None else distance, 0, 0, 0, 0, 0, setup.wavelength * 1e-10, vertical, horizontal, shape)
    return poni_with_center(poni, (shape[1] - 1) / 2, (shape[0] - 1) / 2)


def write_edf(path, image, metadata):
    """The image as EDF, with what is known of it in the header."""
    from fabio.edfimage import EdfImage

    # An EDF header is lines of ASCII that end in a semicolon.
    header = {key: " ".join(str(value).translate(str.maketrans(";{}", ",()")).encode("ascii", "replace").decode().split())
              for key, value in metadata.items() if value is not None}
    EdfImage(data=image, header=header).write(str(path))


def _command(edf, poni, setup, calibrant):
    # repr: as many digits as the number has.
    return [sys.executable, "-m", _MODULE, "-c", str(calibrant), "-w", repr(setup.wavelength), "-i", str(poni), str(edf)]


def _start(command):
    """Run a command with the user's terminal; RuntimeError with its last words if it fails."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        try:
            tail = _forward(process.stderr)
        except BaseException:
            process.kill()
            raise
    if "ModuleNotFoundError" in tail:
        raise ImportError(f"pyFAI-calib2 cannot start ({tail}): pip install edfast[gui]")
    if process.returncode:
        raise RuntimeError(f"pyFAI-calib2 stopped with code {process.returncode}: {tail or 'without a word'}"
                           + ("; it needs a display" if "display" in tail or "platform plugin" in tail else ""))


def _forward(stream):
    """Pass on what the program says as it says it; the last line of it."""
    last = ""
    for line in stream:
        sys.stderr.write(line)
        last = line.strip() or last
    return last
