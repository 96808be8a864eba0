"""Unrolling of annuli: every pixel that lies in one is read once, row by row, and summed into (sector, radius) cells."""

import numpy as np

from edfast.kernels._jit import jit
from edfast.kernels._simd import add_four


@jit
def stretch(e1, e2):
    """(s11, s12, s22) of exp(-[[e1, e2], [e2, -e1]]): maps an ellipse of that strain onto a circle."""
    e = np.hypot(e1, e2)
    ratio = np.sinh(e) / e if e > 1e-12 else 1.0
    c = np.cosh(e)
    return c - ratio * e1, -ratio * e2, c + ratio * e1


@jit
def sector_angles(n_sectors, s11, s12):
    """Central angles of the sectors in the stretched plane; sector 0 starts at the direction of the image rows."""
    return np.arctan2(s12, s11) + (np.arange(n_sectors) + 0.5) * (2 * np.pi / n_sectors)


@jit(fastmath=True)
def _places(x0, x1, cx, quad, lo, inverse, places):
    """Radius of the pixels x0 to x1 of a row, in bins from `lo`: the part of the work that vectorises."""
    for x in range(x0, x1):
        dx = x - cx
        places[x] = (np.sqrt((quad[0] * dx + quad[1]) * dx + quad[2]) - lo) * inverse


@jit
def _blank(x0, x1, hidden, places):
    """NaN for the places of the hidden pixels among x0 to x1."""
    for x in range(x0, x1):
        places[x] = np.nan if hidden[x] else places[x]


@jit
def _run(row, x0, x1, places, cells, first, last):
    """Sum row[x0:x1] into the cells of one sector, from `first` on: number, value, place within the cell, squared value."""
    for x in range(x0, x1):
        place = places[x]
        if place != place:
            continue
        i = np.uint32(min(max(place, 0.0), last))
        value = np.float64(row[x])
        add_four(cells, first + np.uint64(i), 1.0, value, place - (np.float64(i) + 0.5), value * value)


@jit
def _split(row, x0, x1, cx, dy, cuts, below, places, cells, first, last, n_bins):
    """Cut the run at the sector boundaries that it crosses (they are lines through the centre, sorted along the row)."""
    half = cuts.shape[0] + 1
    # Sector at the left end: the cuts are crossed in descending order on rows below the centre, ascending above it.
    j = half - 1 if below else 0
    while True:
        if below:
            edge = dy * cuts[j - 1] + cx if j > 0 else np.inf
        else:
            edge = dy * cuts[j] + cx if j < half - 1 else np.inf
        end = x1 if edge >= x1 else np.int64(np.ceil(edge))
        if end > x0:
            sector = j if below else half + j
            _run(row, x0, end, places, cells, np.uint64(sector * n_bins + first), last)
            x0 = end
        if x0 >= x1:
            return
        j += -1 if below else 1


@jit
def _shadow(row, size, shadow):
    """Mask of the pixels from one row of the mask of blocks of `size` pixels; returns whether anything is masked."""
    found = False
    for b in range(row.shape[0]):
        found |= row[b] != 0
        for x in range(b * size, min((b + 1) * size, shadow.shape[0])):
            shadow[x] = row[b]
    return found


@jit
def _hide(bad, shadow, hidden):
    """Mask of a row from that of its pixels and that of its blocks; returns whether anything is masked."""
    found = np.uint8(0)
    for x in range(hidden.shape[0]):
        hidden[x] = bad[x] | shadow[x]
        found |= hidden[x]
    return found != 0


