"""How far the centre depends on the parameters, on the user's own images: the document's parameter guide, by measurement.

The documented fit is made on a grid of threshold_rel and min_size, the ring fit with each of its options. A plateau is a
region of the grid where the centre stays. That says that the parameters do not matter there, not that the centre is right:
the comparison with the ring fit says that.
"""

import math
import os
import textwrap
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ._recalibrate import read_image
from ._validation import as_count, as_image, as_mask, as_number
from .geometry import beam_center, fit_binning
from .plots import _BLUE, _GREEN, _GREY, _RED, _drawable, _figure

DOCUMENTED = 0.5, 50    # threshold_rel and min_size
TOLERANCE = 0.5         # by how much the centre may move on a plateau [pixel], unless the ring fit is less sure
STEPS = 19              # values of threshold_rel: 0.2, 0.3, ... 2.0
CORE = 3                # a plateau is at least so many neighbouring values of both parameters
RANGE = 0.2, 2.0
_NEARLY = 0.7       # of the largest region's points: large enough for its middle to be preferred
_SMALL, _ACROSS = 15, 5     # small maps of single images in the figure: at most, and side by side
_LEAST = 1e-3       # distance that the figure still tells from nothing [pixel]
_SURE = 3.0             # errors by which two centres may differ and still agree


@dataclass(frozen=True, slots=True)
class Variant:
    """The ring fit of one image with one set of options: centre and error [pixel], NaN and `error` where it failed."""

    name: str
    cx: float = math.nan
    cy: float = math.nan
    err: float = math.nan
    chi2: float = math.nan
    coverage: float = math.nan
    error: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """What one image says: documented centres (T, M, 2) [pixel], NaN where there is none; ring fits, the default first."""

    path: str
    centers: np.ndarray
    variants: tuple[Variant, ...]
    before: tuple[float, float]     # where the input PONI has the beam
    error: str = ""

    @property
    def ring(self):
        """The ring fit with its defaults."""
        return self.variants[0]


@dataclass(frozen=True, slots=True)
class Plateau:
    """Where the centre stays: `inside` (T, M), the recommended point (its indices and values), both ranges around it.

    `moving` are the images in which it does not, and by how much it moves there [pixel]: few, and only where there is no
    plateau of all.
    """

    inside: np.ndarray
    at: tuple[int, int]
    threshold_rel: float
    min_size: int
    thresholds: tuple[float, float]
    sizes: tuple[int, int]
    moving: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Tuning:
    """What `tune` found; `moves` (T, M) is the median over images of how far the centre is from that at `reference`."""

    thresholds: np.ndarray
    sizes: np.ndarray
    images: tuple[Image, ...]       # the usable ones
    unusable: tuple[Image, ...]
    tolerance: float
    reference: tuple[int, int]
    moves: np.ndarray
    failed: np.ndarray              # images without a centre, (T, M)
    plateau: Plateau | None
    method: str                     # recommended: covariance, ring, or "" where neither is reliable
    recommendation: str

    def shifts(self, name):
        """Of the ring fit `name` from the default one, for each image [pixel]; NaN where either failed."""
        pairs = [(next((v for v in image.variants if v.name == name), None), image.ring) for image in self.images]
        return np.array([math.nan if v is None else math.hypot(v.cx - ring.cx, v.cy - ring.cy) for v, ring in pairs])

    def distances(self):
        """From the documented centre to that of the ring fit, (images, T, M) [pixel]."""
        rings = np.array([(image.ring.cx, image.ring.cy) for image in self.images])
        return np.hypot(*np.moveaxis(_stacked(self.images) - rings[:, None, None], -1, 0))


def tune(paths, poni, *, threshold_rel=RANGE, min_size=None, tolerance=TOLERANCE, mask=None, frame=None, jobs=None, step=None):
    """Sweep the parameters over images.

    Parameters
    ----------
    paths : sequence of str
        The images; one that cannot be read, or has no centre anywhere, is left out and reported.
    poni : Poni
        Where the beam is before recalibration, and the detector that the images must fit.
    threshold_rel, min_size : (number, number), optional
        First and last value; `min_size` grows with the images by default.
    tolerance : float
        By how much the centre may move on a plateau [pixel]; the error of the ring fit where that is larger.
    mask, frame, jobs
        As for `edfast recalibrate`.
    step : callable, optional
        Called when an image is done.

    Returns
    -------
    Tuning
    """
    paths = list(dict.fromkeys(map(os.fspath, paths)))
    if not paths:
        raise ValueError("tune needs at least one image")
    thresholds = _thresholds(*threshold_rel)
    tolerance = as_number(tolerance, "tolerance", above=0, unit="of pixels")
    if min_size is None:
        # For images with 4 times as many pixels, 4 times the size.
        sizes = size_series(1, 10 ** 6)
        sizes = sizes[sizes <= max(500, math.prod(poni.max_shape or (0, 0)) / 4096)]
    else:
        sizes = size_series(*min_size)
    images = list(_all_images(paths, poni, thresholds, sizes, mask, frame, jobs, step or (lambda: None)))
    return conclude(thresholds, sizes, images, tolerance)


