"""How long each stage takes on this machine and this image, what a batch of such files will take, and how to run it.

Every figure is the median of repetitions after warm-up, with the 95th percentile; the batch is measured by its own machinery
on temporary copies of the image.
"""

import contextlib
import itertools
import math
import os
import platform
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import __version__
from ._recalibrate import Options, read_image
from ._validation import as_count, as_image
from .geometry import Poni, beam_center, poni_with_center, write_poni

WARM_UP, COLD = 3, 5        # repetitions before any is counted; of reading past the page cache
ROUNDS = 3                  # of the batch, the settings one after the other in each
_COPIES = 256e6             # bytes of temporary copies, at most
_WORK = 0.8                 # seconds of work in one measurement of the batch, roughly
_FEWEST, _MOST = 12, 400    # files of one measurement
_WORTH = 1.05               # by which more threads, or larger blocks, must be faster
_QUIET = 1.5        # by which the rounds of one setting may differ
BLOCKS = (1, 8)


@dataclass(frozen=True, slots=True)
class Time:
    """Median and 95th percentile of the repetitions of a stage [ms]; `error` says why there are none."""

    median: float = math.nan
    p95: float = math.nan
    error: str = ""


@dataclass(frozen=True, slots=True)
class Rate:
    """Files a second of the batch with these settings: median, least and most of the rounds."""

    jobs: int
    block: int
    median: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Bench:
    """What `bench` measured; `stages` has for each its time on one thread and on all (None where threads change nothing)."""

    machine: dict
    image: dict
    repetitions: int
    method: str
    stages: dict[str, tuple[Time, Time | None]]
    rates: tuple[Rate, ...]
    best: Rate | None       # recommended
    error: str              # why the batch cannot be measured
    files: int              # that a prediction was asked for

    @property
    def seconds(self):
        """What so many files will take, from the page cache [s]; NaN where it is not known."""
        return self.files / self.best.median if self.best else math.nan

    @property
    def reading(self):
        """What reading them one after the other takes where they are not in the page cache [s]."""
        cold = self.stages.get("read, not cached")
        return self.files * cold[0].median / 1e3 if cold else math.nan

    @property
    def busy(self):
        """Whether the rounds differ so much that the machine had other things to do."""
        return any(rate.most > _QUIET * rate.least for rate in self.rates)

    def as_dict(self):
        """For JSON: times in milliseconds, seconds for all files; None where nothing is known."""
        def times(time):
            return None if time is None else {"error": time.error} if time.error else {"median": time.median, "p95": time.p95}

        def rate(rate):
            return {"jobs": rate.jobs, "block": rate.block, "files_per_second": rate.median, "least": rate.least,
                    "most": rate.most}

        return {"machine": self.machine, "image": self.image, "repetitions": self.repetitions, "warm_up": WARM_UP,
                "unit": "ms", "stages": {name: {"one_thread": times(one), "all_threads": times(both)}
                                         for name, (one, both) in self.stages.items()},
                "batch": {"method": self.method, "rounds": ROUNDS, "rates": [rate(r) for r in self.rates], "error": self.error,
                          "recommended": rate(self.best) if self.best else None, "busy": self.busy, "files": self.files,
                          "seconds": _known(self.seconds), "seconds_of_reading_uncached": _known(self.reading)}}


def _known(value):
    return value if math.isfinite(value) else None


