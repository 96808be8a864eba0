"""What falls on the detector: rings, background, direct beam, spots, beam stop. Expected counts, in exact geometry.

A scene is evaluated band by band (some rows at a time), so that a frame of 4096 x 4096 pixels needs little more memory than
itself. Lengths are computed in float64; only the profiles, which are smooth, in float32.
"""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ._validation import as_number

BAND = 1 << 17  # pixels in a band: fits the cache of one core
NOWHERE = 1e9  # radius of pixels behind the sample [pixel]
FAR = 6.0  # a Gaussian is nothing beyond this many standard deviations


class Ellipse(NamedTuple):
    """One ring as it appears in the image.

    Attributes
    ----------
    cx, cy : float
        Centre, column and row [pixel].
    a, b : float
        Semi-axes [pixel], a >= b.
    angle : float
        Direction of the major axis in (-pi/2, pi/2], from the x axis (columns) towards y (rows) [radian].
    """

    cx: float
    cy: float
    a: float
    b: float
    angle: float

    def point(self, azimuth):
        """(x, y) on the ellipse; `azimuth` is that of the circle that was stretched, from the major axis on [radian]."""
        along, across = self.a * np.cos(azimuth), self.b * np.sin(azimuth)
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return self.cx + cos * along - sin * across, self.cy + sin * along + cos * across


@dataclass(frozen=True, slots=True)
class BeamStop:
    """A beam stop: a disc, and the arm that holds it, which runs out of the frame.

    Attributes
    ----------
    radius : float
        Of the disc [pixel].
    direction : float
        In which direction the arm leaves, from the x axis (columns) towards y (rows) [radian]; -pi/2 is upwards.
    width : float
        Of the arm [pixel]; 0 is a disc without an arm.
    center : tuple of float, optional
        (cx, cy) of the disc [pixel]; None is the centre of the pattern.
    transmission : float
        Share of the intensity that gets through, from 0 to 1.
    edge : float
        Width of the penumbra [pixel].
    """

    radius: float = 30.0
    direction: float = -math.pi / 2
    width: float = 16.0
    center: Any = None
    transmission: float = 0.0
    edge: float = 2.0

    def __post_init__(self):
        for name, least in (("radius", 0), ("width", 0)):
            as_number(getattr(self, name), f"{name} of the beam stop", minimum=least, unit="[pixel]")
        as_number(self.edge, "edge of the beam stop", above=0, unit="[pixel]")
        as_number(self.direction, "direction of the beam stop", unit="[radian]")
        as_number(self.transmission, "transmission of the beam stop", minimum=0, maximum=1)
        if self.center is not None:
            if len(self.center) != 2:
                raise ValueError(f"center of the beam stop must be (cx, cy), not {self.center!r}")
            for value in self.center:
                as_number(value, "center of the beam stop", unit="[pixel]")

    def lets_through(self, x, y):
        """Share of the intensity at pixels (x, y), from 0 to 1; `center` must be known."""
        dx, dy = x - self.center[0], y - self.center[1]
        outside = np.hypot(dx, dy) - self.radius
        if self.width:
            cos, sin = math.cos(self.direction), math.sin(self.direction)
            along, across = cos * dx + sin * dy, cos * dy - sin * dx
            outside = np.minimum(outside, np.maximum(np.abs(across) - self.width / 2, -along))
        clear = np.clip(outside / self.edge + 0.5, 0.0, 1.0)
        return self.transmission + (1.0 - self.transmission) * clear


@dataclass(frozen=True, slots=True)
class Stretch:
    """Radius of a pattern around (cx, cy) that the lenses stretched by `ratio` along `angle`."""

    cx: float
    cy: float
    ratio: float = 1.0
    angle: float = 0.0

    def radius(self, x, y):
        dx, dy = x - self.cx, y - self.cy
        if self.ratio == 1.0:
            return np.hypot(dx, dy)
        # The area stays: the geometric mean of the semi-axes is the radius of the ring.
        stretch, cos, sin = math.sqrt(self.ratio), math.cos(self.angle), math.sin(self.angle)
        return np.hypot((cos * dx + sin * dy) / stretch, (cos * dy - sin * dx) * stretch)

    def ellipse(self, radius):
        stretch = math.sqrt(self.ratio)
        return Ellipse(self.cx, self.cy, radius * stretch, radius / stretch, self.angle)


