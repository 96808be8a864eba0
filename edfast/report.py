"""One HTML page for a run over many files: it needs nothing besides itself, opens from the disk, and runs no script.

Drift, scatter, errors and ellipse are drawn as SVG, in bounded size whatever the number of files; the worst and the failed
files are shown as they are now.
"""

import base64
import math
import os
import struct
import zlib
from array import array
from collections import Counter
from datetime import datetime
from pathlib import Path

import numpy as np

from . import _charts as charts
from ._charts import LEFT, RIGHT, WIDTH, Axes, text
from ._files import check_output, write_atomically

__all__ = ["write_report"]

_NUMBERS = ("cx", "cy", "cx_err", "cy_err", "dx", "dy", "a", "b", "angle", "quality", "smooth_cx", "smooth_cy", "milliseconds")
_WORST, _FAILED, _PICTURES, _REASONS = 12, 100, 12, 10     # shown: worst files, failed ones, thumbnails of these, reasons
_SIDE = 150         # of a thumbnail [pixel]
_LARGE = 1 << 29    # bytes of a file beyond which there is none: perhaps a stack, of which nobody wants one frame
_ROUND = 1.001      # axis ratio below which the direction of the major axis means little
_HEIGHT = 190.0     # of one chart over the number of the file


def write_report(ledger, output):
    """Write a report of a run as one HTML page.

    Parameters
    ----------
    ledger : Ledger, str or path-like
        What the run wrote down: an `edfast.batch.Ledger`, or its path. The files that it names are read again for the
        thumbnails, at most 24 of them; that one is missing is no error.
    output : str or path-like
        The page. It replaces a file of that name, and is there complete or not at all.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    FileNotFoundError, OSError
        The ledger is not there or no ledger, or the output cannot be written; before any work.
    ValueError
        The output is the ledger itself, or a file that it names.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from edfast.simulate import write_demo
    >>> from edfast.batch import recalibrate_batch
    >>> from edfast.report import write_report
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> images, poni, truth = write_demo(folder)
    >>> ledger = recalibrate_batch(images, poni, output=folder / "out")
    >>> write_report(ledger, folder / "report.html").name
    'report.html'
    """
    if isinstance(ledger, (str, bytes, os.PathLike)):
        from ._ledger import Ledger

        ledger = Ledger(ledger)
    if not hasattr(ledger, "rows"):
        raise TypeError(f"ledger must be a Ledger or the name of its file, not {ledger!r}")
    getattr(ledger, "check_output", check_output)(output)
    run = _Run(ledger)
    write_atomically(output, _page(run))
    return Path(os.fsdecode(output))


