"""The direct beam of a pattern without a beam stop: where it is, how wide it is, and its centroid, whatever single pixels do.

Medians of 3 x 3 pixels find the beam: no hot pixel, nor two beside one another, can lift one. The centroid is taken on the
pixels themselves, weighted by a round Gaussian as wide as the beam that moves along with it until it stays. A background that
is the same on all sides drops out.
"""

import math

import numpy as np

from ._jit import jit

HALF_WIDTH = 1.1774100225154747  # of a Gaussian at half its height, in standard deviations: sqrt(2 ln 2)
NARROWEST = 0.6  # standard deviation below which one pixel holds the beam, and its neighbours say little [pixel]
SAMPLES = 1 << 16  # pixels that the background is taken from


@jit
def valid(image, masked, row, col):
    """Whether the pixel is finite and not masked out."""
    return np.isfinite(image[row, col]) and not (masked.size and masked[row, col])


@jit
def sorted_neighbours(image, masked, row, col, values):
    """Valid ones of the 3 x 3 pixels around (row, col), in increasing order in `values`; returns how many there are."""
    n = 0
    for y in range(max(row - 1, 0), min(row + 2, image.shape[0])):
        for x in range(max(col - 1, 0), min(col + 2, image.shape[1])):
            if not valid(image, masked, y, x):
                continue
            value, i = image[y, x], n
            while i > 0 and values[i - 1] > value:
                values[i] = values[i - 1]
                i -= 1
            values[i] = value
            n += 1
    return n


