"""A first centre without any guess, on a small image: local contrast, shadows, symmetry, and what rings look like in it."""

import numpy as np

from edfast.kernels._jit import jit
from edfast.kernels._simd import add_pair
from edfast.kernels.polar import distance_form

LAST = 0.7      # last step of a climb [blocks]: the score is rough at smaller ones
LEAST_STEP = 0.2    # the same of a climb with the strain
STRAINS = 0.015, 0.03, 0.045, 0.06    # that are tried before it
SPIKE = 30.0    # times as far as anything REACH blocks away is a spike: it brightens what 17 x 17 blocks are compared with
REACH = 3       # in rows or columns
SLOPES = 0.02   # of the determinant of the moments of a full square from where on the blocks in it tell the slopes of a plane
SAMPLE = 4096   # values that tell a median or a quantile well enough


@jit
def usable_mean(image, bad, top, bottom, left, right):
    """Mean of the finite pixels of a block that are not `bad` (which may have no rows), and their number."""
    total = number = 0.0
    for y in range(top, bottom):
        for x in range(left, right):
            value = np.float64(image[y, x])
            if value - value == 0.0 and not (bad.shape[0] > 0 and bad[y, x]):
                total += value
                number += 1.0
    return (total / number if number else 0.0), number


@jit
def constant_lines(image, rows, columns):
    """Which rows and columns of an image hold one value throughout: dead lines, gaps between modules, padding."""
    height, width = image.shape
    for y in range(height):
        x = 0
        while x < width and image[y, x] == image[y, 0]:
            x += 1
        rows[y] = x == width
    for x in range(width):
        y = 0
        while y < height and image[y, x] == image[0, x]:
            y += 1
        columns[x] = y == height


@jit(fastmath=True)
def block_row(image, size, top, bottom, columns, sums):
    """Sums of the rows top to bottom over blocks of `size` columns; returns their total. `columns` is working space."""
    width = image.shape[1]
    columns[:] = np.float32(0)
    for y in range(top, bottom):
        line = image[y]
        for x in range(width):
            columns[x] += np.float32(line[x])
    if size == 2:  # vectorises
        for x in range(sums.size):
            sums[x] = columns[2 * x] + columns[2 * x + 1]
    else:
        for x in range(sums.size):
            part = columns[x * size:(x + 1) * size]
            value = np.float32(0)
            for k in range(size):
                value += part[k]
            sums[x] = value
    total = np.float32(0)
    for x in range(sums.size):
        total += sums[x]
    return total


@jit
def block_means(image, bad, size, first, mean, share):
    """Means of size x size blocks over their usable pixels, and the share of these; `bad` may have no rows.

    The rows of blocks from `first` on. Whole rows are added up, which is as fast as memory; only where a sum is not finite, or
    pixels are `bad`, blocks are looked at pixel by pixel.
    """
    height, width = image.shape
    columns, sums = np.empty(mean.shape[1] * size, np.float32), np.empty(mean.shape[1], np.float32)
    touched = np.empty(width, np.uint8)
    for row in range(mean.shape[0]):
        top, bottom = (first + row) * size, min((first + row + 1) * size, height)
        total = block_row(image, size, top, bottom, columns, sums)
        each, last = np.float32((bottom - top) * size), sums.size - 1
        for x in range(last):
            mean[row, x] = sums[x] / each
        mean[row, last] = sums[last] / np.float32((bottom - top) * (width - last * size))
        share[row] = np.float32(bottom - top) / np.float32(size)
        share[row, last] *= np.float32(width - last * size) / np.float32(size)
        if bad.shape[0] > 0 or not np.isfinite(total):
            touched[:] = 0
            for y in range(top if bad.shape[0] > 0 else bottom, bottom):
                line = bad[y]
                for x in range(width):
                    touched[x] |= line[x]
            for x in range(sums.size):
                left, right = x * size, min((x + 1) * size, width)
                if touched[left:right].any() or not np.isfinite(sums[x]):
                    mean[row, x], number = usable_mean(image, bad, top, bottom, left, right)
                    share[row, x] = number / (size * size)


