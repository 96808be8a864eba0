"""Otsu's threshold, bit for bit as scikit-image 0.26 computes it: extremes, histogram, threshold.

Floats have 256 bins between minimum and maximum, integers one bin for each value. numpy settles each pixel against the edges
of ``linspace``; the kernels here find the bin by one multiplication and settle only the few pixels that lie close to an edge.

Arrays are flat, C-contiguous and native-endian. `masked` is a bool array of the same length, True = left out, or of length 0
where nothing is. Images may be cut anywhere into bands: extremes and counts of bands combine.
"""

import numpy as np

from ._jit import jit
from ._simd import LANES, bits_between, trailing_zeros

BINS = 256
BLOCK = 4096  # pixels whose codes stay in the first-level cache
CHUNK = 256  # pixels that are looked at again when one of them lies near an edge
PAIRS = 65536  # counters, one for each pair of 8-bit codes
NARROW = 16384  # integer ranges up to here are counted in four tables, so that equal neighbours do not wait for each other


@jit
def compress(values, masked, out):
    """Copy the finite ones of `values` that are not `masked` to the front of `out`; return how many."""
    n = 0
    for i in range(values.size):
        out[n] = values[i]
        n += np.isfinite(values[i]) and not (masked.size > 0 and masked[i])
    return n


@jit
def extremes(values):
    """Smallest and largest of `values`, integers."""
    low = high = values[0]
    for i in range(values.size):
        low = min(low, values[i])
        high = max(high, values[i])
    return low, high


@jit
def float_extremes(bits):
    """Smallest and largest order-preserving key of floats, given as `bits`, signed integers of the same width.

    A negative float's other bits are flipped: the keys sort as the floats do, with NaN beyond the infinities at either end.
    Integer minima vectorise, float minima do not; and what is not finite shows in the result. Keys turn back the same way.
    """
    kind = bits.dtype.type
    sign = kind(8 * bits.itemsize - 1)
    magnitude = kind(~(kind(1) << sign))
    low = high = kind(bits[0] ^ (kind(bits[0] >> sign) & magnitude))
    for i in range(bits.size):
        key = kind(bits[i] ^ (kind(bits[i] >> sign) & magnitude))
        low = min(low, key)
        high = max(high, key)
    return low, high


@jit
def valid_extremes(values, masked):
    """Smallest and largest of the finite, unmasked `values`, and how many there are (if none, the values mean nothing)."""
    kept = np.empty(min(BLOCK, values.size), values.dtype)
    low = high = values[0]
    total = 0
    for start in range(0, values.size, BLOCK):
        n = compress(values[start:start + BLOCK], masked[start:start + BLOCK], kept)
        if n and total == 0:
            low = high = kept[0]
        for i in range(n):
            low = min(low, kept[i])
            high = max(high, kept[i])
        total += n
    return low, high, total


@jit
def settle(value, code, edges):
    """Bin of `value` among `edges` (257,), found from a first guess `code`; the last bin holds its right edge too."""
    while code > 0 and value < edges[code]:
        code -= 1
    while code < BINS - 1 and value >= edges[code + 1]:
        code += 1
    return code


@jit
def encode(values, low, scale, window, edges, work, bits, codes):
    """Bin of each of `values` into `codes` (uint8).

    ``256 + (value - low) * scale`` lies in [256, 512), where all floats have one exponent: the next eight bits of the number
    are the bin, the rest how far it lies into the bin. Where the rest is within `window` units of an edge the pixel is
    settled. `work` are CHUNK floats, `bits` the same memory as integers.
    """
    kind = work.dtype.type
    integer = bits.dtype.type
    window = integer(window)
    shift = integer(15 if work.itemsize == 4 else 44)
    rest = integer((integer(1) << shift) - integer(1))
    bottom = integer((integer(0x87 if work.itemsize == 4 else 0x407) << integer(shift + 8)) + window + integer(1))
    top = integer(bottom + (integer(256) << shift) - integer(2) * window - integer(2))
    for start in range(0, values.size, CHUNK):
        chunk, coded = values[start:start + CHUNK], codes[start:start + CHUNK]
        for i in range(chunk.size):
            work[i] = (chunk[i] - low) * scale + kind(256)
        nearest = rest
        for i in range(chunk.size):
            # The outermost edges need no settling: many pixels may lie on them (a dark background, saturation).
            value = max(min(bits[i], top), bottom)
            coded[i] = np.uint8(value >> shift)
            nearest = min(nearest, integer((value + window) & rest))
        if nearest <= integer(2) * window:
            for i in range(chunk.size):
                bits[i] = (max(min(bits[i], top), bottom) + window) & rest
            for word in range(0, chunk.size, LANES):
                near = bits_between(bits, word, integer(0), integer(2) * window)
                while near:
                    i = word + np.int64(trailing_zeros(near))
                    near &= near - np.uint64(1)
                    if i < chunk.size:
                        coded[i] = np.uint8(settle(chunk[i], np.int64(coded[i]), edges))


@jit
def encode_whole(values, low, scale, codes):
    """As `encode`, for whole numbers in a span of at most 4096; return whether all `values` are whole.

    Edges then are exact and no whole number comes closer to one than ``1 / span`` of a bin: half of that, added, puts
    every value well inside its bin.
    """
    half = scale / values.dtype.type(2 * BINS)
    fraction = False
    for i in range(values.size):
        codes[i] = np.uint8(min(np.int32((values[i] - low) * scale + half), np.int32(BINS - 1)))
        fraction |= values[i] != np.floor(values[i])
    return not fraction


