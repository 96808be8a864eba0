"""From an image and a crystal structure to a PONI: rings, their reflections, distance, centre, and the tilt if asked for."""

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from . import _matching
from ._pawley import fit_profile
from ._places import N, find_places
from ._ponifile import Poni
from ._profile import ring_height, ring_profile
from ._ringlook import MAX_RINGS
from ._scene import Detector
from .geometry import poni_with_center, to_integrator
from .rings import RingNotFoundError, fit_ring

_MOST_POINTS = 6000     # of the reciprocal lattice: as many as are worth the time of listing them
_FINEST = 0.3           # smallest d-spacing that is looked for [Angstrom]
_WIDEST = 80.0          # largest angle [degree]
_DIFFUSE = 2.5          # a ring so many times as wide as the others is none
_VISIBLE = 5.0          # significance of a weak ring that is only found where it is expected
_LEAST_HEIGHT = 0.005   # of the strongest ring, for a weak one that no reflection is known for yet
_STRONG = 0.5           # of the height of the highest: a strong ring
_UNSURE = 0.1           # of its width: what a neighbour may do to a weak ring that was not fitted together with it
_CLOSE = 0.03           # agreements that differ by less do not decide between two camera lengths
_UNLIKELY = 12.0    # logarithm of the odds by which the radii speak against the rival of a camera length that agrees as well
_SAME = 1.0             # widths between a ring that was found and a reflection that it may be
_PUSHING = 0.01         # of its height, for what may push a ring
_TOLD = 0.3             # of its width, the error up to which a ring says something
_TILTED = 13.8          # improvement of chi2 by two tilts that chance gives in one of a thousand images
_LENSES = 0.01          # strain that lenses may well cause


class CalibrationError(ValueError):
    """The rings are not those of the structure, or too few to tell."""


class MatchedRing(NamedTuple):
    """A ring and its reflection.

    Attributes
    ----------
    hkl : (int, int, int)
        Of the strongest reflection in it.
    d : float
        Its d-spacing [Angstrom].
    two_theta : float
        Its scattering angle [degree].
    expected, radius : float
        Where the ring should be and where it is: geometric mean of its semi-axes [pixel].
    error : float
        Standard error of the radius [pixel]; it includes what is unknown about rings in which several reflections blend, and
        grows where the pattern beside the ring is not as the model has it.
    weight : float
        How much the ring counted, 0 to 1; less than 1 for one that does not fit the others.
    """

    hkl: tuple[int, int, int]
    d: float
    two_theta: float
    expected: float
    radius: float
    error: float
    weight: float

    @property
    def residual(self):
        """Measured minus expected radius [pixel]."""
        return self.radius - self.expected


