"""Stacks of patterns of any size, read block by block: the one place that knows where a stack may be.

`blocks` goes through a stack and holds two blocks of it at most, the one that is worked on and the one that is being read;
`per_block` applies a function to each block (on dask's own scheduler, for a dask array); `rewrite` changes a stack in place.
A stack is a NumPy array or what becomes one, a memory map, an h5py data set, a dask array, or anything with shape and slicing.
"""

import contextvars
import functools
import itertools
import math
import mmap
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._validation import as_array

READ_BYTES = 16 << 20  # a block that is read or decompressed: it should still be in the cache when the kernel comes
VIEW_BYTES = 64 << 20  # a block that is only looked at, in memory or in a map
LEAN_BYTES = 256 << 20  # the same in memory, for functions that make nothing as large: a block ends in a wait for all threads
CHUNK_BYTES = 256 << 20  # a row of HDF5 chunks that is larger is left to the HDF5 library, a block at a time
DASK_BLOCKS = 64  # blocks of a dask array that are handed to its scheduler at once

# Filters of HDF5 and of hdf5plugin whose decompression is a function of the bytes alone, so that it may run on any thread.
_DEFLATE, _SHUFFLE = 1, 2
_PLUGINS = ("bshuf", "lz4", "zstd", "blosc", "blosc2", "bzip2")


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack that can be read: shape (N, H, W), the dtype that blocks have, frames in a block, and how to read them.

    ``read(start, stop, out)`` fills `out` where `buffered`, and returns the frames otherwise (`out` is None then).
    ``release(start, stop)`` says that these frames are done with; ``prepare(start, stop)`` that they come next.
    What is `at_hand` lies in memory as it is: reading it costs nothing.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    rows: int
    buffered: bool
    read: Callable[[int, int, Any], Any]
    prepare: Callable[[int, int], None] | None = None
    release: Callable[[int, int], None] | None = None
    at_hand: bool = False


def blocks(dataset, *, name="dataset", progress=False, rows=None, part=slice(None)):
    """Go through a stack: yields (slice, block), with the frames as a C-contiguous, native-endian (n, H, W) array.

    Blocks are integers, float32 or float64 (booleans become uint8, float16 float32). They may be views of the stack, and
    they are valid only until the next one is asked for: copy what is to stay, and change nothing (`rewrite` does). While one
    block is worked on the next one is read. A generator that is not used up stops reading when it is closed or forgotten.

    Parameters
    ----------
    dataset : array_like, h5py.Dataset, dask array or the like, of shape (N, H, W)
        The stack.
    name : str
        What errors call it.
    progress : bool
        Show a bar on stderr, where that is a terminal, for work of more than a second.
    rows : int, optional
        Number of frames in a block; by default what makes some 16 MB, or 64 MB where nothing need be read.
    part : slice
        Go through these frames only (a step of 1).
    """
    stack = dataset if isinstance(dataset, Stack) else open_stack(dataset, name)
    rows, (first, end, _) = rows or stack.rows, part.indices(stack.shape[0])
    slices = [slice(start, min(start + rows, end)) for start in range(first, end, rows)]
    with progress_bar(end - first, progress) as step:
        for where, block in (_prefetched if stack.buffered else _viewed)(stack, slices, rows):
            yield where, block
            step(where.stop - where.start)


def per_block(function, dataset, *, name="dataset", progress=False, lean=False):
    """Yield ``function(block)`` for each block, in order. One that makes nothing as large as a block is `lean`.

    A dask array is not fetched: the function goes to its blocks, by its own scheduler, and only the results come back. The
    function should then be one that can be sent to another process (`functools.partial` of a function of a module).
    """
    if _is_dask(dataset):
        yield from _per_dask_block(function, dataset, open_stack(dataset, name), progress)
    else:
        stack = open_stack(dataset, name)
        rows = _rows(stack.shape, stack.dtype, LEAN_BYTES) if lean and stack.at_hand else None
        for _, block in blocks(stack, rows=rows, progress=progress):
            yield function(block)


def per_frame(function, dataset, *, name="dataset", progress=False, lean=False):
    """The results of ``function(block)``, arrays with a first axis as long as their blocks, put together."""
    return np.concatenate(list(per_block(function, dataset, name=name, progress=progress, lean=lean)))