@jit
def add_word(word, times, table):
    """Add `times` to the counters of the four pairs of codes in `word`."""
    pair = np.uint64(0xFFFF)
    table[word & pair] += times
    table[(word >> np.uint64(16)) & pair] += times
    table[(word >> np.uint64(32)) & pair] += times
    table[word >> np.uint64(48)] += times


@jit
def count_pairs(words, table):
    """Count the codes of `words` (uint64, eight 8-bit codes each) two at a time in `table` (PAIRS,), uint32.

    Equal words in a row are counted at once: otherwise each increment would wait for the one before (dark images).
    """
    previous, repeats = np.uint64(0), np.uint32(0)
    for word in words:
        if word == previous:
            repeats += np.uint32(1)
        else:
            if repeats:
                add_word(previous, repeats, table)
                repeats = np.uint32(0)
            add_word(word, np.uint32(1), table)
            previous = word
    add_word(previous, repeats, table)


@jit
def fold_pairs(table, counts):
    """Add the counts of pairs in `table` (PAIRS,) to `counts` (BINS,), int64."""
    for high in range(BINS):
        total = np.int64(0)
        for low in range(BINS):
            pairs = np.int64(table[high * BINS + low])
            total += pairs
            counts[low] += pairs
        counts[high] += total


@jit
def float_histogram(values, masked, check, low, scale, window, edges, whole, work, bits):
    """Counts (BINS,), int64, of `values` between the `edges` of numpy's histogram, and whether they may be believed.

    `check` says that there are masked or non-finite values to leave out; `whole` that all values are expected to be whole
    numbers in a span of at most 4096: where one is not, the second result is False. `work`, `bits`: see `encode`.
    """
    counts = np.zeros(BINS, np.int64)
    table = np.zeros(PAIRS, np.uint32)
    codes = np.zeros(BLOCK, np.uint8)
    words = codes.view(np.uint64)
    kept = np.empty(BLOCK, values.dtype)
    sound = True
    for start in range(0, values.size, BLOCK):
        block = values[start:start + BLOCK]
        if check:
            block = kept[:compress(block, masked[start:start + BLOCK], kept)]
        if whole:
            sound &= encode_whole(block, low, scale, codes)
        else:
            encode(block, low, scale, window, edges, work, bits, codes)
        count_pairs(words[:block.size // 8], table)
        for i in range(block.size // 8 * 8, block.size):
            counts[codes[i]] += 1
    fold_pairs(table, counts)
    return counts, sound


@jit
def int_histogram(values, masked, low, span):
    """Counts (span,), int64, of the unmasked integers `values`, the first bin being that of `low`."""
    lanes = 4 if span <= NARROW else 1
    tables = np.zeros((lanes, span), np.uint32)
    kept = np.empty(BLOCK, values.dtype)
    for start in range(0, values.size, BLOCK):
        block = values[start:start + BLOCK]
        if masked.size:
            block = kept[:compress(block, masked[start:start + BLOCK], kept)]
        done = block.size // lanes * lanes
        if lanes == 4:
            for i in range(0, done, 4):
                tables[0, np.uint64(block[i] - low)] += np.uint32(1)
                tables[1, np.uint64(block[i + 1] - low)] += np.uint32(1)
                tables[2, np.uint64(block[i + 2] - low)] += np.uint32(1)
                tables[3, np.uint64(block[i + 3] - low)] += np.uint32(1)
        else:
            for i in range(done):
                tables[0, np.uint64(block[i] - low)] += np.uint32(1)
        for i in range(done, block.size):
            tables[0, np.uint64(block[i] - low)] += np.uint32(1)
    return tables


@jit
def int_offsets(values, masked, low, out):
    """Distance of each unmasked integer of `values` from `low` into the front of `out` (unsigned); return how many."""
    n = 0
    for i in range(values.size):
        out[n] = values[i] - low
        n += not (masked.size > 0 and masked[i])
    return n


@jit
def otsu_of_sorted(offsets, low):
    """Otsu's threshold, less `low`, of integers given as sorted distances from `low` (float64), with one bin for each value.

    Stands in for the histogram where the span of the values would make one of gigabytes. Equal to it to the last bit as
    long as the sum of all values is exact in float64.
    """
    total = np.float64(0)
    for i in range(offsets.size):
        total += low + np.float64(offsets[i])
    best, threshold = np.float64(-1), offsets[0]
    below = np.float64(0)
    for i in range(offsets.size - 1):
        below += low + np.float64(offsets[i])
        if offsets[i + 1] != offsets[i]:
            weight1, weight2 = np.float32(i + 1), np.float32(offsets.size - i - 1)
            difference = below / np.float64(weight1) - (total - below) / np.float64(weight2)
            variance = np.float64(weight1 * weight2) * (difference * difference)
            if variance > best:
                best, threshold = variance, offsets[i]
    return threshold


def otsu_of_histogram(counts, centers):
    """Otsu's threshold from the `counts` (n,) of bins at `centers` (n,), with scikit-image's own arithmetic and order.

    Empty bins change nothing, not even the rounding, and are left out.
    """
    filled = np.flatnonzero(counts)
    counts, centers = counts[filled].astype(np.float32), centers[filled]
    with np.errstate(all="ignore"):
        weighted = counts * centers
        weight1 = np.cumsum(counts)
        weight2 = np.cumsum(counts[::-1])[::-1]
        mean1 = np.cumsum(weighted) / weight1
        mean2 = (np.cumsum(weighted[::-1]) / weight2[::-1])[::-1]
        variance = weight1[:-1] * weight2[1:] * (mean1[:-1] - mean2[1:]) ** 2
    return centers[np.argmax(variance)]
