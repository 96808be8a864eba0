"""Centre and covariance ellipse of the largest bright region of an image, and the first maximum of an image.

The drivers here choose among the kernels by dtype, span and size; what they return depends on the pixels alone.
"""

import math
from typing import NamedTuple

import numpy as np

from . import labels, threshold
from ._bands import in_bands
from ._jit import jit

WHOLE_SPAN = 4096  # whole numbers in floats have exact bins up to this span,
WHOLE_LIMIT = 65536  # and up to this magnitude
DENSE_SPAN = 1 << 19  # integers in a wider span are sorted, not counted
RUN_WORK = 8  # joining one run costs about as much as eight pixels of a pass over the image
NO_MASK = np.zeros((0, 0), bool)


class Region(NamedTuple):
    """The largest region: its size [pixel], centroid, covariance (ddof 1), and how many regions there were."""

    size: int
    cx: float
    cy: float
    cov_xx: float
    cov_xy: float
    cov_yy: float
    regions: int


def float_of_key(key, dtype):
    """Float of `dtype` whose order-preserving key (see `threshold.float_extremes`) is the integer scalar `key`."""
    return (key if key >= 0 else key ^ np.iinfo(key.dtype).max).view(dtype)


def finite_extremes(pixels, masked):
    """Smallest and largest unmasked finite one of `pixels`, in their dtype; how many; and whether any is left out."""
    n, value = pixels.size, pixels.dtype.type
    if masked.size == 0 and pixels.dtype.kind != "f":
        parts = in_bands(lambda a, b: threshold.extremes(pixels[a:b]), n, n)
        return value(min(p[0] for p in parts)), value(max(p[1] for p in parts)), n, False
    if masked.size == 0:
        bits = pixels.view(np.int32 if pixels.itemsize == 4 else np.int64)
        parts = in_bands(lambda a, b: threshold.float_extremes(bits[a:b]), n, n)
        keys = min(p[0] for p in parts), max(p[1] for p in parts)
        low, high = (float_of_key(bits.dtype.type(key), pixels.dtype) for key in keys)
        if np.isfinite(low) and np.isfinite(high):
            return low, high, n, False
    parts = in_bands(lambda a, b: threshold.valid_extremes(pixels[a:b], masked[a:b]), n, n)
    parts = [p for p in parts if p[2]]
    if not parts:
        return None, None, 0, True
    return value(min(p[0] for p in parts)), value(max(p[1] for p in parts)), sum(p[2] for p in parts), True