class _Run:
    """The rows of a ledger as columns, and in full only those that the page names."""

    cx: np.ndarray
    cy: np.ndarray
    cx_err: np.ndarray
    cy_err: np.ndarray
    dx: np.ndarray
    dy: np.ndarray
    a: np.ndarray
    b: np.ndarray
    angle: np.ndarray
    quality: np.ndarray
    smooth_cx: np.ndarray
    smooth_cy: np.ndarray
    milliseconds: np.ndarray

    def __init__(self, ledger):
        self.options, self.versions = dict(ledger.options), dict(ledger.versions)
        self.mixture = ledger.mixture() if hasattr(ledger, "mixture") else ""
        self.where = str(getattr(ledger, "folder", ""))
        self.started, self.finished = getattr(ledger, "started", None), getattr(ledger, "finished", None)
        columns, letters, flagged = {name: array("d") for name in _NUMBERS}, bytearray(), bytearray()
        names: list[str] = []
        self.flags: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        for row in ledger.rows():
            for name, column in columns.items():
                column.append(_float(row.get(name)))
            letters += {"ok": b"o", "failed": b"f"}.get(row["status"], b"p")
            words = str(row.get("flags") or "").split()
            self.flags.update(words)
            flagged.append(bool(words))
            if row["status"] == "failed" and (len(self.reasons) < 1000 or _reason(row) in self.reasons):
                self.reasons[_reason(row)] += 1
            if len(names) <= charts.POINTS:
                names.append(Path(row["path"]).name)
        self.n = len(letters)
        self.names = names if self.n <= charts.POINTS else None
        for name, column in columns.items():
            setattr(self, name, np.frombuffer(column, float) if self.n else np.empty(0))
        status = np.frombuffer(bytes(letters), "S1")
        self.ok, self.failed, self.pending = (status == letter for letter in (b"o", b"f", b"p"))
        self.flagged = np.frombuffer(bytes(flagged), bool)
        self.error = np.hypot(self.cx_err, self.cy_err)
        chosen = self._worst(), np.flatnonzero(self.failed)[:_FAILED]
        wanted = {int(k): None for part in chosen for k in part}
        if wanted:
            for k, row in enumerate(ledger.rows()):
                if k in wanted:
                    wanted[k] = row
        self.worst, self.failures = ([(int(k), wanted[int(k)]) for k in part if wanted[int(k)]] for part in chosen)

    def _worst(self):
        """Numbers of the files to look at first: those with a flag, the largest error first, then those without."""
        good = np.flatnonzero(self.ok)
        error = np.nan_to_num(self.error[good], nan=-1.0)
        return good[np.lexsort((self.quality[good], -error, ~self.flagged[good]))][:_WORST]


def _float(value):
    return float(value) if isinstance(value, (int, float)) else math.nan


def _reason(row):
    """What went wrong, without the name of the file: many have failed for the same reason."""
    message = str(row.get("error") or "no reason given")
    return message.removeprefix(str(row["path"])).removeprefix(":").strip()[:300]


# --------------------------------------------------------------------------------------------------------------- page


def _page(run):
    title = f"Recalibration of {_count(run.n)} file{'s' * (run.n != 1)}"
    parts = [_HEAD.replace("@title", title), f"<header><h1>{title}</h1><p>{_when(run)}</p></header>", _notice(run),
             _tiles(run)]
    if run.ok.any():
        parts += [_drift(run), f'<div class="pair">{_scatter(run)}{_errors(run)}</div>', _ellipse(run)]
    parts += [_worst_files(run), _failed_files(run), _facts(run), _FOOT.replace("@version", text(_version()))]
    return "\n".join(part for part in parts if part)


def _version():
    from . import __version__

    return __version__


def _count(number):
    return f"{number:,}".replace(",", "\u202f")     # a narrow space


def _when(run):
    said = [f"in <span class=path>{text(run.where)}</span>"] * bool(run.where)
    for word, value in (("started", run.started), ("finished", run.finished)):
        if value:
            said.append(f"{word} <time>{text(str(value).replace('T', ' ')[:19])}</time>")
    return ", ".join(said)


def _notice(run):
    if run.n == 0:
        return '<p class="notice">There are no files in this run.</p>'
    if run.pending.any():
        return (f'<p class="notice">The run is not complete: {_count(int(run.pending.sum()))} of {_count(run.n)} files are '
                "pending. Run the same command with <code>--resume</code> to finish it.</p>")
    if not run.ok.any():
        return '<p class="notice">No file was recalibrated.</p>'
    return f'<p class="notice">The results are of different options: {text(run.mixture)}.</p>' if run.mixture else ""