def bench(path=None, *, frame=None, method="ring", repeat=30, files=100_000, say=lambda _text: None):
    """Measure this machine with the image at `path`, or a simulated one of 2048 x 2048 pixels.

    `repeat` is the number of repetitions of each stage, `files` that of which the time is predicted. `say` is told what is
    being done. Errors are those of `edfast.load_data`.
    """
    options = Options(True, method)
    repeat, files = as_count(repeat, "repeat", minimum=1), as_count(files, "files", minimum=1)
    frame = None if frame is None else as_count(frame, "frame")
    with tempfile.TemporaryDirectory(prefix="edfast-bench-") as place:
        folder = Path(place)
        if path is None:
            say("simulating an image")
        name = "simulated" if path is None else os.fsdecode(path)
        path = os.fsdecode(simulated(folder / "simulated.dm4") if path is None else path)
        image = as_image(read_image(path, frame))
        facts = {"path": name, "shape": list(image.shape), "dtype": str(image.dtype), "bytes": Path(path).stat().st_size}
        poni = Poni(0.2, image.shape[0] * 5e-6, image.shape[1] * 5e-6, 0, 0, 0, 2.5e-12, 1e-5, 1e-5, image.shape)
        say("stages")
        stages = measure_stages(path, image, poni, frame, repeat, folder)
        say("batch")
        rates, error = measure_batch(path, poni, options, frame, folder)
    return Bench(machine(), facts, repeat, method, stages, rates, recommend(rates), error, files)


def simulated(path, size=2048):
    """A ring pattern behind a beam stop, as a DM4 file."""
    from .simulate import BeamStop, ring_pattern, write_dm4

    scale = size / 2048
    image, _ = ring_pattern((size, size), (0.51 * size, 0.492 * size), [420 * scale, 700 * scale, 830 * scale],
                            widths=max(6 * scale, 1.5), beamstop=BeamStop(100 * scale), background_decay=600 * scale,
                            random_state=0)
    write_dm4(path, image)
    return path


def machine():
    """What was measured on."""
    from importlib.metadata import version

    return {"edfast": __version__, "python": platform.python_version(), "numpy": np.__version__, "numba": version("numba"),
            "system": platform.platform(), "processor": _processor(), "threads": threads()}


def threads():
    """On how many threads the kernels work when they work on all."""
    from .kernels import _bands

    return int(vars(_bands.numba.config)["NUMBA_NUM_THREADS"])


def _processor():
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


# ------------------------------------------------------------------------------------------------------------- stages


def measure_stages(path, image, poni, frame, repeat, folder):
    """`Time` of each stage on one thread, and on all where it uses several."""
    from .kernels import ellipse
    from .rings import fit_ring

    pixels, masked = image.reshape(-1), ellipse.NO_MASK
    stages = {"read": (timed(lambda: read_image(path, frame), repeat), None)}
    if cold := cold_read(path, frame):
        stages["read, not cached"] = cold, None
    stages["Otsu's threshold"] = both(lambda: ellipse.bright_from(pixels, masked.reshape(-1), 0.5), repeat)
    low, high, reason = ellipse.bright_from(pixels, masked.reshape(-1), 0.5)
    if reason:
        stages |= dict.fromkeys(("runs", "labels", "moments"), (Time(error=reason), None))
    else:
        runs = ellipse.bright_runs(image, masked, low, high)
        stages["runs"] = both(lambda: ellipse.bright_runs(image, masked, low, high), repeat)
        stages["labels"] = both(_regions, repeat, lambda: ([part.copy() for part in runs], image.shape[1]))
        found = _regions([part.copy() for part in runs], image.shape[1])
        stages["moments"] = both(lambda: _moments(*found), repeat)
    from ._ellipse import fit_ellipse_to_ring
    from .image.radp import radial_profile

    stages["documented fit, in all"] = both(lambda: fit_ellipse_to_ring(image), repeat)
    stages["ring fit"] = both(lambda: fit_ring(image), repeat)
    center = image.shape[0] / 2 + 0.3, image.shape[1] / 2 - 0.2
    stages["radial profile"] = both(lambda: radial_profile(image, center), repeat)
    moved = poni_with_center(poni, *beam_center(poni))
    stages["write"] = timed(lambda: write_poni(folder / "written.poni", moved, sync=True), repeat), None
    return stages


