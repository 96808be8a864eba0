"""Ring patterns whose truth is known, and a DM4 writer for them.

The position of a ring is exact: a pixel holds the profile at its own centre, and the profiles are Gaussians no narrower than
one pixel, for which the sum over the pixels and the integral agree to exp(-2 pi^2), 3e-9 of the ring's intensity. No ring is
moved by the grid.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import _dm
from ._files import check_output, write_atomically
from ._ponifile import Poni, write_poni
from ._scene import BeamStop, Detector, Ellipse, Scene, Stretch, half_turn
from ._validation import as_array, as_count, as_number, as_shape
from .geometry import beam_center, electron_wavelength, fit_binning, poni_with_center

__all__ = ["BeamStop", "Ellipse", "Truth", "drift_series", "powder_pattern", "ring_pattern", "write_demo", "write_dm4"]

_MOST_COUNTS = 1e15  # numpy's Poisson generator ends soon after


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What a simulated pattern is made of.

    Attributes
    ----------
    cx, cy : float
        Where the direct beam is, column and row [pixel]. Without tilt it is the centre of all rings.
    ellipses : tuple of Ellipse
        Each ring as it appears in the image: centre, true semi-axes, angle.
    widths, amplitudes : tuple of float
        Standard deviation [pixel] and height [counts] of each ring's profile.
    offset, read_noise : float
        What was added to the counts: a constant, and the standard deviation of Gaussian noise.
    hot : ndarray of shape (K, 2)
        Row and column of the hot pixels.
    dead_rows, dead_columns : tuple of int
        Lines without signal.
    """

    cx: float
    cy: float
    ellipses: tuple[Ellipse, ...]
    widths: tuple[float, ...]
    amplitudes: tuple[float, ...]
    offset: float
    read_noise: float
    hot: np.ndarray
    dead_rows: tuple[int, ...]
    dead_columns: tuple[int, ...]
    _scene: Scene

    @property
    def center(self):
        """(cx, cy): column and row [pixel]."""
        return self.cx, self.cy

    @property
    def center_rc(self):
        """(row, column) [pixel]."""
        return self.cy, self.cx

    @property
    def radii(self):
        """Geometric mean of the semi-axes of each ring [pixel]."""
        return tuple(math.sqrt(ring.a * ring.b) for ring in self.ellipses)

    @property
    def expected(self):
        """The image without noise and without defective pixels, before rounding: float64 array of shape (H, W)."""
        image = np.empty(self._scene.shape)
        for first, end in self._scene.bands():
            image[first:end] = self._scene.expected(first, end) + self.offset
        return image

    @property
    def stop(self):
        """Boolean array of shape (H, W): True under the beam stop and its penumbra."""
        return self._scene.stop_mask()

    @property
    def defects(self):
        """Boolean array of shape (H, W): True for hot pixels and dead lines."""
        mask = np.zeros(self._scene.shape, bool)
        mask[self.hot[:, 0], self.hot[:, 1]] = True
        mask[list(self.dead_rows)] = True
        mask[:, list(self.dead_columns)] = True
        return mask

    @property
    def mask(self):
        """Boolean array of shape (H, W): True for all pixels that do not say the truth."""
        return self.stop | self.defects

    def __repr__(self):
        rings = ", ".join(f"{radius:.6g}" for radius in self.radii)
        return f"Truth(cx={self.cx:.6g}, cy={self.cy:.6g}, radii=({rings}), shape={self._scene.shape})"


