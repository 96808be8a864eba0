"""The pictures of the documentation: made when it is built, from simulated images, never committed."""

import dataclasses
import math
import tempfile
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle

import edfast
from edfast._tune import plot_tuning, tune
from edfast.geometry import Poni, poni_with_center
from edfast.image._classify_file import plot_classes
from edfast.image._hits_file import plot_scores
from edfast.image.preprocess import score_cut
from edfast.plots import plot_calibration, plot_recalibration, plot_ring_fit
from edfast.simulate import BeamStop, powder_pattern, ring_pattern, write_dm4

RED, GREEN, BLUE, ORANGE, GREY = "#e6262b", "#12c24a", "#2a6fb5", "#f08c1a", "#5b6570"
CENTER = (262.3, 248.7)
SHAPE = (512, 512)


def scenes():
    """The three images of the page on parameters: name -> (image, truth)."""
    common = {"center": CENTER, "radii": [120.0], "widths": 4.0, "random_state": 1}
    return {
        "a bright ring": ring_pattern(SHAPE, amplitudes=300.0, background=40.0, background_decay=150.0, **common),
        "behind a beam stop": ring_pattern(SHAPE, amplitudes=300.0, background=200.0, background_decay=150.0,
                                           beamstop=BeamStop(45, width=26), **common),
        "few counts": ring_pattern(SHAPE, amplitudes=6.0, background=4.0, background_decay=200.0, beamstop=BeamStop(30),
                                   **common),
    }


def guide_image():
    """The image of the guide; the page shows the same call."""
    calibrated = Poni(0.6, 0.0143, 0.0143, 0, 0, 0, edfast.electron_wavelength(200) * 1e-10, 28e-6, 28e-6,
                      max_shape=(1024, 1024))
    return powder_pattern([2.355, 2.039, 1.442, 1.230], poni_with_center(calibrated, 530.4, 498.7), widths=3.0,
                          amplitudes=[300, 150, 90, 90], background=200.0, background_decay=250.0, beamstop=BeamStop(70),
                          dtype=np.uint16, random_state=1)


def steps(image, threshold_rel, min_size):
    """What the documented fit makes of each pixel: 0 dark, 1 in too small a group, 2 in another region, 3 in the region."""
    from scipy.ndimage import label

    from edfast.kernels.ellipse import NO_MASK, bright_from

    pixels = np.ascontiguousarray(image)
    low, _, _ = bright_from(pixels.reshape(-1), NO_MASK.reshape(-1), threshold_rel)
    bright = pixels >= low
    groups, _ = label(bright)
    kept = bright & (np.bincount(groups.ravel()) >= min_size)[groups]
    regions, _ = label(kept, np.ones((3, 3)))
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    return np.where(kept & (regions == sizes.argmax()), 3, np.where(kept, 2, np.where(bright, 1, 0)))


def show_steps(axes, image, truth, threshold_rel, min_size):
    """The steps of the fit as colours, with the centre that it finds and the true one."""
    colours = ListedColormap(["#f2f4f6", ORANGE, "#7fb2e5", BLUE])
    axes.imshow(steps(image, threshold_rel, min_size), cmap=colours, vmin=-0.5, vmax=3.5, interpolation="nearest")
    fit = edfast.fit_ellipse_to_ring(image, threshold_rel, min_size)
    mark_centers(axes, fit, truth)
    return math.hypot(fit.cx - truth.cx, fit.cy - truth.cy)


def mark_centers(axes, fit, truth):
    axes.plot(truth.cx, truth.cy, "+", color="black", markersize=13, markeredgewidth=1.6)
    axes.plot(fit.cx, fit.cy, "x", color=RED, markersize=8, markeredgewidth=2)
    axes.set(xticks=[], yticks=[])


def legend(figure):
    from matplotlib.lines import Line2D

    figure.legend(handles=[
        Patch(color=BLUE, label="the region that is taken"), Patch(color="#7fb2e5", label="another region"),
        Patch(color=ORANGE, label="bright, but below min_size"),
        Line2D([], [], linestyle="", marker="+", color="black", markersize=11, markeredgewidth=1.6, label="true centre"),
        Line2D([], [], linestyle="", marker="x", color=RED, markersize=8, markeredgewidth=2, label="centre of the region")],
        loc="outside lower center", ncols=5, frameon=False)


def grey(axes, image):
    low, high = np.percentile(image, (1, 99.5))
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="antialiased")
    axes.set(xticks=[], yticks=[])