@dataclass(frozen=True, slots=True)
class Calibration:
    """Where the detector stands, and what that rests on.

    Attributes
    ----------
    poni : Poni
        The geometry, for `edfast.geometry.write_poni`.
    distance, distance_err : float
        Camera length and its standard error [m].
    cx, cy, cx_err, cy_err : float
        Column and row of the beam and their standard errors [pixel].
    tilt_err : (float, float) or None
        Standard errors of ``poni.rot1`` and ``poni.rot2`` [rad]; None where the detector is taken as straight.
    rings : tuple of MatchedRing
        By increasing radius.
    unmatched : tuple of float
        Radii of rings (and of diffuse haloes) without a reflection [pixel].
    missing : tuple of (hkl, radius)
        Reflections whose rings should be seen and are not.
    axis : (int, int, int) or None
        [uvw] along the beam where all grains of the film share it (fibre texture); None for a powder.
    chi2 : float
        Of the radii, with a tilt of centres and shapes too, per degree of freedom; the errors have grown by its square root
        where it exceeds 1.
    agreement : float
        Correlation of the radial profile with that of the structure, 1 is perfect.
    wavelength : float
        [Angstrom]
    fit : RingFit
        The rings as they were fitted.
    tilt_note : str
        Why the detector is taken as straight although a tilt was asked for, or "".
    """

    poni: Poni
    distance: float
    distance_err: float
    cx: float
    cy: float
    cx_err: float
    cy_err: float
    tilt_err: tuple[float, float] | None
    rings: tuple[MatchedRing, ...]
    unmatched: tuple[float, ...]
    missing: tuple[tuple[tuple[int, int, int], float], ...]
    axis: tuple[int, int, int] | None
    chi2: float
    agreement: float
    wavelength: float
    fit: Any
    tilt_note: str = ""

    @property
    def center(self):
        """(cx, cy): column and row [pixel]."""
        return self.cx, self.cy

    @property
    def integrator(self):
        """The AzimuthalIntegrator of pyFAI."""
        return to_integrator(self.poni)

    def outline(self, ring, azimuth):
        """(column, row) of points on the expected ring; `azimuth` counts from its major axis [radian]."""
        radius = _length(self.poni) * math.tan(math.radians(ring.two_theta))
        return _detector(self.poni, self.center).ellipse(radius).point(azimuth)

    def __str__(self):
        lines = [f"distance {self.distance * 1e3:.4f} +- {self.distance_err * 1e3:.4f} mm, beam at "
                 f"({self.cx:.3f} +- {self.cx_err:.3f}, {self.cy:.3f} +- {self.cy_err:.3f}) pixel (column, row)"]
        if self.tilt_err:
            lines.append(f"tilt rot1 {self.poni.rot1:.5f} +- {self.tilt_err[0]:.5f}, rot2 {self.poni.rot2:.5f} +- "
                         f"{self.tilt_err[1]:.5f} rad")
        if self.tilt_note:
            lines.append(self.tilt_note)
        if self.axis:
            lines.append(f"textured film, [{_indices(self.axis)}] along the beam: its ratios are those of any crystal with "
                         "the same symmetry about that axis, so be sure of the structure")
        lines.append(f"{'hkl':>10}{'d / A':>10}{'expected':>12}{'measured':>12}{'residual':>12}{'error':>9}  pixel")
        lines += [f"{_indices(ring.hkl):>10}{ring.d:10.4f}{ring.expected:12.3f}{ring.radius:12.3f}{ring.residual:12.3f}"
                  f"{ring.error:9.3f}" for ring in self.rings]
        if self.unmatched:
            lines.append(f"without a reflection: rings at {', '.join(f'{radius:.1f}' for radius in self.unmatched)} pixel")
        if self.missing:
            missing = ", ".join(f"{_indices(hkl)} at {radius:.1f}" for hkl, radius in self.missing)
            lines.append(f"without a ring: {missing} pixel")
        return "\n".join(lines)


def _indices(hkl):
    return " ".join(map(str, hkl))


def calibrate_image(image, crystal, setup, *, distance=None, mask=None, tilt=False, orientation=3):
    """The `Calibration` of one image (2-D array) by the rings of a `Crystal`."""
    fit = _find_rings(image, mask)
    pattern, diffuse = _pattern(image, mask, fit)
    peaks = _reflections(crystal, setup.wavelength)
    guess = None if distance is None else distance / (_pitch(setup) * 1e-6)
    found, lines, peaks, axis = _identify(pattern, crystal, peaks, setup.wavelength, guess)
    measured = _measure(image, mask, fit, pattern, lines, peaks, found)
    final, pitch = measured.distance, _pitch(setup) * 1e-6
    poni = Poni(final.length * pitch, 0, 0, 0, 0, 0, setup.wavelength * 1e-10, setup.pixel_size[0] * 1e-6,
                setup.pixel_size[1] * 1e-6, image.shape, orientation)
    result = Calibration(
        poni=poni_with_center(poni, fit.cx, fit.cy), distance=poni.distance, distance_err=pitch * final.error, cx=fit.cx,
        cy=fit.cy, cx_err=fit.cx_err, cy_err=fit.cy_err, tilt_err=None, rings=measured.rings,
        unmatched=tuple(sorted([*measured.strangers, *diffuse])),
        missing=tuple((peaks[k]["hkl"], found.length * float(lines.tangent[k])) for k in found.absent), axis=axis,
        chi2=final.chi2, agreement=found.agreement, wavelength=setup.wavelength, fit=fit)
    return _with_tilt(result, measured) if tilt else result


def _find_rings(image, mask):
    """The joint fit of the rings, very dim ones too; as circles where ellipses do not settle on a centre."""
    try:
        return fit_ring(image, mask=mask, max_rings=MAX_RINGS)
    except RingNotFoundError:
        try:
            return fit_ring(image, mask=mask, max_rings=MAX_RINGS, ellipse=False)
        except RingNotFoundError as error:
            raise CalibrationError(str(error)) from error


