"""What reading a stack needs beside the libraries."""

from ._jit import jit


@jit
def unshuffle(data, itemsize, count, out):
    """Undo HDF5's shuffle filter: `data` has the first bytes of all `count` items, then all second ones; `out` the items.

    What is left over at the end of `data` was not shuffled.
    """
    for byte in range(itemsize):
        for i in range(count):
            out[i * itemsize + byte] = data[byte * count + i]
    for i in range(itemsize * count, data.size):
        out[i] = data[i]