@jit
def unroll(image, bad, shade, size, cx, cy, e1, e2, first, lo, step, table):
    """Sum the pixels of annuli into ``table[sector, bin]``: number, sum, sum of places within the bin, sum of squares.

    Annulus g covers the bins first[g] to first[g + 1], from radius lo[g] in steps of step[g]. Radii are those of the plane in
    which the strain (e1, e2) is undone. `bad` (H, W) masks pixels, `shade` masks blocks of size x size pixels; both are uint8
    and without rows where there is nothing to mask. Pixels that are NaN or inf make their cell NaN.
    """
    height, width = image.shape
    s11, s12, s22 = stretch(e1, e2)
    half = table.shape[0] // 2
    angles = np.arctan2(s12, s11) + np.arange(1, half) * (np.pi / half)
    cuts = (s22 * np.cos(angles) - s12 * np.sin(angles)) / (s11 * np.sin(angles) - s12 * np.cos(angles))
    table[:] = 0.0
    n_bins, cells = table.shape[1], table.reshape((-1, 4))
    a, b, c = s11 * s11 + s12 * s12, s12 * (s11 + s22), s12 * s12 + s22 * s22
    shadow, hidden, places = np.zeros(width, np.uint8), np.zeros(width, np.uint8), np.empty(width)
    shadowed = masked = False
    for y in range(height):
        if shade.shape[0] > 0 and y % size == 0:
            shadowed = _shadow(shade[y // size], size, shadow)
        if bad.shape[0] > 0:
            masked = _hide(bad[y], shadow, hidden)
        dy = y - cy
        quad = (a, 2 * b * dy, c * dy * dy)
        shift, gap = -b * dy / a, (c - b * b / a) * dy * dy
        for g in range(lo.shape[0]):
            r_in, r_out = max(lo[g], 0.0), lo[g] + step[g] * (first[g + 1] - first[g])
            if gap >= r_out * r_out:
                continue
            last = np.float64(first[g + 1] - first[g] - 1)
            out = np.sqrt((r_out * r_out - gap) / a)
            left, right = max(np.int64(np.ceil(cx + shift - out)), 0), min(np.int64(np.floor(cx + shift + out)) + 1, width)
            inner = np.sqrt((r_in * r_in - gap) / a) if r_in * r_in > gap else -1.0
            in_left, in_right = right, right
            if inner >= 0:
                in_left = max(min(np.int64(np.ceil(cx + shift - inner)), right), left)
                in_right = max(min(np.int64(np.floor(cx + shift + inner)) + 1, right), left)
            for x0, x1 in ((left, in_left), (in_right, right)):
                if x1 > x0:
                    _places(x0, x1, cx, quad, lo[g], 1 / step[g], places)
                    if masked or shadowed:
                        _blank(x0, x1, hidden if masked else shadow, places)
                    _split(image[y], x0, x1, cx, dy, cuts, dy >= 0, places, cells, first[g], last, n_bins)
    for k in range(cells.shape[0]):
        # One NaN or inf poisons its cell: what is left of it might be biased.
        if not abs(cells[k, 1]) < np.inf:
            cells[k, 1] = cells[k, 3] = np.nan


@jit
def rebin(table, first, lo, step, out):
    """Annuli as `unroll` would sum them, made of bins of one pixel from radius 0 on: `lo` and `step` are whole numbers.

    Bins that are NaN are left out.
    """
    out[:] = 0.0
    for g in range(lo.shape[0]):
        size, middle = np.int64(step[g]), 0.5 * step[g] - 0.5
        for j in range(table.shape[0]):
            for i in range(first[g], first[g + 1]):
                begin = np.int64(lo[g]) + (i - first[g]) * size
                for k in range(begin, min(begin + size, table.shape[1])):
                    n, total, place, square = table[j, k]
                    if total == total:
                        out[j, i, 0] += n
                        out[j, i, 1] += total
                        out[j, i, 2] += (place + n * (k - begin - middle)) / size
                        out[j, i, 3] += square


@jit
def realign(table, angles, geometry, out):
    """The cells of bins of one pixel as they would be about another centre and with another strain, to the nearest bin."""
    for j in range(table.shape[0]):
        stretched = 1 + geometry[2] * np.cos(2 * angles[j]) + geometry[3] * np.sin(2 * angles[j])
        along = geometry[0] * np.cos(angles[j]) + geometry[1] * np.sin(angles[j])
        for i in range(table.shape[1]):
            k = np.int64(np.floor((i + 0.5) * stretched + along))
            if 0 <= k < table.shape[1]:
                out[j, i] = table[j, k]
            else:
                out[j, i] = 0.0


@jit
def screen_cells(table):
    """Make NaN of the cells that hold a hot or dead pixel: one pixel too far from the others for the noise of its radius.

    The noise of a radius is what most sectors show within their cells; `quantum`, its growth with the signal, keeps single
    counts of a faint pattern from passing for damage.
    """
    n_sectors, n_bins = table.shape[0], table.shape[1]
    noise, level = np.zeros((2, n_bins))
    free, squares, values = np.empty((3, n_sectors))
    for i in range(n_bins):
        used = 0
        for j in range(n_sectors):
            n = table[j, i, 0]
            if n >= 2.0 and table[j, i, 3] < np.inf:
                free[used], values[used] = n - 1, table[j, i, 1] * (n - 1) / n
                squares[used] = table[j, i, 3] - table[j, i, 1] ** 2 / n
                used += 1
        cut, before = np.inf, -1.0
        for _ in range(8):
            total = number = value = 0.0
            for j in range(used):
                if squares[j] <= cut * free[j]:
                    total += squares[j]
                    number += free[j]
                    value += values[j]
            if number == 0.0 or number == before:
                break
            noise[i], level[i] = total / number, value / number
            cut, before = 3 * noise[i], number
    bottom = level.min()
    weight = slope = 0.0
    for i in range(n_bins):
        rise = level[i] - bottom
        if noise[i] > 0.0:
            slope += rise / noise[i]
            weight += rise * rise / noise[i] ** 2
    quantum = slope / weight if weight > 0.0 else 0.0
    for i in range(n_bins):
        for j in range(n_sectors):
            n, total = table[j, i, 0], table[j, i, 1]
            if n < 2.0:
                continue
            above = max(total / n - level[i], 0.0)
            rise = level[i] - bottom
            brighter = 1.0 + above / rise if rise > 0.0 else 1.0
            usual = noise[i] * min(brighter, 4.0) ** 2 + quantum * above
            excess = table[j, i, 3] - total * total / n - n * usual
            if excess > 64 * (np.sqrt(usual) + quantum) ** 2 + 6 * np.sqrt(2 * n) * usual:
                table[j, i, 1] = np.nan