def _pitch(setup):
    """Geometric mean of the two pixel sizes, as of the semi-axes of a ring."""
    return math.sqrt(setup.pixel_size[0] * setup.pixel_size[1])


def _reflections(crystal, wavelength):
    """Reflections down to the smallest d-spacing that is worth while."""
    from ._crystal import reflections

    finest = max(_FINEST, (4 / 3 * math.pi * crystal.structure.volume / _MOST_POINTS) ** (1 / 3))
    widest = 2 * math.degrees(math.asin(min(wavelength / 2 / finest, 1)))
    return reflections(crystal, wavelength, (0, min(widest, _WIDEST)))


def _lines(peaks):
    d = np.array([peak["d"] for peak in peaks])
    return _matching.Lines(np.tan(np.radians([peak["two_theta"] for peak in peaks])), 1 / (4 * d**2),
                           np.array([peak["intensity"] for peak in peaks]))


def _pattern(image, mask, fit):
    """(`Pattern` of the sharp rings, radii of diffuse haloes): those of the fit, and what else stands out of the profile."""
    clear = [ring for ring in fit.rings if ring.amplitude > 3 * ring.amplitude_err]
    if not clear:
        raise CalibrationError("no clear ring in the image: three are needed to tell the camera length")
    width = float(np.median([ring.width for ring in clear]))
    sharp = [ring for ring in clear if ring.width < _DIFFUSE * width]
    radii, mean, error, coverage = ring_profile(image, fit, mask=mask)
    rest = _without(fit.rings, mean, error)
    rows = [(ring.radius, ring.radius_err, ring.amplitude) for ring in sharp]
    highest = max(row[2] for row in rows)
    strong = min(row[0] for row in rows if row[2] > _STRONG * highest)
    seen = np.flatnonzero(coverage > 0.6)
    # Inside half the radius of the first strong ring the direct beam's foot hides what there is.
    inner = max(0.5 * strong, seen[0] + 2 * width if len(seen) else 0)
    outer = np.flatnonzero(coverage > 0.3)[-1] - 2 * width
    arguments: list = [*np.array(rows).T, width, inner, outer, radii, mean, rest, error]
    pattern = _matching.Pattern(*arguments)
    rows = sorted(rows + _weak_rings(pattern))
    if len(rows) < 3:
        raise CalibrationError(f"{len(rows)} clear ring{'' if len(rows) == 1 else 's'} in the image: three are needed to tell "
                               "the camera length")
    measured, errors, heights = np.array(rows).T
    pattern = pattern._replace(radii=measured, errors=errors, heights=heights, inner=min(inner, measured[0] - 0.5),
                               outer=max(outer, measured[-1] + 1))
    return pattern, [ring.radius for ring in clear if ring.width >= _DIFFUSE * width]


def _without(rings, mean, error):
    """The profile less its rings, with the heights that they have in it (the fit takes another mean over the azimuth)."""
    radii, rest = np.arange(len(mean)) + 0.5, mean.copy()
    shapes = [np.exp(-0.5 * ((radii - ring.radius) / ring.width) ** 2) for ring in rings]
    heights = np.zeros(len(rings))
    for _ in range(4):  # neighbours overlap
        for k in np.argsort([-ring.amplitude for ring in rings]):
            rest += heights[k] * shapes[k]
            height, doubt = ring_height(rest, error, rings[k].radius, rings[k].width)
            heights[k] = height if doubt < np.inf else rings[k].amplitude
            rest -= heights[k] * shapes[k]
    return rest


def _weak_rings(pattern):
    """(radius, error, height) of the rings that stand out of the profile besides those of the fit."""
    places = np.arange(pattern.inner, pattern.outer, 0.5)
    heights, errors = np.array([pattern.probe(place) for place in places]).T
    clear = np.where(heights > _LEAST_HEIGHT * pattern.heights.max(), heights / errors, 0)
    found: list = []
    for k in np.argsort(-clear):
        if clear[k] < _VISIBLE:
            break
        if all(abs(places[k] - other) > 2 * pattern.width for other in (*pattern.radii, *(ring[0] for ring in found))):
            found += filter(None, [_weak_ring(pattern, places[k])])
    return found