def rewrite(function, dataset, *, out=None, name="dataset", progress=False, rows=None):
    """Let ``function(block)`` change each block in place; return what then holds the result.

    That is `out` where it is given (anything that slices can be assigned to), `dataset` itself where it can be written, and a
    new array for arrays in memory that cannot, and for lists. Files opened for reading only and dask arrays need `out`.
    """
    stack = open_stack(dataset, name)
    target = _target(dataset, stack, out, name)
    for where, block in blocks(stack, progress=progress, rows=rows):
        inside = isinstance(target, np.ndarray) and block.flags.writeable and np.may_share_memory(block, target)
        changed = block if inside or stack.buffered else block.copy()
        function(changed)
        if not inside:
            target[where] = changed
    return target


@contextmanager
def progress_bar(total, show, unit=" patterns"):
    """A function that counts up, on a bar if `show` and stderr is a terminal and it takes more than a second."""
    if not show or not sys.stderr.isatty():
        yield lambda count: None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit=unit, unit_scale=total >= 10_000, delay=1, leave=False) as bar:
        yield bar.update


# ---------------------------------------------------------------------------------------------------- going through


def _viewed(stack, slices, _rows):
    """Blocks that need no reading: views of memory or of a map, converted if they must be."""
    for where, following in itertools.zip_longest(slices, slices[1:]):
        if stack.prepare and following:
            stack.prepare(following.start, following.stop)
        yield where, stack.read(where.start, where.stop, None)
        if stack.release:
            stack.release(where.start, where.stop)


def _prefetched(stack, slices, rows):
    """Blocks that are read into one of two buffers, by a thread of its own, while the other one is in use."""
    buffers = [np.empty((min(rows, stack.shape[0]), *stack.shape[1:]), stack.dtype) for _ in slices[:2]]
    context = contextvars.copy_context()  # h5py's and dask's settings may be local to the caller's thread

    def fill(number):
        where, out = slices[number], buffers[number % 2]
        out = out[:where.stop - where.start]
        stack.read(where.start, where.stop, out)
        return out

    reader = ThreadPoolExecutor(1, "edfast-read")
    apart = _may_read(reader)
    try:
        coming = [reader.submit(context.run, fill, 0)] if apart else []
        for number, where in enumerate(slices):
            block = coming.pop().result() if apart else fill(number)
            if apart and number + 1 < len(slices):
                coming.append(reader.submit(context.run, fill, number + 1))
            yield where, block
    finally:  # also on Ctrl-C, and when the caller has had enough: what is being read is waited for, and nothing else begun
        reader.shutdown(wait=apart, cancel_futures=True)


def _may_read(reader):
    """Whether h5py can be called from the thread of `reader`.

    It cannot while the caller iterates over a file's items(), which holds h5py's one lock: that would be waiting for ever.
    """
    h5py = sys.modules.get("h5py")
    try:
        return h5py is None or bool(reader.submit(h5py.h5.get_libversion).result(timeout=0.2))
    except TimeoutError:
        return False


def _per_dask_block(function, dataset, stack, progress):
    import dask

    whole = dataset.rechunk({1: -1, 2: -1})
    if max(whole.chunks[0]) > stack.rows:
        whole = whole.rechunk({0: tuple(itertools.chain(*(_pieces(size, stack.rows) for size in whole.chunks[0])))})
    parts = whole.to_delayed().reshape(-1)
    work = dask.delayed(functools.partial(_converted, function, stack.dtype))
    with progress_bar(stack.shape[0], progress) as step:
        for start in range(0, parts.size, DASK_BLOCKS):
            yield from dask.compute(*(work(part) for part in parts[start:start + DASK_BLOCKS]))
            step(sum(whole.chunks[0][start:start + DASK_BLOCKS]))


def _pieces(size, rows):
    """`size` as a sum of numbers of at most `rows`."""
    return [min(rows, size - start) for start in range(0, size, rows)] or [0]


def _converted(function, dtype, block):
    return function(np.ascontiguousarray(block, dtype))