def ring_pattern(shape=(512, 512), center=None, radii=(80.0, 130.0, 180.0), *, ratio=1.0, angle=0.0, widths=2.5,
                 amplitudes=100.0, background=20.0, background_decay=math.inf, direct_beam=0.0, direct_beam_width=5.0,
                 beamstop=None, texture=0.0, texture_harmonics=8, spots=0, hot_pixels=0, dead_rows=(), dead_columns=(),
                 scale=1.0, read_noise=0.0, noise=True, offset=0.0, dtype=np.float32, random_state=None):
    """Simulate a ring pattern.

    Parameters
    ----------
    shape : tuple of int, optional
        Rows and columns.
    center : tuple of float, optional
        (cx, cy), column and row [pixel], also outside the frame; the middle of the frame by default.
    radii : sequence of float, optional
        Of the rings [pixel]; for an ellipse the geometric mean of its semi-axes. An empty one gives a pattern without rings.
    ratio, angle : float, optional
        Elliptical distortion of the whole pattern: major over minor semi-axis (at least 1), and the direction of the major
        axis from the x axis (columns) towards y (rows) [radian].
    widths : float or sequence of float, optional
        Standard deviation of the rings' Gaussian profiles, at least 1 [pixel]; one for all, or one each.
    amplitudes : float or sequence of float, optional
        Height of the rings' profiles [counts].
    background, background_decay : float, optional
        Level at the centre [counts], and the radius at which it has fallen to 1/e [pixel]; infinity is a flat background.
    direct_beam, direct_beam_width : float, optional
        Height [counts] and standard deviation [pixel] of the direct beam, a Gaussian.
    beamstop : BeamStop, optional
        What hides the centre.
    texture, texture_harmonics : float, int, optional
        Preferred orientation: the logarithm of each ring's intensity varies along the azimuth with this standard deviation, up
        to this harmonic.
    spots : int, optional
        Number of single-crystal spots on each ring, exponentially distributed around three times its height.
    hot_pixels : int, optional
        Number of pixels that show 2 to 50 times the highest expected intensity in addition.
    dead_rows, dead_columns : sequence of int, optional
        Lines that show no counts.
    scale : float, optional
        Factor on all expected counts: the exposure.
    read_noise : float, optional
        Standard deviation of Gaussian noise that is added to the counts.
    noise : bool, optional
        False gives the expected counts themselves: neither Poisson nor read noise.
    offset : float, optional
        Added to all pixels; it may be negative.
    dtype : dtype, optional
        Any real one. Integers are rounded, and clipped to their range.
    random_state : int or numpy.random.Generator, optional
        Seed: the same one gives the same image, whatever the options.

    Returns
    -------
    image : ndarray of shape (H, W)
    truth : Truth
        Centre, semi-axes, masks, and the noiseless image.

    Raises
    ------
    ValueError, TypeError
        An argument makes no sense; says which.

    Examples
    --------
    >>> from edfast.simulate import BeamStop, ring_pattern
    >>> image, truth = ring_pattern((256, 320), center=(150.25, 130.5), radii=[60, 90], beamstop=BeamStop(15), random_state=1)
    >>> image.shape, truth.center, truth.ellipses[0].a, bool(truth.stop[130, 150])
    ((256, 320), (150.25, 130.5), 60.0, True)
    """
    look = _Look(widths, amplitudes, background, background_decay, direct_beam, direct_beam_width, beamstop, texture,
                 texture_harmonics, spots, hot_pixels, dead_rows, dead_columns, scale, read_noise, noise, offset, dtype)
    shape = as_shape(shape)
    geometry = _stretch(shape, center, ratio, angle)
    return _render(shape, geometry, _numbers(radii, "radii", above=0), look, *_generators(random_state, 2))


def powder_pattern(d_spacings, poni, shape=None, *, random_state=None, **look):
    """Simulate the rings of a powder on a detector, by Bragg's law and the exact geometry, tilts included.

    Parameters
    ----------
    d_spacings : sequence of float
        Of the reflections [Angstrom].
    poni : Poni
        Where the detector is; it must know the wavelength.
    shape : tuple of int, optional
        Rows and columns of the image; `poni.max_shape` by default. Binning is recognised.
    random_state : int or numpy.random.Generator, optional
        Seed.
    **look
        Everything else that `ring_pattern` takes after its `angle`. Widths are those on a detector without tilt.

    Returns
    -------
    image : ndarray of shape (H, W)
    truth : Truth
        (cx, cy) is the beam. The centre of a ring on a tilted detector is elsewhere: ``truth.ellipses``.

    Raises
    ------
    ValueError, TypeError
        An argument makes no sense; no wavelength or shape; a reflection that does not exist at this wavelength (its ring would
        be beyond 90 degrees), or that is no ellipse on a detector tilted so far.

    References
    ----------
    pyFAI, "Detector geometry", https://pyfai.readthedocs.io/en/stable/geometry.html

    Examples
    --------
    >>> from edfast.geometry import Poni
    >>> from edfast.simulate import powder_pattern
    >>> poni = Poni(0.5, 0.005, 0.005, 0, 0, 0, 2.5079e-12, 2e-5, 2e-5, max_shape=(512, 512))
    >>> image, truth = powder_pattern([2.355, 2.039], poni, widths=2.0, random_state=0)
    >>> [round(radius, 2) for radius in truth.radii]
    [266.24, 307.51]
    """
    shape = as_shape(poni.max_shape if shape is None else shape)
    poni = fit_binning(poni, shape)
    center = beam_center(poni)
    flip = (poni.orientation in (1, 2), poni.orientation in (1, 4))
    geometry = Detector.from_geometry(center, poni.distance, (poni.poni1, poni.poni2), (poni.pixel1, poni.pixel2),
                                      (poni.rot1, poni.rot2), flip, shape)
    radii = _bragg_radii(_numbers(d_spacings, "d_spacings", above=0), poni, geometry.length)
    return _render(shape, geometry, radii, _Look(**look), *_generators(random_state, 2))