def _tiles(run):
    good = run.ok
    tiles = [(name, _count(int(which.sum())), kind if which.any() else "")
             for name, which, kind in (("recalibrated", good, "good"), ("failed", run.failed, "bad"),
                                       ("flagged", run.flagged, "doubtful"), ("pending", run.pending, "doubtful"))
             if name != "pending" or which.any()]
    if np.isfinite(run.error[good]).any():
        tiles.append(("median error / pixel", _short(np.nanmedian(run.error[good])), ""))
    for name, shift in (("x", run.dx[good]), ("y", run.dy[good])):
        if np.isfinite(shift).any():
            form = "+.2f" if np.nanmax(np.abs(shift)) < 10 else "+.1f" if np.nanmax(np.abs(shift)) < 100 else "+.0f"
            low, high = _plain(np.nanmin(shift), form), _plain(np.nanmax(shift), form)
            tiles.append((f"shift in {name} / pixel", f"{low} \u2026 {high}", "long"))
    if np.isfinite(run.milliseconds).any():
        tiles.append(("median time / ms", _short(np.nanmedian(run.milliseconds)), ""))
    if rate := _rate(run):
        tiles.append(("files per second", rate, ""))
    cells = "".join(f'<div class="tile {kind}"><dt>{name}</dt><dd>{value}</dd></div>' for name, value, kind in tiles)
    flags = ", ".join(f"{text(word)} {_count(number)}" for word, number in run.flags.most_common(20))
    return f'<dl class="tiles">{cells}</dl>' + (f"<p>Flags: {flags}.</p>" if flags else "")


def _plain(value, form):
    """A number with a real minus sign; nothing where there is none."""
    return "" if math.isnan(value) else f"{value:{form}}".replace("-", "\u2212")


def _short(value):
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _rate(run):
    try:
        seconds = (datetime.fromisoformat(run.finished) - datetime.fromisoformat(run.started)).total_seconds()
    except (TypeError, ValueError):
        return ""
    return _short((run.n - int(run.pending.sum())) / seconds) if seconds > 0 else ""


def _section(title, body, note=""):
    return f"<section><h2>{title}</h2>{f'<p>{note}</p>' * bool(note)}{body}</section>"


def _key(*entries):
    shown = "".join(f'<span class="key"><svg viewBox="0 0 22 10" aria-hidden="true">{sign}</svg> {name}</span>'
                    for sign, name in entries)
    return f'<p class="keys">{shown}</p>'


_FLAG = '<circle class="flag" cx="11" cy="5" r="4"/>', "flagged"
_TICK = '<path class="failed" d="M11 1V9"/>', "failed"
_SMOOTH = '<path class="smooth" d="M1 5H21"/>', "smooth trajectory"
_EDGE = '<path class="edge" d="M6 9h10l-5 -9z"/>', "beyond the scale"


def _rows_of_charts(run, rows, title, description):
    """Charts one below the other over the number of the file: (label, values, errors, smooth, unit, least span) for each."""
    parts, gap = [], 14.0
    reach = (0.5, run.n + 0.5) if run.n > 1 else (0.0, 2.0)
    beyond = False
    for k, (label, values, errors, smooth, unit, least) in enumerate(rows):
        shown = charts.span(values, max(least, _typical(errors)))
        axes = Axes(LEFT, 8 + k * (_HEIGHT + gap), WIDTH - LEFT - RIGHT, _HEIGHT, reach, shown)
        last = k == len(rows) - 1
        parts += charts.scales(axes, label, bottom=last, x_label="file")
        parts += charts.series(axes, values, errors=errors, smooth=smooth, flagged=run.flagged, names=run.names, unit=unit)
        parts += charts.failures(axes, run.failed)
        beyond |= bool(((values < axes.y[0]) | (values > axes.y[1])).any())
    drawing = charts.svg(8 + len(rows) * (_HEIGHT + gap) + 34, title, description, parts)
    return drawing.replace("<svg ", '<svg class="long" ', 1), beyond


def _typical(errors):
    """Room that error bars need."""
    return 0.0 if errors is None or not np.isfinite(errors).any() else 1.5 * float(np.nanmedian(errors))