def _target(dataset, stack, out, name):
    """What `rewrite` writes to: checked, before any work."""
    if out is not None:
        if tuple(getattr(out, "shape", ())) != stack.shape or not hasattr(out, "__setitem__"):
            raise ValueError(f"out must be an array or data set of shape {stack.shape} that can be written, not "
                             f"{_described(out)}")
        if not np.can_cast(stack.dtype, out.dtype, "same_kind"):
            raise TypeError(f"out has dtype {out.dtype}, which does not hold the values of {name} ({stack.dtype})")
        target = out
    else:
        target = dataset
    if _is_h5(target):
        writable = target.file.mode != "r" and not target.is_virtual
    elif isinstance(target, np.ndarray):
        writable = target.flags.writeable
        if not writable and out is None and _mapping(target) is None:
            return np.empty(stack.shape, stack.dtype)
    elif not hasattr(target, "shape"):  # a list
        return np.empty(stack.shape, stack.dtype)
    else:
        writable = hasattr(target, "__setitem__") and not _is_dask(target)
    if not writable:
        raise ValueError(f"{'out' if out is not None else name} cannot be written: {_described(target)}; open the file with "
                         f"mode 'r+', or give out= an array or data set of shape {stack.shape} to put the result into")
    return target


# ---------------------------------------------------------------------------------------------------- where a stack may be


def open_stack(dataset, name="dataset"):
    """`dataset` as a `Stack`; ValueError or TypeError if it is none."""
    if not (hasattr(dataset, "shape") and hasattr(dataset, "__getitem__")):
        try:
            dataset = np.asarray(dataset)
        except ValueError as error:
            raise ValueError(f"{name} must be patterns of one shape: {error}") from None
    if isinstance(dataset, np.ma.MaskedArray):
        dataset = as_array(dataset, name)
    shape = _checked_shape(dataset, name)
    kept = dataset.dtype if hasattr(dataset, "dtype") else np.asarray(dataset[0:1]).dtype
    dtype = _working_dtype(kept, name)
    if isinstance(dataset, np.ndarray):
        return _of_array(dataset, dtype)
    if _is_h5(dataset):
        return _of_h5(dataset, dtype)
    compute = _is_dask(dataset)

    def read(start, stop, out):
        part = dataset[start:stop]
        out[...] = part.compute() if compute else part

    return Stack(shape, dtype, _rows(shape, dtype, READ_BYTES), True, read)


def _checked_shape(dataset, name):
    shape = tuple(dataset.shape)
    if len(shape) != 3:
        hint = "; give one pattern as dataset[None]" if len(shape) == 2 else ""
        raise ValueError(f"{name} must be a stack of patterns, of shape (patterns, rows, columns), not of shape {shape}{hint}")
    if not all(isinstance(size, (int, np.integer)) for size in shape):
        raise ValueError(f"{name} has shape {shape}, which is not known: call its compute_chunk_sizes() first")
    if 0 in shape:
        raise ValueError(f"{name} is empty (shape {shape})")
    return tuple(map(int, shape))


def _working_dtype(dtype, name):
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f" and dtype.itemsize not in (4, 8):
        return np.dtype(np.float32 if dtype.itemsize == 2 else np.float64)
    if dtype.kind not in "iuf":
        raise TypeError(f"{name} must hold real numbers, not {dtype}")
    return dtype.newbyteorder("=")