def _thresholds(low, high):
    low = as_number(low, "threshold_rel", above=0)
    high = as_number(high, "threshold_rel", above=0)
    if not high > low:
        raise ValueError(f"threshold_rel needs a range: its end {high:g} must be above its beginning {low:g}")
    return np.round(np.linspace(low, high, STEPS), 6)


def size_series(low, high):
    """1, 2, 5, 10, 20, 50, ... from `low` to `high`, both included."""
    low, high = as_count(low, "min_size", minimum=1), as_count(high, "min_size", minimum=1)
    if not high > low:
        raise ValueError(f"min_size needs a range: its end {high} must be above its beginning {low}")
    steps = (k * 10 ** n for n in range(len(str(high))) for k in (1, 2, 5))
    return np.array([low, *(size for size in steps if low < size < high), high])


def _all_images(paths, poni, thresholds, sizes, mask, frame, jobs, step):
    """An `Image` for each path, in order; no more than `jobs` are in memory."""
    from ._settings import default_jobs

    jobs = min(jobs or default_jobs(), len(paths))
    with ThreadPoolExecutor(jobs, "tune") as pool:
        waiting = deque(pool.submit(_measure, path, poni, thresholds, sizes, mask, frame, jobs > 1) for path in paths)
        try:
            while waiting:
                yield waiting[0].result()
                waiting.popleft()
                step()
        finally:
            for future in waiting:
                future.cancel()


def _measure(path, poni, thresholds, sizes, mask, frame, serial):
    from contextlib import nullcontext

    from .kernels._bands import one_thread

    nothing = np.full((len(thresholds), len(sizes), 2), np.nan)
    try:
        image = as_image(read_image(path, frame))
        mask = as_mask(mask, image.shape)
        before = beam_center(fit_binning(poni, image.shape))
    except (ValueError, TypeError, OSError) as error:
        line = " ".join(str(error).split())
        return Image(path, nothing, (Variant("default"),), (math.nan, math.nan), line if path in line else f"{path}: {line}")
    # One thread for each image leaves none for the bands of one.
    with one_thread() if serial else nullcontext():
        centers = sweep(image, thresholds, sizes, mask)
        variants = tuple(_ring_variants(image, mask, before))
    lost = not np.isfinite(centers).any() and variants[0].error
    return Image(path, centers, variants, before, f"{path}: no centre by either method ({lost})" if lost else "")


def sweep(image, thresholds, sizes, mask=None):
    """Centres (T, M, 2) by `fit_ellipse_to_ring` for each threshold_rel and min_size; NaN where there is no ring.

    `image` and `mask` are as `as_image` and `as_mask` leave them.
    """
    from .kernels import ellipse

    masked = ellipse.NO_MASK if mask is None else mask
    centers = np.full((len(thresholds), len(sizes), 2), np.nan)
    for i, threshold_rel in enumerate(thresholds):
        low, high, reason = ellipse.bright_from(image.reshape(-1), masked.reshape(-1), float(threshold_rel))
        for j, min_size in enumerate(sizes if not reason else ()):
            region = ellipse.largest_region(image, masked, low, high, int(min_size))
            if region is None:
                break   # nothing is as large as this, nor as what follows
            centers[i, j] = region.cx, region.cy
    return centers


def _ring_variants(image, mask, before):
    """The ring fit with its defaults, with each of its options changed, and of each single ring (the first three)."""
    from .rings import fit_ring

    def fit(name, **options):
        try:
            found = fit_ring(image, mask=mask, **options)
        except ValueError as error:
            return Variant(name, error=" ".join(str(error).split())), None
        return Variant(name, found.cx, found.cy, found.center_err, found.chi2, found.coverage), found

    default, found = fit("default")
    yield default
    yield fit("circles", ellipse=False)[0]
    if all(0 <= place < size for place, size in zip(before, image.shape[::-1], strict=True)):
        yield fit("start at PONI", center=before)[0]
    if found is not None and found.n_rings > 1:
        strongest = sorted(found.rings, key=lambda ring: -ring.amplitude / ring.amplitude_err)[:3]
        for number, ring in enumerate(strongest, 1):
            yield fit(f"ring {number} alone", radius=ring.radius, max_rings=1)[0]


