"""Run the speed benchmarks and print them as the README's table: ``python -m benchmarks.table [--size N]``.

Programs of one row ran on the same input in the same run; ratios are between medians, p95 stands beside the median.
"""

import argparse
import contextlib
import json
import os
import platform
import sys
import tempfile
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent


def measure(size, selection):
    """Results of all benchmarks, as pytest-benchmark saves them."""
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "results.json"
        with contextlib.redirect_stdout(sys.stderr):
            code = pytest.main([str(HERE), "-q", "--no-header", "-p", "no:cacheprovider", "--benchmark-enable",
                                "--benchmark-quiet", "--benchmark-save-data", f"--benchmark-json={saved}", f"--size={size}",
                                "-k", selection])
        if code:
            sys.exit(f"benchmarks failed (pytest's exit code {int(code)}): no table")
        return json.loads(saved.read_text())["benchmarks"]


def rows(results):
    """(job, program, median ms, p95 ms, median over edfast's) for each benchmark, edfast first in its group."""
    for job, group in groupby(sorted(results, key=lambda b: b["group"]), key=lambda b: b["group"]):
        timed = [(b["extra_info"]["program"], np.array(b["stats"]["data"]) * 1e3) for b in group]
        timed.sort(key=lambda row: (not row[0].startswith("edfast"), np.median(row[1])))
        ours = next(np.median(times) for program, times in timed if program == "edfast")
        for program, times in timed:
            yield job, program, np.median(times), np.percentile(times, 95), np.median(times) / ours


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2048, help="side of the images [pixel]")
    parser.add_argument("-k", dest="selection", default="", help="only benchmarks whose name contains this (as pytest's -k)")
    options = parser.parse_args()
    results = measure(options.size, options.selection)
    print(f"Measured by `make bench` on {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
          f"images of {options.size} x {options.size}.\n")
    print("| job | program | median | p95 | times edfast's |\n| --- | --- | ---: | ---: | ---: |")
    before = ""
    for job, program, median, p95, ratio in rows(results):
        print(f"| {job if job != before else ''} | {program} | {median:.3g} ms | {p95:.3g} ms | {ratio:.3g} |")
        before = job


if __name__ == "__main__":
    main()
