"""The result records: what one module hands to another and to the user."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple


class EllipseFit(NamedTuple):
    """Centre and semi-axes of the largest bright region, as the recalibration document defines them.

    Attributes
    ----------
    cx, cy : float
        Centroid, column and row [pixel]; the integer i is the centre of pixel i.
    a, b : float
        Square roots of the larger and the smaller eigenvalue of the region's covariance [pixel].
    angle : float
        Direction of the major axis in (-pi/2, pi/2], from the x axis (columns) towards y (rows) [radian].
    """

    cx: float
    cy: float
    a: float
    b: float
    angle: float


class RingNotFoundError(ValueError):
    """There is no ring pattern in the image, or none whose centre can be told."""


class Ring(NamedTuple):
    """One ring of a `RingFit`.

    Attributes
    ----------
    radius, radius_err : float
        Geometric mean of the semi-axes and its standard error [pixel].
    width : float
        Standard deviation of the ring's profile [pixel].
    amplitude, amplitude_err : float
        Mean height over the background and its standard error [intensity of the image].
    """

    radius: float
    radius_err: float
    width: float
    amplitude: float
    amplitude_err: float


@dataclass(frozen=True, slots=True)
class RingFit:
    """Centre and shape of a ring pattern, with standard errors.

    Attributes
    ----------
    cx, cy : float
        Common centre of all rings, column and row [pixel]; the integer i is the centre of pixel i.
    a, b : float
        Semi-axes of the reference ring, a >= b [pixel]: the nearest to the radius that was asked for, else the strongest.
    angle : float
        Direction of the major axis in (-pi/2, pi/2], from the x axis (columns) towards y (rows) [radian].
    cx_err, cy_err, a_err, b_err : float
        Standard errors [pixel], from the noise that the image itself shows.
    cxy_err : float
        Covariance of cx and cy [pixel^2].
    coverage : float
        Share of the azimuth on which rings were used, 0 to 1.
    n_rings : int
        How many rings were fitted together; very dim ones that would add next to nothing are left out.
    chi2 : float
        Scatter of the sectors' own centres about the common one, squared, per degree of freedom: 1 is perfect. More where
        spots or shadows disturb or rings overlap, less where rings are no Gaussians; the errors allow for that.
    converged : bool
        Whether the last step was far below the standard errors.
    rings : tuple of Ring
        All rings that were used, in order of increasing radius.
    sectors : tuple of float
        Weight of each sector of the azimuth, 0 (rejected) to 1; the first begins at the direction of the rows, towards y.
    whole_profile : bool
        Whether centre and strain rest on the whole radial profile, as those of fringes, and not on `rings` alone.
    """

    cx: float
    cy: float
    a: float
    b: float
    angle: float
    cx_err: float
    cy_err: float
    a_err: float
    b_err: float
    cxy_err: float
    coverage: float
    n_rings: int
    chi2: float
    converged: bool
    rings: tuple[Ring, ...]
    sectors: tuple[float, ...]
    whole_profile: bool = False

    @property
    def center(self):
        """(cx, cy): column and row [pixel]."""
        return self.cx, self.cy

    @property
    def center_rc(self):
        """(row, column) [pixel]."""
        return self.cy, self.cx

    @property
    def center_err(self):
        """Error radius of the centre, sqrt(cx_err^2 + cy_err^2) [pixel]."""
        return math.hypot(self.cx_err, self.cy_err)

    @property
    def radius(self):
        """Geometric mean of the semi-axes of the reference ring [pixel]."""
        return math.sqrt(self.a * self.b)

    @property
    def axis_ratio(self):
        """Ratio of the semi-axes a / b, at least 1."""
        return self.a / self.b

    @property
    def strain(self):
        """(e1, e2): half the logarithm of the axis ratio, in the direction of twice the angle."""
        size = 0.5 * math.log(self.axis_ratio)
        return size * math.cos(2 * self.angle), size * math.sin(2 * self.angle)

    @property
    def error_ellipse(self):
        """Semi-axes [pixel] and direction [radian] of the one-sigma ellipse of the centre."""
        mean, half = (self.cx_err ** 2 + self.cy_err ** 2) / 2, (self.cx_err ** 2 - self.cy_err ** 2) / 2
        size = math.hypot(half, self.cxy_err)
        return math.sqrt(mean + size), math.sqrt(max(mean - size, 0.0)), 0.5 * math.atan2(self.cxy_err, half)

    def ellipse(self, ring=None):
        """(a, b, angle) of one of the `rings` [pixel, pixel, radian]; of the reference ring without an argument."""
        if ring is None:
            return self.a, self.b, self.angle
        stretch = math.sqrt(self.a / self.b)
        return ring.radius * stretch, ring.radius / stretch, self.angle

    def to_moments(self):
        """The `EllipseFit` that a thin, even ring of this shape has: its semi-axes over sqrt(2)."""
        return EllipseFit(self.cx, self.cy, self.a / math.sqrt(2), self.b / math.sqrt(2), self.angle)

    def __str__(self):
        return (f"centre ({self.cx:.3f} +- {self.cx_err:.3f}, {self.cy:.3f} +- {self.cy_err:.3f}) pixel (column, row), "
                f"semi-axes {self.a:.2f} and {self.b:.2f} at {math.degrees(self.angle):.1f} degrees, {self.n_rings} "
                f"ring{'s' if self.n_rings != 1 else ''} over {100 * self.coverage:.0f} % of the azimuth, chi2 {self.chi2:.2f}"
                f"{'' if self.converged else ', not converged'}")

    def __repr__(self):
        return f"<RingFit: {self}>"


@dataclass(frozen=True, slots=True)
class TrackResult:
    """What `edfast.tracking.CenterTracker` says of one frame.

    Attributes
    ----------
    cx, cy : float
        Centre, column and row [pixel]; the integer i is the centre of pixel i. NaN when lost.
    cx_err, cy_err : float
        Standard errors [pixel], from the noise that the frame itself shows. NaN when lost.
    lost : bool
        Whether no ring pattern was found in the frame.
    jumped : bool
        Whether the centre is farther from the one before than errors and the drift so far explain.
    latency : float
        Time that the answer took [s].
    """

    cx: float
    cy: float
    cx_err: float
    cy_err: float
    lost: bool
    jumped: bool
    latency: float

    @property
    def center(self):
        """(cx, cy): column and row [pixel]."""
        return self.cx, self.cy

    @property
    def center_rc(self):
        """(row, column) [pixel]."""
        return self.cy, self.cx


@dataclass(frozen=True, slots=True, eq=False)
class StackTrack:
    """The centres of a stack of frames: arrays of the shape of the scan, (N,) or (rows, columns).

    Attributes
    ----------
    cx, cy : ndarray of float64
        Centres, column and row [pixel]; the integer i is the centre of pixel i. NaN where lost.
    cx_err, cy_err : ndarray of float64
        Standard errors [pixel]. NaN where lost.
    lost, jumped : ndarray of bool
        As in `TrackResult`.
    """

    cx: Any
    cy: Any
    cx_err: Any
    cy_err: Any
    lost: Any
    jumped: Any

    @property
    def center(self):
        """(cx, cy): columns and rows [pixel]."""
        return self.cx, self.cy

    @property
    def center_rc(self):
        """(rows, columns) [pixel]."""
        return self.cy, self.cx

    def __len__(self):
        """Number of frames."""
        return self.cx.size
