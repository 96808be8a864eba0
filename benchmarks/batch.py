"""Throughput of `recalibrate_batch` beside the documented loop, and the latency of `CenterTracker` (``make bench-batch``).

Files of 2048 x 2048 float32 are read from the page cache, by one worker and by two; "alone" is reading and fitting without
anything else, by as many threads. All are measured in turns in the same run, and the median is printed. The processor time of
a file depends less on what else the machine does.
"""

import argparse
import logging
import os
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.peers import documented_recalibration
from edfast._recalibrate import Options, find_center, read_image
from edfast.batch import recalibrate_batch
from edfast.geometry import Poni, write_poni
from edfast.kernels._bands import one_thread
from edfast.simulate import drift_series, ring_pattern, write_dm4
from edfast.tracking import CenterTracker

METHODS, WORKERS = ("covariance", "ring"), (1, 2)
TARGETS = {"covariance": 200, "ring": 120}  # files a second on two cores
DISTINCT = 8


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--files", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # pyFAI's line for each file
    with tempfile.TemporaryDirectory() as folder:
        throughput(Path(folder), arguments.size, arguments.files, arguments.rounds)
    latency(arguments.size)


def throughput(folder, size, number, rounds):
    """Files a second of the documented loop, of reading and fitting alone, and of the batch."""
    files = prepare(folder, size, number)
    jobs = {("documented loop", "", 1): lambda: documented(folder, files[:4])}
    for method in METHODS:
        for workers in WORKERS:
            jobs["alone", method, workers] = lambda method=method, workers=workers: alone(files, method, workers)
            jobs["batch", method, workers] = lambda method=method, workers=workers: batch(folder, files, method, workers)
    for job in jobs.values():
        job()
    times = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            times[name].append(job())
    wall, processor = ({name: statistics.median(time[i] for time in found) for name, found in times.items()} for i in (0, 1))
    loop = wall["documented loop", "", 1]
    print(f"{number} files of {size} x {size} float32 from the page cache, median of {rounds}\n\n"
          f"{'':16}{'method':12}{'workers':>8}{'files/s':>9}{'ms/file':>9}{'processor ms':>14}{'x loop':>8}{'x alone':>9}"
          f"{'x 1 worker':>12}")
    for name, method, workers in jobs:
        mine, work = wall[name, method, workers], processor[name, method, workers]
        cells = [f"{name:16}{method:12}{workers:8}{1 / mine:9.1f}{mine * 1e3:9.2f}{work * 1e3:14.2f}{loop / mine:8.1f}"]
        if name == "batch":
            cells.append(f"{mine / wall['alone', method, workers]:9.2f}")
        elif method:
            cells.append(" " * 9)
        if method:
            cells.append(f"{wall[name, method, 1] / mine:12.2f}")
        print("".join(cells))
    rates = ", ".join(f"{method} {rate} files/s" for method, rate in TARGETS.items())
    print(f"\ntargets: {rates} with two workers; 30 times the documented loop; at most 1.5 times alone.\n"
          "A batch with one worker fits each image on all cores.\n")


def prepare(folder, size, number):
    """Names of `number` files, `DISTINCT` of which differ, all in the page cache."""
    files = []
    for i in range(number):
        files.append(folder / f"image_{i:05}.dm4")
        if i < DISTINCT:
            center = (size * 0.49 + 2 * i, size * 0.51 - i)
            write_dm4(files[-1], ring_pattern((size, size), center, random_state=i)[0].astype(np.float32))
        else:
            os.link(files[i % DISTINCT], files[-1])
    write_poni(folder / "cal.poni", Poni(0.25, 0.005, 0.005, 0, 0, 0, 2.5e-12, 1e-5, 1e-5, (size, size)))
    return files


def documented(folder, files):
    """(seconds, processor seconds) of a file by the documented code."""
    start, work = time.perf_counter(), time.process_time()
    for file in files:
        documented_recalibration(file, folder / "cal.poni", folder / "loop.poni")
    return (time.perf_counter() - start) / len(files), (time.process_time() - work) / len(files)


def alone(files, method, workers):
    """(seconds, processor seconds) of a file that is read and fitted, and nothing else."""
    options = Options(True, method)

    def work(file):
        with one_thread():
            find_center(read_image(file), options)

    with ThreadPoolExecutor(workers) as pool:
        start, work_ = time.perf_counter(), time.process_time()
        for _ in pool.map(work, files):
            pass
        return (time.perf_counter() - start) / len(files), (time.process_time() - work_) / len(files)


def batch(folder, files, method, workers):
    """(seconds, processor seconds) of a file of a batch, from the first one done to the last one."""
    marks = []

    def mark(_row, done, total):
        if done in (1, total):
            marks.append((time.perf_counter(), time.process_time()))

    recalibrate_batch(files, folder / "cal.poni", output=folder / "out", method=method, jobs=workers, progress=mark)
    shutil.rmtree(folder / "out")
    (start, work), (end, done) = marks
    return (end - start) / (len(files) - 1), (done - work) / (len(files) - 1)


def latency(size, frames=3000):
    """Percentiles of the latency of the tracker, on one thread."""
    print(f"CenterTracker.update, {frames} frames, one thread, milliseconds\n\n"
          f"{'shape':>12}{'median':>9}{'p95':>9}{'p99':>9}{'worst':>9}")
    for side in (256, size):
        radii = [side * part for part in (0.16, 0.25, 0.35)]
        stack = [image.astype(np.float32) for image, _ in drift_series(16, (side, side), radii=radii, random_state=0)]
        tracker = CenterTracker((side, side))
        with one_thread():
            for image in stack:
                tracker.update(image)
            times = [1e3 * tracker.update(stack[i % len(stack)]).latency for i in range(frames)]
        print(f"{f'{side} x {side}':>12}" + "".join(f"{np.percentile(times, p):9.3f}" for p in (50, 95, 99, 100)))


if __name__ == "__main__":
    main()