def _identify(pattern, crystal, peaks, wavelength, guess):
    """(judgement, lines, their peaks, texture axis or None) of the camera length that explains the rings."""
    from ._crystal import zones

    lines = _lines(peaks)
    judged = _matching.match(pattern, lines)
    if best := _choose(judged, guess, pattern, lines):
        return best, lines, peaks, None
    textured = []
    for axis, shown in zones(crystal, peaks):
        part = lines.only(shown)
        for found in _matching.match(pattern, part, by_rings=True):
            if found.complete:
                textured.append((found, part, [peak for peak, take in zip(peaks, shown, strict=True) if take], axis))
    if textured:
        return max(textured, key=lambda one: one[0].evidence)
    raise _mismatch(pattern, lines, judged)


def _choose(judged, guess, pattern, lines):
    """The accepted judgement, by the guess where several are about as good; None if there is none."""
    accepted = [found for found in judged if found.accepted]
    rivals = [found for found in accepted if found.agreement > accepted[0].agreement - _CLOSE
              and found.evidence > accepted[0].evidence - _UNLIKELY]
    if len(rivals) < 2:
        return accepted[0] if accepted else None
    if guess is None:
        raise CalibrationError("the rings fit the structure in more than one way, with camera lengths in the proportion "
                               + " : ".join(f"{found.length / rivals[0].length:.3f}" for found in rivals)
                               + ": give distance, about")
    return min(rivals, key=lambda found: abs(math.log(found.length / guess)))


def _mismatch(pattern, lines, judged):
    """The error that shows the ratios side by side, for the camera length that comes nearest."""
    measured = [f"{radius / pattern.radii[0]:.3f}" for radius in pattern.radii]
    strong = np.flatnonzero(lines.heights() > 0.02 * lines.heights().max())[:10]
    expected = [f"{tangent / lines.tangent[strong[0]]:.3f}" for tangent in lines.tangent[strong]]
    nearest = ""
    if judged:
        best = judged[0]
        nearest = (f" (at best {best.n} of {len(pattern.radii)} rings have a reflection, {100 * best.missing:.0f} % of the "
                   f"intensity is missing, {100 * best.extra:.0f} % is not explained, the profiles agree to "
                   f"{best.agreement:.2f})")
    return CalibrationError(f"the rings are not those of the structure{nearest}; ratios of the radii: {' '.join(measured)}; "
                            f"of the structure: {' '.join(expected)}")


class _Measured(NamedTuple):
    """What the rings say together.

    rings : those with a reflection. strangers : radii of the others. distance : from the rings, or from the whole profile.
    values, covariance : of radius, centre and strain of each of the rings, as in `Places`, (R, 5) and (5 R, 5 R).
    """

    rings: tuple[MatchedRing, ...]
    strangers: tuple[float, ...]
    distance: _matching.Distance
    values: np.ndarray
    covariance: np.ndarray