def conclude(thresholds, sizes, images, tolerance):
    """The `Tuning` that measured images lead to."""
    usable, unusable = tuple(i for i in images if not i.error), tuple(i for i in images if i.error)
    grid = len(thresholds), len(sizes)
    t, m = (int(np.abs(np.log(values / wanted)).argmin())
            for values, wanted in zip((thresholds, sizes), DOCUMENTED, strict=True))
    default = t, m
    if not usable:
        return Tuning(thresholds, sizes, usable, unusable, tolerance, default, np.full(grid, np.nan),
                      np.zeros(grid, int), None, "", "no image has a centre: nothing can be recommended")
    centers = _stacked(usable)
    errors = np.array([image.ring.err for image in usable])
    # An image whose fits all fail would forbid everything; it is in `failed` and has no vote.
    votes = np.isfinite(centers).any(axis=(1, 2, 3))
    allowed = np.fmax(tolerance, errors)
    inside, at = largest_plateau(centers[votes], allowed[votes], default)
    if inside is None:
        inside, at = largest_plateau(centers[votes], allowed[votes], default, most=True)
    plateau = None
    if inside is not None:
        moving = [(image.path, float(farthest)) for image, limit, farthest in zip(
            (image for image, vote in zip(usable, votes, strict=True) if vote), allowed[votes],
            _moved(centers[votes], at)[:, inside].max(axis=1), strict=True) if farthest > limit]
        plateau = Plateau(inside, at, float(thresholds[at[0]]), int(sizes[at[1]]), _extent(thresholds, inside, 0),
                          _extent(sizes, inside, 1), tuple(sorted(moving, key=lambda one: -one[1])))
    reference = default if plateau is None else plateau.at
    moves = _median(_moved(centers[votes], reference))
    failed = (~np.isfinite(centers[..., 0])).sum(axis=0)
    method, line = _recommend(usable, plateau, tolerance, int(votes.sum()))
    return Tuning(thresholds, sizes, usable, unusable, tolerance, reference, moves, failed, plateau, method, line)


def _stacked(images):
    return np.stack([image.centers for image in images])


def _moved(centers, at):
    """Distance of `centers` (N, T, M, 2) from those at the grid point `at`; infinite where either failed."""
    distance = np.hypot(*np.moveaxis(centers - centers[:, None, None, at[0], at[1]], -1, 0))
    return np.where(np.isfinite(distance), distance, np.inf)


def _median(distances):
    """Over the images; NaN where more than half have failed."""
    if len(distances) == 0:
        return np.full(distances.shape[1:], np.nan)
    ordered = np.sort(distances, axis=0)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    with np.errstate(invalid="ignore"):
        middle = np.where(np.isfinite(high), (low + high) / 2, np.nan)
    return middle


def _largest(distances):
    return distances.max(axis=0)


def largest_plateau(centers, allowed, default, *, most=False):
    """(inside, at): the largest connected part of the grid where the centres stay as they are at the point `at`, or two None.

    `centers` is (N, T, M, 2), `allowed` (N,) how far each may move. In the region every image has a centre, and none
    of them is farther from that at the point than it may be; with `most`, the median of these distances, in units of what is
    allowed, is at most one. Every grid point is tried. A region
    that does not contain `CORE` neighbouring values of both parameters is no plateau. Among points with regions of comparable
    size, the one deepest inside its own is taken, and the nearest to `default` on a tie.
    """
    from scipy.ndimage import binary_opening, distance_transform_cdt, label

    there = np.isfinite(centers).all(axis=(0, 3)) if len(centers) else np.zeros((0, 0), bool)
    regions = {}
    for point in map(tuple, np.argwhere(there).tolist()):
        ratio = (_median if most else _largest)(_moved(centers, point) / allowed[:, None, None])
        # What hangs on by a thread of single points is no part of it.
        still = binary_opening(there & (np.nan_to_num(ratio, nan=np.inf) <= 1), np.ones((CORE, CORE)))
        if still[point]:
            parts, _ = label(still)
            regions[point] = parts == parts[point]
    if not regions:
        return None, None
    enough = _NEARLY * max(region.sum() for region in regions.values())

    def merit(point):
        depth = distance_transform_cdt(np.pad(regions[point], 1), "chessboard")[1:-1, 1:-1][point]
        return depth, -sum(abs(k - wanted) for k, wanted in zip(point, default, strict=True))

    at = max((point for point, region in regions.items() if region.sum() >= enough), key=merit)
    return regions[at], at


