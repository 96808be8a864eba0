"""Figures: what was found in one image, and how the beam drifts over many.

Each function returns a `matplotlib.figure.Figure` that belongs to no window; save it with ``figure.savefig``, or hand the
function and its arguments to `show`.
"""

import math

import numpy as np

from ._results import RingFit
from ._validation import as_image, as_mask

__all__ = ["plot_calibration", "plot_drift", "plot_recalibration", "plot_ring_fit", "show"]

_RED, _GREEN, _BLUE, _GREY = "#e6262b", "#12c24a", "#2a6fb5", "#5b6570"
_REJECTED, _NOTHING = "#4aa3ff", "#c9d3de"    # rejected sectors; pixels that are masked or outside the frame
_USED = 0.3         # weight from which on a sector counts as used, as in RingFit.coverage
_STRIP = 4.0        # a strip shows so many widths to either side of its ring,
_ACROSS = 48        # in so many steps,
_AROUND = 180       # and in at least so many steps of the azimuth


def plot_recalibration(image, fit, *, orientation=3, figure=None):
    """The image with the fitted ellipse and its centre, as the recalibration document shows it.

    Parameters
    ----------
    image : array_like of shape (H, W)
        Shown as it is stored, row 0 at the top, in grey between its 1st and 99th percentile.
    fit : EllipseFit, RingFit or (cx, cy)
        What was found. A bare pair of coordinates is shown without an ellipse [pixel].
    orientation : int, optional
        pyFAI's, for the title.
    figure : matplotlib.figure.Figure, optional
        Where to draw; a new one by default.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from edfast.simulate import ring_pattern
    >>> from edfast.recalibration import fit_ellipse_to_ring
    >>> image, truth = ring_pattern((256, 256), radii=[70], random_state=0)
    >>> figure = plot_recalibration(image, fit_ellipse_to_ring(image), orientation=3)
    >>> figure.axes[0].get_title()
    'Orientation 3'
    """
    from matplotlib.patches import Ellipse

    image = as_image(image)
    if not hasattr(fit, "cx") and np.shape(fit) != (2,):
        raise TypeError(f"fit must be an EllipseFit, a RingFit or (cx, cy), not {fit!r}")
    cx, cy = (fit.cx, fit.cy) if hasattr(fit, "cx") else fit
    figure = figure or _figure(_size_for(image.shape))
    axes = figure.subplots()
    low, high = _grey_range(image)
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest" if max(image.shape) < 300 else "antialiased")
    handles = []
    if hasattr(fit, "a"):
        # The document's ellipse is one standard deviation of the region; drawn with its full axes.
        ellipse = Ellipse((cx, cy), 2 * fit.a, 2 * fit.b, angle=math.degrees(fit.angle), fill=False, color=_RED, linewidth=1.6,
                          label=f"ellipse: a = {fit.a:.2f}, b = {fit.b:.2f} px")
        handles.append(axes.add_patch(ellipse))
    handles += axes.plot(cx, cy, "+", color=_GREEN, markersize=14, markeredgewidth=2.2,
                         label=f"centre: x = {cx:.2f}, y = {cy:.2f} px")
    axes.set(title=f"Orientation {orientation}", xlabel="column (x) / pixel", ylabel="row (y) / pixel",
             xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def plot_drift(cx, cy, dx, dy, *, labels=None, figure=None):
    """Where the beam was in each file, against where the input PONI has it.

    Parameters
    ----------
    cx, cy : array_like of shape (N,)
        Column and row of the beam; NaN for a file that failed [pixel].
    dx, dy : array_like of shape (N,)
        Shift from the input PONI; NaN for a file that failed [pixel].
    labels : sequence of str, optional
        Names of the files, shown where they are few.
    figure : matplotlib.figure.Figure, optional
        Where to draw; a new one by default.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = plot_drift([100, 101, float("nan")], [90, 90.5, float("nan")], [0, 1, float("nan")], [0, 0.5, float("nan")])
    >>> [axes.get_ylabel() for axes in figure.axes[:2]]
    ['shift in x / pixel', 'shift in y / pixel']
    """
    cx, cy, dx, dy = (np.asarray(values, dtype=float) for values in (cx, cy, dx, dy))
    figure = figure or _figure((11, 4.8))
    grid = figure.add_gridspec(2, 2, width_ratios=(1.4, 1), wspace=0.08)
    number, failed = np.arange(1, len(dx) + 1), ~np.isfinite(dx)
    top = figure.add_subplot(grid[0, 0])
    bottom = figure.add_subplot(grid[1, 0], sharex=top)
    for axes, shift, center, name in ((top, dx, cx, "x"), (bottom, dy, cy, "y")):
        _draw_shift(axes, number, shift, failed)
        axes.set_ylabel(f"shift in {name} / pixel")
        _add_position_axis(axes, shift, center, name)
    top.tick_params(labelbottom=False)
    if failed.any():
        top.legend(handles=[line for line in top.lines if line.get_label() == "failed"], loc="best")
    figure.align_ylabels([top, bottom])
    _name_files(bottom, number, labels)
    _draw_path(figure.add_subplot(grid[:, 1]), dx, dy, number)
    good = int(np.count_nonzero(~failed))
    if not good:
        top.text(0.5, 0.5, "no file has a centre", color=_RED, ha="center", va="center", transform=top.transAxes,
                 bbox={"facecolor": "white", "edgecolor": "none"})
    figure.suptitle(f"Drift of the beam: {good} of {len(dx)} files" + (f", {len(dx) - good} failed" if good < len(dx) else ""))
    return figure


def plot_ring_fit(image, fit, *, mask=None, figure=None):
    """What `fit_ring` found, and how well it fits.

    Left: the image on a logarithmic scale with the fitted rings, solid where they were used and dashed in the sectors that
    were rejected; below it the centre, magnified, with its error ellipses. Right: each ring unrolled about the fitted centre,
    in coordinates in which the fitted ellipse is a circle, and how far the rings are from where the fit has them, measured
    anew in each sector. A right fit shows straight lines and deviations around zero; a centre that is off by 0.1 pixel shows
    a wave of 0.1 pixel.

    Parameters
    ----------
    image : array_like of shape (H, W)
        The image that was fitted. Non-finite pixels are shown as masked.
    fit : RingFit
        What `fit_ring` returned for it.
    mask : array_like of shape (H, W), optional
        True (or non-zero) = masked out.
    figure : matplotlib.figure.Figure, optional
        Where to draw; a new one by default.

    Returns
    -------
    matplotlib.figure.Figure
        Its axes: the image, the magnified centre, one strip for each ring by increasing radius, the deviations.

    Raises
    ------
    TypeError
        `fit` is no RingFit, or the image holds no real numbers.
    ValueError
        The image is not two-dimensional or empty, or the mask has another shape.

    Examples
    --------
    >>> from edfast.rings import fit_ring
    >>> from edfast.simulate import ring_pattern
    >>> image, truth = ring_pattern((256, 256), radii=[60, 95], random_state=0)
    >>> figure = plot_ring_fit(image, fit_ring(image))
    >>> len(figure.axes)
    5
    >>> figure.axes[-1].get_xlabel()
    'deviation / pixel'
    """
    image = as_image(image)
    mask = as_mask(mask, image.shape)
    if not isinstance(fit, RingFit):
        raise TypeError(f"fit must be a RingFit, as fit_ring returns it, not {type(fit).__name__}")
    pixels = image.astype(float)
    pixels[~np.isfinite(pixels) if mask is None else mask | ~np.isfinite(pixels)] = np.nan
    n, height = len(fit.rings), 5.4 * min(max(image.shape[0] / image.shape[1], 0.6), 1.2)
    figure = figure or _figure((8.2 + 0.75 * n, height + 2))
    left, right = figure.add_gridspec(1, 2, width_ratios=(5.4, 2.8 + 0.75 * n), wspace=0.03)
    top, bottom = left.subgridspec(2, 1, height_ratios=(height, 1.6))
    _draw_rings(figure.add_subplot(top), pixels, fit)
    _draw_error_ellipses(figure.add_subplot(bottom), fit)
    *strips, last = right.subgridspec(1, n + 1, width_ratios=[1] * n + [2.2])
    unrolled = [_unroll_ring(pixels, fit, ring) for ring in fit.rings]
    _draw_strips([figure.add_subplot(place) for place in strips], unrolled, fit)
    shifts = [_deviations(samples, fit, ring) for samples, ring in zip(unrolled, fit.rings, strict=True)]
    _draw_deviations(figure.add_subplot(last), np.stack(shifts), fit)
    return figure


def plot_calibration(image, calibration, *, figure=None):
    """The image with the rings where the calibration expects them, and how far each measured ring is from its place.

    Parameters
    ----------
    image : array_like of shape (H, W)
        Shown in logarithmic grey.
    calibration : Calibration
        What `edfast.calibrate` returned.
    figure : matplotlib.figure.Figure, optional
        Where to draw; a new one by default.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from edfast.calibration import calibrate, example_cif
    >>> from edfast.geometry import Poni
    >>> from edfast.simulate import powder_pattern
    >>> truth = Poni(0.2, 0.0051, 0.0052, 0, 0, 0, 2.5079e-12, 2e-5, 2e-5, max_shape=(512, 512))
    >>> image, _ = powder_pattern([2.3545, 2.0391, 1.4419, 1.2296], truth, amplitudes=[200, 100, 80, 90], random_state=0)
    >>> figure = plot_calibration(image, calibrate(example_cif("gold"), image, wavelength=0.025079, pixel_size=20))
    >>> [axes.get_xlabel() for axes in figure.axes]
    ['column (x) / pixel', 'radius / pixel']
    """
    pixels = as_image(image).astype(np.float64)
    figure = figure or _figure((12.5, 5.8))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    _draw_expected(left, pixels, calibration)
    _draw_residuals(right, calibration)
    figure.suptitle(f"distance {calibration.distance * 1e3:.3f} ± {calibration.distance_err * 1e3:.3f} mm, "
                    f"{len(calibration.rings)} rings matched, profile agreement {calibration.agreement:.2f}")
    return figure


def show(draw, *args, **options):
    """Open a window with a figure; a script waits until it is closed.

    Parameters
    ----------
    draw : callable
        `plot_recalibration`, `plot_ring_fit` or `plot_drift`.
    *args, **options
        What it takes.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> show(plot_drift, [100, 101], [90, 90.5], [0, 1], [0, 0.5])  # doctest: +SKIP
    """
    import matplotlib.pyplot as plt

    figure = draw(*args, **options, figure=plt.figure(layout="constrained"))
    plt.show()
    return figure


def _figure(size):
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _size_for(shape):
    """Inches for an image of `shape`, with room for its labels; neither axis vanishes for very long images."""
    ratio = min(max(shape[0] / shape[1], 0.25), 4)
    width = 6.4 / max(1, ratio / 1.1)
    return max(width + 0.8, 5.2), width * ratio + 1.3


def _grey_range(image):
    """1st and 99th percentile of the finite pixels, an interval even where the image is flat."""
    step = max(1, int(math.sqrt(image.size / 1e6)))
    finite = image[::step, ::step].astype(float)
    finite = finite[np.isfinite(finite)]
    if finite.size == 0:
        return 0, 1
    low, high = np.percentile(finite, (1, 99))
    margin = max(0.5, 1e-3 * abs(low)) if high == low else 0
    return low - margin, high + margin


def log_scale(pixels):
    """Logarithm of the height over the dark level, in units of the typical height: (values, lowest, highest to be shown)."""
    step = max(1, int(math.sqrt(pixels.size / 1e6)))
    sample = pixels[::step, ::step]
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return pixels, 0, 1
    dark, typical, bright = np.percentile(sample, (0.5, 50, 99.8))
    unit = (typical - dark) or (bright - dark) or 1.0
    # What lies below the dark level, negative or not, is as black as the dark level itself.
    return np.log1p(np.maximum((pixels - dark) / unit, 0)), 0, math.log1p((bright - dark) / unit) or 1


def _on_image(fit, radius, azimuth):
    """(column, row) of points given by radius and azimuth in the plane in which the fitted ellipse is a circle.

    Azimuth 0 is the direction of the rows, also there: the sectors of the fit are equal steps from it.
    """
    size = 0.5 * math.log(fit.a / fit.b)
    mean, along, across = math.cosh(size), math.sinh(size) * math.cos(2 * fit.angle), math.sinh(size) * math.sin(2 * fit.angle)
    phi = azimuth + math.atan2(-across, mean - along)
    u, v = radius * np.cos(phi), radius * np.sin(phi)
    return fit.cx + (mean + along) * u + across * v, fit.cy + across * u + (mean - along) * v


def _rejected_spans(fit):
    """(from, to) of the rejected azimuth, neighbouring sectors joined [radian]."""
    flags = np.r_[False, np.asarray(fit.sectors) <= _USED, False]
    return np.flatnonzero(flags[1:] != flags[:-1]).reshape(-1, 2) * (2 * np.pi / len(fit.sectors))


def _used_spans(fit):
    """The same for the used azimuth."""
    edges = np.r_[0, _rejected_spans(fit).ravel(), 2 * np.pi].reshape(-1, 2)
    return edges[edges[:, 1] > edges[:, 0]]


def _arcs(fit, radius, spans):
    return [np.stack(_on_image(fit, radius, np.linspace(first, last, 2 + int(40 * (last - first)))), axis=1)
            for first, last in spans]


def _draw_rings(axes, pixels, fit):
    import matplotlib as mpl
    from matplotlib.collections import LineCollection, PolyCollection

    values, low, high = log_scale(pixels)
    axes.imshow(values, cmap=mpl.colormaps["gray"].with_extremes(bad=_NOTHING), vmin=low, vmax=high,
                interpolation="nearest" if max(pixels.shape) < 300 else "antialiased", interpolation_stage="data")
    rejected, used = _rejected_spans(fit), _used_spans(fit)
    outer = fit.rings[-1].radius + 2 * _STRIP * fit.rings[-1].width
    wedges = [np.vstack([arc, fit.center]) for arc in _arcs(fit, outer, rejected)]
    axes.add_collection(PolyCollection(wedges, facecolor=_REJECTED, alpha=0.18, linewidth=0), autolim=False)
    for spans, color, style, name in ((used, _RED, "solid", "fitted rings"), (rejected, _REJECTED, (0, (4, 3)), "rejected")):
        arcs = [arc for ring in fit.rings for arc in _arcs(fit, ring.radius, spans)]
        lines = LineCollection(arcs, colors=color, linestyles=[style], linewidths=1.1, label=name if arcs else "_none")
        axes.add_collection(lines, autolim=False)
    axes.plot(*fit.center, "+", color=_GREEN, markersize=11, markeredgewidth=1.8, label="centre")
    axes.set(xlabel="column (x) / pixel", ylabel="row (y) / pixel", xlim=(-0.5, pixels.shape[1] - 0.5),
             ylim=(pixels.shape[0] - 0.5, -0.5))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)