def _rows(shape, dtype, size):
    return min(shape[0], max(1, size // (math.prod(shape[1:]) * dtype.itemsize)))


def _described(thing):
    if _is_h5(thing):
        return f"the data set {thing.name} of {thing.file.filename}, opened with mode {thing.file.mode!r}"
    shape = getattr(thing, "shape", None)
    return f"{type(thing).__name__}{'' if shape is None else f' of shape {tuple(shape)}'}"


def _is_dask(thing):
    return hasattr(thing, "__dask_graph__") and hasattr(thing, "rechunk")


def _is_h5(thing):
    h5py = sys.modules.get("h5py")
    return h5py is not None and isinstance(thing, h5py.Dataset)


def _of_array(array, dtype):
    view = array.view(np.ndarray)
    native = array.dtype == dtype and array.flags.c_contiguous
    found = _mapping(array)
    prepare, release = _pages(view, found) if found and native else (None, None)
    rows = _rows(array.shape, dtype, VIEW_BYTES if native else READ_BYTES)
    return Stack(array.shape, dtype, rows, False, lambda start, stop, _: np.ascontiguousarray(view[start:stop], dtype),
                 prepare, release, native and not found)


def _mapping(array):
    """The memory map of a file that the array lies in, if it is one whose pages can be let go without loss."""
    while array is not None and not (isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap)):
        array = getattr(array, "base", None)
    return None if array is None or array.mode == "c" else array.base


def _pages(view, mapping):
    """(prepare, release) for frames in a map: have the next ones read, and keep those that are done out of our memory."""
    if not hasattr(mmap, "MADV_DONTNEED"):
        return None, None
    first = view.__array_interface__["data"][0] - np.frombuffer(mapping, np.uint8).__array_interface__["data"][0]
    stride = view.strides[0]

    def advise(what, start, stop):
        begin = (first + start * stride) // mmap.PAGESIZE * mmap.PAGESIZE
        mapping.madvise(what, begin, first + stop * stride - begin)

    return functools.partial(advise, mmap.MADV_WILLNEED), functools.partial(advise, mmap.MADV_DONTNEED)


# ---------------------------------------------------------------------------------------------------- HDF5


def _of_h5(dataset, dtype):
    """Contiguous: a memory map. Chunked: chunks as they are in the file, decompressed here. Else: what HDF5 itself reads."""
    shape = dataset.shape
    if dataset.file.mode != "r":
        dataset.file.flush()  # the file has to have what was written
    if mapped := _contiguous(dataset):
        return _of_array(np.memmap(mapped[0], dataset.dtype, "r", mapped[1], shape), dtype)
    rows = _rows(shape, dtype, READ_BYTES)
    if dataset.chunks and not dataset.is_virtual:
        deep = min(dataset.chunks[0], shape[0])
        if deep * math.prod(shape[1:]) * dtype.itemsize <= CHUNK_BYTES:
            rows = -(-rows // deep) * deep
            decoders = _decoders(dataset)
            if decoders is not None:
                return Stack(shape, dtype, rows, True, functools.partial(_read_chunks, dataset, decoders))
    return Stack(shape, dtype, rows, True, functools.partial(_read_plain, dataset))


def _contiguous(dataset):
    """(file, offset) of a data set that lies in one piece in a file that can be mapped, or None."""
    if dataset.chunks or dataset.is_virtual or dataset.external or dataset.file.driver != "sec2":
        return None
    offset = dataset.id.get_offset()
    if offset is None or dataset.id.get_storage_size() != dataset.dtype.itemsize * dataset.size:
        return None
    return dataset.file.filename, offset


def _read_plain(dataset, start, stop, out):
    if dataset.dtype == out.dtype:
        dataset.read_direct(out, np.s_[start:stop])
    else:
        out[...] = dataset[start:stop]


def _read_chunks(dataset, decoders, start, stop, out):
    """Fill `out` with frames from `start` on: chunks are fetched here, one by one, and decompressed by several threads."""
    sizes = [range(begin - begin % size, end, size) for begin, end, size in
             zip((start, 0, 0), (stop, *dataset.shape[1:]), dataset.chunks, strict=True)]
    descriptor = _descriptor(dataset)
    running = [(corner, _workers().submit(_place, dataset.dtype, dataset.chunks, decoders, corner,
                                          _fetch(dataset, descriptor, corner), start, out))
               for corner in itertools.product(*sizes)]
    for corner, one in running:
        if not one.result():  # never written, or something that HDF5 itself has to judge
            place = tuple(slice(max(edge, first), min(edge + size, end)) for edge, size, first, end in
                          zip(corner, dataset.chunks, (start, 0, 0), (stop, *dataset.shape[1:]), strict=True))
            out[slice(place[0].start - start, place[0].stop - start), *place[1:]] = dataset[place]


@functools.cache
def _workers():
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1), "edfast-decompress")


def _descriptor(dataset):
    """HDF5's own descriptor of the file, for `os.pread`; None where the file is not a plain one."""
    if dataset.file.driver != "sec2" or not hasattr(os, "preadv"):
        return None
    return dataset.file.id.get_vfd_handle()


def _fetch(dataset, descriptor, corner):
    """(filters that were not applied, bytes or where they are) of the chunk at `corner`; None where it was never written.

    Where they are is (descriptor, offset, size): reading them needs neither HDF5's lock nor Python's.
    """
    try:
        if descriptor is None:
            return dataset.id.read_direct_chunk(corner)
        info = dataset.id.get_chunk_info_by_coord(corner)
        return None if info.byte_offset is None else (info.filter_mask, (descriptor, info.byte_offset, info.size))
    except (OSError, RuntimeError, ValueError):
        return None