def _extent(values, inside, axis):
    """First and last value of a parameter within a region."""
    there = np.flatnonzero(inside.any(axis=1 - axis))
    return values[there[0]].item(), values[there[-1]].item()


def _recommend(images, plateau, tolerance, votes):
    """(method, one line): what to use, with the numbers that say so."""
    found = [image for image in images if not image.ring.error]
    error = float(np.median([image.ring.err for image in found])) if found else math.nan
    ring = f"the ring fit finds {len(found)} of {len(images)} with an error of {error:.2g} pixel" if found else \
        f"the ring fit finds none of {len(images)}"
    if plateau is None:
        why = (f"no plateau: nowhere on the grid does the documented centre stay within {tolerance:g} pixel" if votes else
               "the documented fit finds no image anywhere")
        return ("ring", f"use --method ring: {why}; {ring}") if found else ("", f"neither method is reliable: {why}; {ring}")
    values = f"--threshold-rel {plateau.threshold_rel:g} --min-size {plateau.min_size}"
    stays = (f"the centre stays within {tolerance:g} pixel for threshold_rel {plateau.thresholds[0]:g} to "
             f"{plateau.thresholds[1]:g} and min_size {plateau.sizes[0]} to {plateau.sizes[1]}")
    if plateau.moving:
        (worst, far), *others = plateau.moving
        stays += (f" in {votes - len(plateau.moving)} of {votes} images, but moves by {far:.2g} in "
                  f"{_printable(Path(worst).name)}" + (f" and by less in {len(others)} more" if others else ""))
    distances = [math.dist(image.centers[plateau.at], (image.ring.cx, image.ring.cy)) for image in found]
    distances = [distance for distance in distances if math.isfinite(distance)]
    if 2 * len(found) <= len(images) or not distances:
        return "covariance", f"use --method covariance {values}: {stays}; {ring}, so nothing confirms it"
    apart = float(np.median(distances))
    if plateau.moving:
        return "ring", f"use --method ring: {stays}; {ring}; where the documented method must be used, {values}"
    if apart <= _SURE * math.hypot(tolerance, error):
        return "covariance", (f"--method covariance {values} will do: {stays}, {apart:.2g} pixel from the rings' centre; "
                              f"--method ring is surer: {ring}")
    return "ring", (f"use --method ring: {stays}, but {apart:.2g} pixel from the rings' centre; {ring}; where the documented "
                    f"method must be used, {values}")


# ------------------------------------------------------------------------------------------------------------- figure


