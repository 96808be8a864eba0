"""Recalibration of many files: a PONI and a CSV row for each, in the order of the input. One bad file stops no other."""

import csv
import os
import time
import traceback
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ._recalibrate import recalibrate_file

NAN = float("nan")
CSV_NAME, PICTURE_NAME = "recalibration.csv", "drift.png"
_DECIMALS = {"angle": 6, "milliseconds": 2}


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one file; NaN and "" where there is nothing to say. Pixels, radian.

    ``dx, dy`` is the shift from where the input PONI has the beam. Two fields are not in the CSV: how far from the centre the
    new PONI puts the beam, and the traceback of an error.
    """

    path: str
    poni: str = ""
    cx: float = NAN
    cy: float = NAN
    cx_err: float = NAN
    cy_err: float = NAN
    dx: float = NAN
    dy: float = NAN
    a: float = NAN
    b: float = NAN
    angle: float = NAN
    status: str = "failed"
    error: str = ""
    milliseconds: float = NAN
    misplaced: float = NAN
    trace: str = ""


COLUMNS = [field.name for field in fields(Row) if field.name not in ("misplaced", "trace")]


def recalibrate_files(paths, poni, options, folder, *, mask=None, frame=None, source="", jobs=None):
    """Recalibrate each of `paths`, write its PONI and the CSV row to `folder`, and yield the `Row`, in order, as soon as done.

    A row is on disk before it is yielded; on an interruption, the files in work are finished and their rows written.
    """
    paths = list(dict.fromkeys(map(os.fspath, paths)))
    names = output_names(paths, frame, reserved=_names_of_inputs(folder, [source]))
    jobs = min(jobs or default_jobs(), max(len(paths), 1))

    def work(path, name):
        # One thread for each file leaves none for the bands of one image.
        with _serial_kernels() if jobs > 1 else nullcontext():
            return recalibrate_one(path, poni, options, Path(folder) / name, mask, frame, source)

    with _csv_file(Path(folder) / CSV_NAME) as write, ThreadPoolExecutor(jobs, "recalibrate") as pool:
        waiting = deque(pool.submit(work, path, name) for path, name in zip(paths, names, strict=True))
        try:
            while waiting:
                row = waiting[0].result()
                waiting.popleft()
                write(row)
                yield row
        finally:
            begun = [future for future in waiting if not future.cancel()]
            for future in begun:
                write(future.result())


def recalibrate_one(path, poni, options, output, mask=None, frame=None, source=""):
    """The `Row` of one file; whatever goes wrong with it is in the row."""
    start = time.perf_counter()
    try:
        result, _ = recalibrate_file(path, poni, options, output, mask=mask, frame=frame, source=source)
    except Exception as error:
        # A corrupt file can raise anything; it must not take the other thousand with it.
        return Row(path, error=one_line(error), milliseconds=_since(start), trace=traceback.format_exc())
    found = {name: getattr(result.fit, name) for name in ("a", "b", "angle", "cx_err", "cy_err") if hasattr(result.fit, name)}
    return Row(path, os.fspath(output), result.cx, result.cy, **found, dx=result.cx - result.before[0],
               dy=result.cy - result.before[1], status="ok", milliseconds=_since(start), misplaced=result.error)


def output_names(paths, frame=None, reserved=()):
    """One file name for each of `paths`: the stem where that is unique and not `reserved`, else with the folders in front.

    Upper and lower case count as equal, since they are on some file systems.
    """
    ending = ".poni" if frame is None else f"_frame{frame}.poni"
    plain = [Path(path).stem + ending for path in paths]
    clashes = Counter(name.casefold() for name in plain)
    clashes.update(name.casefold() for name in reserved)
    taken, names = set(clashes), []
    root = os.path.commonpath([Path(path).absolute().parent for path in paths]) if paths else ""
    for path, name in zip(paths, plain, strict=True):
        if clashes[name.casefold()] > 1:
            longer = "-".join(Path(path).absolute().relative_to(root).parts)
            candidates = [longer + ending, *(f"{longer}-{i}{ending}" for i in range(2, len(paths) + len(reserved) + 3))]
            name = next(name for name in candidates if name.casefold() not in taken)
            taken.add(name.casefold())
        names.append(name)
    return names


def default_jobs():
    """Threads for many files: as many as there are cores for this process, eight at most (then the disk is the limit)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 8)


def one_line(error):
    """The message of an exception, without line breaks; its type where there is none."""
    return " ".join(str(error).split()) or type(error).__name__


def _names_of_inputs(folder, inputs):
    """Names in `folder` that must not be written because an input has them."""
    return [Path(path).name for path in inputs if path and Path(path).resolve().parent == Path(folder).resolve()]


@contextmanager
def _csv_file(path):
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()

        def write(row):
            writer.writerow({key: _cell(key, value) for key, value in asdict(row).items()})
            file.flush()

        yield write


def _cell(name, value):
    """Pixels to a ten-thousandth, angles to a millionth, times to a hundredth; nothing where there is no number."""
    if not isinstance(value, float):
        return value
    return "" if value != value else f"{value:.{_DECIMALS.get(name, 4)}f}"


def _serial_kernels():
    from .kernels._bands import one_thread

    return one_thread()


def _since(start):
    return (time.perf_counter() - start) * 1e3