@dataclass(frozen=True, slots=True)
class Detector:
    """Radius of a pixel by the exact geometry of a tilted detector: distance times tan(2 theta), in pixels.

    `forms` has three rows: the position of pixel (x, y, 1) along three axes [m], the third of which is the beam.
    """

    cx: float
    cy: float
    forms: np.ndarray
    length: float  # distance in pixels

    @classmethod
    def from_geometry(cls, center, distance, poni, pixel, tilt, flip, shape):
        """From pyFAI's parameters, (vertical, horizontal) each; `flip` says which axes are counted from the far side.

        pyFAI, "Detector geometry": left-handed rot1 and rot2; rot3 turns around the beam and changes no radius.
        """
        (cos1, cos2), (sin1, sin2) = np.cos(tilt), np.sin(tilt)
        turn = np.array([[cos2, sin1 * sin2, -cos1 * sin2], [0.0, cos1, sin1], [sin2, -cos2 * sin1, cos1 * cos2]])
        rows, columns = ((shape[axis] - 0.5, -1.0) if flip[axis] else (0.5, 1.0) for axis in (0, 1))
        place = np.array([[0.0, rows[1] * pixel[0], rows[0] * pixel[0] - poni[0]],
                          [columns[1] * pixel[1], 0.0, columns[0] * pixel[1] - poni[1]], [0.0, 0.0, distance]])
        return cls(center[0], center[1], turn @ place, distance / math.sqrt(pixel[0] * pixel[1]))

    def radius(self, x, y):
        across, up, beam = (form[0] * x + (form[1] * y + form[2]) for form in self.forms)
        with np.errstate(divide="ignore", invalid="ignore"):
            radius = self.length * np.hypot(across, up) / beam
        # Scattered by 90 degrees and more: farther out than any ring.
        return np.where(beam > 0, np.minimum(radius, NOWHERE), NOWHERE)

    def ellipse(self, radius):
        """The cone of one scattering angle cut by the detector: across^2 + up^2 = (radius / length)^2 beam^2."""
        across, up, beam = self.forms
        conic = np.outer(across, across) + np.outer(up, up) - (radius / self.length) ** 2 * np.outer(beam, beam)
        center = np.linalg.solve(conic[:2, :2], -conic[:2, 2])
        values, vectors = np.linalg.eigh(conic[:2, :2])
        level = -(conic[2, 2] + conic[:2, 2] @ center)
        if values[0] <= 0 or level <= 0:
            raise ValueError(f"the ring of radius {radius:g} pixel is no ellipse on a detector tilted so far")
        a, b = np.sqrt(level / values)
        angle = half_turn(math.atan2(vectors[1, 0], vectors[0, 0]))
        return Ellipse(float(center[0]), float(center[1]), float(a), float(b), angle)


def half_turn(angle):
    """The same direction of an axis in (-pi/2, pi/2]."""
    angle = math.remainder(angle, math.pi)
    return math.pi / 2 if angle == -math.pi / 2 else angle


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that the expected counts depend on. `geometry` is a Stretch or a Detector: it knows the radius of a pixel."""

    shape: tuple[int, int]
    geometry: Stretch | Detector
    radii: np.ndarray
    widths: np.ndarray
    amplitudes: np.ndarray
    background: float = 0.0
    decay: float = math.inf
    beam: tuple[float, float] = (0.0, 1.0)  # amplitude and width of the direct beam
    stop: BeamStop | None = None
    texture: np.ndarray | None = None  # (rings, K) complex coefficients of log(intensity) along the azimuth
    spots: np.ndarray = field(default_factory=lambda: np.empty((0, 4)))  # x, y, amplitude, width
    scale: float = 1.0

    def bands(self):
        """(first row, end) of each band."""
        height, width = self.shape
        step = max(1, BAND // width)
        return [(first, min(first + step, height)) for first in range(0, height, step)]

    def _pixels(self, first, end):
        """Columns and rows of a band, as arrays that broadcast."""
        return np.arange(self.shape[1], dtype=np.float64)[None, :], np.arange(first, end, dtype=np.float64)[:, None]

    def expected(self, first, end):
        """Expected counts in some rows, float64, of shape (end - first, W)."""
        x, y = self._pixels(first, end)
        radius = self.geometry.radius(x, y)
        total = self.background * np.exp(-radius / self.decay)
        for number, (ring, width, amplitude) in enumerate(zip(self.radii, self.widths, self.amplitudes, strict=True)):
            near = np.abs(radius - ring) < FAR * width
            profile = amplitude * _gauss((radius[near] - ring) / width)
            if self.texture is not None:
                rows, columns = np.nonzero(near)
                azimuth = np.arctan2(rows + (first - self.geometry.cy), columns - self.geometry.cx)
                profile *= _modulation(self.texture[number], azimuth)
            total[near] += profile
        if self.beam[0]:
            total += self.beam[0] * _gauss(radius / self.beam[1])
        self._add_spots(total, first, end)
        if self.stop is not None:
            total *= self.stop.lets_through(x, y)
        return total * self.scale

    def peak(self):
        """No less than the highest expected counts of a pixel, without spots and texture."""
        return self.scale * (self.background + self.beam[0] + float(np.max(self.amplitudes, initial=0.0)))

    def _add_spots(self, total, first, end):
        for x, y, amplitude, width in self.spots:
            reach = FAR * width
            top, bottom = max(first, math.ceil(y - reach)), min(end, math.floor(y + reach) + 1)
            left, right = max(0, math.ceil(x - reach)), min(self.shape[1], math.floor(x + reach) + 1)
            if top < bottom and left < right:
                rows, columns = _gauss((np.arange(top, bottom) - y) / width), _gauss((np.arange(left, right) - x) / width)
                total[top - first:bottom - first, left:right] += amplitude * rows[:, None] * columns

    def stop_mask(self):
        """True where the beam stop takes intensity away, its penumbra included (a millionth is rounding, not shade)."""
        mask = np.zeros(self.shape, bool)
        if self.stop is not None:
            for first, end in self.bands():
                mask[first:end] = self.stop.lets_through(*self._pixels(first, end)) < 1.0 - 1e-6
        return mask


def _modulation(waves, azimuth):
    """Intensity along a ring, 1 in the mean; from a table of its periodic function, fine against the highest harmonic."""
    size = 32 * max(len(waves), 32)
    table = np.exp(np.fft.irfft(np.concatenate([[0], waves]), size) * size)
    table /= table.mean()
    turns = (azimuth / (2 * math.pi)) % 1.0 * size
    return np.interp(turns, np.arange(size + 1), np.append(table, table[0])).astype(np.float32)


def _gauss(deviation):
    return np.exp(-0.5 * np.square(deviation.astype(np.float32)))