def plot_tuning(tuning, *, figure=None):
    """The map of the median movement with its plateau, both methods beside each other, and a small map for each image."""
    from matplotlib.colors import LogNorm

    shown = tuning.images if len(tuning.images) <= _SMALL else \
        [tuning.images[len(tuning.images) * k // _SMALL] for k in range(_SMALL)]
    rows = -(-len(shown) // _ACROSS)
    figure = figure or _figure((13, 6.6 + 2.0 * rows))
    top, *below = figure.subfigures(2 if rows else 1, 1, height_ratios=[6.6, 0.2 + 2.0 * rows][:1 + (rows > 0)],
                                    squeeze=False)[:, 0]
    top.suptitle(textwrap.fill(tuning.recommendation, 140), fontsize="medium")
    sides = top.subfigures(1, 2, width_ratios=(1.3, 1))
    left, (right, lower) = sides[0].subplots(), sides[1].subplots(2, 1, height_ratios=(1.5, 1))
    norm = LogNorm(tuning.tolerance / 20, tuning.tolerance * 50, clip=True)
    drawn = _draw_map(left, tuning, tuning.moves, tuning.failed, norm)
    left.set(title=f"How far the documented centre moves: median of {len(tuning.images)} "
                   f"image{'s' * (len(tuning.images) != 1)}", xlabel="threshold_rel", ylabel="min_size / pixel")
    _label_grid(left, tuning)
    _mark(left, tuning)
    bar = sides[0].colorbar(drawn, ax=left, extend="both", aspect=40, label=f"from the centre at {_point(tuning)} / pixel")
    bar.ax.axhline(tuning.tolerance, color=_RED, linewidth=2)
    _draw_comparison(right, tuning)
    _draw_variants(lower, tuning)
    for image, axes in zip(shown, below[0].subplots(rows, _ACROSS, squeeze=False).flat if rows else (), strict=False):
        moved = _moved(image.centers[None], tuning.reference)[0]
        _draw_map(axes, tuning, np.where(np.isfinite(moved), moved, np.nan), ~np.isfinite(image.centers[..., 0]), norm)
        axes.set_title(_drawable(Path(image.path).name[-28:]), fontsize="small", parse_math=False)
        axes.set(xticks=[], yticks=[])
    for axes in below[0].axes[len(shown):] if rows else ():
        axes.set_axis_off()
    return figure


def _point(tuning):
    return f"({tuning.thresholds[tuning.reference[0]]:g}, {tuning.sizes[tuning.reference[1]]})"


def _draw_map(axes, tuning, moves, failed, norm):
    """One cell for each grid point: hatched where the median, or the image, has no centre, with a dot where some have none."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    drawn = axes.imshow(moves.T, origin="lower", aspect="auto", cmap="viridis_r", norm=norm, interpolation="nearest")
    if cells := [Outline([(i - 0.5, j - 0.5), (i + 0.5, j - 0.5), (i + 0.5, j + 0.5), (i - 0.5, j + 0.5), (i, j)], closed=True)
                 for i, j in np.argwhere(~np.isfinite(moves))]:
        axes.add_patch(PathPatch(Outline.make_compound_path(*cells), facecolor="#ececec", edgecolor=_GREY, hatch="////",
                                 linewidth=0))
    some = np.argwhere((failed > 0) & np.isfinite(moves))
    axes.plot(some[:, 0], some[:, 1], ".", color="white", markersize=4)
    if tuning.plateau is not None:
        axes.add_collection(_outline(tuning.plateau.inside), autolim=False)
    return drawn


def _outline(inside):
    from matplotlib.collections import LineCollection

    padded, lines = np.pad(inside, 1), []
    for i, j in np.argwhere(padded[1:] != padded[:-1]):
        lines.append([(i - 0.5, j - 1.5), (i - 0.5, j - 0.5)])
    for i, j in np.argwhere(padded[:, 1:] != padded[:, :-1]):
        lines.append([(i - 1.5, j - 0.5), (i - 0.5, j - 0.5)])
    return LineCollection(lines, colors=_RED, linewidths=2, capstyle="round")


def _label_grid(axes, tuning):
    step = -(-len(tuning.thresholds) // 10)
    axes.set_xticks(range(0, len(tuning.thresholds), step), [f"{value:.3g}" for value in tuning.thresholds[::step]])
    axes.set_yticks(range(len(tuning.sizes)), [str(size) for size in tuning.sizes])


def _mark(axes, tuning):
    """The documented defaults, the recommended point, and what the signs mean, above the map."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    place = [float(np.interp(np.log(wanted), np.log(values), np.arange(len(values))))
             for values, wanted in zip((tuning.thresholds, tuning.sizes), DOCUMENTED, strict=True)]
    axes.plot(*place, "o", color="white", markeredgecolor="black", markersize=9)
    signs: list = [Line2D([], [], marker="o", color="white", markeredgecolor="black", markersize=9, linewidth=0,
                          label="default")]
    if tuning.plateau is not None:
        axes.plot(*tuning.plateau.at, "*", color=_RED, markeredgecolor="white", markersize=17)
        signs += [Line2D([], [], color=_RED, linewidth=2, label=f"plateau (within {tuning.tolerance:g} pixel)"),
                  Line2D([], [], marker="*", color=_RED, markeredgecolor="white", markersize=15, linewidth=0,
                         label="its middle")]
    if tuning.failed.any():
        signs += [Patch(facecolor="#ececec", edgecolor=_GREY, hatch="////", label="no centre"),
                  Line2D([], [], marker=".", color="white", markeredgecolor=_GREY, linewidth=0, label="none in some images")]
    axes.legend(handles=signs, loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=len(signs), frameon=False,
                fontsize="small", columnspacing=1.2, handletextpad=0.4)


def _draw_comparison(axes, tuning):
    """Distance of the documented centres from the ring fit, over threshold_rel at the recommended min_size."""
    size = tuning.sizes[tuning.reference[1]]
    axes.set(title=f"Documented centre against the rings', min_size {size}", yscale="log", xlabel="threshold_rel",
             ylabel="distance / pixel")
    axes.grid(alpha=0.25)
    distances = tuning.distances()[:, :, tuning.reference[1]]
    known = np.isfinite(distances).any(axis=0)
    for line in distances:
        axes.plot(tuning.thresholds, np.maximum(line, _LEAST), color=_BLUE, alpha=0.3, linewidth=0.8)
    if known.any():
        axes.plot(tuning.thresholds[known], np.maximum(np.nanmedian(distances[:, known], axis=0), _LEAST), "o-", color=_BLUE,
                  markersize=4, linewidth=1.8, label="median")
    before = [math.dist(image.before, (image.ring.cx, image.ring.cy)) for image in tuning.images]
    for values, style, color, name in ((before, ":", _GREY, "input PONI"),
                                       (_errors(tuning), "--", _GREEN, "error of the ring fit")):
        if np.isfinite(values).any():
            axes.axhline(max(float(np.nanmedian(values)), _LEAST), color=color, linestyle=style, linewidth=1.6, label=name)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, frameon=False, fontsize="small")


def _errors(tuning):
    return [image.ring.err for image in tuning.images]


def _draw_variants(axes, tuning):
    """How far each option of the ring fit moves its centre: a point for each image, a bar at the median."""
    axes.set(title="Ring fit: what its options change", xscale="log", xlabel="distance from the default / pixel")
    axes.grid(alpha=0.25, axis="x")
    names = list(dict.fromkeys(variant.name for image in tuning.images for variant in image.variants[1:]))
    for row, name in enumerate(names):
        shifts = tuning.shifts(name)
        shifts = np.maximum(shifts[np.isfinite(shifts)], _LEAST)
        axes.plot(shifts, np.full(len(shifts), row), "o", color=_BLUE, alpha=0.35, markersize=5, markeredgewidth=0)
        if len(shifts):
            axes.plot(np.median(shifts), row, "|", color=_BLUE, markersize=15, markeredgewidth=2.2)
        if lost := sum(name == v.name and bool(v.error) for image in tuning.images for v in image.variants):
            axes.annotate(f"{lost} without rings", (1, row), xycoords=("axes fraction", "data"), ha="right", va="center",
                          fontsize="small", color=_RED)
    if np.isfinite(_errors(tuning)).any():
        axes.axvline(np.nanmedian(_errors(tuning)), color=_GREEN, linestyle="--", linewidth=1.6)
    axes.set(yticks=range(len(names)), ylim=(len(names) - 0.4, -0.6))
    axes.set_yticklabels(names)


def write_picture(tuning, path):
    """The figure as a PNG file, complete or not at all."""
    import io

    from ._files import write_atomically

    buffer = io.BytesIO()
    plot_tuning(tuning).savefig(buffer, format="png", dpi=110)
    write_atomically(path, buffer.getvalue())


# -------------------------------------------------------------------------------------------------------------- table


def table(tuning):
    """Both centres of each image, what the ring fit's options change, and the recommendation, as text."""
    t, m = tuning.reference
    lines = [f"{'image':32}{'documented at ' + _point(tuning):>26}{'ring fit':>24}{'error':>8}{'apart / pixel':>15}"] \
        if tuning.images else []
    for image in tuning.images:
        x, y = image.centers[t, m]
        ring, apart = image.ring, math.hypot(image.ring.cx - x, image.ring.cy - y)
        documented = f"({x:.2f}, {y:.2f})" if math.isfinite(x) else "no ring"
        found = f"{'no ring':>24}{'':8}" if ring.error else f"{f'({ring.cx:.3f}, {ring.cy:.3f})':>24}{ring.err:8.3f}"
        lines.append(f"{_printable(Path(image.path).name[-32:]):32}{documented:>26}{found}"
                     + (f"{apart:15.3f}" if math.isfinite(apart) else ""))
    names = dict.fromkeys(variant.name for image in tuning.images for variant in image.variants[1:])
    for name in names:
        shifts = tuning.shifts(name)
        known, of = int(np.isfinite(shifts).sum()), sum(v.name == name for image in tuning.images for v in image.variants)
        moved = f"moves the centre by {np.nanmedian(shifts):.2g} pixel (median), " if known else ""
        lines.append(f"ring fit, {name}: {moved}{known} of {of} fitted")
    return "\n".join([*lines, "", tuning.recommendation] if lines else [tuning.recommendation])


def _printable(name):
    return "".join(letter if letter.isprintable() else "?" for letter in name)
