"""Charts as SVG for HTML pages: colours are the page's (CSS classes), size is bounded whatever the number of points.

Up to `POINTS` points are drawn one by one, with their names; more of them in columns that keep the smallest and the largest
value of each, and what is flagged.
"""

import html
import itertools
import math
from dataclasses import dataclass

import numpy as np

POINTS = 600        # drawn one by one
COLUMNS = 400       # of more points
CELLS = 44          # of a scatter of many points, each way
WIDTH, LEFT, RIGHT = 960.0, 92.0, 28.0    # on the left six digits and a sign, and the name of the axis
_OUTLYING = 0.7     # times the range of most values: what is farther from them than this is drawn at the edge
_RAMP = ("#4357c4", "#3f7fd0", "#2f9fb4", "#35ab7d", "#7fae43", "#c79a2b", "#e0752d", "#d9443f")


@dataclass(frozen=True, slots=True)
class Axes:
    """A rectangle of the drawing and what it shows."""

    left: float
    top: float
    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]
    log_x: bool = False

    def px(self, values):
        """Columns of the drawing."""
        low, high = (math.log10(v) for v in self.x) if self.log_x else self.x
        values = np.log10(values) if self.log_x else np.asarray(values, float)
        return self.left + self.width * (values - low) / (high - low)

    def py(self, values):
        """Rows of the drawing; what is beyond the edges lies on them."""
        share = (np.asarray(values, float) - self.y[0]) / (self.y[1] - self.y[0])
        return self.top + self.height * (1 - np.clip(share, 0, 1))


def svg(height, title, description, parts, width=WIDTH):
    """The drawing as a whole; `title` and `description` are what is read aloud."""
    return (f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{text(title + ". " + description)}">'
            + "".join(parts) + "</svg>")


def text(value):
    """For HTML: what cannot be printed (bytes that are no text, line breaks, marks that turn the direction) as escapes."""
    shown = "".join(letter if letter.isprintable() else _escaped(letter) for letter in str(value))
    return html.escape(shown, quote=True)


def _escaped(letter):
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"    # a byte of a file name
    return letter.encode("unicode_escape").decode()


def ticks(limits, most=5):
    """Round numbers within the `limits` (low, high), and the decimals that they need."""
    low, high = limits
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step *= next(k for k in (1, 2, 5, 10) if (high - low) / (k * step) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)], max(0, -math.floor(math.log10(step) + 1e-9))


def span(values, least=1e-3):
    """(low, high) around the finite `values`; where a few lie far out, around the others."""
    values = values[np.isfinite(values)]
    if values.size == 0:
        return -1.0, 1.0
    low, high = values.min(), values.max()
    inner = np.percentile(values, (1.5, 98.5))
    reach = inner[1] - inner[0]
    if values.size > 10:
        low, high = max(low, inner[0] - _OUTLYING * reach - least), min(high, inner[1] + _OUTLYING * reach + least)
    # Numbers of 1e6 have no more digits than this.
    margin = max(0.06 * (high - low), least, 1e-9 * max(abs(low), abs(high)))
    return float(low - margin), float(high + margin)


def scales(axes, label, *, bottom=True, x_label="", whole=True, whole_y=False):
    """Frame, grid, numbers and names of the axes."""
    right, foot = axes.left + axes.width, axes.top + axes.height
    parts = [f'<rect class="frame" x="{axes.left:g}" y="{axes.top:g}" width="{axes.width:g}" height="{axes.height:g}"/>']
    places, decimals = ticks(sorted(axes.y), most=max(2, int(axes.height / 38)))
    if whole_y:
        places, decimals = [place for place in places if place == round(place)], 0
    for place, y in zip(places, axes.py(places), strict=True):
        parts.append(f'<path class="grid" d="M{axes.left:g} {y:.1f}H{right:g}"/>'
                     f'<text x="{axes.left - 8:g}" y="{y + 4:.1f}" text-anchor="end">{_signed(place, decimals)}</text>')
    parts.append(f'<text class="name" transform="translate(18 {axes.top + axes.height / 2:g}) rotate(-90)" '
                 f'text-anchor="middle">{text(label)}</text>')
    if axes.log_x and axes.x[1] < 5 * axes.x[0]:
        places, decimals = ticks(axes.x, 5)
        labels = [f"{place:.{decimals}f}" for place in places]
    elif axes.log_x:
        first, last = math.floor(math.log10(axes.x[0])), math.ceil(math.log10(axes.x[1]))
        steps = (1, 2, 5) if last - first <= 3 else (1,)
        places = [k * 10.0 ** n for n in range(first, last + 1) for k in steps]
        places = [place for place in places if axes.x[0] <= place <= axes.x[1]]
        labels = [f"{place:g}" for place in places]
    else:
        places, decimals = ticks(axes.x, most=max(2, int(axes.width / 90)))
        if whole:
            places, decimals = [place for place in places if place == round(place)], 0
        labels = [f"{place:.{decimals}f}".replace("-", "\u2212") for place in places]
    for x, shown in zip(axes.px(places), labels, strict=True):
        parts.append(f'<path class="grid" d="M{x:.1f} {axes.top:g}V{foot:g}"/>')
        if bottom:
            parts.append(f'<text x="{x:.1f}" y="{foot + 17:g}" text-anchor="middle">{shown}</text>')
    if bottom and x_label:
        parts.append(f'<text class="name" x="{axes.left + axes.width / 2:g}" y="{foot + 36:g}" text-anchor="middle">'
                     f'{text(x_label)}</text>')
    return parts