def _measure(image, mask, fit, pattern, lines, peaks, found):
    """The `_Measured` of all rings that have been found, and of those that are only looked for where they are expected."""
    used, width = found.lines >= 0, pattern.width
    weak = [_weak_ring(pattern, found.length * lines.tangent[k]) for k in _overlooked(pattern, lines, found)]
    seen = np.array([*zip(pattern.radii, pattern.heights, strict=True), *(ring[::2] for ring in weak if ring)])
    length, heights = found.length, _matching.expected_heights(pattern, lines, found.length, used)
    whole = fit_profile(pattern, lines, length, heights, pattern.radii[~used])
    if whole and abs(whole.length / length - 1) < 2 * _matching.TOLERANCE:
        # The heights that the profile shows tell better than the structure what is beside a ring, and in it.
        length, heights = whole.length, whole.heights
    else:
        whole = None
    places = length * lines.tangent
    groups = _matching.group(places, heights, width, pattern.inner - 3 * width, pattern.outer + 3 * width)
    apart = np.abs(seen[:, :1] - groups.radii)
    mine = np.where(apart.min(axis=1) < _SAME * width, apart.argmin(axis=1), -1)
    near = np.exp(-0.5 * (np.subtract.outer(groups.radii, groups.radii) / (2 * width)) ** 2)
    shown = np.isin(np.arange(len(groups.radii)), mine)
    # What nobody has seen is only free to move where it might push a ring.
    free = shown | (groups.heights > _PUSHING * (near * groups.heights * shown).max(axis=1))
    number, others = np.where(free, np.cumsum(free) - 1, -1), seen[mine < 0]
    around = find_places(
        image, mask, fit, np.concatenate([places[groups.lines], others[:, 0]]),
        np.concatenate([heights[groups.lines], others[:, 1]]),
        np.concatenate([number[groups.owner], free.sum() + np.arange(len(others))]), width)
    errors, moved = around.errors, around.values[:, 0]
    good = [k for k in np.argsort(groups.radii) if shown[k] and abs(moved[number[k]]) < _SAME * width
            and errors[number[k], 0] < _TOLD * width and np.isfinite(errors[number[k]]).all()]
    if len(good) < 3:
        raise CalibrationError(f"only {len(good)} of the rings can be measured: three are needed to tell the camera length")
    order = number[good]
    rows = (N * order[:, None] + np.arange(N)).ravel()
    values, covariance = around.values[order], around.covariance[np.ix_(rows, rows)]
    values[:, 0] += groups.radii[good]
    covariance[::N, ::N] += np.diag(groups.blend[good] ** 2)
    sigma, tangents = np.sqrt(np.diag(covariance)[::N]), groups.radii[good] / length
    final = _matching.refine(values[:, 0], sigma, tangents)
    # Radii that contradict each other, or the structure, say nothing against their centres.
    doubt = np.ones(N * len(good))
    doubt[::N] = np.sqrt(max(final.chi2, 1.0) / np.maximum(final.weights, 1e-4))
    covariance *= np.outer(doubt, doubt)
    if whole and whole.error < final.error and abs(whole.length / final.length - 1) < 2 * _matching.TOLERANCE:
        final = final._replace(length=whole.length, error=whole.error)
    names = [peaks[groups.strongest(k, heights)] for k in good]
    rings = tuple(MatchedRing(peak["hkl"], peak["d"], peak["two_theta"], *map(float, row)) for peak, *row in zip(
        names, final.length * tangents, values[:, 0], sigma, final.weights, strict=True))
    lost = [radius for radius, k in zip(seen[:, 0], mine, strict=True) if k not in good]
    return _Measured(rings, tuple(map(float, lost)), final, values, covariance)


def _overlooked(pattern, lines, found):
    """Reflections that stand alone, in sight and away from all rings."""
    places = found.length * lines.tangent
    sight = (places > pattern.inner) & (places < pattern.outer)
    gap = 4 * pattern.width
    rings = np.abs(places - pattern.radii[:, None]).min(axis=0) > gap
    between = np.abs(places[:, None] - places)
    np.fill_diagonal(between, np.inf)
    return np.flatnonzero(sight & rings & (between.min(axis=1) > gap))


def _weak_ring(pattern, expected):
    """(radius, error, height) of a ring near `expected`, by the place where its significance is highest; None without one."""
    reach = 1.5 * pattern.width
    places = expected + np.linspace(-reach, reach, 31)
    heights, errors = np.array([pattern.probe(place) for place in places]).T
    gain = np.where((errors < np.inf) & (heights > 0), (heights / errors) ** 2, 0)
    best = int(np.argmax(gain))
    if gain[best] < _VISIBLE**2 or not 3 <= best <= len(places) - 4:
        return None
    # chi2 rises by one where the gain has fallen by one.
    bend, slope, _ = np.polyfit(places[best - 3:best + 4] - places[best], gain[best - 3:best + 4], 2)
    if bend >= 0:
        return None
    error = math.hypot(1 / math.sqrt(-bend), _UNSURE * pattern.width)
    return float(places[best] - slope / (2 * bend)), error, float(heights[best])


def _length(poni):
    return poni.distance / math.sqrt(poni.pixel1 * poni.pixel2)


def _detector(poni, center):
    flip = (poni.orientation in (1, 2), poni.orientation in (1, 4))
    return Detector.from_geometry(center, poni.distance, (poni.poni1, poni.poni2), (poni.pixel1, poni.pixel2),
                                  (poni.rot1, poni.rot2), flip, poni.max_shape)


# ------------------------------------------------------------------------------------------------------------------ the tilt


