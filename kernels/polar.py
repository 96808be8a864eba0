"""Unrolling of annuli: every pixel that lies in one is read once, row by row, and summed into (sector, radius) cells."""

import numpy as np

from edfast.kernels._jit import jit
from edfast.kernels._simd import add_four, prefetch

AHEAD = 2       # rows by which the memory is asked ahead: what comes next lies in another page
FAR = 4.0       # a ring is taken as zero beyond so many widths


@jit
def stretch(e1, e2):
    """(s11, s12, s22) of exp(-[[e1, e2], [e2, -e1]]): maps an ellipse of that strain onto a circle."""
    e = np.hypot(e1, e2)
    ratio = np.sinh(e) / e if e > 1e-12 else 1.0
    c = np.cosh(e)
    return c - ratio * e1, -ratio * e2, c + ratio * e1


@jit
def distance_form(e1, e2):
    """(a, b, c): a dx^2 + 2 b dx dy + c dy^2 is the squared distance in the plane in which the strain (e1, e2) is undone."""
    s11, s12, s22 = stretch(e1, e2)
    return s11 * s11 + s12 * s12, s12 * (s11 + s22), s12 * s12 + s22 * s22


@jit
def sector_angles(n_sectors, s11, s12):
    """Central angles of the sectors in the stretched plane; sector 0 starts at the direction of the image rows."""
    return np.arctan2(s12, s11) + (np.arange(n_sectors) + 0.5) * (2 * np.pi / n_sectors)


@jit(fastmath=True)
def _places(columns, shift, quad, lo, inverse, last, bins, places):
    """Bins of neighbouring pixels of a row, and their places within these: the part of the work that vectorises.

    In float32, which is right to a few ten-thousandths of a pixel.
    """
    a, b, c, shift = np.float32(quad[0]), np.float32(quad[1]), np.float32(quad[2]), np.float32(shift)
    lo, inverse, last = np.float32(lo), np.float32(inverse), np.float32(last)
    for x in range(columns.shape[0]):
        dx = columns[x] - shift
        places[x] = (np.sqrt((a * dx + b) * dx + c) - lo) * inverse
    for x in range(columns.shape[0]):
        bins[x] = np.int32(min(max(places[x], np.float32(0.0)), last))
    for x in range(columns.shape[0]):
        places[x] -= np.float32(bins[x]) + np.float32(0.5)


