"""Memory of images that is used again: the pages of fresh memory cost a quarter of what reading a file from the cache does."""

import contextlib
import threading
from collections import deque

import numpy as np

from ._dm import FileFormatError

_spare: deque = deque()     # memory that nobody uses at the moment
_thread = threading.local()


@contextlib.contextmanager
def recycled():
    """The image that this thread reads in the block lies in memory that the next one overwrites, once the block is left."""
    try:
        _thread.memory = _spare.pop()
    except IndexError:
        _thread.memory = np.empty(0, np.uint8)
    try:
        yield
    finally:
        _spare.append(_thread.memory)
        _thread.memory = None


def release():
    """Give all spare memory back."""
    _spare.clear()


def read_pixels(file, dtype, count):
    """`count` pixels from where an unbuffered file stands, in fresh memory or in that of `recycled`."""
    memory = getattr(_thread, "memory", None)
    if memory is None:
        return np.fromfile(file, dtype, count)
    size = count * dtype.itemsize
    if memory.size < size:
        memory = _thread.memory = np.empty(size, np.uint8)
    done = 0
    while done < size:
        number = file.readinto(memory[done:size])
        if not number:
            raise FileFormatError("it became shorter while it was read")
        done += number
    return memory[:size].view(dtype)