def _signed(value, decimals):
    return f"{value:.{decimals}f}".replace("-", "\u2212") if round(value, decimals) else "0"


def series(axes, values, *, errors=None, smooth=None, flagged=None, names=None, unit="pixel"):
    """`values` over the number of the file, from 1, with error bars, flags, and the smooth trajectory if there is one."""
    number = np.arange(1, len(values) + 1)
    flagged = np.zeros(len(values), bool) if flagged is None else flagged
    errors = np.full(len(values), np.nan) if errors is None else errors
    draw = _points if len(values) <= POINTS else _columns
    under = []
    if smooth is not None and np.isfinite(smooth).any():
        # Below: what was measured is never hidden by it.
        under.append(f'<path class="smooth" d="{_line(axes, *_thinned(number, smooth))}"/>')
    return under + draw(axes, number, values, errors, flagged, names, unit)


def _points(axes, number, values, errors, flagged, names, unit):
    x, y = axes.px(number), axes.py(values)
    known = np.isfinite(errors) & np.isfinite(values)
    top, foot = axes.py(values + errors), axes.py(values - errors)
    bars = "".join(f"M{x[i]:.1f} {top[i]:.1f}V{foot[i]:.1f}" for i in np.flatnonzero(known))
    parts = [f'<path class="line" d="{_line(axes, number, values)}"/>', f'<path class="bar" d="{bars}"/>']
    radius = 3.2 if len(values) <= 200 else 2.2
    for i in np.flatnonzero(np.isfinite(values)):
        name = f"{names[i]}: " if names else f"file {number[i]}: "
        said = f"{name}{values[i]:+.3f}" + (f" \u00b1 {errors[i]:.3f}" if known[i] else "") + f" {unit}"
        kind, size = ("flag", radius + 1.3) if flagged[i] else ("dot", radius)
        parts.append(_mark(axes, x[i], y[i], values[i], kind, size, said))
    return parts


def _mark(axes, x, y, value, kind, radius, said):
    """A dot, or a triangle at the edge for what lies beyond it, with its name."""
    if axes.y[0] <= value <= axes.y[1]:
        return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"><title>{text(said)}</title></circle>'
    up = 1 if value > axes.y[1] else -1
    return (f'<path class="{kind}" d="M{x - 5:.1f} {y + 9 * up:.1f}h10l-5 {-9 * up}z"><title>{text(said)}</title></path>')


def _columns(axes, number, values, errors, flagged, _names, unit):
    """The range of each column (without what is flagged), its median, the median error, and the ends of what is flagged."""
    edges = np.linspace(0, len(values), COLUMNS + 1).astype(int)
    x = axes.px((edges[:-1] + edges[1:] + 1) / 2)
    shown, spread, marks, centers = [], [], [], np.full(COLUMNS, np.nan)
    for k, (first, end) in enumerate(itertools.pairwise(edges)):
        part, marked = values[first:end], np.flatnonzero(np.isfinite(values[first:end]) & flagged[first:end])
        if len(marked):
            ends = sorted({int(marked[np.argmin(part[marked])]), int(marked[np.argmax(part[marked])])})
            marks += [(axes.px(number[first + i]), part[i], f"file {number[first + i]}: {part[i]:+.3f} {unit}") for i in ends]
        calm = np.isfinite(part) & ~flagged[first:end]
        if not calm.any():
            continue
        centers[k] = np.median(part[calm])
        shown.append(f"M{x[k]:.1f} {axes.py(part[calm].max()) - 0.5:.1f}V{axes.py(part[calm].min()) + 0.5:.1f}")
        error = errors[first:end][calm]
        if np.isfinite(error).any():
            error = np.nanmedian(error)
            spread.append(f"M{x[k]:.1f} {axes.py(centers[k] + error):.1f}V{axes.py(centers[k] - error):.1f}")
    thick = f'style="stroke-width:{axes.width / COLUMNS + 0.2:.2f}"'
    y, known = axes.py(centers), np.isfinite(centers)
    middle = "".join(f"{'L' if k and known[k - 1] else 'M'}{x[k]:.1f} {y[k]:.1f}" for k in np.flatnonzero(known))
    return [f'<path class="range" {thick} d="{"".join(shown)}"/>', f'<path class="errors" {thick} d="{"".join(spread)}"/>',
            f'<path class="line" d="{middle}"/>',
            *(_mark(axes, at, axes.py(value), value, "flag", 3.2, said) for at, value, said in marks)]


