"""Memory of images that is used again: the pages of fresh memory cost a quarter of what reading a file from the cache does."""

import contextlib
import math
import threading
from collections import deque

import numpy as np

from ._dm import FileFormatError

_PART = 1 << 20             # bytes that are read at once: what has just been read is in the cache
_spare: deque = deque()     # memory that nobody uses at the moment
_thread = threading.local()


@contextlib.contextmanager
def recycled(watch=None):
    """The image that this thread reads in the block lies in memory that the next one overwrites, once the block is left.

    ``watch(pixels, stop)`` is called whenever another part of the array `pixels` has come, which is there up to `stop` then.
    """
    try:
        _thread.memory = _spare.pop()
    except IndexError:
        _thread.memory = np.empty(0, np.uint8)
    _thread.watch = watch
    try:
        yield
    finally:
        _spare.append(_thread.memory)
        _thread.memory = _thread.watch = None


def release():
    """Give all spare memory back."""
    _spare.clear()


def read_pixels(file, dtype, shape):
    """Pixels from where an unbuffered file stands, as an array of this shape in fresh memory or in that of `recycled`."""
    memory, count = getattr(_thread, "memory", None), math.prod(shape)
    if memory is None:
        return np.fromfile(file, dtype, count).reshape(shape)
    size, watch = count * dtype.itemsize, _thread.watch
    if memory.size < size:
        memory = _thread.memory = np.empty(size, np.uint8)
    pixels, done = memory[:size].view(dtype).reshape(shape), 0
    while done < size:
        number = file.readinto(memory[done:min(done + _PART, size) if watch else size])
        if not number:
            raise FileFormatError("it became shorter while it was read")
        done += number
        if watch:
            watch(pixels, done // dtype.itemsize)
    return pixels
