"""Classification of the patterns in a file: coordinates, labels and scores into an HDF5 file, and a picture of the classes."""

import io
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import __version__
from .._files import replacing, write_atomically
from ._h5 import image_in, picture_beside, stack_in, write_nxdata
from .classify import cluster_fSpec, cluster_fTSNE

# Distinct for all kinds of colour vision (Okabe and Ito, https://jfly.uni-koeln.de/color/).
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442", "#000000")
_SAMPLES = 4        # patterns that are shown of each class,
_SHOWN = 8          # of so many classes


class Classified(NamedTuple):
    """What was found: coordinates (N, ndim), labels (N,) and scores (N,), the last two empty where no classes were wanted."""

    decomp: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


def classify_file(path, output, *, dataset=None, mask=None, method="SpecEM", classes=2, low_filter=0.3, components=2,
                  neighbours=10, perplexity=20.0, seed=None, jobs=1, progress=False):
    """Classify the patterns of a file, write `output` (HDF5) and the picture beside it (.png), and return both and the result.

    `mask` is an array, or the name of a data set in the file. Nothing is written before all is computed.
    """
    picture = picture_beside(output, path, mask)
    with stack_in(path, dataset) as patterns:
        masked = image_in(patterns, mask, "mask", path) if isinstance(mask, str) else mask
        options = {"mask": masked, "low_filter": low_filter, "clustering": classes, "njobs": jobs, "verbose": progress,
                   "random_state": seed, "scores": True}
        if method == "TSNE":
            found = cluster_fTSNE(patterns, no_dims=components, perplexity=perplexity, **options)
        else:
            found = cluster_fSpec(patterns, decomposition=method, ncomponent=components, nneighbors=neighbours, **options)
        result = Classified(found[0], np.asarray(found[1], np.int64), np.asarray(found[2], np.float64))
        figure = plot_classes(*result[:2], patterns, mask=masked, title=f"{Path(os.fsdecode(path)).name}, {method}")
        facts = {"source": os.path.abspath(os.fsdecode(path)), "data_set": getattr(patterns, "name", ""),  # noqa: PTH100
                 "decomposition": method, "low_filter": low_filter, "classes": classes,
                 ("perplexity" if method == "TSNE" else "neighbours"): perplexity if method == "TSNE" else neighbours}
        facts |= {"random_state": seed} if seed is not None else {}
    _write(output, result, facts)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(picture, buffer.getvalue())
    return result, picture


def plot_classes(decomp, labels, patterns, *, mask=None, title="", figure=None):
    """Scatter plot of the coordinates (N, ndim) in the colours of the labels, and sample patterns of each class beside it."""
    from matplotlib.figure import Figure

    labels = np.asarray(labels, np.int64)
    classes = range(min(int(labels.max()) + 1, _SHOWN)) if labels.size else [None]
    figure = figure or Figure(figsize=(12.5, max(5.0, 1.75 * len(classes) + 0.9)), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.25))
    axes = left.subplots()
    y, names = (decomp[:, 1], ("component 1", "component 2")) if decomp.shape[1] > 1 else (
        decomp[:, 0], ("number of the pattern", "component 1"))
    x = decomp[:, 0] if decomp.shape[1] > 1 else np.arange(len(decomp))
    grid = right.subplots(len(classes), _SAMPLES, squeeze=False)
    size = float(np.clip(8000 / len(decomp), 3, 36))
    for number, row in zip(classes, grid, strict=True):
        members = np.arange(len(decomp)) if number is None else np.flatnonzero(labels == number)
        colour = "#5b6570" if number is None else _COLOURS[number % len(_COLOURS)]
        what = f"{members.size} patterns" if number is None else f"class {number}: {members.size} patterns"
        axes.scatter(x[members], y[members], s=size, color=colour, linewidths=0, alpha=0.75, label=what, rasterized=True)
        _draw_samples(row, decomp, members, patterns, mask, colour, what, axes, x, y)
    axes.set(xlabel=names[0], ylabel=names[1])
    axes.margins(0.08)
    axes.legend(loc="best", framealpha=0.9)
    more = int(labels.max()) + 1 - len(classes) if labels.size else 0
    whose = "of each class to its rim" if labels.size else "of all patterns to their rim"
    right.suptitle(f"samples, from the middle {whose} (logarithmic)", fontsize=10)
    figure.suptitle(title + (f" ({more} more classes are not shown)" if more else ""))
    return figure


