"""Recalibration of many files: one PONI and one row of a ledger for each. Killed at any moment, a run can be resumed."""

import contextlib
import errno
import fnmatch
import glob
import hashlib
import io
import itertools
import json
import math
import os
import queue
import re
import shutil
import sqlite3
import time
import traceback
import zlib
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import _ledger
from ._exports import write_csv, writer_for
from ._files import check_not_input, is_array, write_atomically
from ._ledger import Ledger, LedgerError
from ._memory import recycled, release
from ._recalibrate import Options, find_center, read_image, read_mask, recalibrate_file, write_recalibration
from ._results import RingFit
from ._settings import default_jobs, load
from ._stacks import progress_bar
from ._validation import as_array, as_count, as_flag, as_mask
from .geometry import Poni, read_poni

__all__ = ["BatchError", "Ledger", "LedgerError", "recalibrate_batch"]

CSV_NAME, PICTURE_NAME, REPORT_NAME = "recalibration.csv", "drift.png", "report.html"
_NAMES = (_ledger.LEDGER_NAME, CSV_NAME, PICTURE_NAME, REPORT_NAME)
_WRITERS = 2        # threads that write, and wait for the disk, while the others read and fit
_IN_FLIGHT = 32     # tasks of an executor that does not say how many workers it has
_ROOM = 1 << 20      # bytes; with less the disk is full
_PATIENCE = 10      # seconds to wait for the scheduler of a cluster
_NAMED = 16         # files whose names the picture shows
_SERIES, _SCOUTS = 500, 3   # so many files are taken for images of one pattern, which one of the first few of them shows
_AHEAD = 1000       # files that may be done before one that was begun earlier


class BatchError(RuntimeError):
    """A run that cannot go on, or cannot begin; what was done is in the ledger. One line."""


@dataclass(frozen=True, slots=True)
class _Job:
    """What all files of a run have in common, as it is sent to the workers."""

    poni: Poni
    options: Options
    folder: str
    source: str
    frame: int | None
    mask: bytes | None          # packed and compressed: it goes along with each task
    shape: tuple[int, int] | None
    serial: bool
    run: str                    # so that no executor takes the task of another run for the same
    writer: Executor | None = None      # for threads: who writes the PONI files while they go on
    like: RingFit | None = None         # what the rings of one file may be like


