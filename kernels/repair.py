"""Repair of bad pixels from their centrosymmetric partners, or from their shells.

Frames are flat, (N, pixels).
"""

import numpy as np

from ._bands import in_bands
from ._jit import jit


@jit
def partners(height, width, row, column, hidden, pixels, found):
    """For each of `pixels` its partner through the centre (row, column), or -1 where that is outside or `hidden`."""
    for i in range(pixels.size):
        y, x = pixels[i] // width, pixels[i] % width
        y, x = np.int64(np.rint(2 * row - y)), np.int64(np.rint(2 * column - x))
        found[i] = -1
        if 0 <= y < height and 0 <= x < width and not hidden[y * width + x]:
            found[i] = y * width + x


@jit
def shell_means(values, shells, good, sums, number):
    """Means of the finite, `good` pixels of each shell; a shell without any takes that of the nearest, the inner of two."""
    sums[:], number[:] = 0.0, 0
    for i in range(values.size):
        if good[i] and np.isfinite(values[i]):
            sums[shells[i]] += values[i]
            number[shells[i]] += 1
    for k in range(number.size):
        if number[k]:
            sums[k] /= number[k]
    for k in range(number.size):
        if number[k] == 0:
            for step in range(1, number.size):
                if k - step >= 0 and number[k - step]:
                    sums[k] = sums[k - step]
                    break
                if k + step < number.size and number[k + step]:
                    sums[k] = sums[k + step]
                    break


@jit
def repair(frames, pixels, found, shells, good, sums, number, whole):
    """Give each of `pixels` the value of its partner, or the mean of its shell (rounded where `whole`), in each frame."""
    for i in range(frames.shape[0]):
        frame = frames[i]
        known = False
        for j in range(pixels.size):
            if found[j] >= 0 and np.isfinite(frame[found[j]]):
                frame[pixels[j]] = frame[found[j]]
                continue
            if not known:
                shell_means(frame, shells, good, sums, number)
                known = True
            mean = sums[shells[pixels[j]]]
            frame[pixels[j]] = np.rint(mean) if whole else mean


def repair_frames(frames, pixels, found, shells, good, shell_count):
    """`repair` of frames (N, pixels) in place, on threads."""
    whole = frames.dtype.kind != "f"

    def band(first, end):
        repair(frames[first:end], pixels, found, shells, good, np.empty(shell_count), np.empty(shell_count, np.int64), whole)

    in_bands(band, frames.shape[0], frames.size)