def _drift(run):
    good = run.ok
    smooth = run.smooth_cx - (run.cx - run.dx), run.smooth_cy - (run.cy - run.dy)
    rows = [(f"shift in {name} / pixel", np.where(good, shift, np.nan), error, trajectory, "pixel", 0.01)
            for name, shift, error, trajectory in (("x", run.dx, run.cx_err, smooth[0]), ("y", run.dy, run.cy_err, smooth[1]))]
    said = "; ".join(f"in {name} from {np.nanmin(shift[good]):+.3f} to {np.nanmax(shift[good]):+.3f} pixel"
                     for name, shift in (("x", run.dx), ("y", run.dy)) if np.isfinite(shift[good]).any())
    drawing, beyond = _rows_of_charts(run, rows, "Shift of the centre from the input PONI for each file", said)
    before_x, before_y = (run.cx - run.dx)[good], (run.cy - run.dy)[good]
    origin = ""
    if len(before_x) and np.ptp(before_x) + np.ptp(before_y) < 1e-6:
        origin = f" The input PONI has the beam at column {before_x[0]:.2f}, row {before_y[0]:.2f}."
    if run.names is None:
        keys = [('<path class="range" style="stroke-width:8" d="M11 0V10"/>', "smallest to largest"),
                ('<path class="errors" style="stroke-width:8" d="M11 1V9"/>', "median error about the median")]
    else:
        known = np.isfinite(run.error).any()
        keys = [('<path class="bar" d="M11 0V10"/><circle class="dot" cx="11" cy="5" r="3"/>', "centre and its error") if known
                else ('<circle class="dot" cx="11" cy="5" r="3"/>', "centre")]
    present = (_FLAG, run.flagged.any()), (_TICK, run.failed.any()), (_SMOOTH, np.isfinite(smooth[0]).any()), (_EDGE, beyond)
    keys += [key for key, there in present if there]
    note = "How far the centre is from where the input PONI has it, x along the columns and y along the rows." + origin
    return _section("Drift of the centre", f"<figure>{drawing}{_key(*keys)}</figure>", note)


def _scatter(run):
    dx, dy = np.where(run.ok, run.dx, np.nan), np.where(run.ok, run.dy, np.nan)
    (low_x, high_x), (low_y, high_y) = (charts.span(shift, max(0.02, _typical(run.error))) for shift in (dx, dy))
    # Equal scales; row 0 at the top, as in the image.
    half, side = max(high_x - low_x, high_y - low_y) / 2, 380.0
    x, y = (low_x + high_x) / 2, (low_y + high_y) / 2
    axes = Axes(LEFT, 8, side, side, (x - half, x + half), (y + half, y - half))
    points, beyond = charts.scatter(axes, dx, dy, run.flagged)
    cross = ""
    if abs(x) < half and abs(y) < half:
        zero_x, zero_y = float(axes.px(0)), float(axes.py(0))
        cross = f'<path class="origin" d="M{zero_x - 8:.1f} {zero_y:.1f}h16M{zero_x:.1f} {zero_y - 8:.1f}v16"/>'
    parts = [*charts.scales(axes, "shift in y / pixel", x_label="shift in x / pixel", whole=False), *points, cross]
    number = int(np.isfinite(dx).sum())
    drawing = charts.svg(side + 56, "Shift in y over shift in x", f"{number} files", parts, width=side + LEFT + RIGHT)
    keys = [charts.ramp(1, _count(run.n))] if 2 <= number <= 2 * charts.POINTS else []
    present = (('<path class="origin" d="M3 5h16M11 -1v12"/>', "input PONI"), cross), (_FLAG, run.flagged.any())
    keys += [_key(*[key for key, there in present if there])]
    note = f"{_count(beyond)} file{'s' * (beyond != 1)} beyond the edges." if beyond else ""
    return _section("Where the centre was", f'<figure>{drawing}<div class="keys">{"".join(keys)}</div></figure>', note)