def recalibrate_batch(files, ponifile, *, output, method="ring", convention="pyfai", beamstop=True, threshold_rel=0.5,
                      min_size=50, mask=None, frame=None, smooth=False, jobs=None, block=None, executor=None, resume=False,
                      overwrite=False, progress=None):
    """Find the beam in many files, write a PONI file for each, and one ledger of all.

    Each file has one row in the ledger, also one that cannot be read; it stops no other. The row is written as soon as the
    file is done. Whatever ends the run, another one with ``resume=True`` does what is left: files without a result, those
    that failed, those whose size or time of change is another, those whose PONI is gone, and all if an option, the mask or the
    input PONI is another.

    With the method ``ring``, the rings of one file are what `fit_ring` is told to expect in those after it, as ``like``.

    Parameters
    ----------
    files : str, path-like or iterable of these
        Images that `edfast.load_data` reads: names, a generator of names, or a pattern such as ``"day1/*.dm4"`` (``**`` for
        all folders below). Their names go to the ledger one by one. One that is there twice is done once.
    ponifile : str or path-like
        The PONI file with the distance and the tilts.
    output : str or path-like
        Folder for the PONI files, ``recalibration.sqlite`` (the ledger), ``recalibration.csv``, ``drift.png`` and
        ``report.html``; made if needed.
    method, convention, beamstop, threshold_rel, min_size, frame
        As for `edfast.recalibrate_with_beamstop`, or with ``beamstop=False`` for `edfast.recalibrate_no_beamstop`.
    mask : str, path-like or array_like of shape (H, W), optional
        For all images: a file (.npy or an image) or the pixels. True or non-zero where a pixel is to be left out.
    smooth : bool, optional
        Add a robust trajectory, ``smooth_cx`` and ``smooth_cy``, beside the centres that were found. Nothing else changes.
    jobs : int, optional
        Files in work at the same time: threads without an `executor` (by default the setting, see `edfast bench --save`, else
        the number of cores, 8 at most), otherwise tasks that are handed to it before the first must be done (by default
        twice its workers). The memory is bounded by it, not by the number of files.
    block : int, optional
        Files of one task, whose rows are written together; by default the setting, else 1.
    executor : concurrent.futures.Executor, optional
        Who does the work: anything with ``submit`` that returns futures with ``result``, ``cancel`` and
        ``add_done_callback``, such as a process pool (spawned), ``dask.distributed.Client(...).get_executor()`` or
        ``mpi4py.futures.MPIPoolExecutor``. Its workers see the same folders under the same names. It is not shut down.
    resume : bool, optional
        Go on with the ledger in `output`, if there is one.
    overwrite : bool, optional
        Begin anew although the ledger in `output` is that of an interrupted run. (That of a finished one is replaced anyway.)
    progress : bool or callable, optional
        True shows a bar on a terminal, for work of more than a second. A function is called for each file that was done, in
        the order of the input, with its row (a dict as of `Ledger.rows`, and ``trace``, where an error came from), the number
        of files that are done or need not be, and that of all.

    Returns
    -------
    Ledger

    Raises
    ------
    FileNotFoundError, OSError
        An input is not there, no file matches a pattern, or `output` cannot be made or written. `LedgerError`, which is one of
        these: another run is writing there, the disk is full, the ledger is damaged.
    BatchError
        (A RuntimeError.) The ledger is that of an interrupted run, and neither `resume` nor `overwrite` was given; or the
        executor broke down.
    ValueError, TypeError
        An argument makes no sense. All of these are raised before any file is read.

    See Also
    --------
    edfast.recalibrate_with_beamstop

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from edfast.geometry import Poni, write_poni
    >>> from edfast.simulate import ring_pattern, write_dm4
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for i in range(3):
    ...     image, _ = ring_pattern((256, 256), center=(120 + i, 130), radii=[60], random_state=i)
    ...     write_dm4(folder / f"image_{i}.dm4", image)
    >>> write_poni(folder / "cal.poni", Poni(0.2, 0.001, 0.001, 0, 0, 0, None, 1e-5, 1e-5, max_shape=(256, 256)))
    >>> ledger = recalibrate_batch(str(folder / "*.dm4"), folder / "cal.poni", output=folder / "out")
    >>> ledger.counts()
    {'ok': 3, 'failed': 0, 'pending': 0}
    >>> [round(row["cx"]) for row in ledger.rows()]
    [120, 121, 122]
    """
    options = Options(as_flag(beamstop, "beamstop"), method, convention, threshold_rel, min_size)
    smooth, resume, overwrite = as_flag(smooth, "smooth"), as_flag(resume, "resume"), as_flag(overwrite, "overwrite")
    if resume and overwrite:
        raise ValueError("resume and overwrite contradict each other: go on with the run in the folder, or begin anew")
    if not (progress is None or callable(progress) or isinstance(progress, bool)):
        raise TypeError(f"progress must be True, False or a function of (row, done, total), not {progress!r}")
    frame = None if frame is None else as_count(frame, "frame")
    block = as_count(load().get("block", 1) if block is None else block, "block", minimum=1)
    own, tasks = executor is None, _tasks(executor, jobs)
    if own:
        jobs = tasks
    elif not callable(getattr(executor, "submit", None)):
        raise TypeError(f"executor must have the method submit, as in concurrent.futures, not be {type(executor).__name__}")
    job = _job(ponifile, options, Path(os.fsdecode(output)).absolute(), frame, mask, serial=not own or jobs > 1)
    said = _resolved(job, mask) | {"smooth": smooth, "jobs": tasks, "block": block, "output": os.fsdecode(output),
                                   "executor": "threads" if own else type(executor).__name__}
    files = _ranked(files)
    folder = make_folder(output, ponifile, mask)
    with _ledger.writing(folder) as ledger:
        run = _begin(ledger, files, job, said, resume, overwrite)
        _remove_leftovers(folder)
        if own:
            job = replace(job, writer=ThreadPoolExecutor(_WRITERS, "write"))
            executor = ThreadPoolExecutor(jobs, "recalibrate")
        try:
            total = _ledger.count_listed(ledger, run)
            with progress_bar(total, progress is True, " files") as step, job.writer or nullcontext(), \
                    executor if own else nullcontext():
                tell = progress if callable(progress) else lambda *_: step(1)
                _work_off(ledger, run, job, executor, tasks + own * (_WRITERS + 1), block, tell, total)
        finally:
            release()
        _add_flags(ledger, options.method, smooth)
        _sync_folder(folder)
        _ledger.end_run(ledger, run)
    return _export(Ledger(folder))