def _place(dtype, chunks, decoders, corner, fetched, start, out):
    """Decompress one chunk and put what belongs there into `out`, frames from `start` on; return whether that could be done.

    Nothing here calls HDF5: its lock may be with the thread that waits for this one.
    """
    if fetched is None:
        return False
    skipped, data = fetched
    needed = [decode for number, decode in enumerate(decoders) if not skipped >> number & 1]
    first = max(corner[0], start)
    part = out[first - start:corner[0] + chunks[0] - start, corner[1]:corner[1] + chunks[1], corner[2]:corner[2] + chunks[2]]
    if isinstance(data, tuple):
        if not needed and part.shape == chunks and part.flags.c_contiguous and part.dtype == dtype:
            return os.preadv(data[0], [part], data[1]) == data[2] == part.nbytes
        data = os.pread(data[0], data[2], data[1])
    for decode in reversed(needed):
        data = decode(data)
        if data is None:
            return False
    if len(data) != dtype.itemsize * math.prod(chunks):
        return False
    begin = first - corner[0]
    pixels = np.frombuffer(data, dtype).reshape(chunks)
    part[...] = pixels[begin:begin + part.shape[0], :part.shape[1], :part.shape[2]]
    return True


def _decoders(dataset):
    """Functions from bytes to bytes that undo the filters of a data set, in the filters' order; None if one is unknown."""
    plist = dataset.id.get_create_plist()
    found = []
    for number in range(plist.get_nfilters()):
        code, _, values, _ = plist.get_filter(number)
        if code == _DEFLATE:
            found.append(_inflate)
        elif code == _SHUFFLE:
            found.append(functools.partial(_unshuffle, dataset.dtype.itemsize))
        elif function := _plugin(code):
            found.append(functools.partial(_run_plugin, function, tuple(values)))
        else:
            return None
    return found


def _inflate(data):
    import zlib

    try:
        return zlib.decompress(data)
    except zlib.error:
        return None


def _unshuffle(itemsize, data):
    from .kernels.stacks import unshuffle

    count = len(data) // itemsize
    out = np.empty(len(data), np.uint8)
    unshuffle(np.frombuffer(data, np.uint8), itemsize, count, out)
    return out


@functools.cache
def _plugin(code):
    """The filter function of one of hdf5plugin's libraries, or None where there is none that is known to run on any thread.

    It is the function that HDF5 itself calls, in the library that hdf5plugin has loaded: H5Z_class2_t's `filter`.
    """
    import ctypes

    hdf5plugin = sys.modules.get("hdf5plugin")
    if hdf5plugin is None or sys.platform == "win32":  # where a library may have an allocator of its own
        return None
    name = next((name for name, number in hdf5plugin.FILTERS.items() if number == code and name in _PLUGINS), None)
    path = hdf5plugin.get_config().registered_filters.get(name)
    if path is None:
        return None
    word, size, pointer = ctypes.c_uint, ctypes.c_size_t, ctypes.c_void_p
    function = ctypes.CFUNCTYPE(size, word, size, ctypes.POINTER(word), size, ctypes.POINTER(size), ctypes.POINTER(pointer))

    class FilterClass(ctypes.Structure):
        _fields_ = (("version", ctypes.c_int), ("id", ctypes.c_int), ("encoder", word), ("decoder", word),
                    ("name", ctypes.c_char_p), ("can_apply", pointer), ("set_local", pointer), ("filter", function))

    try:
        info = ctypes.CDLL(path).H5PLget_plugin_info
    except (OSError, AttributeError):
        return None
    info.restype = ctypes.POINTER(FilterClass)
    described = info().contents
    return described.filter if described.id == code else None


def _run_plugin(function, values, data):
    """Decompress `data` by a filter function, which takes memory of malloc and gives memory of malloc back."""
    import ctypes

    libc = _libc()
    size, buffer = ctypes.c_size_t(len(data)), ctypes.c_void_p(libc.malloc(max(len(data), 1)))
    try:
        ctypes.memmove(buffer, bytes(data), len(data))  # bytes() of bytes is no copy
        parameters = (ctypes.c_uint * len(values))(*values)
        count = function(0x100, len(values), parameters, len(data), ctypes.byref(size), ctypes.byref(buffer))
        # Copied by numpy, which lets other threads run meanwhile.
        return np.frombuffer((ctypes.c_char * count).from_address(buffer.value), np.uint8).copy() if count else None
    finally:
        libc.free(buffer)


@functools.cache
def _libc():
    import ctypes

    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    libc.free.restype, libc.free.argtypes = None, (ctypes.c_void_p,)
    return libc