def _errors(run):
    error = run.error[run.ok]
    known = error[np.isfinite(error) & (error > 0)]
    if known.size == 0:
        return _section("Errors of the centre", "<p>This method gives no errors: "
                        "<code>--method ring</code> does.</p>")
    low, high = np.log10([known.min(), known.max()])
    margin = max(0.03 * (high - low), 0.5 * (0.15 - (high - low)), 0.01)
    edges = 10.0 ** np.linspace(low - margin, high + margin, min(max(8, round(2 * math.sqrt(known.size))), 40) + 1)
    counts, _ = np.histogram(known, edges)
    side = 380.0
    axes = Axes(LEFT, 8, side, side, (edges[0], edges[-1]), (0.0, float(max(counts.max() * 1.08, 1.5))), log_x=True)
    at = float(axes.px(np.median(known)))
    parts = [*charts.scales(axes, "files", x_label="error of the centre / pixel", whole_y=True),
             *charts.histogram(axes, counts, edges),
             f'<path class="median" d="M{at:.1f} {axes.top:g}V{axes.top + side:g}"/>']
    tail = np.percentile(known, 95)
    note = (f"Standard error of the centre, both coordinates together: median {_short(np.median(known))} pixel, 95 % are "
            f"below {_short(tail)} pixel.")
    if lost := len(error) - len(known):
        note += f" {_count(lost)} without an error."
    drawing = charts.svg(side + 56, "Histogram of the errors of the centre", note, parts, width=side + LEFT + RIGHT)
    keys = _key(('<path class="median" d="M1 5H21"/>', "median"))
    return _section("Errors of the centre", f"<figure>{drawing}{keys}</figure>", note)


def _ellipse(run):
    with np.errstate(invalid="ignore", divide="ignore"):
        radius, ratio = np.sqrt(run.a * run.b), run.a / run.b
        angle = np.where(ratio > 1, np.degrees(run.angle), np.nan)
    if not np.isfinite(radius[run.ok]).any():
        return ""
    rows = [(label, np.where(run.ok & np.isfinite(values), values, np.nan), None, None, *rest) for label, values, *rest in (
        ("mean radius / pixel", radius, "pixel", 0.05), ("a / b", ratio, "", 1e-3), ("angle / degree", angle, "degree", 1.0))]
    said = f"Median radius {np.nanmedian(radius):.2f} pixel, median ratio {np.nanmedian(ratio):.4f}."
    drawing, beyond = _rows_of_charts(run, rows, "Ellipse for each file: mean radius, axis ratio and angle", said)
    note = "Geometric mean and ratio of the semi-axes, and the direction of the major axis from x towards y. " + said
    if np.nanmedian(ratio) < _ROUND:
        note += " Where a ring is as round as these, the direction is chance."
    keys = [key for key, there in ((_FLAG, run.flagged.any()), (_TICK, run.failed.any()), (_EDGE, beyond)) if there]
    return _section("Ellipse", f"<figure>{drawing}{_key(*keys) if keys else ''}</figure>", note)


# -------------------------------------------------------------------------------------------------------------- files


def _worst_files(run):
    if not run.worst:
        return ""
    heads = ["image", "file", "centre (x, y) / pixel", "error", "shift (x, y) / pixel", "semi-axes", "quality", "flags", "ms"]
    lines = []
    for number, row in run.worst:
        values = {name: _float(row.get(name)) for name in _NUMBERS}
        error = math.hypot(values["cx_err"], values["cy_err"])
        cells = [_pair(values, "cx", "cy", ".3f"), _plain(error, ".2g"), _pair(values, "dx", "dy", "+.3f"),
                 _pair(values, "a", "b", ".2f"), _plain(values["quality"], ".2f")]
        lines.append(f"<tr><td>{_thumbnail(row, run.options, values)}</td><th scope=row>{_name(number, row)}</th>"
                     + "".join(f"<td class=n>{cell}</td>" for cell in cells)
                     + f"<td>{text(row.get('flags') or '')}</td><td class=n>{_plain(values['milliseconds'], '.1f')}</td></tr>")
    marked = int(run.flagged.sum())
    note = "Flagged files first, then the largest errors."
    if marked > len(run.worst):
        note += f" {len(run.worst)} of {_count(marked)} flagged ones are shown; the ledger has all."
    return _section("Worst files", _table("The worst files", heads, lines), note)


