"""Hits among the patterns in a file: labels and scores into an HDF5 file, and a histogram of the scores with the cut."""

import io
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import __version__
from .._files import replacing, write_atomically
from .._validation import as_number
from ._h5 import image_in, picture_beside, stack_in, write_nxdata
from .preprocess import hit_scores, score_cut

_HIT, _EMPTY, _CUT = "#d55e00", "#0072b2", "#000000"  # distinct for all kinds of colour vision
_BINS = 60
NAMES = {"chi2": "chi-square score", "pearson": "correlation with the background's radial profile"}


class Hits(NamedTuple):
    """Labels (N,) (1 = hit), scores (N,), and the score that divides them: hits are above it, or below for "pearson"."""

    labels: np.ndarray
    scores: np.ndarray
    cut: float


def hits_file(path, background, output, *, dataset=None, mask=None, method="chi2", center=None, radii=None, cut_off=None,
              max_cc=0.5, progress=False):
    """Find the hits in a file, write `output` (HDF5) and the histogram beside it (.png), and return (Hits, picture).

    `background` and `mask` are arrays, or names of data sets in the file; `center` is (axis 0, axis 1), `radii` is (inner,
    outer), either may be None. Nothing is written before all is computed.
    """
    cut_off = None if cut_off is None else as_number(cut_off, "cut_off")
    max_cc = as_number(max_cc, "max_cc", minimum=-1, maximum=1)
    picture = picture_beside(output, path, background, mask)
    with stack_in(path, dataset) as patterns:
        background, mask = (image_in(patterns, image, name, path) if isinstance(image, str) else image
                            for image, name in ((background, "background"), (mask, "mask")))
        annulus = None
        if center is not None or radii is not None:
            annulus = [*(center or (None, None)), *(radii or (0, math.hypot(*patterns.shape[1:])))]
        if method == "chi2" and cut_off is None and len(patterns) < 2:
            raise ValueError("cut_off must be given for a single pattern: there is nothing to compare it with")
        scores = hit_scores(patterns, background, annulus, mask, method=method, progress=progress)
        facts = {"source": os.path.abspath(os.fsdecode(path)), "data_set": getattr(patterns, "name", "")}  # noqa: PTH100
    cut = max_cc if method == "pearson" else score_cut(scores) if cut_off is None else cut_off
    hits = Hits((scores < cut if method == "pearson" else scores > cut).astype(np.int64), scores, float(cut))
    if annulus is not None:
        facts["radii_range"] = [math.nan if value is None else value for value in annulus]
    figure = plot_scores(*hits, method=method, title=Path(os.fsdecode(path)).name)
    _write(output, hits, method, facts | {"method": method, "cut": hits.cut})
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(picture, buffer.getvalue())
    return hits, picture


def score_histogram(scores, cut, method):
    """(counts, edges) of the finite scores: bins on a linear scale, a logarithmic one for chi-square; the cut is an edge."""
    scores = scores[np.isfinite(scores)]
    if method == "pearson":
        edges = _edges(-1.0, 1.0, cut, np.linspace)
    elif scores.size == 0 or scores.max() <= 0:
        return np.histogram(scores, _BINS)
    else:
        low = scores[scores > 0].min()
        edges = _edges(low, max(scores.max(), low * 1.1), cut, np.geomspace)
    return np.histogram(np.clip(scores, edges[0], edges[-1]), edges)


def _edges(low, high, cut, spaced):
    """Edges of bins from `low` to `high`, one of them at the cut if that is between."""
    edges = spaced(low, high, _BINS + 1)
    if not low < cut < high:
        return edges
    below = min(max(int(np.searchsorted(edges, cut)), 1), _BINS - 1)
    return np.concatenate([spaced(low, cut, below + 1), spaced(cut, high, _BINS - below + 1)[1:]])


def plot_scores(labels, scores, cut, *, method="chi2", title="", figure=None):
    """Histogram of the scores of hits and of empty shots, with the cut between them."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import SymmetricalLogLocator

    figure = figure or Figure(figsize=(8.2, 4.4), layout="constrained")
    axes = figure.subplots()
    _, edges = score_histogram(scores, cut, method)
    finite = np.isfinite(scores)
    shown = np.clip(scores, edges[0], edges[-1])
    for label, colour, name in ((0, _EMPTY, "empty"), (1, _HIT, "hit")):
        members = shown[finite & (labels == label)]
        plural = "s" if label and members.size != 1 else ""
        axes.hist(members, edges, color=colour, alpha=0.85, label=f"{members.size} {name}{plural}")
    if math.isfinite(cut):
        axes.axvline(cut, color=_CUT, linestyle="--", linewidth=1.4, label=f"cut at {cut:.4g}")
    if method == "chi2" and edges[0] > 0:
        axes.set_xscale("log")
    # A few hits among many empty shots are to be seen too; below one is nothing.
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(0, None)
    axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1, subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:.0f}")
    axes.set(xlabel=NAMES[method], ylabel="patterns")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)  # above: it can hide no bar
    figure.suptitle(title or None)
    if lost := int((~finite).sum()):
        axes.annotate(f"{lost} without a score", (0.99, -0.13), xycoords="axes fraction", ha="right", fontsize=9)
    return figure


def _write(output, hits, method, facts):
    """The HDF5 file: an NXentry with the scores over the number of the pattern, the labels beside, and the histogram."""
    import h5py

    counts, edges = score_histogram(hits.scores, hits.cut, method)
    with replacing(output) as temporary, h5py.File(temporary, "x") as file:
        file.attrs["NX_class"], file.attrs["default"], file.attrs["creator"] = "NXroot", "entry_1", f"edfast {__version__}"
        entry = file.create_group("entry_1")
        entry.attrs["NX_class"], entry.attrs["default"] = "NXentry", "scores"
        process = entry.create_group("process")
        process.attrs["NX_class"] = "NXprocess"
        for name, value in ({"program": "edfast hits", "version": __version__} | facts).items():
            process[name] = value
        write_nxdata(entry, "scores", "scores",
                     {"scores": hits.scores, "labels": hits.labels, "pattern": np.arange(hits.scores.size)}, axes=["pattern"],
                     auxiliary=["labels"], title=f"{NAMES[method].capitalize()} of each pattern; hits are "
                     f"{'below' if method == 'pearson' else 'above'} {hits.cut:.6g} (label 1)")
        write_nxdata(entry, "histogram", "patterns", {"patterns": counts, "score": (edges[:-1] + edges[1:]) / 2,
                     "edges": edges}, axes=["score"], title=f"Number of patterns for each {NAMES[method]}")
        entry["hits"] = np.flatnonzero(hits.labels)