def float_otsu(pixels, masked, low, high, check):
    """Otsu's threshold of floats between `low` and `high`, or None where 256 bins do not fit between them."""
    with np.errstate(over="ignore", invalid="ignore"):
        edges = np.linspace(low, high, threshold.BINS + 1, dtype=pixels.dtype)
        scale = pixels.dtype.type(threshold.BINS) / (high - low)
        # Errors of the multiplication, and of the edges, in units of the last place of the code, of which a bin has so many:
        units = 1 << 15 if pixels.itemsize == 4 else 1 << 44
        window = 3 + 2 * np.spacing(max(abs(low), abs(high))) * units * scale
        sample = pixels[::pixels.size // 1024 + 1]
        whole = high - low <= WHOLE_SPAN and max(abs(low), abs(high)) < WHOLE_LIMIT and not np.any(sample % 1)
    if not (0 < scale < np.inf and window < units / 8):
        return rare_otsu(pixels, masked)

    def band(start, stop, whole):
        work = np.empty(threshold.CHUNK, pixels.dtype)
        return threshold.float_histogram(pixels[start:stop], masked[start:stop], check, low, scale, math.ceil(window), edges,
                                         whole, work, work.view(np.int32 if work.itemsize == 4 else np.int64))

    def histogram(whole):
        parts = in_bands(lambda start, stop: band(start, stop, whole), pixels.size, pixels.size)
        return sum(p[0] for p in parts), all(p[1] for p in parts)

    counts, sound = histogram(whole)
    if not sound:
        counts, _ = histogram(False)
    return threshold.otsu_of_histogram(counts, (edges[:-1] + edges[1:]) / 2)


def rare_otsu(pixels, masked):
    """`float_otsu` by numpy, for values so far from zero, so close together or so far apart that bins are lost in rounding.

    Where the dtype itself has no room for the bins (then scikit-image has no answer), in float64 and scaled to about one.
    """
    valid = pixels[np.isfinite(pixels) & ~masked] if masked.size else pixels[np.isfinite(pixels)]
    exponent = int(np.frexp(np.abs(valid).max())[1])
    for values, power in ((valid, 0), (np.ldexp(valid.astype(np.float64), -exponent), exponent)):
        try:
            with np.errstate(over="raise", invalid="raise"):
                counts, edges = np.histogram(values, threshold.BINS)
        except (ValueError, FloatingPointError):
            continue
        return np.ldexp(threshold.otsu_of_histogram(counts, (edges[:-1] + edges[1:]) / 2), power).astype(pixels.dtype)
    return None


def int_otsu(pixels, masked, low, high):
    """Otsu's threshold of integers between `low` and `high`, as an int."""
    low, span = int(low), int(high) - int(low) + 1
    if span <= DENSE_SPAN:
        tables = in_bands(lambda a, b: threshold.int_histogram(pixels[a:b], masked[a:b], low, span), pixels.size, pixels.size)
        counts = sum(table.sum(axis=0, dtype=np.int64) for table in tables)
        filled = np.flatnonzero(counts)
        return int(threshold.otsu_of_histogram(counts[filled], low + filled))
    offsets = np.empty(pixels.size, np.uint32 if span <= 1 << 32 else np.uint64)
    offsets = offsets[:threshold.int_offsets(pixels, masked, pixels.dtype.type(low), offsets)]
    offsets.sort()
    return low + int(threshold.otsu_of_sorted(offsets, float(low)))


def bright_from(pixels, masked, threshold_rel):
    """Smallest and largest pixel value that counts as bright, and "", or None, None and the reason why there is none."""
    low, high, n, check = finite_extremes(pixels, masked)
    if n == 0:
        return None, None, "no pixel is finite and unmasked"
    if low == high:
        return None, None, f"all pixels have the same value, {low}"
    if pixels.dtype.kind == "f":
        otsu = float_otsu(pixels, masked, low, high, check)
        if otsu is None:
            return None, None, f"all pixels lie between {low} and {high}, too close together to tell apart"
        with np.errstate(over="ignore"):
            cut = np.nextafter(otsu * threshold_rel, pixels.dtype.type(np.inf))
    else:
        otsu = int_otsu(pixels, masked, low, high)
        cut = max(math.floor(otsu * threshold_rel) + 1, int(low))
    if cut > high:
        return None, None, f"threshold_rel={threshold_rel:g} puts the threshold above the brightest pixel; lower it"
    return pixels.dtype.type(cut), high, ""


def bright_runs(image, masked, low, high):
    """Runs of pixels from `low` to `high`: starts, ends (n,) and each row's first run (H + 1,)."""
    height, width = image.shape
    bits = np.empty((height, -(-width // labels.LANES)), np.uint64)
    toggles = in_bands(lambda a, b: labels.bright_bits(image[a:b], masked[a:b], low, high, bits[a:b]), height, image.size)
    starts, ends = np.empty((2, int(sum(toggles)) // 2), np.uint16 if width <= 65535 else np.int32)
    first = np.empty(height + 1, np.int64)
    labels.runs_of_bits(bits, width, starts, ends, first)
    return starts, ends, first


def regions_of_runs(starts, ends, first, reach, width):
    """Each run's region, as `labels.measure` leaves it, and the number of regions."""
    parents = np.arange(first[-1], dtype=np.int32 if width * first.size < 2**31 else np.int64)

    def band(row, stop):
        labels.join(starts, ends, first[row:stop + 1], reach, width, parents)
        return row

    for row in in_bands(band, first.size - 1, parents.size * RUN_WORK)[1:]:
        labels.join(starts, ends, first[row - 1:row + 2], reach, width, parents)
    return parents, labels.measure(starts, ends, parents)


def largest_region(image, masked, low, high, min_size):
    """Largest 8-connected region of pixels from `low` to `high`, once 4-connected ones below `min_size` are gone; or None."""
    width = image.shape[1]
    starts, ends, first = bright_runs(image, masked, low, high)
    if min_size > 1:
        parents, _ = regions_of_runs(starts, ends, first, 0, width)
        labels.drop_small(starts, ends, first, parents, min_size)
        del parents  # before the next ones are made: it may be half of all memory
    if first[-1] == 0:
        return None
    parents, regions = regions_of_runs(starts, ends, first, 1, width)
    chosen = np.argmin(parents)  # sizes are negative; the first in raster order on a tie
    size, sum_x, sum_y = labels.first_moments(starts, ends, first, parents, chosen)
    cx, cy = sum_x / size, sum_y / size
    x0, y0 = round(cx), round(cy)
    sums = labels.second_moments(starts, ends, first, parents, chosen, float(x0), float(y0))
    # About the whole numbers next to the centroid the sums are exact; from there to the centroid it is a small step.
    dx, dy = (sum_x - size * x0) / size, (sum_y - size * y0) / size
    steps = (dx * dx, dx * dy, dy * dy)
    covariance = [(s - size * step) / max(size - 1, 1) for s, step in zip(sums, steps, strict=True)]
    return Region(size, cx, cy, *covariance, regions)


def principal_axes(cov_xx, cov_xy, cov_yy):
    """Square roots of the covariance's eigenvalues, larger first, and the direction of the larger in (-pi/2, pi/2]."""
    middle, half = (cov_xx + cov_yy) / 2, math.hypot((cov_xx - cov_yy) / 2, cov_xy)
    angle = math.atan2(2 * cov_xy, cov_xx - cov_yy) / 2
    minor = (cov_xx * cov_yy - cov_xy * cov_xy) / (middle + half) if middle + half > 0 else 0.0
    return math.sqrt(middle + half), math.sqrt(max(minor, 0.0)), angle if angle > -math.pi / 2 else math.pi / 2


@jit
def first_equal(values, masked, wanted):
    """Index of the first unmasked one of `values` that equals `wanted`, or -1."""
    for i in range(values.size):
        if values[i] == wanted and not (masked.size and masked[i]):
            return i
    return -1


def maximum(pixels, masked):
    """Index of the first largest of the finite, unmasked `pixels`, or -1 where there is none."""
    _, high, n, _ = finite_extremes(pixels, masked)
    return first_equal(pixels, masked, high) if n else -1