def _failed_files(run):
    if not run.failures:
        return ""
    lines = [f"<tr><td>{_thumbnail(row, run.options) if k < _PICTURES else ''}</td><th scope=row>{_name(number, row)}</th>"
             f"<td>{text(_reason(row))}</td><td class=n>{_bytes(row.get('size'))}</td></tr>"
             for k, (number, row) in enumerate(run.failures)]
    number = int(run.failed.sum())
    note = f"The first {len(run.failures)} of {_count(number)}; the ledger has all." if number > len(run.failures) else ""
    reasons = ""
    if number > 1:
        most = [f"<tr><td class=n>{_count(times)}</td><td>{text(reason)}</td></tr>"
                for reason, times in run.reasons.most_common(_REASONS)]
        reasons = _table("Reasons, the most frequent first", ["files", "reason"], most)
    return _section("Failed files", reasons + _table("The failed files", ["image", "file", "error", "size"], lines), note)


def _table(caption, heads, lines):
    head = "".join(f"<th scope=col>{name}</th>" for name in heads)
    kind = "files" if heads[0] == "image" else "facts"
    return (f'<div class="wide"><table class="{kind}"><caption>{caption}</caption><thead><tr>{head}</tr></thead>'
            f"<tbody>{''.join(lines)}</tbody></table></div>")


def _name(number, row):
    path = Path(row["path"])
    return (f"<span class=name>{text(path.name)}</span><small>no. {number + 1}, in <span class=path>{text(path.parent)}</span>"
            "</small>")


def _pair(values, first, second, form):
    return ", ".join(filter(None, (_plain(values[name], form) for name in (first, second))))


def _bytes(size):
    size = _float(size)
    if math.isnan(size):
        return ""
    power = 0 if size < 1000 else min(int(math.log10(size) / 3), 4)
    return f"{size / 1000 ** power:.{1 if power else 0}f} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def _thumbnail(row, options, values=None):
    """The image as it is now, small, with the ellipse and the centre that were found; or why it cannot be shown."""
    from ._recalibrate import read_image

    path = row["path"]
    try:
        if options.get("frame") is None and _float(row.get("size")) > _LARGE:
            raise ValueError("too large to be read again")
        image = read_image(path, options.get("frame"))
        if image.ndim != 2 or image.dtype.kind not in "biuf":
            raise ValueError("no single image")
        picture = _png(_small(image))
    except Exception as error:
        # Whatever is wrong with a file that failed, the page is about the rest too.
        reason = " ".join(str(error).removeprefix(f"{path}: ").split()) or type(error).__name__
        return f'<p class="missing">{text(reason[:120])}</p>'
    height, width = image.shape
    scale = _SIDE / max(height, width)
    marks, said = "", text(Path(path).name)
    if values and not math.isnan(values["cx"]):
        x, y, arm = values["cx"] + 0.5, values["cy"] + 0.5, 7 / scale
        if not math.isnan(values["a"] + values["angle"]):
            marks += (f'<ellipse class="found" cx="{x:.2f}" cy="{y:.2f}" rx="{values["a"]:.2f}" ry="{values["b"]:.2f}" '
                      f'transform="rotate({math.degrees(values["angle"]):.2f} {x:.2f} {y:.2f})"/>')
        marks += f'<path class="centre" d="M{x - arm:.2f} {y:.2f}h{2 * arm:.2f}M{x:.2f} {y - arm:.2f}v{2 * arm:.2f}"/>'
    changed = "" if _unchanged(row) else "<small>changed since the run</small>"
    return (f'<svg class="thumbnail" width="{width * scale:.0f}" height="{height * scale:.0f}" viewBox="0 0 {width} {height}" '
            f'role="img" aria-label="{said}"><image width="{width}" height="{height}" preserveAspectRatio="none" '
            f'href="data:image/png;base64,{base64.b64encode(picture).decode()}"/>{marks}</svg>{changed}')