@contextlib.contextmanager
def dask_executor(address, jobs=None):
    """(executor, jobs) for the Dask cluster whose scheduler is at `address`; by default two tasks for each of its threads."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError("a Dask cluster needs dask.distributed: pip install 'edfast[dask]'") from error
    if not re.fullmatch(r"((tcp|tls|wss?|ucx)://)?[^/\s]+:\d+", address):
        raise ValueError(f"scheduler must be an address such as tcp://HOST:PORT, not {address!r}")  # Client hangs with others
    with Client(address, timeout=_PATIENCE, set_as_default=False) as client:
        threads = sum(client.ncores().values())
        if not threads:
            raise BatchError(f"the Dask cluster at {address} has no workers")
        yield client.get_executor(pure=False), jobs or 2 * threads


def export_ledger(ledger, files):
    """Write the rows of a `Ledger` to each of the files, in the format that the ending of its name says."""
    writers = [(getattr(ledger, writer_for(file)), file) for file in files]
    for file in files:
        ledger.check_output(file)
    for write, file in writers:
        write(file)


# ------------------------------------------------------------------------------------------------------------- beginning


def _tasks(executor, jobs):
    """How many tasks are handed out at the same time."""
    if jobs is not None:
        return as_count(jobs, "jobs", minimum=1)
    if executor is None:
        return default_jobs()
    workers = getattr(executor, "_max_workers", None) or getattr(executor, "num_workers", None)
    return 2 * workers if isinstance(workers, int) and workers > 0 else _IN_FLIGHT


def _job(ponifile, options, folder, frame, mask, serial):
    poni, packed, shape = read_poni(ponifile), None, None
    if mask is not None:
        pixels = as_array(mask, "mask") if is_array(mask) else read_mask(mask)
        if pixels.ndim != 2:
            raise ValueError(f"mask must be two-dimensional (rows, columns), not of shape {pixels.shape}")
        pixels = as_mask(pixels, pixels.shape)
        packed, shape = zlib.compress(np.packbits(pixels.view(bool)).tobytes(), 1), pixels.shape
    return _Job(poni, options, os.fspath(folder), os.fsdecode(ponifile), frame, packed, shape, serial, os.urandom(8).hex())


def _resolved(job, mask):
    """The options of a run as its ledger keeps them."""
    options = {name: getattr(job.options, name) for name in Options.__dataclass_fields__}
    digests = {"poni_sha256": hashlib.sha256(Path(job.source).read_bytes()).hexdigest(),
               "mask_sha256": None if job.mask is None else hashlib.sha256(job.mask + repr(job.shape).encode()).hexdigest()}
    name = None if mask is None else "an array" if is_array(mask) else os.fsdecode(mask)
    return options | {"frame": job.frame, "poni": job.source, "mask": name} | digests


def _digest(said):
    """Of the options that decide about the result for an image."""
    names = (*Options.__dataclass_fields__, "frame", "poni_sha256", "mask_sha256")
    return hashlib.sha256(json.dumps({name: said[name] for name in names}, sort_keys=True).encode()).hexdigest()


def _versions():
    import platform
    import sqlite3
    from importlib.metadata import version

    from . import __version__

    return {"edfast": __version__, "python": platform.python_version(), "platform": platform.platform(),
            "sqlite": sqlite3.sqlite_version} | {name: version(name) for name in ("numpy", "numba", "scipy")}


def make_folder(folder, *inputs):
    """The folder, made and known to take files, none of which is one of the inputs, before any work."""
    folder = Path(os.fsdecode(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "is a file" if folder.is_file() else f"cannot be made ({error.strerror})"
        raise type(error)(f"output folder {folder} {reason}: give another one with -o (output)") from None
    _check_outputs(folder, *inputs)
    return folder


def _begin(ledger, files, job, said, resume, overwrite):
    """Number of the run, all of whose files are in the ledger: all at once, or as it was if this is interrupted."""
    last = _ledger.last_run(ledger)
    if last and last[1] is None and not resume and not overwrite:
        raise BatchError(f"{job.folder} holds an interrupted run: finish it with --resume (resume=True), or begin anew with "
                         "--overwrite (overwrite=True)")
    with _ledger.transaction(ledger):
        if last and not resume:
            _ledger.forget(ledger)
        run = _ledger.begin_run(ledger, _digest(said), said, _versions())
        ending = ".poni" if job.frame is None else f"_frame{job.frame}.poni"
        reserved = [Path(job.source).name] if Path(job.source).resolve().parent == Path(job.folder).resolve() else []
        _ledger.enlist(ledger, _not_written(files, Path(job.folder)), run, ending, reserved)
    return run


def _not_written(names, folder):
    """The (rank, name) of each file; ValueError if it is one that the run itself writes."""
    for rank, name in names:
        if name.endswith(_NAMES):
            _check_outputs(folder, name)
        yield rank, name


def _check_outputs(folder, *inputs):
    """ValueError if the run itself writes one of the inputs."""
    for name in _NAMES:
        check_not_input(folder / name, *inputs)


def _ranked(files):
    """(rank, name) of each file; those that a pattern matches have the same rank, to be brought into order later."""
    if not is_array(files):
        return ((0, _name(file)) for file in expand(os.fsdecode(files)))
    try:
        files = iter(files)
    except TypeError:
        raise TypeError(f"files must be names of files, not {type(files).__name__}") from None
    return ((rank, _name(file)) for rank, file in enumerate(files))


def _name(file):
    if is_array(file):
        raise TypeError(f"files must be names of files, not {type(file).__name__}")
    file = os.fsdecode(file)
    return os.fspath(Path(file)) if "./" in file or "//" in file else file   # ./x is x, and done once


def expand(pattern):
    """Iterate over the names that match, in no order; the only one is its own if there is such a file, or no magic in it.

    FileNotFoundError, at once, if nothing matches.
    """
    folder, name = os.path.split(pattern)
    if not glob.has_magic(pattern) or os.path.lexists(pattern):
        return iter([pattern])
    if "**" in pattern or not glob.has_magic(name):
        found = glob.iglob(pattern, recursive=True)  # noqa: PTH207 (names as they were given)
    else:
        found = _matching(folder, re.compile(fnmatch.translate(name)).match, hidden=name.startswith("."))
    if (first := next(found, None)) is None:
        raise FileNotFoundError(f"no file matches {pattern}")
    return itertools.chain([first], found)


def _matching(folder, match, hidden):
    # glob makes a list of all names in a folder, which may be millions.
    for parent in glob.iglob(folder) if glob.has_magic(folder) else [folder]:  # noqa: PTH207
        with contextlib.suppress(OSError), os.scandir(parent or ".") as entries:
            for entry in entries:
                if match(entry.name) and (hidden or not entry.name.startswith(".")):
                    yield os.path.join(parent, entry.name)  # noqa: PTH118


def _remove_leftovers(folder):
    """Delete the temporary files of a killed run; the lock on the ledger says that there is no other run."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if re.fullmatch(r"\.[0-9a-f]{32}\.tmp", entry.name):
                with contextlib.suppress(OSError):
                    Path(entry.path).unlink()


