"""A first centre without any guess, on a small image: local contrast, shadows, symmetry, and what rings look like in it."""

import numpy as np

from edfast.kernels._jit import jit
from edfast.kernels._simd import add_pair


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
    total = np.float32(0)
    for x in range(sums.size):
        part = columns[x * size:(x + 1) * size]
        value = np.float32(0)
        for k in range(size):
            value += part[k]
        sums[x] = value
        total += value
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


@jit(fastmath=True)
def radius_bins(columns, cx, cy, y, last, bins):
    """Distance from (cx, cy), rounded to whole blocks and at most `last`, of the blocks of row y; `columns` are 0, 1, 2 ..."""
    dy2, shift, half = np.float32(y - cy) ** 2, np.float32(cx), np.float32(0.5)
    for x in range(bins.size):
        dx = columns[x] - shift
        bins[x] = np.int32(np.sqrt(dx * dx + dy2) + half)
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
def profile_score(contrast, weights, cx, cy, sums):
    """How much of the contrast is a function of the distance from (cx, cy): sum of (sum)^2 / number, less chance.

    `sums` (radii, 2) is working space.
    """
    height, width = contrast.shape
    sums[:] = 0.0
    last = sums.shape[0] - 1
    columns, bins, weighted = np.arange(width).astype(np.float32), np.empty(width, np.int32), np.empty(width)
    power = count = 0.0
    for y in range(height):
        radius_bins(columns, cx, cy, y, last, bins)
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
    height, width = votes.shape
    steps = np.inf
    if gx != 0.0:
        steps = ((width - x) if gx > 0.0 else -x) / gx
    if gy != 0.0:
        steps = min(steps, ((height - y) if gy > 0.0 else -y) / gy)
    bottom, right = np.float64(height - 1), np.float64(width - 1)
    for k in range(np.int64(np.ceil(steps))):
        votes[np.uint32(min(max(y + k * gy, 0.0), bottom)), np.uint32(min(max(x + k * gx, 0.0), right))] += vote


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
def radial_quantile(values, usable, cx, cy, share, number, out):
    """Quantile of the usable values at each distance (in blocks) from (cx, cy), NaN for fewer than `number` values."""
    height, width = values.shape
    n = out.shape[0]
    ends, bins, by_bin = np.zeros(n + 1, np.int64), np.empty(height * width, np.int64), np.empty(height * width)
    for y in range(height):
        row = bins[y * width:(y + 1) * width]
        for x in range(width):
            row[x] = min(np.int64(np.sqrt((x - cx) ** 2 + (y - cy) ** 2) + 0.5), n - 1)
        for x in range(width):
            if usable[y, x] > 0.0:
                ends[row[x] + 1] += 1
            else:
                row[x] = n
    ends = np.cumsum(ends)
    for k in range(bins.shape[0]):
        i = bins[k]
        if i < n:
            by_bin[ends[i]] = values[k // width, k % width]
            ends[i] += 1
    first = 0
    for i in range(n):
        here = ends[i] - first
        k = np.int64(share * (here - 1))
        out[i] = np.partition(by_bin[first:ends[i]], k)[k] if here >= number else np.nan
        first = ends[i]