def _unchanged(row):
    size, changed = row.get("size"), row.get("mtime_ns")
    if not isinstance(size, int) or not isinstance(changed, int):
        return True
    status = Path(row["path"]).stat()
    return (status.st_size, status.st_mtime_ns) == (size, changed)


def _small(image):
    """Block means of the finite pixels, `_SIDE` at most, as 8-bit grey on the logarithmic scale of `plot_ring_fit`."""
    from .plots import log_scale

    # Of large images not all pixels are needed.
    thinned = max(1, max(image.shape) // (8 * _SIDE))
    image = image[::thinned, ::thinned]
    step = -(-max(image.shape) // _SIDE)
    pixels = image.astype(np.float64)
    pixels[~np.isfinite(pixels)] = np.nan
    rows, columns = (np.arange(0, size, step) for size in image.shape)
    known = np.add.reduceat(np.add.reduceat(np.isfinite(pixels).astype(float), rows, 0), columns, 1)
    total = np.add.reduceat(np.add.reduceat(np.nan_to_num(pixels), rows, 0), columns, 1)
    mean = np.divide(total, known, out=np.full(known.shape, np.nan), where=known > 0)
    values, low, high = log_scale(mean)
    return (np.clip(np.nan_to_num((values - low) / (high - low)), 0, 1) * 255).astype(np.uint8)


def _png(grey):
    """An 8-bit image (H, W) as a PNG file."""
    height, width = grey.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), grey], axis=1).tobytes()
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(lines, 9)),
              (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks)


def _facts(run):
    tables = []
    for caption, facts in ((f"Options of the {'last ' * bool(run.mixture)}run", run.options), ("Versions", run.versions)):
        if facts:
            lines = [f"<tr><th scope=row>{text(key)}</th><td>{text(_shown(value))}</td></tr>" for key, value in facts.items()]
            tables.append(_table(caption, ["name", "value"], lines))
    return _section("How it was made", f'<div class="pair">{"".join(tables)}</div>') if tables else ""


def _shown(value):
    return {None: "none", True: "yes", False: "no"}.get(value, value) if not isinstance(value, (list, dict, int, float)) \
        or isinstance(value, bool) else value