# --------------------------------------------------------------------------------------------------------------- working


def _work_off(ledger, run, job, pool, most, block, progress, total):
    """Do what is left of a run: rows are written as soon as they come, and reported in the order of the input."""
    left = _left(_ledger.listed(ledger, run), job)
    running: dict = {}  # the number of a block and its files, by their future
    waiting: dict = {}  # files and results, by the number of their block, until it is their turn to be reported
    came: queue.SimpleQueue = queue.SimpleQueue()
    handed_out = reported = 0
    try:
        while True:
            while len(running) < most and handed_out - reported < _AHEAD and (files := list(itertools.islice(left, block))):
                future = _submit(pool, job, files)
                running[future] = handed_out, files
                handed_out += 1
                future.add_done_callback(came.put)
            if not running:
                return
            number, files = running[future := came.get()]
            results = _results(future, files)
            del running[future]
            _ledger.record(ledger, run, {file.id: result for file, result in zip(files, results, strict=True)})
            _check_disk(results, job.folder)
            waiting[number] = files, results
            while reported in waiting:
                for file, result in zip(*waiting.pop(reported), strict=True):
                    progress(_row(file, result, job.folder), file.number + 1, total)
                reported += 1
    except sqlite3.Error:
        _stop(running)  # nothing more can be written
        raise
    except BaseException:
        for future, (_, files) in _stop(running):
            with contextlib.suppress(BaseException):
                results = _written(future.result())
                _ledger.record(ledger, run, {file.id: result for file, result in zip(files, results, strict=True)})
        with contextlib.suppress(OSError):
            write_csv(_ledger.stored_rows(ledger, Path(job.folder)), Path(job.folder) / CSV_NAME)
        raise