@jit
def box_mean(values, weights, radius, out):
    """Mean of the values over (2 radius + 1)^2 blocks, each with its weight; 0 where the weights sum to nothing."""
    height, width = values.shape
    top, bottom = np.zeros(width), np.zeros(width)
    for y in range(-radius, height):
        enter, leave = y + radius, y - radius - 1
        if enter < height:
            for x in range(width):
                top[x] += values[enter, x] * weights[enter, x]
                bottom[x] += weights[enter, x]
        if leave >= 0:
            for x in range(width):
                top[x] -= values[leave, x] * weights[leave, x]
                bottom[x] -= weights[leave, x]
        if y < 0:
            continue
        t = b = 0.0
        for x in range(min(radius, width)):
            t += top[x]
            b += bottom[x]
        for x in range(width):
            if x + radius < width:
                t += top[x + radius]
                b += bottom[x + radius]
            if x - radius - 1 >= 0:
                t -= top[x - radius - 1]
                b -= bottom[x - radius - 1]
            out[y, x] = t / b if b > 1e-6 else 0.0


@jit
def box_plane(values, weights, radius, out):
    """What the plane through the values over (2 radius + 1)^2 blocks is in the middle of these, by weighted least squares.

    Where they hardly tell its slopes it is their mean (`box_mean`).
    """
    height, width = values.shape
    x, y = np.empty((2, height, width))
    for i in range(height):
        x[i], y[i] = np.arange(width), i
    mean, mx, my, xx, xy, yy, xv, yv = np.empty((8, height, width))
    box_mean(values, weights, radius, mean)
    box_mean(x, weights, radius, mx)
    box_mean(y, weights, radius, my)
    box_mean(x * x, weights, radius, xx)
    box_mean(x * y, weights, radius, xy)
    box_mean(y * y, weights, radius, yy)
    box_mean(x * values, weights, radius, xv)
    box_mean(y * values, weights, radius, yv)
    least = SLOPES * (radius * (radius + 1) / 3) ** 2
    for i in range(height):
        for j in range(width):
            dx, dy = j - mx[i, j], i - my[i, j]
            a, b, c = xx[i, j] - mx[i, j] ** 2, xy[i, j] - mx[i, j] * my[i, j], yy[i, j] - my[i, j] ** 2
            by_x, by_y = xv[i, j] - mx[i, j] * mean[i, j], yv[i, j] - my[i, j] * mean[i, j]
            det = a * c - b * b
            out[i, j] = mean[i, j]
            if det > least:
                out[i, j] += ((c * dx - b * dy) * by_x + (a * dy - b * dx) * by_y) / det