def _line(axes, number, values):
    """A path through the finite values, interrupted where there are none."""
    x, y, known = axes.px(number), axes.py(values), np.isfinite(values)
    return "".join(f"{'L' if i and known[i - 1] else 'M'}{x[i]:.1f} {y[i]:.1f}" for i in np.flatnonzero(known))


def _thinned(number, values):
    step = -(-len(values) // 1200)
    return number[::step], values[::step]


def failures(axes, failed):
    """A tick at the foot of the axes for each file that failed; of many files for each column, as high as its share is."""
    foot = axes.top + axes.height
    number, height = np.flatnonzero(failed) + 1.0, np.full(int(failed.sum()), 7.0)
    if len(failed) > POINTS:
        edges = np.linspace(0, len(failed), COLUMNS + 1).astype(int)
        share = np.add.reduceat(failed.astype(float), edges[:-1]) / np.diff(edges)
        hit = share > 0
        number, height = ((edges[:-1] + edges[1:] + 1) / 2)[hit], 3 + 0.25 * axes.height * share[hit]
    marks = "".join(f"M{x:.1f} {foot - tall:.1f}V{foot:g}" for x, tall in zip(axes.px(number), height, strict=True))
    return [f'<path class="failed" d="{marks}"/>'] if marks else []


def scatter(axes, dx, dy, flagged):
    """Points coloured by their order; of many the density, and what is flagged."""
    known = np.flatnonzero(np.isfinite(dx) & np.isfinite(dy))
    low, high = sorted(axes.y)
    inside = known[(dx[known] >= axes.x[0]) & (dx[known] <= axes.x[1]) & (dy[known] >= low) & (dy[known] <= high)]
    marked = inside[flagged[inside]]
    if len(marked) > POINTS:
        marked = marked[:: -(-len(marked) // POINTS)]
    parts = _density(axes, dx[inside], dy[inside]) if len(inside) > 2 * POINTS else [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{_RAMP[i * len(_RAMP) // len(dx)]}" fill-opacity="0.75"/>'
        for i, x, y in zip(inside, axes.px(dx[inside]), axes.py(dy[inside]), strict=True)]
    parts += [f'<circle class="flag" cx="{x:.1f}" cy="{y:.1f}" r="3.4"><title>file {i + 1}</title></circle>'
              for i, x, y in zip(marked, axes.px(dx[marked]), axes.py(dy[marked]), strict=True)]
    return parts, len(known) - len(inside)


def _density(axes, dx, dy):
    counts, x_edges, y_edges = np.histogram2d(dx, dy, CELLS, (axes.x, sorted(axes.y)))
    level = np.ceil(6 * np.log1p(counts) / np.log1p(counts.max())).astype(int)
    x, y = axes.px(x_edges), axes.py(y_edges)
    width, height = abs(x[1] - x[0]), abs(y[1] - y[0])
    parts = []
    for shade in range(1, 7):
        cells = "".join(f"M{min(x[i], x[i + 1]):.1f} {min(y[j], y[j + 1]):.1f}h{width:.2f}v{height:.2f}h{-width:.2f}z"
                        for i, j in np.argwhere(level == shade))
        parts.append(f'<path class="cell" fill-opacity="{0.12 + 0.88 * shade / 6:.2f}" d="{cells}"/>')
    return parts


def histogram(axes, counts, edges):
    """Bars from the foot of the axes."""
    x, y, foot = axes.px(edges), axes.py(counts), axes.top + axes.height
    bars = "".join(f"M{x[i]:.1f} {foot:g}V{y[i]:.1f}H{x[i + 1] - 1:.1f}V{foot:g}z" for i in np.flatnonzero(counts))
    return [f'<path class="bars" d="{bars}"/>']


def ramp(first, last):
    """The legend of the colours of a scatter."""
    cells = "".join(f'<rect x="{18 * k}" width="18" height="10" fill="{color}"/>' for k, color in enumerate(_RAMP))
    return (f'<span class="key">file {first} <svg class="ramp" viewBox="0 0 {18 * len(_RAMP)} 10" role="img" '
            f'aria-label="colours from the first to the last file">{cells}</svg> {last}</span>')