def _stop(running):
    """Tasks that have begun already, as in `running`; the others are called off."""
    return [(future, block) for future, block in running.items() if not future.cancel()]


class _File(NamedTuple):
    """A file that is to be done: its number in the input, its row, its name, that of its PONI, and the rings to expect."""

    number: int
    id: int
    path: str
    name: str
    like: RingFit | None


def _left(files, job):
    """`_File` of each of the files, as `_ledger.listed` gives them, that is not done or has changed since."""
    numbered = enumerate(files)
    while series := list(itertools.islice(numbered, _SERIES)):
        like, looked = None, job.options.method != "ring"
        for number, (id_, path, name, status, *known) in series:
            if status == "ok" and _is_done(path, Path(job.folder) / name, *known):
                continue
            if not looked:
                like, looked = _first_fit(job, [row[1] for _, row in series[:_SCOUTS]]), True
            yield _File(number, id_, path, name, like)


def _first_fit(job, paths):
    """The rings of the first of the files that shows some, or None.

    It is the same whichever of the files are still to be done, and by whom: so are the results for them.
    """
    for path in paths:
        # What is wrong with a file is said when it is its turn.
        with contextlib.suppress(Exception), _memory_for(job):
            return find_center(read_image(path, job.frame), job.options, _mask(job.mask, job.shape))[2]
    return None


def _is_done(path, poni, size, mtime_ns, poni_size):
    """Whether an image is the same as when it was done, or gone since, and its PONI is there and whole."""
    try:
        if poni.stat().st_size < poni_size:
            return False
        now = os.stat(path)  # noqa: PTH116 (names as they were given)
    except FileNotFoundError:
        return poni.exists()
    except OSError:
        return False
    return (now.st_size, now.st_mtime_ns) == (size, mtime_ns)


def _submit(pool, job, files):
    try:
        return pool.submit(recalibrate_block, job, [(file.path, file.name, file.like) for file in files])
    except Exception as error:
        raise _broken(error) from error


def _results(future, files):
    """What a worker found out about the files of its block."""
    try:
        return _written(future.result())
    except Exception as error:
        if type(error).__name__ != "KilledWorker":
            raise _broken(error) from error
        # Dask's word for a task on which several workers have died: it is the file's fault.
        return [{"status": "failed", "error": "the workers that took it died one after the other (KilledWorker)"}] * len(files)


def _written(results):
    """What became of files, once those are written that were still to be."""
    return [result.result() if isinstance(result, Future) else result for result in results]


def _check_disk(results, folder):
    """Raise if files failed because the disk is full: so will all others."""
    if any(result.get("full") for result in results) and shutil.disk_usage(folder).free < _ROOM:
        raise BatchError(f"{folder}: no space is left; make room, and go on with --resume (resume=True)")


def _broken(error):
    return BatchError(f"the executor broke down ({one_line(error)}); what was done is in the ledger: go on with --resume "
                      "(resume=True)")


def recalibrate_block(job, files):
    """What became of each of the files (path, name of its PONI, rings to expect), by a worker.

    A list of dicts with `_ledger.RESULTS`, or futures of these, where the job has a writer.
    """
    return [recalibrate_one(path, Path(job.folder) / name, replace(job, like=like)) for path, name, like in files]