def threshold():
    """Three scenes by four values of threshold_rel."""
    values = (0.25, 0.5, 1.0, 1.5)
    figure = Figure(figsize=(12, 8.6), layout="constrained")
    grid = figure.subplots(3, 1 + len(values))
    for row, (name, (image, truth)) in zip(grid, scenes().items(), strict=True):
        grey(row[0], image)
        row[0].set_ylabel(name, fontsize="large")
        for axes, value in zip(row[1:], values, strict=True):
            error = show_steps(axes, image, truth, value, 50)
            axes.set_xlabel(f"off by {error:.1f} px")
    grid[0, 0].set_title("image")
    for axes, value in zip(grid[0, 1:], values, strict=True):
        axes.set_title(f"threshold_rel = {value:g}")
    legend(figure)
    return figure


def min_size():
    """The image with few counts by four values of min_size."""
    image, truth = scenes()["few counts"]
    figure = Figure(figsize=(12, 3.7), layout="constrained")
    for axes, value in zip(figure.subplots(1, 4), (1, 50, 500, 5000), strict=True):
        error = show_steps(axes, image, truth, 1.0, value)
        axes.set(title=f"min_size = {value}", xlabel=f"off by {error:.1f} px")
    legend(figure)
    return figure


def methods():
    """The three scenes by method="ring"."""
    figure = Figure(figsize=(11, 4.3), layout="constrained")
    for axes, (name, (image, truth)) in zip(figure.subplots(1, 3), scenes().items(), strict=True):
        grey(axes, image)
        fit = edfast.fit_ring(image)
        add_ellipse(axes, fit)
        axes.plot(fit.cx, fit.cy, "x", color=RED, markersize=8, markeredgewidth=2)
        error = math.hypot(fit.cx - truth.cx, fit.cy - truth.cy)
        axes.set(title=name, xlabel=f"off by {error:.3f} px; it says ±{math.hypot(fit.cx_err, fit.cy_err):.3f} px")
    return figure


def add_ellipse(axes, fit):
    from matplotlib.patches import Ellipse

    axes.add_patch(Ellipse((fit.cx, fit.cy), 2 * fit.a, 2 * fit.b, angle=math.degrees(fit.angle), fill=False, color=RED,
                           linewidth=1.3))


def guide():
    """What the guide looks at: the image with the fitted ring."""
    image, _ = guide_image()
    return plot_recalibration(image, edfast.fit_ring(image))


def ring_fit():
    """The same fit, with the rings unrolled."""
    image, _ = guide_image()
    return plot_ring_fit(image, edfast.fit_ring(image))


def ring_fit_off():
    """The rings of the same image unrolled about a centre that is 0.3 pixel off in x."""
    image, _ = guide_image()
    fit = edfast.fit_ring(image)
    return plot_ring_fit(image, dataclasses.replace(fit, cx=fit.cx + 0.3))


def first():
    """The picture of the first page: the two centres of an image with a beam stop."""
    image, truth = guide_image()
    documented, ring = edfast.fit_ellipse_to_ring(image), edfast.fit_ring(image)
    figure = Figure(figsize=(10.5, 4.9), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    grey(left, image)
    add_ellipse(left, ring)
    left.set_title("a pattern behind a beam stop, and its ring")
    for fit, colour, marker, name in ((documented, ORANGE, "s", "centroid of the brightest region"),
                                      (ring, RED, "x", "fit_ring")):
        error = math.hypot(fit.cx - truth.cx, fit.cy - truth.cy)
        right.plot(fit.cx, fit.cy, marker, color=colour, markersize=9, markeredgewidth=2.2, linestyle="",
                   label=f"{name}: off by {error:.3f} px")
        left.plot(fit.cx, fit.cy, marker, color=colour, markersize=5, markeredgewidth=1.6)
    right.plot(truth.cx, truth.cy, "+", color="black", markersize=20, markeredgewidth=1.4, linestyle="", label="true centre")
    reach = 1.35 * max(abs(documented.cx - truth.cx), abs(documented.cy - truth.cy), 1)
    right.set(title="its centre, enlarged", aspect="equal", xlim=(truth.cx - reach, truth.cx + reach),
              ylim=(truth.cy + reach, truth.cy - reach), xlabel="column (x) / pixel", ylabel="row (y) / pixel")
    right.grid(alpha=0.3)
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)
    return figure