def _draw_samples(row, decomp, members, patterns, mask, colour, what, axes, x, y):
    """Patterns of one class, from its middle to its rim, and their numbers in the scatter plot."""
    from matplotlib import colormaps

    named: list = []
    colours = colormaps["magma"].with_extremes(bad="#8a95a0")
    for sample, panel in zip(_samples(decomp, members), row, strict=False):
        image = np.asarray(patterns[int(sample)], dtype=float)
        image[(mask if mask is not None else np.zeros(image.shape, bool)) != 0] = np.nan
        shown = np.log1p(np.maximum(image, 0))
        finite = shown[np.isfinite(shown)]
        panel.imshow(shown, cmap=colours, vmin=0, vmax=max(np.percentile(finite, 99.95), 1e-9) if finite.size else 1,
                     interpolation="nearest" if max(image.shape) < 300 else "antialiased")
        panel.set_title(f"no. {sample}", fontsize=9, pad=3)
        here = (x[sample] / max(np.ptp(x), 1e-30), y[sample] / max(np.ptp(y), 1e-30))
        if all(np.hypot(here[0] - other[0], here[1] - other[1]) > 0.05 for other in named):  # no number upon another
            axes.annotate(str(sample), (x[sample], y[sample]), fontsize=8, textcoords="offset points", xytext=(4, 4))
            named.append(here)
        axes.plot(x[sample], y[sample], "o", markersize=7, markerfacecolor="none", markeredgecolor="black")
    for panel in row:
        panel.set(xticks=[], yticks=[])
        for spine in panel.spines.values():
            spine.set(color=colour, linewidth=2.5)
    for panel in row[min(len(members), _SAMPLES):]:
        panel.set_visible(False)
    row[0].set_ylabel(what.replace(": ", "\n"), color="black", fontsize=10)


def _samples(decomp, members):
    """Up to four members of a class: the one nearest to its middle, and three on the way to its rim."""
    spread = decomp[members].std(axis=0)
    steps = (decomp[members] - np.median(decomp[members], axis=0)) / np.where(spread > 0, spread, 1)
    order = members[np.argsort(np.linalg.norm(steps, axis=1), kind="stable")]
    return order[np.unique(np.rint(np.linspace(0, 0.95, _SAMPLES) * (order.size - 1)).astype(int))]


def _write(output, result, facts):
    """The HDF5 file: an NXentry with the labels over the number of the pattern, and the embedding as a scatter plot."""
    import h5py

    names = [f"component_{i}" for i in range(1, result.decomp.shape[1] + 1)]
    columns = dict(zip(names, result.decomp.T, strict=True))
    with replacing(output) as temporary, h5py.File(temporary, "x") as file:
        file.attrs["NX_class"], file.attrs["default"], file.attrs["creator"] = "NXroot", "entry_1", f"edfast {__version__}"
        entry = file.create_group("entry_1")
        entry.attrs["NX_class"] = "NXentry"
        process = entry.create_group("process")
        process.attrs["NX_class"] = "NXprocess"
        for name, value in ({"program": "edfast classify", "version": __version__} | facts).items():
            process[name] = value
        entry.attrs["default"] = "labels" if result.labels.size else "embedding"
        if result.labels.size:
            write_nxdata(entry, "labels", "labels", {"labels": result.labels, "pattern": np.arange(result.labels.size),
                                                     "scores": result.scores}, axes=["pattern"], auxiliary=["scores"],
                         title="Class of each pattern, and the share of its neighbours in the same class")
            write_nxdata(entry, "embedding", "labels", columns | {"labels": result.labels}, axes=names[:2],
                         title="Coordinates of the patterns")
        else:
            write_nxdata(entry, "embedding", names[-1], columns, axes=names[:1] if len(names) > 1 else (),
                         title="Coordinates of the patterns")
        entry["coordinates"] = result.decomp