def recalibrate_one(path, output, job):
    """What became of one file, or a future of that; whatever goes wrong with it is in there."""
    start = time.perf_counter()
    found: dict = {"status": "failed"}

    def ended(more):
        return found | more | {"milliseconds": (time.perf_counter() - start) * 1e3}

    def write():
        try:
            write_recalibration(output, path, result, job.options, job.source, sync=True)
            return ended(_numbers(result) | {"status": "ok", "poni_size": output.stat().st_size})
        except Exception as error:
            return ended(_failure(error, output))

    try:
        with contextlib.suppress(OSError):
            stat = os.stat(path)  # noqa: PTH116
            found |= {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        # One thread for each file leaves none for the bands of one image.
        with _serial_kernels() if job.serial else nullcontext(), _memory_for(job):
            result = recalibrate_file(path, job.poni, job.options, mask=_mask(job.mask, job.shape), frame=job.frame,
                                      like=job.like)[0]
    except Exception as error:
        # A corrupt file can raise anything; it must not take the other thousand with it.
        return ended(_failure(error, output))
    return job.writer.submit(write) if job.writer else write()


def _failure(error, output):
    """What the exception that is being handled says of a file; no PONI of what it was before stays."""
    with contextlib.suppress(OSError):
        output.unlink(missing_ok=True)
    return {"error": one_line(error), "trace": traceback.format_exc(),
            "full": getattr(error.__cause__ or error, "errno", None) == errno.ENOSPC}


def _numbers(result):
    fit, (x, y) = result.fit, result.before
    found = {name: getattr(fit, name) for name in ("a", "b", "angle", "cx_err", "cy_err", "chi2", "coverage", "converged")
             if hasattr(fit, name)}
    if "chi2" in found:
        found["quality"] = found["coverage"] / max(1.0, found["chi2"])
    return found | {"cx": result.cx, "cy": result.cy, "dx": result.cx - x, "dy": result.cy - y, "misplaced": result.error}


@lru_cache(maxsize=2)
def _mask(packed, shape):
    if packed is None:
        return None
    bits = np.unpackbits(np.frombuffer(zlib.decompress(packed), np.uint8), count=shape[0] * shape[1])
    return bits.view(bool).reshape(shape)


def _memory_for(job):
    if job.options.method != "ring" or job.mask is not None:
        return recycled()
    from ._ringsearch import reading

    return reading()


def _serial_kernels():
    from .kernels._bands import one_thread

    return one_thread()


def one_line(error):
    """The message of an exception, without line breaks; its type where there is none."""
    return " ".join(str(error).split()) or type(error).__name__


def _row(file, result, folder):
    """A row as `Ledger.rows` gives it, and where its error came from."""
    blank = {name: "" if name in _ledger.TEXTS else math.nan for name in _ledger.COLUMNS}
    poni = os.fspath(Path(folder) / file.name) if result["status"] == "ok" else ""
    return blank | {"trace": ""} | result | {"path": file.path, "poni": poni, "index": file.number}


# ---------------------------------------------------------------------------------------------------------------- ending


def _add_flags(ledger, method, smooth):
    """Flag the centres that jump or are badly determined, over the whole series, and write the robust trajectory."""
    from ._trajectory import find_flags
    from ._trajectory import smooth as robust

    names = ("cx", "cy", "cx_err", "cy_err", "converged")
    rows = np.fromiter(_ledger.good_numbers(ledger, names), [("id", "i8"), *((name, "f8") for name in names)])
    centers, errors = (np.stack([rows[x], rows[y]], axis=1) for x, y in (names[:2], names[2:4]))
    # The brightest pixel is known to a pixel at best.
    alone, steps, uncertain = find_flags(centers, errors, rows["converged"] != 0, 0.5 if method == "max" else 0.05)
    words = {int(i): " ".join(word for word, mark in (("jump", alone | steps), ("uncertain", uncertain)) if mark[k])
             for k, i in enumerate(rows["id"]) if alone[k] or steps[k] or uncertain[k]}
    path = robust(centers, alone | uncertain, steps) if smooth else None
    _ledger.set_flags(ledger, words, () if path is None else zip(path[:, 0], path[:, 1], rows["id"], strict=True))


def _sync_folder(folder):
    """Wait until the disk has the names of the PONI files, whose contents it has already."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _export(ledger):
    """The table, the picture and the report beside a ledger."""
    ledger.to_csv(ledger.folder / CSV_NAME)
    _draw(ledger)
    _report(ledger)
    return ledger


def _draw(ledger):
    from .plots import plot_drift

    names = ("cx", "cy", "dx", "dy")
    rows = np.fromiter((tuple(row[name] for name in names) for row in ledger.rows()), [(name, "f8") for name in names])
    few = [Path(row["path"]).name for row in ledger.rows()] if len(rows) <= _NAMED else None
    figure, picture = plot_drift(*(rows[name] for name in names), labels=few), io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_atomically(ledger.folder / PICTURE_NAME, picture.getvalue())


def _report(ledger):
    from .report import write_report

    write_report(ledger, ledger.folder / REPORT_NAME)