def drift_series(n, shape=(512, 512), center=None, *, velocity=(0.05, -0.03), jitter=0.02, ratio=1.0, angle=0.0,
                 radii=(80.0, 130.0, 180.0), random_state=None, **look):
    """Frames of one pattern that drifts across the detector, one after the other.

    The sample's texture and spots move with the pattern; the beam stop, hot pixels and dead lines stay where they are.

    Parameters
    ----------
    n : int
        Number of frames.
    shape, center, ratio, angle, radii
        As for `ring_pattern`; `center` is that of the first frame.
    velocity : tuple of float, optional
        Steady drift (x, y) from frame to frame [pixel].
    jitter : float, optional
        Standard deviation of a random walk on top of it, per axis and frame [pixel].
    random_state : int or numpy.random.Generator, optional
        Seed.
    **look
        Everything else that `ring_pattern` takes.

    Yields
    ------
    image : ndarray of shape (H, W)
    truth : Truth

    Raises
    ------
    ValueError, TypeError
        An argument makes no sense; raised by the call, not by the first frame.

    Examples
    --------
    >>> from edfast.simulate import drift_series
    >>> for image, truth in drift_series(3, (64, 64), radii=[20], velocity=(0.5, 0), jitter=0):
    ...     print(truth.center)
    (31.5, 31.5)
    (32.0, 31.5)
    (32.5, 31.5)
    """
    n, shape = as_count(n, "n"), as_shape(shape)
    start = _stretch(shape, center, ratio, angle)
    velocity, jitter = _pair(velocity, "velocity"), as_number(jitter, "jitter", minimum=0, unit="[pixel]")
    radii, appearance = _numbers(radii, "radii", above=0), _Look(**look).with_stop_at((start.cx, start.cy))
    structure, noise, drift = _generators(random_state, 3)

    def frames():
        cx, cy = start.cx, start.cy
        for _ in range(n):
            yield _render(shape, replace(start, cx=cx, cy=cy), radii, appearance, copy.deepcopy(structure), noise)
            step = drift.normal(velocity, jitter)
            cx, cy = float(cx + step[0]), float(cy + step[1])

    return frames()


# ------------------------------------------------------------------------------------------------------------- arguments


@dataclass(frozen=True, slots=True)
class _Look:
    """What `ring_pattern` takes after the geometry, checked."""

    widths: Any = 2.5
    amplitudes: Any = 100.0
    background: float = 20.0
    background_decay: float = math.inf
    direct_beam: float = 0.0
    direct_beam_width: float = 5.0
    beamstop: BeamStop | None = None
    texture: float = 0.0
    texture_harmonics: int = 8
    spots: int = 0
    hot_pixels: int = 0
    dead_rows: Sequence[int] = ()
    dead_columns: Sequence[int] = ()
    scale: float = 1.0
    read_noise: float = 0.0
    noise: bool = True
    offset: float = 0.0
    dtype: Any = np.float32

    def __post_init__(self):
        for name, limits in (("background", {"minimum": 0}), ("direct_beam", {"minimum": 0}), ("texture", {"minimum": 0}),
                             ("direct_beam_width", {"minimum": 1, "unit": "[pixel]"}), ("scale", {"minimum": 0}),
                             ("read_noise", {"minimum": 0}), ("offset", {})):
            object.__setattr__(self, name, as_number(getattr(self, name), name, **limits))
        for name, least in (("texture_harmonics", 1), ("spots", 0), ("hot_pixels", 0)):
            object.__setattr__(self, name, as_count(getattr(self, name), name, minimum=least))
        if self.background_decay != math.inf:
            as_number(self.background_decay, "background_decay", above=0, unit="[pixel]")
        if self.beamstop is not None and not isinstance(self.beamstop, BeamStop):
            raise TypeError(f"beamstop must be a BeamStop or None, not {self.beamstop!r}")
        object.__setattr__(self, "widths", _numbers(self.widths, "widths", minimum=1))
        object.__setattr__(self, "amplitudes", _numbers(self.amplitudes, "amplitudes", minimum=0))
        object.__setattr__(self, "dtype", np.dtype(self.dtype))
        if self.dtype.kind not in "iuf":
            raise TypeError(f"dtype must be an integer or floating-point type, not {self.dtype}")

    def with_stop_at(self, center):
        """The same look, with the beam stop at `center` unless it says where it is."""
        stop = self.beamstop
        return self if stop is None or stop.center is not None else replace(self, beamstop=replace(stop, center=center))


