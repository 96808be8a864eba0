"""The one place that decides whether a kernel runs on several threads: bands of one image, each on a thread of its own.

Kernels are serial and release the interpreter lock, so plain threads do. They are safe from any number of calling threads (a
caller that is done with its own band takes what no thread has begun yet) and survive a fork, which numba's own parallel loops
do not, and cost some 50 microseconds a call. Bands are added up as integers: results do not depend on their number.
"""

import itertools
import os
import queue
import threading
from contextlib import contextmanager

import numba

PIXELS_PER_BAND = 1 << 19  # below about twice this, a second thread costs more than it brings

_state = threading.local()
_jobs: queue.SimpleQueue | None = None  # of functions; made, with the threads that serve it, when it is first needed
_lock = threading.Lock()


def _forget_threads():
    global _jobs, _lock
    _jobs, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_threads)


def _serve(jobs):
    while True:
        jobs.get()()


def _job_queue():
    global _jobs
    with _lock:
        if _jobs is None:
            _jobs = queue.SimpleQueue()
            for _ in range(numba.config.NUMBA_NUM_THREADS - 1):
                threading.Thread(target=_serve, args=(_jobs,), name="edfast", daemon=True).start()
        return _jobs


@contextmanager
def one_thread():
    """Keep the kernels that this thread calls on this thread: for callers that work on many images at once."""
    previous, _state.serial = getattr(_state, "serial", False), True
    try:
        yield
    finally:
        _state.serial = previous


def in_bands(task, length, pixels):
    """Results of ``task(start, stop)`` for bands that together are range(length), in order; `pixels` is the work in all."""
    n = 1 if getattr(_state, "serial", False) else min(pixels // PIXELS_PER_BAND, numba.config.NUMBA_NUM_THREADS, length)
    if n <= 1:
        return [task(0, length)]
    jobs, done = _job_queue(), queue.SimpleQueue()
    results: list = [None] * n

    def job(k, band):
        try:
            results[k] = task(*band)
        except BaseException as error:
            done.put(error)
        else:
            done.put(None)

    first, *others = itertools.pairwise(length * i // n for i in range(n + 1))
    for k, band in enumerate(others, 1):
        jobs.put(lambda k=k, band=band: job(k, band))
    results[0] = task(*first)
    while True:
        try:
            jobs.get_nowait()()
        except queue.Empty:
            break
    errors = [done.get() for _ in others]
    for error in filter(None, errors):
        raise error
    return results