def _with_tilt(result, measured):
    """The calibration with rot1 and rot2, if the rings stand apart as a tilt moves them by more than chance does.

    A tilt moves the centres apart, by distance tan(2 theta)^2 tan(tilt), and makes ellipses of the rings, by the same strain,
    about tilt^2 / 4, for all. Lenses do the latter, too; a strain of their own is therefore free in both models, and counts
    against a tilt that they would have to undo.
    """
    straight, tilted = (_solve(result, measured, with_tilt) for with_tilt in (False, True))
    chi2 = tilted.chi2 / max(N * len(measured.rings) - 5, 1)
    rot1, rot2 = tilted.values[3:5]
    if straight.chi2 - tilted.chi2 < _TILTED * max(1.0, chi2):
        errors = tilted.errors[3:5]
        return replace(result, tilt_note=f"tilt not significant, taken as zero: the {len(measured.rings)} rings alone say "
                       f"rot1 {rot1:.4f} +- {errors[0]:.4f}, rot2 {rot2:.4f} +- {errors[1]:.4f} rad")
    poni, errors = _poni_of(result.poni, tilted.values[:5]), tilted.errors
    rings = tuple(ring._replace(expected=_model(poni, tilted.values, tangent)[0])
                  for ring, tangent in zip(result.rings, _tangents(result), strict=True))
    x, y, distance, rot1, rot2 = map(float, errors[:5])
    return replace(result, poni=poni, distance=poni.distance, distance_err=distance, cx=float(tilted.values[0]),
                   cy=float(tilted.values[1]), cx_err=x, cy_err=y, tilt_err=(rot1, rot2), rings=rings, chi2=chi2)


def _poni_of(poni, values):
    x, y, distance, rot1, rot2 = map(float, values)
    return poni_with_center(replace(poni, distance=distance, rot1=rot1, rot2=rot2), x, y)


def _tangents(result):
    """tan(2 theta) of the rings: where reflections blend, that of their mean."""
    return [ring.expected / _length(result.poni) for ring in result.rings]


def _model(poni, values, tangent):
    """(geometric mean of the semi-axes, cx, cy, both components of the strain) of a ring."""
    detector = _detector(poni, values[:2])
    ellipse = detector.ellipse(detector.length * tangent)
    stretch = 0.5 * math.log(ellipse.a / ellipse.b)
    return (math.sqrt(ellipse.a * ellipse.b), ellipse.cx, ellipse.cy, stretch * math.cos(2 * ellipse.angle) + values[5],
            stretch * math.sin(2 * ellipse.angle) + values[6])


class _Solution(NamedTuple):
    """(x, y, distance, rot1, rot2, strain by lenses), chi2, standard errors."""

    values: np.ndarray
    chi2: float
    errors: np.ndarray


def _solve(result, measured, tilted):
    """The `_Solution` with or without a tilt, by Gauss-Newton with numerical derivatives."""
    fit, tangents = result.fit, _tangents(result)
    origin = 0, fit.cx, fit.cy, *fit.strain
    data = (measured.values + origin).ravel()
    values = np.array([fit.cx, fit.cy, result.distance, 0.0, 0.0, *origin[3:]])
    steps = np.diag([1e-3, 1e-3, 1e-6 * result.distance, 1e-5, 1e-5, 1e-6, 1e-6])
    free = [0, 1, 2, *[3, 4] * tilted, 5, 6]
    white = np.linalg.cholesky(np.linalg.inv(measured.covariance)).T

    def predict(at):
        poni = _poni_of(result.poni, at[:5])
        return np.array([_model(poni, at, tangent) for tangent in tangents]).ravel()

    def rest(at):
        return np.append(white @ (data - predict(at)), at[5:] / _LENSES if tilted else [])

    for _ in range(8):
        slopes = np.array([(rest(values + steps[k]) - rest(values - steps[k])) / (2 * steps[k, k]) for k in free]).T
        size = np.sqrt((slopes**2).sum(axis=0))
        values[free] -= np.linalg.lstsq(slopes / size, rest(values))[0] / size
        values[3:5] = np.clip(values[3:5], -1, 1)
    chi2 = float(np.sum(rest(values) ** 2))
    scale = max(1.0, chi2 / max(len(data) - len(free), 1))
    errors = np.zeros(len(values))
    errors[free] = np.sqrt(scale * np.diag(np.linalg.pinv((slopes / size).T @ (slopes / size)))) / size
    return _Solution(values, chi2, errors)