_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>@title</title>
<style>
:root { --paper: #fff; --card: #f6f8fa; --ink: #1b2430; --soft: #566270; --rule: #d5dce4; --grid: #e6ebf0; --blue: #1f6fb8;
  --range: #b9d4ee; --error: #7fb1de; --flag: #b85c00; --fail: #c01722; --smooth: #0f7f52; --good: #0f7f52 }
@media (prefers-color-scheme: dark) { :root { --paper: #12171d; --card: #1a2129; --ink: #e4eaf0; --soft: #9aa8b6;
  --rule: #36424e; --grid: #262f38; --blue: #6db3f2; --range: #27496a; --error: #3b78ad; --flag: #ffab52; --fail: #ff7b7b;
  --smooth: #54d6a0; --good: #54d6a0 } }
@media print { :root { --paper: #fff; --card: #fff; --ink: #000; --soft: #444; --rule: #999; --grid: #ddd; --blue: #1f6fb8;
  --range: #b9d4ee; --error: #7fb1de; --flag: #b85c00; --fail: #c01722; --smooth: #0f7f52; --good: #0f7f52 }
  section, .tile { break-inside: avoid } body { max-width: none; font-size: 10pt } tr { break-inside: avoid }
  section:has(table) { break-inside: auto } * { print-color-adjust: exact; -webkit-print-color-adjust: exact } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1120px; padding: 1.5rem 1.25rem 3rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; font-variant-numeric: tabular-nums }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .2rem; letter-spacing: -.01em }
h2 { font-size: 1.15rem; margin: 0 0 .25rem }
header p, section > p, small, .keys, caption, figcaption { color: var(--soft) }
header p { margin: 0 } section { margin: 2.2rem 0 0; min-width: 0 } section > p { margin: 0 0 .5rem }
.notice { border-left: 4px solid var(--flag); background: var(--card); padding: .7rem 1rem; margin: 1rem 0 }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.2rem, 1fr)); gap: .7rem; margin: 1.3rem 0 .8rem }
.tile { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: .55rem .8rem }
.tile dt { color: var(--soft); font-size: .84rem } .tile dd { margin: 0; font-size: 1.12rem; font-weight: 600 }
.long dd { font-size: .98rem; line-height: 1.75 }
.good dd { color: var(--good) } .bad dd { color: var(--fail) } .doubtful dd { color: var(--flag) }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 0 2rem }
figure { margin: 0; overflow-x: auto } figure > svg { display: block; width: 100%; height: auto; min-width: 24rem }
figure > svg.long { min-width: 40rem }
.keys { display: flex; flex-wrap: wrap; gap: .2rem 1.3rem; margin: .2rem 0 0; font-size: .86rem }
.key { display: inline-flex; align-items: center; gap: .4rem } .key svg { width: 22px; height: 10px; overflow: visible }
.key svg.ramp { width: 110px; height: 9px }
.frame { fill: none; stroke: var(--rule) } .grid { stroke: var(--grid); fill: none }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; font-variant-numeric: tabular-nums }
svg .name { fill: var(--ink) }
.line { fill: none; stroke: var(--blue); stroke-width: 1.1; stroke-opacity: .6; stroke-linejoin: round }
.bar { fill: none; stroke: var(--error); stroke-width: 1.1 } .dot { fill: var(--blue) }
.flag { fill: var(--flag); stroke: var(--paper); stroke-width: .8 } .edge { fill: var(--soft) }
.failed { fill: none; stroke: var(--fail); stroke-width: 1.8 } .smooth { fill: none; stroke: var(--smooth);
  stroke-width: 3; stroke-opacity: .6 }
.range { fill: none; stroke: var(--range) } .errors { fill: none; stroke: var(--error) } .cell, .bars { fill: var(--blue) }
.bars { fill-opacity: .8 } .median { fill: none; stroke: var(--flag); stroke-width: 1.8; stroke-dasharray: 5 3 }
.origin { fill: none; stroke: var(--smooth); stroke-width: 2.2 }
.wide { overflow-x: auto; margin: .6rem 0 0 } table { border-collapse: collapse; width: 100%; font-size: .9rem }
caption { text-align: left; padding: 0 0 .3rem }
th, td { text-align: left; vertical-align: top; padding: .35rem .7rem .35rem 0 }
thead th { border-bottom: 2px solid var(--rule); white-space: nowrap } tbody tr { border-bottom: 1px solid var(--grid) }
tbody th { font-weight: 500 } .n { white-space: nowrap } small { display: block; font-weight: 400; font-size: .8rem }
.files td:first-child { width: 165px }
.name, .path, td { overflow-wrap: anywhere } .n { overflow-wrap: normal }
.thumbnail { display: block; border-radius: 4px; overflow: hidden; background: #000 }
.found, .centre { fill: none; vector-effect: non-scaling-stroke; stroke-width: 1.4 }
.found { stroke: #ff5a5f } .centre { stroke: #3dff8b }
.missing { margin: 0; width: 150px; min-height: 60px; padding: .4rem; border: 1px dashed var(--rule); border-radius: 4px;
  color: var(--soft); font-size: .78rem; line-height: 1.3; overflow-wrap: anywhere }
footer { margin-top: 2.5rem; color: var(--soft); font-size: .85rem } code { font-size: .95em }
</style>
</head>
<body>
<main>"""
_FOOT = """</main>
<footer>Made by edfast @version. Pixel coordinates: (x, y) is (column, row), the integer i is the centre of pixel i.</footer>
</body>
</html>
"""