def _draw_error_ellipses(axes, fit):
    """The centre with one and two standard errors, a scale, and the numbers beside it."""
    from matplotlib.patches import Ellipse

    a, b, angle = fit.error_ellipse
    reach = 3.2 * a or 1e-6     # without noise there may be no error
    for sigma in (2, 1):
        axes.add_patch(Ellipse((0, 0), 2 * sigma * a, 2 * sigma * b, angle=math.degrees(angle), color=_RED, alpha=0.25))
    axes.plot(0, 0, "+", color=_GREEN, markersize=14, markeredgewidth=2.2)
    scale = _round_down(0.7 * reach)
    axes.plot([-scale / 2, scale / 2], [0.92 * reach] * 2, color="black", linewidth=2.5, solid_capstyle="butt")
    axes.text(0, 0.88 * reach, f"{scale:g} px", ha="center", va="bottom", fontsize="small")
    axes.set(xlim=(-reach, reach), ylim=(reach, -reach), aspect="equal", xticks=[], yticks=[], anchor="W")
    digits = min(max(1 - math.floor(math.log10(a or 1e-6)), 1), 6)
    axes.text(1.08, 0.5, f"x = {fit.cx:.{digits}f} ± {fit.cx_err:.{digits}f} px\n"
              f"y = {fit.cy:.{digits}f} ± {fit.cy_err:.{digits}f} px\n"
              f"semi-axes {fit.a:.2f} and {fit.b:.2f} px at {math.degrees(fit.angle):.0f}°\n"
              f"{fit.n_rings} ring{'s' if fit.n_rings != 1 else ''} on {100 * fit.coverage:.0f} % of the azimuth\n"
              f"χ² = {fit.chi2:.2f}{'' if fit.converged else ', not converged'}\n"
              "red: 1 and 2 standard errors", transform=axes.transAxes, va="center", linespacing=1.4)