@jit
def brightest_median(image, masked, values):
    """Row, column and value of the largest 3 x 3 median whose middle pixel is valid; row -1 where no pixel is."""
    best_row, best_col, best = -1, -1, image[0, 0]
    for row in range(image.shape[0]):
        # The middle pixel must be brighter than the best median so far. Counting these vectorises, and most rows have none.
        brighter = 0
        for col in range(image.shape[1]):
            brighter += image[row, col] > best
        if best_row >= 0 and brighter == 0:
            continue
        for col in range(image.shape[1]):
            if (best_row >= 0 and not image[row, col] > best) or not valid(image, masked, row, col):
                continue
            n = sorted_neighbours(image, masked, row, col, values)
            if best_row < 0 or values[(n - 1) // 2] > best:
                best_row, best_col, best = row, col, values[(n - 1) // 2]
    return best_row, best_col, best


@jit
def grow(image, masked, row, col, level, seen, queue, values):
    """Number of pixels, and sums of their columns and rows, of the region around (row, col) with 3 x 3 medians above `level`.

    `seen` (bool, all False, of the image's shape) and `queue` (int64, of its size) are scratch space.
    """
    width = image.shape[1]
    queue[0], seen[row, col] = row * width + col, True
    taken, waiting, area, sum_x, sum_y = 0, 1, 0, 0.0, 0.0
    while taken < waiting:
        y, x = queue[taken] // width, queue[taken] % width
        taken += 1
        n = sorted_neighbours(image, masked, y, x, values)
        if n == 0 or not values[(n - 1) // 2] > level:
            continue
        area, sum_x, sum_y = area + 1, sum_x + x, sum_y + y
        for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            if 0 <= y + dy < image.shape[0] and 0 <= x + dx < width and not seen[y + dy, x + dx]:
                seen[y + dy, x + dx] = True
                queue[waiting] = (y + dy) * width + x + dx
                waiting += 1
    return area, sum_x, sum_y


@jit
def medians_and_neighbours(image, masked, top, left, values, medians, neighbours):
    """3 x 3 median, and largest valid pixel around the middle one, for the window at (top, left); NaN where there is none."""
    for row in range(medians.shape[0]):
        for col in range(medians.shape[1]):
            n = sorted_neighbours(image, masked, top + row, left + col, values)
            medians[row, col] = values[(n - 1) // 2] if n else np.nan
            neighbours[row, col] = np.nan
            if n > 1:
                # The middle pixel is one of them: if it is the largest, the next one is its largest neighbour.
                largest = values[n - 1] > image[top + row, left + col]
                neighbours[row, col] = values[n - 1] if largest else values[n - 2]


def background_level(image, masked):
    """Median of some ten thousand valid pixels all over the image."""
    step = max(image.size // SAMPLES, 1) | 1  # odd: it does not stay in the same columns of the usual widths
    pixels = image.reshape(-1)[::step].astype(np.float64)
    valid = np.isfinite(pixels)
    if masked.size:
        valid &= ~masked.reshape(-1)[::step]
    return float(np.median(pixels[valid])) if valid.any() else math.nan


def cleaned_window(image, masked, window, background, width, values):
    """Window (top, bottom, left, right) of the image above `background`, float64; hot and invalid pixels take their median."""
    top, bottom, left, right = window
    pixels = image[top:bottom, left:right].astype(np.float64)
    medians, neighbours = np.empty((2, *pixels.shape))
    medians_and_neighbours(image, masked, top, left, values, medians, neighbours)
    noise = 1.4826 * np.nanmedian(np.abs(pixels - medians)[medians - background > 0.5 * np.nanmax(medians - background)])
    # No pixel of a beam this wide exceeds its largest neighbour by more than this factor, but for the noise.
    steepest = math.exp(0.5 / width**2)
    with np.errstate(invalid="ignore"):
        bad = ~np.isfinite(pixels) | (pixels - background > steepest * (neighbours - background) + 6 * noise)
    if masked.size:
        bad |= masked[top:bottom, left:right]
    return np.nan_to_num(np.where(bad, medians, pixels) - background)


def centred_weight(indices, position, width):
    """Gaussian at `position`, cut off on both sides at the nearer edge: the half that the frame hides would pull."""
    offsets = indices - position
    reach = min(position - indices[0], indices[-1] - position) + 0.5
    return np.exp(-0.5 * (offsets / width) ** 2) * np.clip(reach + 0.5 - np.abs(offsets), 0, 1)


def weighted_centroid(pixels, x, y, width):
    """Column and row where a Gaussian of standard deviation `width` is centred on what it weighs; None where it runs away."""
    columns, rows = np.arange(pixels.shape[1]), np.arange(pixels.shape[0])
    for _ in range(100):
        weight_x, weight_y = centred_weight(columns, x, width), centred_weight(rows, y, width)
        along_x, along_y = weight_y @ pixels, pixels @ weight_x
        total = along_x @ weight_x
        if not total > 0:
            return None
        # The product of two equal Gaussians d apart is centred half way: twice the step is Newton's.
        step_x = 2 * (along_x @ (weight_x * (columns - x))) / total
        step_y = 2 * (along_y @ (weight_y * (rows - y))) / total
        x, y = x + step_x, y + step_y
        if not (-1 < x < pixels.shape[1] and -1 < y < pixels.shape[0]):
            return None
        if abs(step_x) + abs(step_y) < 1e-6:
            break
    return x, y


def direct_beam(image, masked):
    """Centre (cx, cy) and standard deviation of the direct beam [pixel], or None where nothing stands out.

    `image` is any real dtype, (H, W); `masked` is bool of its shape, or empty.
    """
    values = np.empty(9, image.dtype)
    background = background_level(image, masked)
    row, col, peak = brightest_median(image, masked, values)
    if row < 0 or not float(peak) > background:
        return None
    seen, queue = np.zeros(image.shape, bool), np.empty(image.size, np.int64)
    level = background + (float(peak) - background) / 2
    area, sum_x, sum_y = grow(image, masked, row, col, level, seen, queue, values)
    cx, cy = sum_x / area, sum_y / area
    width = max(math.sqrt(area / math.pi) / HALF_WIDTH, NARROWEST)
    reach = math.ceil(4 * width) + 2
    top, left = max(round(cy) - reach, 0), max(round(cx) - reach, 0)
    window = (top, min(round(cy) + reach + 1, image.shape[0]), left, min(round(cx) + reach + 1, image.shape[1]))
    center = weighted_centroid(cleaned_window(image, masked, window, background, width, values), cx - left, cy - top, width)
    if center is None:
        return None
    cx, cy = float(center[0] + left), float(center[1] + top)
    # A ring around the centre of what is bright is no beam.
    n = sorted_neighbours(image, masked, round(cy), round(cx), values)
    return (cx, cy, width) if n and float(values[(n - 1) // 2]) > background + (float(peak) - background) / 4 else None