@jit
def _ask_for(pixels, start, stop):
    """Ask the memory for pixels[start:stop], as far as there are any: one in each line of the cache."""
    for i in range(start, min(stop, pixels.size), 64 // pixels.itemsize):
        prefetch(pixels, i)


@jit
def _blank(hidden, bins):
    """Hidden pixels have no bin."""
    for x in range(hidden.shape[0]):
        bins[x] = -1 if hidden[x] else bins[x]


@jit
def _run(row, x0, x1, bins, places, cells, first):
    """Sum row[x0:x1] into the cells of one sector, from `first` on: number, value, place within the cell, squared value."""
    for x in range(np.uint64(x0), np.uint64(x1)):
        if bins[x] >= 0:
            value = np.float64(row[x])
            add_four(cells, first + np.uint64(np.uint32(bins[x])), 1.0, value, np.float64(places[x]), value * value)


@jit
def _split(row, x0, x1, cx, dy, cuts, below, bins, places, cells, first, n_bins):
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
            _run(row, x0, end, bins, places, cells, np.uint64(sector * n_bins + first))
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
def unroll(image, bad, shade, size, cx, cy, e1, e2, first, lo, step, below, table):
    """Sum the pixels of annuli into ``table[sector, bin]``: number, sum, sum of places within the bin, sum of squares.

    Annulus g covers the bins first[g] to first[g + 1], from radius lo[g] in steps of step[g]. Radii are those of the plane in
    which the strain (e1, e2) is undone. `bad` (H, W) masks pixels, `shade` masks blocks of size x size pixels; both are uint8
    and without rows where there is nothing to mask. Pixels that are NaN or inf make their cell NaN.

    Only the rows below the centre, which make up the first half of the sectors, or those above it, which make up the second.
    """
    height, width = image.shape
    s11, s12, s22 = stretch(e1, e2)
    half, n_bins = table.shape[0] // 2, table.shape[1]
    angles = np.arctan2(s12, s11) + np.arange(1, half) * (np.pi / half)
    cuts = (s22 * np.cos(angles) - s12 * np.sin(angles)) / (s11 * np.sin(angles) - s12 * np.cos(angles))
    mine = table[:half] if below else table[half:]
    mine[:] = 0.0
    cells, sums = table.reshape((-1, 4)), mine.reshape((-1, 4))
    a, b, c = distance_form(e1, e2)
    shadow, hidden = np.zeros((2, width), np.uint8)
    pixels = image.reshape(-1)
    columns = np.arange(width).astype(np.float32)
    places, bins = np.empty(width, np.float32), np.empty(width, np.int32)
    shadowed = masked = False
    middle = np.int64(min(max(np.ceil(cy), 0.0), np.float64(height)))
    top, bottom = (middle, height) if below else (0, middle)
    for y in range(top, bottom):
        if shade.shape[0] > 0 and (y % size == 0 or y == top):
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
                    _ask_for(pixels, (y + AHEAD) * width + x0, (y + AHEAD) * width + x1)
                    _places(columns[x0:x1], cx, quad, lo[g], 1 / step[g], last, bins[x0:x1], places[x0:x1])
                    if masked or shadowed:
                        _blank((hidden if masked else shadow)[x0:x1], bins[x0:x1])
                    _split(image[y], x0, x1, cx, dy, cuts, below, bins, places, cells, first[g], n_bins)
    for k in range(sums.shape[0]):
        # One NaN or inf poisons its cell: what is left of it might be biased.
        if not abs(sums[k, 1]) < np.inf:
            sums[k, 1] = sums[k, 3] = np.nan


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
                    if table[j, k, 1] == table[j, k, 1]:
                        out[j, i, 0] += table[j, k, 0]
                        out[j, i, 1] += table[j, k, 1]
                        out[j, i, 2] += (table[j, k, 2] + table[j, k, 0] * (k - begin - middle)) / size
                        out[j, i, 3] += table[j, k, 3]


@jit(fastmath=True)
def level_rings(cx, cy, e1, e2, radii, widths, crests, image, row):
    """Take out of the pixels of `image`, whose first row is `row`, by how much rings are higher there than they are to be.

    That is crests[0, k, j] + crests[1, k, j] t + crests[2, k, j] (t^2 - 1/12) on the crest of ring k, where t goes from -1/2
    to 1/2 across sector j.
    """
    s11, s12, s22 = stretch(e1, e2)
    n_sectors = crests.shape[2]
    scale, zero = n_sectors / (2 * np.pi), np.arctan2(s12, s11)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            dx, dy = x - cx, y + row - cy
            u, v = s11 * dx + s12 * dy, s12 * dx + s22 * dy
            r, place = np.sqrt(u * u + v * v), -1.0
            for k in range(radii.shape[0]):
                away = (r - radii[k]) / widths[k]
                if abs(away) < FAR:
                    if place < 0.0:
                        place = (np.arctan2(v, u) - zero) * scale
                        place += n_sectors if place < 0.0 else 0.0
                    j = min(np.int64(place), n_sectors - 1)
                    t = place - j - 0.5
                    more = crests[0, k, j] + crests[1, k, j] * t + crests[2, k, j] * (t * t - 1 / 12)
                    image[y, x] -= more * np.exp(-0.5 * away * away)


@jit
def realign(table, angles, geometry, out):
    """The cells of bins of one pixel as they would be about another centre and with another strain, to the nearest bin."""
    for j in range(table.shape[0]):
        stretched = 1 + geometry[2] * np.cos(2 * angles[j]) + geometry[3] * np.sin(2 * angles[j])
        along = geometry[0] * np.cos(angles[j]) + geometry[1] * np.sin(angles[j])
        for i in range(table.shape[1]):
            k = np.int64(np.floor((i + 0.5) * stretched + along))
            there = 0 <= k < table.shape[1]
            for q in range(4):
                out[j, i, q] = table[j, k, q] if there else 0.0


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