def orientation():
    """For each orientation, where pyFAI's coordinates begin and which way they run, on the array as it is stored."""
    figure = Figure(figsize=(11, 2.6), layout="constrained")
    names = {1: "TopLeft", 2: "TopRight", 3: "BottomRight", 4: "BottomLeft"}
    for axes, number in zip(figure.subplots(1, 4), names, strict=True):
        axes.add_patch(Rectangle((0, 0), 8, 6, facecolor="#f2f4f6", edgecolor=GREY, linewidth=1.4))
        axes.add_patch(Rectangle((0, 0), 0.9, 0.9, facecolor=GREY))
        axes.annotate("[0, 0]", (0.45, -0.25), ha="center", va="bottom", color=GREY, annotation_clip=False)
        x, y = (8 if number in (1, 4) else 0), (6 if number in (1, 2) else 0)
        for end, label, place in (((4, y), "poni2", (4.2, y + (-0.5 if y else 0.5))),
                                  ((x, 3), "poni1", (x + (-1.1 if x else 1.1), 3.3))):
            axes.add_patch(FancyArrowPatch((x, y), end, arrowstyle="-|>", mutation_scale=18, color=RED, linewidth=2.4,
                                           shrinkA=0, shrinkB=0, clip_on=False))
            axes.text(*place, label, color=RED, ha="center", va="center")
        axes.plot(x, y, "o", color=RED, markersize=9, clip_on=False)
        axes.set(xlim=(-0.7, 8.7), ylim=(6.7, -1.1), aspect="equal")
        axes.set_title(f"{number}  ({names[number]})", fontsize="medium")
        axes.set_axis_off()
    return figure


def half_pixel():
    """One row of pixels in index coordinates and in metres from the corner."""
    figure = Figure(figsize=(9, 1.8), layout="constrained")
    axes = figure.subplots()
    for i in range(4):
        axes.add_patch(Rectangle((i, 0), 1, 1, facecolor="#dbe9f7" if i != 2 else "#7fb2e5", edgecolor=GREY, linewidth=1.2))
        axes.plot(i + 0.5, 0.5, "o", color="black", markersize=4)
        axes.text(i + 0.5, 1.12, f"{i}", ha="center", va="bottom")
        axes.text(i, -0.12, f"{i} p" if i else "0", ha="center", va="top", color=RED)
    axes.text(4, -0.12, "4 p", ha="center", va="top", color=RED)
    axes.text(4.6, 1.12, "index coordinates: x of the beam centre", va="bottom")
    axes.text(4.6, -0.12, "metres from the corner: P2, with pixel size p", va="top", color=RED)
    axes.plot(2.5, 0.5, "+", color=RED, markersize=16, markeredgewidth=2)
    axes.text(4.6, 0.5, "the red cross is at x = 2 and at P2 = 2.5 p", va="center")
    axes.set(xlim=(-0.3, 8.6), ylim=(-0.6, 1.6), aspect="equal")
    axes.set_axis_off()
    return figure


def calibrated():
    """The rings where a calibration expects them."""
    wavelength = edfast.electron_wavelength(200)
    poni = poni_with_center(Poni(0.5, 0, 0, 0, 0, 0, wavelength * 1e-10, 50e-6, 50e-6, SHAPE), *CENTER)
    structure = edfast.example_cif("silicon")
    peaks = edfast.build_calibration_data_from_cif(structure, wavelength, 11, output=None)
    image, _ = powder_pattern([peak["d"] for peak in peaks], poni, amplitudes=[150 * peak["intensity"] for peak in peaks],
                              widths=2.0, background=50.0, background_decay=120.0, beamstop=BeamStop(24), random_state=1)
    return plot_calibration(image, edfast.calibrate(structure, image, wavelength=wavelength, pixel_size=50))


def patterns_of_a_particle(count=200):
    """Single particles of many sizes among empty shots: (stack, labels, background), as the page on stacks makes it."""
    rng = np.random.default_rng(0)
    r = np.hypot(*np.ogrid[-64:64, -64:64])
    background = 4 + 12 * np.exp(-((r - 40) / 12) ** 2)
    patterns = rng.poisson(background, (count, 128, 128)).astype(float)
    truth = rng.random(count) < 0.15
    for number in np.flatnonzero(truth):
        size = rng.uniform(6, 12)
        patterns[number] += rng.poisson(10 ** rng.uniform(2, 4) * (np.sin(r / size) / np.maximum(r / size, 1e-9)) ** 4)
    return patterns, truth, background


def hits():
    """Scores of simulated patterns, with the cut between empty shots and hits."""
    patterns, _, background = patterns_of_a_particle()
    scores = edfast.hit_scores(patterns, background + np.random.default_rng(1).normal(0, 0.2, background.shape))
    cut = score_cut(scores)
    return plot_scores((scores > cut).astype(int), scores, cut)