def _round_down(value):
    """1, 2 or 5 times a power of ten, just below `value`."""
    power = 10.0 ** math.floor(math.log10(value))
    return power * max(step for step in (1, 2, 5) if step * power <= value)


def _unroll_ring(pixels, fit, ring):
    """Samples of one ring, a whole number for each sector of the azimuth, about one pixel apart: array (azimuth, radius)."""
    from scipy.ndimage import map_coordinates

    sectors = len(fit.sectors)
    cells = sectors * -(-_AROUND // sectors)
    n = cells * max(1, math.ceil(2 * np.pi * ring.radius / cells))
    x, y = _on_image(fit, ring.radius + ring.width * _offsets(), (np.arange(n)[:, None] + 0.5) * (2 * np.pi / n))
    samples = map_coordinates(pixels, (y, x), order=1, cval=np.nan)
    # A hot pixel would be all that is seen of its strip.
    known = np.isfinite(samples).any(axis=0)
    if known.any():
        samples[:, known] = np.clip(samples[:, known], *np.nanpercentile(samples[:, known], (0.5, 99), axis=0))
    return samples


def _offsets():
    """Where a strip is sampled, in widths from its ring."""
    return (np.arange(_ACROSS) + 0.5) * (2 * _STRIP / _ACROSS) - _STRIP


def _average(samples, n):
    """Mean of the finite samples within each of `n` steps of the azimuth; NaN where there are none."""
    groups = samples.reshape(n, -1, samples.shape[1])
    number = np.isfinite(groups).sum(axis=1)
    return np.divide(np.nansum(groups, axis=1), number, out=np.full(number.shape, np.nan), where=number > 0)


def _draw_strips(strips, unrolled, fit):
    import matplotlib as mpl

    sectors = len(fit.sectors)
    for axes, samples, ring in zip(strips, unrolled, fit.rings, strict=True):
        shown = _average(samples, sectors * -(-_AROUND // sectors))
        used = _average(samples, sectors)[np.asarray(fit.sectors) > _USED]
        low, high = _grey_range(used if np.isfinite(used).any() else shown)
        reach = _STRIP * ring.width
        axes.imshow(shown, cmap=mpl.colormaps["gray"].with_extremes(bad=_NOTHING), vmin=low, vmax=high, aspect="auto",
                    extent=(ring.radius - reach, ring.radius + reach, 360, 0), interpolation="nearest")
        axes.axvline(ring.radius, color=_RED, linewidth=0.9, linestyle=(0, (6, 6)))
        _shade(axes, fit)
        axes.set(xticks=[ring.radius], yticks=range(0, 361, 45), ylim=(360, 0))
        axes.set_xticklabels([f"{ring.radius:.1f}"])
        axes.tick_params(labelleft=axes is strips[0])
    strips[0].set_ylabel("azimuth, from x towards y / degree")
    strips[(len(strips) - 1) // 2].set_xlabel("radius / pixel")


def _shade(axes, fit):
    for span in np.degrees(_rejected_spans(fit)):
        axes.axhspan(*span, facecolor=_REJECTED, alpha=0.3, linewidth=0)


def _deviations(samples, fit, ring):
    """How far `ring` is from its fitted radius in each sector that was used [pixel]; NaN where that cannot be told."""
    radii = ring.radius + ring.width * _offsets()
    others = [np.exp(-0.5 * ((radii - other.radius) / other.width) ** 2) for other in fit.rings
              if other is not ring and abs(other.radius - ring.radius) < _STRIP * (ring.width + other.width)]
    common = np.stack([np.ones_like(radii), radii - ring.radius, *others], axis=1)
    shifts, heights = np.array([_shift(radii - ring.radius, values, ring.width, common) if weight > _USED else (np.nan, np.nan)
                                for values, weight in zip(_average(samples, len(fit.sectors)), fit.sectors, strict=True)]).T
    known = np.isfinite(heights)
    # Where texture leaves next to nothing of the ring, its place is noise.
    faint = known & ~(heights > 0.2 * (np.median(heights[known]) if known.any() else 0))
    return np.where(faint, np.nan, shifts)


def _shift(places, values, width, common):
    """(shift, height) of a Gaussian of that `width` in one radial profile over `common` terms; NaN where it is not seen."""
    known = np.isfinite(values)
    if known.sum() < 0.75 * len(values):
        return np.nan, np.nan
    shift = height = 0.0
    for _ in range(5):
        u = (places - shift) / width
        peak = np.exp(-0.5 * u ** 2)
        terms = np.column_stack([peak, u * peak, common])
        height, slope = np.linalg.lstsq(terms[known], values[known])[0][:2]
        if not height > 0:
            return np.nan, np.nan
        shift += width * float(np.clip(slope / height, -0.5, 0.5))
    return (shift, height) if abs(shift) < 2 * width else (np.nan, np.nan)


def _weighted_mean(shifts, rings):
    """Mean over the rings, weighted by what each of them tells of the centre; NaN where none does."""
    told = np.array([ring.amplitude / (ring.amplitude_err or ring.amplitude) / ring.width for ring in rings])
    weights = np.isfinite(shifts) * told[:, None] ** 2
    total = weights.sum(axis=0)
    mean = np.full(len(total), np.nan)
    return np.divide(np.nansum(weights * shifts, axis=0), total, out=mean, where=total > 0)


def _draw_deviations(axes, shifts, fit):
    """The deviations of all rings by azimuth, and their mean."""
    azimuth = (np.arange(shifts.shape[1]) + 0.5) * (360 / shifts.shape[1])
    mean = _weighted_mean(shifts, fit.rings)
    axes.axvspan(-0.1, 0.1, color=_GREEN, alpha=0.18, linewidth=0)
    axes.axvline(0, color=_RED, linewidth=0.9, linestyle=(0, (6, 6)))
    _shade(axes, fit)
    if len(fit.rings) > 1:
        axes.plot(shifts.T, azimuth, ".", color=_GREY, markersize=3, alpha=0.5)
    axes.plot(mean, azimuth, "o-", color="black", markersize=3.5, linewidth=1)
    reach = max(0.15, 1.2 * np.abs(mean[np.isfinite(mean)]).max(initial=0))
    axes.set(xlim=(-reach, reach), ylim=(360, 0), yticks=range(0, 361, 45), xlabel="deviation / pixel")
    axes.set_title("green: within 0.1 pixel", fontsize="small")
    axes.tick_params(labelleft=False)
    axes.grid(alpha=0.25)


def _draw_expected(axes, pixels, calibration):
    """Half circles where the rings should be, the other half left to the image itself."""
    values, low, high = log_scale(pixels)
    smooth = "nearest" if max(pixels.shape) < 300 else "antialiased"
    axes.imshow(values, cmap="gray", vmin=low, vmax=high, interpolation=smooth)
    for k, ring in enumerate(calibration.rings):
        x, y = calibration.outline(ring, np.linspace(0, math.pi, 181))
        axes.plot(x, y, color=_RED, linewidth=1.2, label="expected" if k == 0 else None)
        x, y = calibration.outline(ring, math.radians(20 + 25 * (k % 6)))
        _name_ring(axes, ring, x, y, pixels.shape)
    axes.plot(*calibration.center, "+", color=_GREEN, markersize=11, markeredgewidth=1.8, label="centre")
    axes.set(xlabel="column (x) / pixel", ylabel="row (y) / pixel", xlim=(-0.5, pixels.shape[1] - 0.5),
             ylim=(pixels.shape[0] - 0.5, -0.5))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)


def _name_ring(axes, ring, x, y, shape):
    """The indices on the ring, where that is inside the image."""
    if 0 <= x < shape[1] and 0 <= y < shape[0]:
        axes.text(x, y, " ".join(map(str, ring.hkl)), color="white", fontsize="small", ha="center", va="center",
                  bbox={"facecolor": _RED, "alpha": 0.75, "pad": 1.2, "linewidth": 0})


def _draw_residuals(axes, calibration):
    """Measured minus expected radius of each ring, with its error and its indices."""
    radii, residuals, errors = np.array([(ring.radius, ring.residual, ring.error) for ring in calibration.rings]).T
    axes.axhline(0, color=_GREY, linewidth=1, linestyle="--")
    axes.errorbar(radii, residuals, errors, fmt="o", color=_BLUE, markersize=5, capsize=3)
    end = radii[-1] * 1.05
    band = np.array([0, end * calibration.distance_err / calibration.distance])
    axes.fill_between([0, end], -band, band, color=_RED, alpha=0.15, linewidth=0, label="error of the distance")
    reach = max(float(np.max(np.abs(residuals) + errors)) * 1.35, 0.02)
    for k, ring in enumerate(calibration.rings):
        axes.annotate(" ".join(map(str, ring.hkl)), (ring.radius, reach * (0.97 if k % 2 else 0.90)), ha="center", va="top",
                      fontsize="small", rotation=90)
    for k, radius in enumerate(calibration.unmatched):
        axes.axvline(radius, color=_REJECTED, linestyle=(0, (4, 3)), linewidth=1, label="no reflection" if k == 0 else None)
    axes.set(xlabel="radius / pixel", ylabel="residual (measured - expected) / pixel", ylim=(-reach, reach * 1.15),
             xlim=(0, max([radii[-1], *calibration.unmatched]) * 1.05))
    axes.grid(alpha=0.25)
    axes.legend(loc="lower left", frameon=False)


def _draw_shift(axes, number, shift, failed):
    axes.axhline(0, color=_GREY, linewidth=1, linestyle="--")
    axes.plot(number, shift, "o-", color=_BLUE, markersize=4 if len(number) < 200 else 0, linewidth=1.2)
    if failed.any():
        # On the lower edge, whatever the range: a failed file has no shift.
        axes.plot(number[failed], np.zeros(failed.sum()), "x", color=_RED, markersize=7, markeredgewidth=1.8, clip_on=False,
                  transform=axes.get_xaxis_transform(), label="failed")
    axes.margins(x=0.03)
    axes.grid(alpha=0.25)


def _add_position_axis(axes, shift, center, name):
    """A second scale with the position itself, where one scale serves all files (the input PONI has one beam for them all)."""
    before = (center - shift)[np.isfinite(shift)]
    if before.size and np.ptp(before) < 1e-6 * max(1, abs(before[0])):
        origin = before[0]
        second = axes.secondary_yaxis("right", functions=(lambda value: value + origin, lambda value: value - origin))
        second.set_ylabel(f"c{name} / pixel")
        second.yaxis.get_major_formatter().set_useOffset(False)


def _name_files(axes, number, labels):
    from matplotlib.ticker import MaxNLocator

    if labels is not None and len(labels) <= 16:
        short = [_drawable(label if len(label) <= 24 else f"{label[:11]}…{label[-12:]}") for label in labels]
        axes.set_xticks(number, short, rotation=35, ha="right", rotation_mode="anchor", fontsize="small", parse_math=False)
    else:
        axes.set_xlabel("file")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _drawable(name):
    """A file name with ? for what the font lacks; line breaks are among that."""
    from matplotlib import font_manager

    known = font_manager.get_font(font_manager.findfont(font_manager.FontProperties())).get_charmap()
    return "".join(letter if ord(letter) in known else "?" for letter in name)


def _draw_path(axes, dx, dy, number):
    from matplotlib.ticker import MaxNLocator

    axes.plot(dx, dy, "-", color=_GREY, linewidth=0.8, zorder=1)
    points = axes.scatter(dx, dy, c=number, s=28 if len(dx) < 200 else 8, cmap="viridis", vmin=1, vmax=len(dx), zorder=2)
    axes.plot(0, 0, "+", color=_GREEN, markersize=14, markeredgewidth=2.2, zorder=3, label="input PONI")
    axes.set(xlabel="shift in x / pixel", ylabel="shift in y / pixel", aspect="equal", adjustable="datalim")
    axes.invert_yaxis()  # as in the image: row 0 at the top
    axes.grid(alpha=0.25)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, borderaxespad=0.2)  # above: it can hide no point
    if np.isfinite(dx).sum() > 1:
        axes.figure.colorbar(points, ax=axes, label="file", ticks=MaxNLocator(integer=True, nbins=6), aspect=40)