def _pair(pair, name):
    if np.size(pair) != 2:
        raise ValueError(f"{name} must be a pair (x, y), not {pair!r}")
    return tuple(as_number(value, name) for value in pair)


def _numbers(values, name, **limits):
    return np.array([as_number(value, name, **limits) for value in np.ravel(values)], np.float64)


def _stretch(shape, center, ratio, angle):
    cx, cy = ((shape[1] - 1) / 2, (shape[0] - 1) / 2) if center is None else _pair(center, "center")
    ratio = as_number(ratio, "ratio", minimum=1)
    return Stretch(cx, cy, ratio, half_turn(as_number(angle, "angle", unit="[radian]")) if ratio > 1 else 0.0)


def _generators(random_state, count):
    """Independent generators: for what sample and detector are, for the noise, for the drift."""
    return np.random.default_rng(random_state).spawn(count)


def _bragg_radii(d_spacings, poni, length):
    """Radii of the rings [pixel] on a detector without tilt: sin(theta) = wavelength / (2 d)."""
    if poni.wavelength is None:
        raise ValueError("poni has no wavelength: give one, dataclasses.replace(poni, wavelength=...) [m]")
    sines = poni.wavelength * 1e10 / (2 * d_spacings)
    if np.any(sines >= math.sqrt(0.5)):
        raise ValueError(f"d_spacings: {d_spacings.min():g} Angstrom diffracts beyond 90 degrees at a wavelength of "
                         f"{poni.wavelength * 1e10:g} Angstrom, or not at all")
    return length * np.tan(2 * np.arcsin(sines))


# ------------------------------------------------------------------------------------------------------------- rendering


def _render(shape, geometry, radii, look, structure, noise):
    scene = _scene(shape, geometry, radii, look.with_stop_at((geometry.cx, geometry.cy)), structure)
    ellipses = tuple(geometry.ellipse(float(radius)) for radius in radii)
    height, width = shape
    hot = np.column_stack([structure.integers(0, size, look.hot_pixels) for size in shape])
    levels = np.exp(structure.uniform(math.log(2), math.log(50), look.hot_pixels))
    rows, columns = _lines(look.dead_rows, height, "dead_rows"), _lines(look.dead_columns, width, "dead_columns")
    truth = Truth(geometry.cx, geometry.cy, ellipses, tuple(scene.widths.tolist()), tuple(scene.amplitudes.tolist()),
                  look.offset, look.read_noise, hot, rows, columns, scene)
    peak = scene.peak()
    if peak > _MOST_COUNTS:
        raise ValueError(f"scale: {peak:g} expected counts in a pixel are too many; at most {_MOST_COUNTS:g}")
    image = np.empty(shape, look.dtype)
    for first, end in scene.bands():
        counts = _detect(scene.expected(first, end), look, noise)
        inside = (hot[:, 0] >= first) & (hot[:, 0] < end)
        counts[hot[inside, 0] - first, hot[inside, 1]] += peak * levels[inside]
        counts[[row - first for row in rows if first <= row < end]] = 0.0
        counts[:, list(columns)] = 0.0
        image[first:end] = _cast(counts + look.offset, look.dtype)
    return image, truth


def _scene(shape, geometry, radii, look, structure):
    widths, amplitudes = (_one_each(getattr(look, name), len(radii), name) for name in ("widths", "amplitudes"))
    # Drawn whether they are used or not, in a fixed order, so that an option does not change what another one draws.
    spread = 0.5 / math.sqrt(look.texture_harmonics)
    waves = structure.normal(0, spread, (len(radii), look.texture_harmonics, 2)) @ np.array([1, 1j])
    places = [(*geometry.ellipse(float(radius)).point(azimuth), 3 * amplitude * height, width)
              for radius, width, amplitude in zip(radii, widths, amplitudes, strict=True)
              for azimuth, height in zip(structure.uniform(0, 2 * math.pi, look.spots), structure.exponential(1, look.spots),
                                         strict=True)]
    return Scene(shape, geometry, radii, widths, amplitudes, look.background, look.background_decay,
                 (look.direct_beam, look.direct_beam_width), look.beamstop, look.texture * waves if look.texture else None,
                 np.array(places).reshape(-1, 4), look.scale)