@jit
def keep_large(flags, least, stack):
    """Clear the 8-connected regions of `flags` (uint8) with fewer than `least` blocks, in place; `stack` holds all indices."""
    height, width = flags.shape
    for y in range(height):
        for x in range(width):
            if flags[y, x] != 1:
                continue
            flags[y, x], stack[0], end, here = 2, y * width + x, 1, 0
            while here < end:
                v, u = stack[here] // width, stack[here] % width
                here += 1
                for q in range(max(v - 1, 0), min(v + 2, height)):
                    for p in range(max(u - 1, 0), min(u + 2, width)):
                        if flags[q, p] == 1:
                            flags[q, p], stack[end] = 2, q * width + p
                            end += 1
            if end < least:
                for k in range(end):
                    flags[stack[k] // width, stack[k] % width] = 0
    for y in range(height):
        for x in range(width):
            flags[y, x] = flags[y, x] != 0


@jit
def fill_holes(flags, stack):
    """Flag (uint8) the blocks from which no way leads to the frame over others than flagged ones, in rows and columns.

    `stack` has room for all indices.
    """
    height, width = flags.shape
    end = 0
    for y in range(height):
        for x in range(width):
            if (y in (0, height - 1) or x in (0, width - 1)) and flags[y, x] == 0:
                flags[y, x], stack[end] = 2, y * width + x
                end += 1
    while end:
        end -= 1
        v, u = stack[end] // width, stack[end] % width
        for q, p in ((v - 1, u), (v + 1, u), (v, u - 1), (v, u + 1)):
            if 0 <= q < height and 0 <= p < width and flags[q, p] == 0:
                flags[q, p], stack[end] = 2, q * width + p
                end += 1
    for y in range(height):
        for x in range(width):
            flags[y, x] = flags[y, x] != 2


@jit(fastmath=True)
def radius_bins(columns, cx, dy, form, last, bins):
    """Distance from the centre, rounded to whole blocks and at most `last`, of blocks of one row; `columns` are 0, 1, 2 ...

    The row lies `dy` below the centre; `form` is that of `distance_form`.
    """
    shift, half = np.float32(cx), np.float32(0.5)
    a, b, c = np.float32(form[0]), np.float32(2 * form[1] * dy), np.float32(form[2]) * np.float32(dy) ** 2
    for x in range(bins.size):
        dx = columns[x] - shift
        bins[x] = np.int32(np.sqrt((a * dx + b) * dx + c) + half)
    for x in range(bins.size):
        bins[x] = min(bins[x], np.int32(last))


@jit(fastmath=True)
def _power(values, shares, weighted):
    """Sums of the weighted squares and of the weights; the weighted values."""
    power = count = 0.0
    for x in range(values.shape[0]):
        weighted[x] = values[x] * shares[x]
    for x in range(values.shape[0]):
        power += weighted[x] * values[x]
        count += shares[x]
    return power, count


@jit
def ellipse_score(contrast, weights, place, sums):
    """How much of the contrast is a function of the distance from a centre: sum of (sum)^2 / number, less chance.

    The centre is place[:2], and the distance that in the plane in which the strain place[2:] is undone. `sums` (radii, 2) is
    working space.
    """
    cx, cy, form = place[0], place[1], distance_form(place[2], place[3])
    height, width = contrast.shape
    sums[:] = 0.0
    last = sums.shape[0] - 1
    columns, bins, weighted = np.arange(width).astype(np.float32), np.empty(width, np.int32), np.empty(width)
    power = count = 0.0
    for y in range(height):
        radius_bins(columns, cx, y - cy, form, last, bins)
        shares = weights[y]
        row_power, row_count = _power(contrast[y], shares, weighted)
        power += row_power
        count += row_count
        for x in range(width):
            add_pair(sums, np.uint64(np.uint32(bins[x])), weighted[x], shares[x])
    if power == 0.0:
        return 0.0
    score = 0.0
    for i in range(2, last):
        if sums[i, 1] > 6.0:
            score += sums[i, 0] * sums[i, 0] / sums[i, 1] * count / power - 1.0
    return score


@jit
def profile_score(contrast, weights, cx, cy, sums):
    """`ellipse_score` for circles about (cx, cy)."""
    return ellipse_score(contrast, weights, (cx, cy, 0.0, 0.0), sums)


@jit
def _vertex(before, here, after):
    """Where the parabola through three values, one step apart, has its maximum: within half a step of the middle one."""
    bend = before + after - 2 * here
    return min(max(0.5 * (before - after) / bend, -0.5), 0.5) if bend < 0.0 else 0.0


@jit
def climb(contrast, weights, best, x, y, step, sums):
    """The maximum of `profile_score` next to (x, y), where it is `best`, by steps to the best neighbour and by parabolas.

    Steps are halved down to one block, and end with one of LAST. Returns the score and its place. `sums`: see there.
    """
    while True:
        left = profile_score(contrast, weights, x - step, y, sums)
        right = profile_score(contrast, weights, x + step, y, sums)
        up = profile_score(contrast, weights, x, y - step, sums)
        down = profile_score(contrast, weights, x, y + step, sums)
        highest = max(left, right, up, down)
        if highest > best:
            if left == highest:
                x -= step
            elif right == highest:
                x += step
            elif up == highest:
                y -= step
            else:
                y += step
            best = highest
            continue
        if step > 1.0:
            step /= 2
            continue
        there = x + step * _vertex(left, best, right), y + step * _vertex(up, best, down)
        if step < 1.0:
            return best, there[0], there[1]
        score = profile_score(contrast, weights, there[0], there[1], sums)
        if score > best:
            best, x, y = score, there[0], there[1]
        step = LAST


@jit
def climb_ellipse(contrast, weights, place, sums):
    """The maximum of `ellipse_score` near a circle about place[:2]; `place` (4,) is there in the end.

    The best of some strains all round is improved together with the centre, by steps to the best neighbour.
    """
    best = ellipse_score(contrast, weights, place, sums)
    start, other = place.copy(), place.copy()
    for size in STRAINS:
        for k in range(8):
            other[2], other[3] = size * np.cos(0.25 * np.pi * k), size * np.sin(0.25 * np.pi * k)
            score = ellipse_score(contrast, weights, other, sums)
            if score > best:
                best = score
                place[:] = other
    steps = np.array([1.0, 1.0, 0.01, 0.01])
    while steps[0] > LEAST_STEP:
        highest = best
        for p in range(4):
            for side in (-1.0, 1.0):
                other[:] = place
                other[p] += side * steps[p]
                score = ellipse_score(contrast, weights, other, sums)
                if score > highest:
                    highest = score
                    start[:] = other
        if highest > best:
            best = highest
            place[:] = start
        else:
            steps *= 0.5
    return best


@jit
def slope_tensor(contrast, usable, txx, txy, tyy):
    """Products of the slopes of the contrast, 0 at and beside unusable blocks; their means tell direction and clarity."""
    height, width = contrast.shape
    txx[:] = 0.0
    txy[:] = 0.0
    tyy[:] = 0.0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            if usable[y, x] > 0.0:
                gx, gy = contrast[y, x + 1] - contrast[y, x - 1], contrast[y + 1, x] - contrast[y - 1, x]
                txx[y, x], txy[y, x], tyy[y, x] = gx * gx, gx * gy, gy * gy


@jit
def vote_along(votes, vote, x, y, gx, gy):
    """Add `vote` to the blocks on the ray from (x, y) along (gx, gy)."""
    (height, width), flat = votes.shape, votes.reshape(-1)
    steps, rim = np.inf, 1e-6  # so far from the frame rounding leads to no other block
    if gx != 0.0:
        steps = ((width - rim - x) if gx > 0.0 else rim - x) / gx
    if gy != 0.0:
        steps = min(steps, ((height - rim - y) if gy > 0.0 else rim - y) / gy)
    for k in range(np.int64(np.ceil(steps))):
        flat[np.uint32(np.int32(y + k * gy)) * np.uint32(width) + np.uint32(np.int32(x + k * gx))] += vote


@jit
def radial_votes(txx, txy, tyy, usable, typical, near, votes):
    """Hough transform: blocks where the slopes agree on a direction vote for all centres on the line along it.

    On a ring that line is a radius, so that all rings vote for one point. The vote grows with the agreement of the slopes and,
    up to the `typical` power, with their strength. The slopes are taken to be smooth: every second row and column votes.
    """
    height, width = txx.shape
    votes[:] = 0.0
    for y in range(0, height, 2):
        for x in range(0, width, 2):
            power, along = txx[y, x] + tyy[y, x], np.hypot(txx[y, x] - tyy[y, x], 2 * txy[y, x])
            if not usable[y, x] > 0.0 or not along > 0.35 * power:
                continue
            vote = (along / power - 0.35) * power / (power + typical)
            double = (txx[y, x] - tyy[y, x]) / along
            gx, gy = np.sqrt(max(0.5 + 0.5 * double, 0.0)), np.sqrt(max(0.5 - 0.5 * double, 0.0))
            if txy[y, x] < 0.0:
                gy = -gy
            for side in (-1.0, 1.0):
                px, py = x + 0.5 + side * near * gx, y + 0.5 + side * near * gy
                if 0.0 <= px < width and 0.0 <= py < height:
                    vote_along(votes, vote, px, py, side * gx, side * gy)


@jit
def select(values, rank):
    """The value of this rank (from 0) among `values`, which are brought out of order; no branch depends on them."""
    low, end = 0, values.shape[0]
    while True:
        a, b, c = values[low], values[(low + end) // 2], values[end - 1]
        pivot = max(min(a, b), min(max(a, b), c))
        below = low
        for k in range(low, end):
            value = values[k]
            values[k] = values[below]
            values[below] = value
            below += value < pivot
        if rank < below:
            end = below
            continue
        above = below
        for k in range(below, end):
            value = values[k]
            values[k] = values[above]
            values[above] = value
            above += not value > pivot
        if rank < above:
            return pivot
        low = above


@jit
def quantile(values, weights, share):
    """The value below which this share lie, of those that have a weight; of SAMPLE of these, if there are more."""
    values, weights, number = values.reshape(-1), weights.reshape(-1), 0
    for k in range(weights.shape[0]):
        number += weights[k] > 0.0
    if number == 0:
        return np.nan
    step, seen, kept = max(1, number // SAMPLE), 0, 0
    some = np.empty((number - 1) // step + 1)
    if number == weights.shape[0]:
        some[:] = values[::step]
        return select(some, np.int64(share * (some.shape[0] - 1)))
    for k in range(weights.shape[0]):
        if weights[k] > 0.0:
            if seen == kept * step:
                some[kept] = values[k]
                kept += 1
            seen += 1
    return select(some, np.int64(share * (kept - 1)))


@jit
def highest_around(means, usable, x, y):
    """The highest usable value REACH blocks away from (x, y), in rows or columns."""
    height, width = means.shape
    highest = -np.inf
    for q in range(max(y - REACH, 0), min(y + REACH + 1, height)):
        step = 1 if abs(q - y) == REACH else 2 * REACH
        for p in range(x - REACH, x + REACH + 1, step):
            if 0 <= p < width and usable[q, p] > 0.0:
                highest = max(highest, means[q, p])
    return highest


@jit
def hide_spikes(means, usable, low, high):
    """Take bright blocks that nothing around is as bright as for not usable: zingers, clusters of hot pixels, the direct beam.

    Each would darken the surroundings of many others. A ring goes on to either side. Usual values lie from `low` to `high`.
    """
    limit, found = low + SPIKE * (high - low), high > low
    while found:
        found = False
        for y in range(means.shape[0]):
            row, bright = means[y], 0
            for x in range(row.shape[0]):
                bright += row[x] > limit
            for x in range(row.shape[0] if bright else 0):
                rise = row[x] - low
                if row[x] > limit and usable[y, x] > 0.0 and rise > SPIKE * (highest_around(means, usable, x, y) - low):
                    usable[y, x], found = 0.0, True


@jit
def contrast(means, weights, around, dark, out):
    """Block means less what is `around`, in units that grow with the square root, clipped at four times the usual."""
    signal = np.empty_like(means)
    for y in range(means.shape[0]):
        for x in range(means.shape[1]):
            signal[y, x] = max(around[y, x] - dark, 0.0)
    least = 0.05 * quantile(signal, weights, 0.5) + 1e-300
    for y in range(means.shape[0]):
        for x in range(means.shape[1]):
            out[y, x] = (means[y, x] - around[y, x]) / np.sqrt(signal[y, x] + least) if weights[y, x] > 0.0 else 0.0
            signal[y, x] = abs(out[y, x])
    limit = 4 * quantile(signal, weights, 0.5)
    for y in range(means.shape[0]):
        for x in range(means.shape[1]):
            out[y, x] = min(max(out[y, x], -limit), limit) if limit > 0.0 else np.sign(out[y, x])


@jit
def distances(cx, cy, e1, e2, last, out):
    """Distance of each block from (cx, cy), the strain (e1, e2) undone: rounded to whole blocks, at most `last`, int32.

    Half-way cases are rounded up without fail, which the quicker `radius_bins` does not see to.
    """
    a, b, c = distance_form(e1, e2)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            dx, dy = x - cx, y - cy
            out[y, x] = min(np.sqrt(a * dx ** 2 + 2 * b * dx * dy + c * dy ** 2) + 0.5, np.float64(last))


@jit
def radial_quantile(values, usable, away, share, number, out):
    """Quantile of the usable values at each distance, where `away` has these, NaN for fewer than `number` values."""
    height, width = values.shape
    n = out.shape[0]
    ends, by_bin = np.zeros(n + 1, np.int64), np.empty(height * width)
    for y in range(height):
        for x in range(width):
            ends[away[y, x] + 1] += usable[y, x] > 0.0
    ends = np.cumsum(ends)
    for y in range(height):
        for x in range(width):
            if usable[y, x] > 0.0:
                by_bin[ends[away[y, x]]] = values[y, x]
                ends[away[y, x]] += 1
    first = 0
    for i in range(n):
        here = ends[i] - first
        out[i] = select(by_bin[first:ends[i]], np.int64(share * (here - 1))) if here >= number else np.nan
        first = ends[i]


@jit
def expected_light(profile, least, expected):
    """What a radial profile lets expect, without narrow rings: at most the median along the radius, 5 bins to either side.

    Gaps (NaN) of `profile` are filled. Returns the first of three radii in a row from where on it is bright: above `least` and
    0.3 times what is expected up to twelve bins further out; 0 if there is none.
    """
    n, before, window = profile.shape[0], -1, np.empty(11)
    for i in range(n):
        if profile[i] == profile[i]:
            for k in range(before + 1, i):
                rise = (profile[i] - profile[before]) * (k - before) / (i - before)
                profile[k] = profile[before] + rise if before >= 0 else profile[i]
            before = i
    profile[before + 1:] = profile[before]
    for i in range(n):
        for k in range(11):
            window[k] = profile[min(max(i + k - 5, 0), n - 1)]
        expected[i] = min(profile[i], select(window, 5))
    bright = 0
    for i in range(n):
        ahead = expected[i]
        for k in range(i, min(i + 13, n)):
            ahead = max(ahead, expected[k])
        bright = bright + 1 if profile[i] > 0.3 * ahead and profile[i] > least else 0
        if bright == 3:
            return i - 2
    return 0


@jit
def add_darker(values, usable, away, expected, share, noise, flags):
    """Flag the usable values below `share` of what is expected at their distance, where `away` has these, beyond doubt.

    `noise` is the standard deviation where 1 is expected; it grows with the square root. Five of them are beyond doubt.
    """
    limits = np.empty(expected.shape[0])
    for i in range(limits.shape[0]):
        limits[i] = min(share * expected[i], expected[i] - 5 * noise * np.sqrt(max(expected[i], 0.0)))
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            flags[y, x] |= (values[y, x] < limits[away[y, x]]) & (usable[y, x] > 0.0)


@jit
def grow(flags, by, out):
    """What is within `by` blocks of flagged ones, in rows and columns; all uint8."""
    height, width = flags.shape
    wide, far = np.zeros_like(flags), min(by, width - 1)
    for y in range(height):
        for k in range(-far, far + 1):
            source, target = flags[y, max(k, 0):width + min(k, 0)], wide[y, max(-k, 0):width - max(k, 0)]
            for x in range(target.shape[0]):
                target[x] |= source[x]
    out[:] = 0
    for y in range(height):
        for k in range(max(y - by, 0), min(y + by + 1, height)):
            for x in range(width):
                out[y, x] |= wide[k, x]


@jit
def slope_votes(contrast, weights, near, out):
    """Where slopes of the contrast put the centre: votes, less those around. False, and no votes, where nothing is usable."""
    ones, usable = np.ones_like(contrast), np.empty_like(contrast)
    usable[:] = weights > 0.5
    work, tensor = np.empty_like(contrast), np.empty((3, *contrast.shape))
    box_mean(usable, ones, 2, work)
    usable[:] = work > 0.999
    if not usable.any():
        return False
    box_mean(contrast, weights, 2, work)
    slope_tensor(work, usable, tensor[0], tensor[1], tensor[2])
    for part in tensor:
        box_mean(part, usable, 3, work)
        part[:] = work
    radial_votes(tensor[0], tensor[1], tensor[2], usable, quantile(tensor[0] + tensor[2], usable, 0.5), near, out)
    box_mean(out, ones, 1, work)
    box_mean(work, ones, 8, out)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = work[y, x] - out[y, x]
    return True