def _regions(runs, width):
    """The runs that are left, and the region of each, as `ellipse.largest_region` has them on its way."""
    from .kernels import ellipse, labels

    starts, ends, first = runs
    parents, _ = ellipse.regions_of_runs(starts, ends, first, 0, width)
    labels.drop_small(starts, ends, first, parents, 50)
    parents = ellipse.regions_of_runs(starts, ends, first, 1, width)[0] if first[-1] else parents[:0]
    return starts, ends, first, parents


def _moments(starts, ends, first, parents):
    from .kernels import labels

    if parents.size == 0:
        raise ValueError("no group of bright pixels is large enough")
    chosen = np.argmin(parents)
    size, sum_x, sum_y = labels.first_moments(starts, ends, first, parents, chosen)
    return labels.second_moments(starts, ends, first, parents, chosen, float(round(sum_x / size)), float(round(sum_y / size)))


def both(task, repeat, prepare=tuple):
    """`timed` on one thread, and on all where there are several."""
    from .kernels._bands import one_thread

    with one_thread():
        one = timed(task, repeat, prepare)
    return one, timed(task, repeat, prepare) if threads() > 1 else None


def timed(task, repeat, prepare=tuple):
    """`Time` of ``task(*prepare())`` without what `prepare` takes, or of why it cannot be done."""
    times = []
    try:
        for number in range(WARM_UP + repeat):
            arguments = prepare()
            start = time.perf_counter()
            task(*arguments)
            if number >= WARM_UP:
                times.append((time.perf_counter() - start) * 1e3)
    except ValueError as error:
        return Time(error=" ".join(str(error).split()))
    return Time(float(np.median(times)), float(np.percentile(times, 95)))


def cold_read(path, frame):
    """Reading the file after the system has been asked to forget it; None where it cannot be asked."""
    if not hasattr(os, "posix_fadvise"):
        return None

    def forget():
        with Path(path).open("rb") as file:
            os.fdatasync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return ()

    try:
        forget()
        times = []
        for _ in range(COLD):
            forget()
            start = time.perf_counter()
            read_image(path, frame)
            times.append((time.perf_counter() - start) * 1e3)
    except OSError:
        return None
    return Time(float(np.median(times)), float(np.percentile(times, 95)))


# -------------------------------------------------------------------------------------------------------------- batch


def measure_batch(path, poni, options, frame, folder):
    """(rates, error): the batch itself, on temporary copies, with several numbers of threads and sizes of blocks."""
    cores = threads()
    write_poni(folder / "bench.poni", poni)
    copies = list(copied(path, folder))
    first, error = rate_of_batch(copies, len(copies), folder, options, frame, 1, 1)
    if error:
        return (), error
    # One thread has nobody to whom it could hand out blocks.
    choices = [(jobs, block) for jobs in sorted({1, cores, 2 * cores}) for block in BLOCKS if jobs > 1 or block == BLOCKS[0]]
    found: dict = {choice: [] for choice in choices}
    for _, (jobs, block) in itertools.product(range(ROUNDS), choices):
        number = min(max(_FEWEST, 2 * jobs * block, int(first * min(jobs, cores) * _WORK)), _MOST)
        found[jobs, block].append(rate_of_batch(copies, number, folder, options, frame, jobs, block)[0])
    return tuple(Rate(jobs, block, float(np.median(rates)), min(rates), max(rates))
                 for (jobs, block), rates in found.items()), ""


def copied(path, folder):
    """Copies of the file, as many as are reasonable: one alone would stay in the processor's cache."""
    number = max(2, min(_FEWEST, int(_COPIES / max(Path(path).stat().st_size, 1))))
    for k in range(number):
        yield Path(shutil.copyfile(path, folder / f"copy_{k}{Path(path).suffix}"))