def _one_each(values, count, name):
    if len(values) not in (1, count):
        raise ValueError(f"{name} must be one number, or one for each of the {count} rings, not {len(values)}")
    return np.broadcast_to(values, (count,))


def _lines(lines, size, name):
    lines = tuple(as_count(line, name) for line in np.ravel(lines))
    if lines and max(lines) >= size:
        raise ValueError(f"{name} must be from 0 to {size - 1}, not {max(lines)}")
    return lines


def _detect(expected, look, noise):
    if not look.noise:
        return expected
    counts = noise.poisson(expected).astype(np.float64)
    if look.read_noise:
        counts += noise.normal(0, look.read_noise, counts.shape)
    return counts


def _cast(values, dtype):
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)


# ----------------------------------------------------------------------------------------------------------------- files


def write_dm4(path, image, *, voltage_kv=None, pixel_size=None, binning=None, exposure_time=None, camera=None,
              description=None):
    """Write an image, or a stack, as a DM4 file that `load_data`, ncempy and RosettaSciIO read back to the last bit.

    The file is written under another name and renamed: it is there complete, or not at all.

    Parameters
    ----------
    path : str or path-like
        Its folder must exist; an existing file is replaced.
    image : ndarray of shape (H, W) or (N, H, W)
        int8, int16, int32, uint8, uint16, uint32, float32 or float64, of any byte order and layout.
    voltage_kv : float, optional
        Accelerating voltage [kV].
    pixel_size : float or tuple of float, optional
        Physical size of the camera's pixel, without binning, as in `load_data`'s metadata [micrometre]; a tuple is (vertical,
        horizontal).
    binning : float or tuple of float, optional
        Binning of the camera; a tuple is (vertical, horizontal).
    exposure_time : float, optional
        [s]
    camera, description : str, optional
        Name of the camera, and of the image.

    Raises
    ------
    ValueError, TypeError
        An argument makes no sense, or DM4 has no such pixels; nothing is written.
    OSError
        The file cannot be written; nothing is left behind.

    References
    ----------
    C. Boothroyd, "Digital Micrograph file format", https://personal.ntu.edu.sg/cbb/info/dmformat/

    Examples
    --------
    >>> import tempfile, pathlib, numpy as np
    >>> from edfast.filereader import load_data
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "flat.dm4"
    >>> write_dm4(path, np.full((4, 6), 7, np.uint16), voltage_kv=300, pixel_size=14.0, binning=2, camera="BM-Ceta")
    >>> metadata, image = load_data(path, verbose=False)
    >>> image.shape, metadata["image_pixel_size"], metadata["binning"], metadata["camera_type"]
    ((4, 6), 28.0, 2, 'BM-Ceta')
    """
    image = as_array(image, "image")
    if image.ndim not in (2, 3) or image.size == 0:
        raise ValueError(f"image must have shape (H, W) or (N, H, W) and at least one pixel, not {image.shape}")
    types = {name: code for code, name in _dm.PIXELS.items() if np.dtype(name).kind in "iuf"}
    if image.dtype.name not in types:
        raise TypeError(f"image: DM4 has no pixels of type {image.dtype}; convert it to one of {', '.join(types)}")
    tags = _acquisition(voltage_kv, pixel_size, binning, exposure_time, camera)
    check_output(path)
    write_atomically(path, _dm.encode(_document(image, types[image.dtype.name], tags, description)))


def _acquisition(voltage_kv, pixel_size, binning, exposure_time, camera):
    """The tags by which DigitalMicrograph says how an image was taken; what is not known has no tag."""
    level: dict[str, Any] = {}
    device: dict[str, Any] = {}
    tags: dict[str, Any] = {}
    if exposure_time is not None:
        level["Exposure (s)"] = np.float64(as_number(exposure_time, "exposure_time", above=0, unit="[s]"))
    if binning is not None:
        level["Binning"] = _two(binning, "binning")
    if pixel_size is not None:
        device["CCD"] = {"Pixel Size (um)": _two(pixel_size, "pixel_size")}
    if camera is not None:
        device["Name"] = str(camera)
    if voltage_kv is not None:
        volts = 1000 * as_number(voltage_kv, "voltage_kv", above=0, unit="[kV]")
        tags["Microscope Info"] = {"Voltage": np.float64(volts)}
    return tags | {"Acquisition": {"Device": device, "Parameters": {"High Level": level}}}