def striped_pattern():
    """(pattern, bad pixels, mask, centre): measured where the development data are, otherwise simulated."""
    if (folder := Path(__file__).parents[2] / "shared" / "data").is_dir():
        pattern, bad, mask = (np.load(folder / f"{name}.npy") for name in ("test_adu", "artifacts", "mask"))
        return pattern[1], bad > 0, mask > 0, (129.5, 128.0)
    r = np.hypot(*np.ogrid[-129.5:130, -128:129])
    bad, mask = np.zeros((260, 257), bool), r < 8
    mask[127:132] = True
    bad[98:118, 121:126] = bad[97:118, 136:140] = True
    pattern = np.random.default_rng(0).poisson(4000 * (np.sin(r / 12) / np.maximum(r / 12, 1e-9)) ** 4 + 0.5).astype(float)
    return np.where(bad, 2.5 * pattern, pattern), bad, mask, (129.5, 128.0)


def repaired():
    """A pattern with two stripes of bad pixels, the listed pixels, and the pattern after fix_artifact."""
    pattern, bad, mask, center = striped_pattern()
    fixed = edfast.fix_artifact(pattern[None].copy(), center, bad, mask)[0]
    figure = Figure(figsize=(10.5, 3.9), layout="constrained")
    view = np.s_[70:190, 68:188]
    limits = {"vmin": 0, "vmax": np.log1p(max(fixed[~mask & np.isfinite(fixed)].max(), 0))}
    for axes, image, title in zip(figure.subplots(1, 3), (pattern, pattern, fixed),
                                  ("before", "the listed pixels", "after fix_artifact"), strict=True):
        shown = np.log1p(np.maximum(np.where(mask, np.nan, image), 0))
        axes.imshow(shown[view], cmap=colormaps["magma"].with_extremes(bad="#8a95a0"), **limits)
        axes.set(title=title, xticks=[], yticks=[])
        if title.startswith("the"):
            axes.imshow(np.where(bad, 1.0, np.nan)[view], cmap=ListedColormap([GREEN]))
    return figure


def classes():
    """Simulated patterns of one sphere and of two, sorted into two classes."""
    rng = np.random.default_rng(3)
    q = 3 * (np.arange(64) - 32) / 64
    ky, kx = np.meshgrid(q, q, indexing="ij")
    patterns = np.empty((600, 64, 64), np.uint16)
    for number in range(600):
        x = np.pi * np.maximum(np.hypot(kx, ky), 1e-6) * rng.normal(6, 0.4)
        intensity = 1500 * rng.lognormal(0, 0.4) * (3 * (np.sin(x) - x * np.cos(x)) / x**3) ** 2
        angle, apart = rng.uniform(0, np.pi), rng.uniform(8, 14)
        if rng.random() < 0.4:
            intensity *= 2 + 2 * np.cos(np.pi * apart * (kx * np.cos(angle) + ky * np.sin(angle)))
        patterns[number] = rng.poisson(intensity + 0.2)
    decomp, labels = edfast.cluster_fSpec(patterns, decomposition="SpecEM", random_state=0, verbose=False)
    return plot_classes(decomp, labels, patterns, title="600 simulated patterns, SpecEM")


def tuning():
    """Images behind a beam stop: a plateau, and far from the rings."""
    poni = Poni(0.2, 0.00255, 0.00255, 0, 0, 0, 2.5e-12, 1e-5, 1e-5, max_shape=SHAPE)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"image_{k}.dm4" for k in range(4)]
        for k, path in enumerate(paths):
            image, _ = ring_pattern(SHAPE, (262.3 + k, 248.7 - k / 2), [120.0], widths=4.0, amplitudes=300.0, background=200.0,
                                    background_decay=150.0, beamstop=BeamStop(45, width=26), random_state=k)
            write_dm4(path, image)
        return plot_tuning(tune(paths, poni))


FIGURES = (classes, hits, repaired, calibrated, first, guide, ring_fit, ring_fit_off, threshold, min_size, methods,
           orientation, half_pixel, tuning)


def make_all(folder):
    """Draw all figures into `folder`, as PNG files named after their functions."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for draw in FIGURES:
        draw().savefig(folder / f"{draw.__name__}.png", dpi=110)


def camera_table(path):
    """Write the built-in table of cameras as CSV, for the page on file formats."""
    from edfast._cameras import CAMERAS

    Path(path).write_text("".join(f"{name},{size:g}\n" for name, size in CAMERAS.items()))