def rate_of_batch(copies, number, folder, options, frame, jobs, block):
    """(files a second, "") of a run over `number` files, the copies in turn, or (0.0, why they fail).

    Counted from when the threads are at work to the last file: neither the start nor the summary at the end.
    """
    from .batch import recalibrate_batch

    skipped = jobs * block
    work = Path(tempfile.mkdtemp(dir=folder))
    names, moments, errors = [], [], []
    for k in range(number + skipped):
        names.append(work / f"{k}{copies[0].suffix}")
        names[-1].symlink_to(copies[k % len(copies)])

    def progress(row, _done, _all):
        moments.append(time.perf_counter())
        if row["status"] != "ok":
            errors.append(row["error"].removeprefix(f"{row['path']}: "))

    recalibrate_batch(names, folder / "bench.poni", output=work / "out", method=options.method, frame=frame, jobs=jobs,
                      block=block, progress=progress)
    shutil.rmtree(work)
    if errors:
        return 0.0, errors[0]
    return (len(moments) - skipped) / max(moments[-1] - moments[skipped - 1], 1e-9), ""


def recommend(rates):
    """The fewest threads and the smallest block that are as fast as any, within what is worth it; None without rates."""
    if not rates:
        return None
    enough = max(rate.median for rate in rates) / _WORTH
    return min((rate for rate in rates if rate.median >= enough), key=lambda rate: (rate.jobs, rate.block))


# -------------------------------------------------------------------------------------------------------------- table


def table(found):
    """The measurements as text."""
    image, several = found.image, found.machine["threads"]
    shape = " x ".join(map(str, image["shape"]))
    lines = [f"edfast {found.machine['edfast']} on {found.machine['processor']}, {several} thread{'s' * (several > 1)}",
             f"{_printable(Path(image['path']).name)}: {shape} {image['dtype']}, {image['bytes'] / 1e6:.1f} MB",
             f"milliseconds: median and 95th percentile of {found.repetitions} repetitions after {WARM_UP} to warm up", "",
             f"{'stage':26}{'one thread':>18}" + f"{f'{several} threads':>20}" * (several > 1)]
    for name, (one, more) in found.stages.items():
        error = one.error or (more.error if more else "")
        times = f"{_times(one):>18}" + (f"{_times(more):>20}" if more else "")
        lines.append(f"{name:26}" + (f"  {error}" if error else times))
    lines += ["", f"batch, method {found.method}"]
    if found.error:
        return "\n".join([*lines, f"  not measured, the image fails: {found.error}"])
    lines += [f"  jobs {rate.jobs:2}, block {rate.block:2}: {rate.median:7.1f} files a second ({rate.least:.1f} to "
              f"{rate.most:.1f} in {ROUNDS} rounds)" for rate in found.rates]
    lines.append(f"recommended: jobs {found.best.jobs}, block {found.best.block}; {found.files} such files take "
                 f"{_duration(found.seconds)} from the page cache")
    if found.reading > found.seconds:
        lines.append(f"not cached, reading them takes {_duration(found.reading)} one by one, at the speed of this file")
    if found.busy:
        lines.append("the rounds differ by more than half: the machine had other things to do; measure again when it is quiet")
    return "\n".join(lines)


def _times(time):
    return f"{time.median:.3f} {time.p95:8.3f}" if time.median < 100 else f"{time.median:.0f} {time.p95:8.0f}"


def _duration(seconds):
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"


def _printable(name):
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def run(path, json_file, save, say, **options):
    """(text, exit code) of the command: measure, write JSON, and save the settings."""
    import json

    from . import _settings
    from ._files import check_not_input, write_atomically

    if json_file not in (None, "-"):
        check_not_input(json_file, path, name="JSON file")
    if save:
        _settings.load()    # a broken file is better known now
    found = bench(path, say=say, **options)
    as_json = json.dumps(found.as_dict(), indent=2)
    text = as_json if json_file == "-" else table(found)
    if json_file not in (None, "-"):
        write_atomically(json_file, as_json + "\n")
        text += f"\n  JSON      {json_file}"
    if save and found.best:
        _settings.save({"jobs": found.best.jobs, "block": found.best.block})
        say(f"saved jobs = {found.best.jobs} and block = {found.best.block} in {_settings.path()}"
            + "; the machine was busy, measure again when it is quiet" * found.busy)
    return text, 0 if found.best else 1