def _two(value, name):
    """(horizontal, vertical), DigitalMicrograph's order, of a number or a tuple (vertical, horizontal)."""
    values = np.ravel(value)
    if len(values) not in (1, 2):
        raise ValueError(f"{name} must be a number or (vertical, horizontal), not {value!r}")
    vertical, horizontal = (np.float64(as_number(values[axis], name, above=0)) for axis in (0, -1))
    return horizontal, vertical


def _document(image, code, tags, description):
    """The root of a DM4 file with one image and no thumbnail."""
    display = {"AnnotationType": np.uint32(20), "ImageDisplayType": np.uint32(1), "ImageSource": np.uint64(0)}
    axis = {"Origin": np.float32(0), "Scale": np.float32(1), "Units": ""}
    data = {
        "Calibrations": {"Brightness": axis, "Dimension": [axis] * image.ndim, "DisplayCalibratedUnits": np.bool_(True)},
        "Data": image, "DataType": np.uint32(code), "Dimensions": [np.uint32(size) for size in reversed(image.shape)],
        "PixelDepth": np.uint32(image.itemsize),
    }
    return {
        "DocumentObjectList": [display],
        "ImageList": [{"ImageData": data, "ImageTags": tags, "Name": "" if description is None else str(description)}],
        "ImageSourceList": [{"ClassName": "ImageSource:Simple", "Id": [np.uint32(0)], "ImageRef": np.uint32(0)}],
        "InImageMode": np.bool_(True),
    }


def write_demo(folder, n=12, random_state=0):
    """Write simulated exposures of a gold film whose beam drifts, their PONI file and the true centres.

    Half of the images have a beam stop. The PONI file is the calibration of the first moment: it does not know of the drift.

    Parameters
    ----------
    folder : str or path-like
        Made if it is not there.
    n : int, optional
        Number of images, 1024 x 1024, uint16.
    random_state : int or numpy.random.Generator, optional
        Seed.

    Returns
    -------
    images : list of pathlib.Path
        ``gold_00.dm4`` and so on; ``with_stop`` in the name of those with a beam stop.
    poni : pathlib.Path
        ``gold.poni``.
    truth : pathlib.Path
        ``truth.csv`` with the columns file, cx, cy.

    Examples
    --------
    >>> import tempfile
    >>> from edfast.simulate import write_demo
    >>> images, poni, truth = write_demo(tempfile.mkdtemp(), n=2)
    >>> [path.name for path in (*images, poni, truth)]
    ['gold_00.dm4', 'gold_01_with_stop.dm4', 'gold.poni', 'truth.csv']
    """
    n, folder = as_count(n, "n", minimum=1), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drift, seeds = _generators(random_state, 2)
    poni = Poni(0.42, 0.0, 0.0, 0.0, 0.0, 0.0, electron_wavelength(200) * 1e-10, 3e-5, 3e-5, max_shape=(1024, 1024))
    center = np.array([506.0, 519.0])
    poni_path, images, rows = folder / "gold.poni", [], ["file,cx,cy"]
    write_poni(poni_path, poni_with_center(poni, *center))
    for number, seed in enumerate(seeds.spawn(n)):
        center += drift.normal((3.0, -2.0), 1.5)
        stop = BeamStop(34, -1.45, 26, edge=3) if number % 2 else None
        image, truth = powder_pattern(_GOLD, poni_with_center(poni, *center), beamstop=stop, random_state=seed, **_FILM)
        images.append(folder / f"gold_{number:02d}{'_with_stop' if stop else ''}.dm4")
        write_dm4(images[-1], image, voltage_kv=200, pixel_size=15.0, binning=2, exposure_time=0.5, camera="OneView",
                  description="Gold film (simulated)")
        rows.append(f"{images[-1].name},{truth.cx!r},{truth.cy!r}")
    truth_path = folder / "truth.csv"
    write_atomically(truth_path, "\n".join(rows) + "\n")
    return images, poni_path, truth_path


# Reflections of gold, a = 4.0782 Angstrom, and how bright the rings of a film look.
_GOLD = 4.0782 / np.sqrt([3, 4, 8, 11, 12, 16, 19, 20, 24])
_FILM = {"widths": 3.0, "amplitudes": (900, 480, 320, 330, 90, 40, 90, 75, 50), "background": 700.0, "background_decay": 150.0,
         "direct_beam": 12000.0, "direct_beam_width": 7.0, "texture": 0.12, "spots": 3, "read_noise": 3.0,
         "offset": 50.0, "dtype": np.uint16}
