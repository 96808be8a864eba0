"""Peak memory and time of a batch of many tiny files: ``python -m benchmarks.many [--files 50000]``.

The memory must not depend on the number of files: it is printed for a tenth of them too, each in a process of its own.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SHAPE, DISTINCT, JOBS = (64, 64), 50, 2


def prepare(folder, number):
    """`number` names of a few tiny images, and a PONI file."""
    from edfast.geometry import Poni, write_poni
    from edfast.simulate import write_dm4

    y, x = np.mgrid[:SHAPE[0], :SHAPE[1]]
    for i in range(number):
        path = folder / f"image_{i:06}.dm4"
        if i < DISTINCT:
            radius = np.hypot(x - 31 - 0.01 * i, y - 32)
            write_dm4(path, (1000 * np.exp(-((radius - 20) / 3) ** 2)).astype(np.float32))
        else:
            os.link(folder / f"image_{i % DISTINCT:06}.dm4", path)
    write_poni(folder / "cal.poni", Poni(0.2, 0.0003, 0.0003, 0, 0, 0, None, 1e-5, 1e-5, max_shape=SHAPE))


def child(pattern, poni, output):
    """One batch; prints its seconds, and the peak memory after the work and after the exports [MB]."""
    from edfast import batch

    def peak():
        return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024

    marks, export = [], batch._export

    def noted(ledger):
        marks.append((time.perf_counter(), peak()))
        return export(ledger)

    batch._export = noted
    start = time.perf_counter()
    ledger = batch.recalibrate_batch(pattern, poni, output=output, method="covariance", jobs=JOBS)
    ((worked, work),) = marks
    done = time.perf_counter()
    print(f"{len(ledger):7} files, {ledger.counts()['ok']} ok: {worked - start:.1f} s, peak {work:.0f} MB; exports "
          f"{done - worked:.1f} s, peak {peak():.0f} MB; ledger {ledger.path.stat().st_size / 1e6:.1f} MB", flush=True)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--child", nargs=3)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        prepare(folder, arguments.files)
        for name, pattern in (("tenth", f"{folder}/*0.dm4"), ("all", f"{folder}/*.dm4")):
            command = [sys.executable, "-m", "benchmarks.many", "--child", pattern, folder / "cal.poni", folder / name]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
