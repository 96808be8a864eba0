"""Recalibration of many files: what is done again and what is not, what goes wrong, and who does the work."""

import math
import os
import resource
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import kills
from edfast import _ledger, _ponifile, _trajectory, batch
from edfast.batch import BatchError, Ledger, LedgerError, recalibrate_batch
from edfast.cli import main
from edfast.geometry import Poni, beam_center, read_poni, write_poni
from edfast.simulate import write_dm4

SHAPE = (72, 80)
PONI = Poni(0.25, 0.0004, 0.0004, 0, 0, 0, 2.5e-12, 1e-5, 1e-5, SHAPE)


def pattern(cx, cy=35.0):
    y, x = np.mgrid[:SHAPE[0], :SHAPE[1]]
    return (1000 * np.exp(-((np.hypot(x - cx, y - cy) - 20) / 3) ** 2)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    """Eight small images and a PONI file."""
    for i in range(8):
        write_dm4(tmp_path / f"image_{i}.dm4", pattern(38 + 0.5 * i))
    write_poni(tmp_path / "cal.poni", PONI)
    return tmp_path


@pytest.fixture
def plain(monkeypatch):
    """No picture and no report, which take longer than the work on a few small files."""
    for name in ("_draw", "_report"):
        monkeypatch.setattr(batch, name, lambda ledger: None)


@pytest.fixture
def fitted(monkeypatch, plain):
    """Names of the files that are worked on; more than once if so."""
    done, one = [], batch.recalibrate_one

    def noted(path, *rest):
        done.append(Path(path).name)
        return one(path, *rest)

    monkeypatch.setattr(batch, "recalibrate_one", noted)
    return done


def run(folder, files="image_*.dm4", **options):
    files = str(folder / files) if files.__class__ is str and files.startswith(("image", "empty")) else files
    options = {"method": "covariance", "jobs": 2, "files": files} | options
    return recalibrate_batch(ponifile=folder / "cal.poni", output=folder / "out", **options)


def statuses(ledger):
    return [row["status"] for row in ledger.rows()]


def names(number):
    return [f"image_{i}.dm4" for i in range(number)]


def test_rows_ponis_and_options(folder):
    ledger = run(folder)
    assert ledger.counts() == {"ok": 8, "failed": 0, "pending": 0}
    assert ledger.finished >= ledger.started
    for i, row in enumerate(ledger.rows()):
        stat = (folder / f"image_{i}.dm4").stat()
        assert (row["index"], row["path"], row["size"], row["mtime_ns"]) == (
            i, str(folder / f"image_{i}.dm4"), stat.st_size, stat.st_mtime_ns)
        assert (row["cx"], row["cy"]) == pytest.approx((38 + 0.5 * i, 35), abs=0.2)
        assert beam_center(read_poni(row["poni"])) == pytest.approx((row["cx"], row["cy"]))
        assert (row["dx"], row["dy"]) == pytest.approx(np.subtract((row["cx"], row["cy"]), beam_center(PONI)))
        assert math.isnan(row["cx_err"])
    expected = {"method": "covariance", "convention": "pyfai", "frame": None, "mask": None, "jobs": 2}
    assert expected.items() <= ledger.options.items()
    assert len(ledger.options["poni_sha256"]) == 64
    assert {"edfast", "python", "numpy", "numba"} <= set(ledger.versions)
    assert sorted(path.name for path in (folder / "out").glob("[!i]*")) == [
        "drift.png", "recalibration.csv", "recalibration.sqlite", "report.html"]


def test_quality_of_rings(folder, plain, tmp_path):
    (row,) = run(folder, [folder / "image_0.dm4"], method="ring").rows()
    assert 0 < row["cx_err"] < 0.1
    assert row["quality"] == row["coverage"] / max(1, row["chi2"])
    assert 0 < row["quality"] <= 1


def test_rings_of_one_file_serve_for_those_after_it(folder, plain, monkeypatch):
    """Of the first of three that has some; the results are the same whoever finds them, and whatever is left to be done."""
    monkeypatch.setattr(batch, "_SERIES", 5)
    write_dm4(folder / "image_0.dm4", np.ones(SHAPE, np.float32))
    (folder / "image_1.dm4").write_bytes(b"none")
    expected, one = {}, batch.recalibrate_one

    def noted(path, output, job):
        expected[Path(path).name] = job.like
        return one(path, output, job)

    monkeypatch.setattr(batch, "recalibrate_one", noted)
    found = list(run(folder, method="ring").rows())
    assert [row["status"] for row in found] == ["failed", "failed"] + ["ok"] * 6
    assert [expected[name].cx for name in names(8)] == pytest.approx([39] * 5 + [40.5] * 3, abs=0.1)
    run(folder, "image_[0-5].dm4", method="ring", jobs=1)
    (folder / "out" / "image_5.poni").unlink()
    for row, other in zip(found, run(folder, method="ring", resume=True).rows(), strict=True):
        for name in ("cx", "cy", "cx_err"):
            np.testing.assert_equal(row[name], other[name])
    run(folder)
    assert not any(expected.values())


# --- what is done again -----------------------------------------------------------------------------------------------


def test_a_finished_run_is_replaced_and_a_resumed_one_does_nothing(folder, fitted):
    run(folder)
    assert sorted(fitted) == names(8)
    fitted.clear()
    assert run(folder, resume=True).counts()["ok"] == 8
    assert fitted == []
    assert run(folder, "image_[0-2].dm4").counts() == {"ok": 3, "failed": 0, "pending": 0}
    assert sorted(fitted) == names(3)
    fitted.clear()
    assert run(folder, resume=True).counts()["ok"] == 8
    assert sorted(fitted) == names(8)[3:]


def test_what_has_changed_is_done_again(folder, fitted):
    run(folder)
    out = folder / "out"
    write_dm4(folder / "image_1.dm4", pattern(30))                                          # same size, other time
    (folder / "image_2.dm4").write_bytes((folder / "image_2.dm4").read_bytes()[:-20])       # other size
    stat = (folder / "image_3.dm4").stat()
    os.utime(folder / "image_3.dm4", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))           # other time alone
    (out / "image_4.poni").unlink()
    (out / "image_5.poni").write_text("half a fi")
    (folder / "image_6.dm4").unlink()                                                       # done, and gone since
    with (out / "image_7.poni").open("a") as file:
        file.write("# refined by hand\n")
    fitted.clear()
    files = [folder / name for name in names(8)]
    ledger = run(folder, files, resume=True)
    assert sorted(fitted) == names(8)[1:6]
    assert statuses(ledger) == ["ok", "ok", "failed", "ok", "ok", "ok", "ok", "ok"]
    rows = list(ledger.rows())
    assert rows[1]["cx"] == pytest.approx(30, abs=0.2)
    assert not (out / "image_2.poni").exists()
    assert math.isnan(rows[2]["cx"])
    assert read_poni(out / "image_5.poni").distance == PONI.distance
    assert "by hand" in (out / "image_7.poni").read_text()
    fitted.clear()
    write_dm4(folder / "image_2.dm4", pattern(39))
    assert statuses(run(folder, files, resume=True)) == ["ok"] * 8
    assert fitted == ["image_2.dm4"]


@pytest.mark.parametrize("change", [
    {"method": "ring"}, {"convention": "documented"}, {"threshold_rel": 0.6}, {"min_size": 40}, {"mask": np.eye(*SHAPE)},
    {"beamstop": False, "method": "max"}, {"frame": 0}, "poni"])
def test_other_options_do_all_again(folder, fitted, change):
    run(folder, "image_[0-3].dm4")
    fitted.clear()
    if change == "poni":
        write_poni(folder / "cal.poni", replace(PONI, distance=0.3))
        change = {}
    ledger = run(folder, "image_[0-2].dm4", resume=True, **change)
    assert sorted(fitted) == names(3)
    assert statuses(ledger) == ["ok"] * 4  # what was not named has its row of the first run
    assert [row["run"] for row in ledger.rows()] == [2, 2, 2, 1]
    fitted.clear()
    run(folder, "image_[0-2].dm4", resume=True, **change)
    assert fitted == []


def test_what_does_not_matter_does_nothing_again(folder, fitted):
    mask = np.zeros(SHAPE, np.uint8)
    mask[:5] = 1
    np.save(folder / "mask.npy", mask)
    run(folder, mask=mask)
    fitted.clear()
    for options in ({"jobs": 1}, {"block": 3}, {"smooth": True}, {"mask": folder / "mask.npy"}, {"mask": 7.0 * mask}):
        run(folder, resume=True, **{"mask": mask} | options)
        assert fitted == []


def test_an_interrupted_run_is_resumed_or_overwritten_on_purpose(folder, fitted):
    def stop(row, done, total):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, progress=stop, jobs=1)
    ledger = Ledger(folder / "out")
    done = ledger.counts()["ok"]
    assert ledger.finished is None
    assert 1 <= done < 8
    assert len(list((folder / "out").glob("*.poni"))) == done
    with pytest.raises(BatchError, match=r"interrupted run: finish it with --resume .* --overwrite"):
        run(folder)
    assert Ledger(folder / "out").counts() == ledger.counts()
    before = set(fitted)
    fitted.clear()
    assert run(folder, resume=True).counts()["ok"] == 8
    assert not before & set(fitted)
    with pytest.raises(KeyboardInterrupt):
        run(folder, progress=stop, jobs=1)
    fitted.clear()
    assert run(folder, overwrite=True).counts()["ok"] == 8
    assert sorted(fitted) == names(8)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("recalibrate")]


def test_an_error_of_the_caller_loses_nothing_that_was_done(folder, fitted):
    def fail(row, done, total):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        run(folder, progress=fail, jobs=1)
    assert Ledger(folder / "out").counts()["ok"] == len(fitted) < 8
    assert run(folder, resume=True).counts()["ok"] == 8
    assert sorted(fitted) == names(8)


def test_leftovers_of_a_killed_run_are_removed(folder, plain):
    (folder / "out").mkdir()
    for name in (f".{'0f' * 16}.tmp", ".mine.tmp", ".hidden", f".{'0f' * 16}.tmp.mine"):
        (folder / "out" / name).write_text("x")
    run(folder)
    assert sorted(path.name for path in (folder / "out").glob(".*")) == [f".{'0f' * 16}.tmp.mine", ".hidden", ".mine.tmp"]


def test_killed_runs_are_finished(tmp_path):
    done, _ = kills.campaign(tmp_path, 8, seed=int.from_bytes(os.urandom(2)))
    assert done >= 8


# --- bad files, bad disks ---------------------------------------------------------------------------------------------


def test_bad_files_among_good_ones_have_one_row_each(folder, plain, monkeypatch):
    os.mkfifo(folder / "pipe.dm4")
    (folder / "empty.dm4").write_bytes(b"")
    (folder / "truncated.dm4").write_bytes((folder / "image_0.dm4").read_bytes()[:-9])
    (folder / "text.dm4").write_text("not an image " * 100)
    write_dm4(folder / "blank.dm4", np.zeros(SHAPE, np.float32))
    write_dm4(folder / "vanishing.dm4", pattern(38))
    one = batch.recalibrate_one

    def vanishing(path, *rest):
        if path == str(folder / "vanishing.dm4"):
            Path(path).unlink()
        return one(path, *rest)

    monkeypatch.setattr(batch, "recalibrate_one", vanishing)
    good = [folder / name for name in names(8)]
    bad = [folder / f"{name}.dm4" for name in ("empty", "truncated", "text", "blank", "pipe", "missing", "vanishing")]
    bad.append(folder)
    files = [*good[:3], *bad, *good, *bad]
    ledger = run(folder, (file for file in files), jobs=3)
    rows = {row["path"]: row for row in ledger.rows()}
    assert ledger.counts() == {"ok": 8, "failed": len(bad), "pending": 0}
    assert [row["path"] for row in ledger.rows()] == [str(path) for path in dict.fromkeys(files)]
    for path in bad:
        row = rows[str(path)]
        assert str(path) in row["error"]
        assert "\n" not in row["error"]
        assert row["poni"] == ""
    assert len(list((folder / "out").glob("*.poni"))) == 8


FULL = """
import resource, sys
from edfast.batch import recalibrate_batch
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
folder = sys.argv[1]
recalibrate_batch(folder + "/*.dm4", folder + "/cal.poni", output=folder + "/out", method="covariance", jobs=2)
"""


@pytest.mark.parametrize("most", [0, 60_000])
def test_a_full_disk_leaves_a_ledger_that_can_be_resumed(folder, most, fitted):
    # A limit on the size of files stands for the disk: first nothing can be written, then not the whole journal.
    command = [sys.executable, "-c", FULL, folder, str(most)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    error = found.stderr.splitlines()[-1]
    assert error.startswith("edfast._ledger.LedgerError: ")
    assert "recalibration.sqlite: " in error
    assert "go on with --resume" in error
    ledger = run(folder, resume=True)
    assert ledger.counts()["ok"] == 8
    if most:
        assert len(fitted) < 8
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_disk_that_fills_up_with_ponis_stops_the_run(folder, monkeypatch, fitted):
    replaced = Path.replace

    def full(self, target):
        if "image_3" in str(target):
            raise OSError(28, "No space left on device")
        return replaced(self, target)

    monkeypatch.setattr(Path, "replace", full)
    assert run(folder).counts() == {"ok": 7, "failed": 1, "pending": 0}  # there is room, whatever it was
    monkeypatch.setattr(batch.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 4096}))
    with pytest.raises(BatchError, match=r"out: no space is left; make room, and go on with --resume"):
        run(folder, jobs=1)
    assert Ledger(folder / "out").counts()["failed"] == 1
    monkeypatch.undo()
    assert run(folder, resume=True).counts()["ok"] == 8


def test_folders_that_cannot_be_written(folder, monkeypatch):
    with pytest.raises(FileExistsError, match=r"cal\.poni is a file: give another one"):
        recalibrate_batch("x", folder / "cal.poni", output=folder / "cal.poni")
    (folder / "out").mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match=r"no permission to write in .*out"):
        run(folder)
    assert list((folder / "out").iterdir()) == []


def test_two_runs_on_one_folder_are_refused(folder, plain):
    run(folder)
    with _ledger.writing(folder / "out"), pytest.raises(LedgerError, match="another run is writing to it"):
        run(folder, resume=True)
    assert run(folder, resume=True).counts()["ok"] == 8


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"method": "guess"}, ValueError, "method must be one of"),
    ({"convention": "guess"}, ValueError, "convention must be one of"),
    ({"threshold_rel": -1}, ValueError, "threshold_rel must be"),
    ({"min_size": 1.5}, ValueError, "min_size must be"),
    ({"frame": -1}, ValueError, "frame must be"),
    ({"jobs": 0}, ValueError, "jobs must be"),
    ({"block": 0}, ValueError, "block must be"),
    ({"mask": np.zeros(3)}, ValueError, "mask must be two-dimensional"),
    ({"mask": np.full(SHAPE, "x")}, TypeError, "mask must be boolean or numeric"),
    ({"mask": "none.npy"}, FileNotFoundError, "there is no mask"),
    ({"executor": 3}, TypeError, "executor must have the method submit"),
    ({"files": 3}, TypeError, "files must be names of files, not int"),
    ({"files": [np.zeros(SHAPE)]}, TypeError, "files must be names of files, not ndarray"),
    ({"files": ["a", None]}, TypeError, "files must be names of files, not NoneType"),
])
def test_wrong_arguments(folder, options, error, message):
    with pytest.raises(error, match=message):
        run(folder, **options)
    assert not list(folder.glob("out/*.poni"))


def test_patterns(folder, plain, monkeypatch):
    monkeypatch.chdir(folder)
    for sub in ("b/deep", "a"):
        (folder / sub).mkdir(parents=True)
        for name in ("x2.dm4", "x10.dm4", ".x.dm4", "y.tif"):
            (folder / sub / name).write_text("")
    (folder / "[1].dm4").write_text("")

    def found(pattern):
        return [row["path"] for row in run(folder, pattern, overwrite=True).rows()]

    assert found("a/*.dm4") == ["a/x10.dm4", "a/x2.dm4"]
    assert found("*/x*") == ["a/x10.dm4", "a/x2.dm4"]
    assert found("**/x2*") == ["a/x2.dm4", "b/deep/x2.dm4"]
    assert found("a/.*") == ["a/.x.dm4"]
    assert found("[1].dm4") == ["[1].dm4"]  # there is a file of that name
    assert found(Path("image_[01].dm4")) == ["image_0.dm4", "image_1.dm4"]
    assert found(b"image_0.dm4") == ["image_0.dm4"]


# --- who does the work ------------------------------------------------------------------------------------------------


class Counting(ThreadPoolExecutor):
    """How many tasks there are at the same time at most."""

    def __init__(self):
        super().__init__(3)
        self.now = self.most = self.all = 0

    def submit(self, *task):
        self.now, self.all = self.now + 1, self.all + 1
        self.most = max(self.most, self.now)
        future = super().submit(*task)
        future.add_done_callback(self.done)
        return future

    def done(self, _future):
        self.now -= 1


@pytest.mark.parametrize(("jobs", "block", "tasks"), [(4, 1, 60), (2, 7, 9), (None, 1, 60)])
def test_few_tasks_at_a_time_and_reports_in_order(folder, jobs, block, tasks):
    for i in range(60):
        (folder / f"empty_{i:02}.dm4").write_text("")
    with Counting() as executor:
        reports = []
        run(folder, "empty_*.dm4", jobs=jobs, block=block, executor=executor,
            progress=lambda row, done, total: reports.append((row["index"], row["status"], done, total, bool(row["trace"]))))
        assert (executor.all, executor.now) == (tasks, 0)
        assert executor.most <= (jobs or 6)
    assert reports == [(i, "failed", i + 1, 60, True) for i in range(60)]


@pytest.mark.parametrize("jobs", [1, 3])
def test_no_more_images_in_the_memory_than_jobs_while_others_are_written(folder, plain, monkeypatch, jobs):
    now, most, lock = {"fit": 0, "write": 0}, {}, threading.Lock()

    def counted(name, function):
        def inner(*args, **options):
            with lock:
                now[name] += 1
                most[name] = max(most.get(name, 0), now[name])
            time.sleep(0.02)
            try:
                return function(*args, **options)
            finally:
                with lock:
                    now[name] -= 1

        return inner

    monkeypatch.setattr(batch, "recalibrate_file", counted("fit", batch.recalibrate_file))
    monkeypatch.setattr(batch, "write_recalibration", counted("write", batch.write_recalibration))
    assert run(folder, jobs=jobs).counts()["ok"] == 8
    assert most["fit"] == jobs
    assert most["write"] <= batch._WRITERS


def test_few_results_are_kept(folder, fitted, monkeypatch):
    """Whatever the number of files: bytes tell little of that, as the tables of the interpreter grow by leaps."""
    alive, most = weakref.WeakSet(), []

    class Result(dict):
        __hash__, __eq__ = object.__hash__, object.__eq__

    def failed(path, *_):
        result = Result(status="failed", error="x")
        alive.add(result)
        most.append(len(alive))
        return result

    monkeypatch.setattr(batch, "recalibrate_one", failed)
    monkeypatch.setattr(batch, "_export", lambda ledger: ledger)
    assert len(run(folder, (f"/nowhere/{i}.dm4" for i in range(3000)), jobs=1)) == 3000
    assert max(most) <= 10


def test_names_are_read_one_by_one_and_memory_does_not_grow(folder, fitted, monkeypatch):
    monkeypatch.setattr(batch, "recalibrate_one", lambda path, *_: {"status": "failed", "error": "x" * 1000})
    monkeypatch.setattr(batch, "_export", lambda ledger: ledger)
    monkeypatch.setattr(_ponifile, "_LARGEST_FILE", 1 << 16)  # room to read it that would hide what grows
    # The interpreter's table of all strings that pathlib and others share grows by megabytes, whenever it happens to be full.
    monkeypatch.setattr(sys, "intern", str)
    import tracemalloc

    tracemalloc.start()
    try:
        run(folder, (f"/nowhere/with/a/long/name/{i}.dm4" for i in range(1000)))  # what stays of a first run is made once
        tracemalloc.reset_peak()
        ledger = run(folder, (f"/nowhere/with/a/long/name/{i}.dm4" for i in range(1000)))
        _, small = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        assert len(ledger) == 1000
        assert len(run(folder, (f"/nowhere/with/a/long/name/{i}.dm4" for i in range(4000)))) == 4000
        _, large = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert large < small + 200_000  # the longer names alone are more


class Broken:
    """An executor that breaks down after some tasks."""

    def __init__(self, good, error, *, at_submit=False):
        self.good, self.error, self.at_submit = good, error, at_submit

    def submit(self, function, *args):
        self.good -= 1
        if self.good < 0 and self.at_submit:
            raise self.error
        future = Future()
        if self.good < 0:
            future.set_exception(self.error)
        else:
            future.set_result(function(*args))
        return future


@pytest.mark.parametrize("executor", [Broken(3, BrokenExecutor("a worker died")),
                                      Broken(3, RuntimeError("shut down"), at_submit=True)])
def test_an_executor_that_breaks_down(folder, fitted, executor):
    with pytest.raises(BatchError, match=r"the executor broke down \((a worker died|shut down)\).*--resume"):
        run(folder, executor=executor)
    assert Ledger(folder / "out").counts() == {"ok": 3, "failed": 0, "pending": 5}
    assert len((folder / "out" / "recalibration.csv").read_text().splitlines()) == 9
    fitted.clear()
    assert run(folder, resume=True).counts()["ok"] == 8
    assert sorted(fitted) == names(8)[3:]


def test_a_file_on_which_workers_die_fails_alone(folder, plain):
    class KilledWorker(Exception):
        """As Dask's is called."""

    ledger = run(folder, executor=Broken(7, KilledWorker("task")), jobs=1)
    assert statuses(ledger) == ["ok"] * 7 + ["failed"]
    assert "KilledWorker" in list(ledger.rows())[-1]["error"]


def test_processes(folder, plain):
    mask = np.zeros(SHAPE, bool)
    mask[:4] = True
    threads = [(row["path"], row["cx"], row["cy"]) for row in run(folder, mask=mask).rows()]
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        ledger = run(folder, mask=mask, executor=pool, overwrite=True)
        assert [(row["path"], row["cx"], row["cy"]) for row in ledger.rows()] == threads
        (worker,) = pool._processes

        def kill(row, done, total):
            if done == 2:
                os.kill(worker, 9)

        with pytest.raises(BatchError, match="the executor broke down"):
            run(folder, mask=mask, executor=pool, overwrite=True, progress=kill, jobs=1)
    counts = Ledger(folder / "out").counts()
    assert counts["ok"] >= 2
    assert counts["pending"] > 0
    assert run(folder, mask=mask, resume=True).counts()["ok"] == 8


def test_a_dask_cluster_that_loses_a_worker_loses_no_file(folder):
    from distributed import LocalCluster

    for i in range(8, 60):
        write_dm4(folder / f"image_{i}.dm4", pattern(38))
    killed, reports = [], []

    def kill(row, done, total):
        reports.append(row["path"])
        if not killed:
            worker = min(cluster.workers.values(), key=lambda worker: worker.pid)
            killed.append(worker.pid)
            os.kill(worker.pid, 9)

    with LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster:
        with batch.dask_executor(cluster.scheduler_address) as (executor, jobs):
            assert jobs == 4
            ledger = run(folder, executor=executor, jobs=jobs, progress=kill)
        assert len(killed) == 1
        assert ledger.counts() == {"ok": 60, "failed": 0, "pending": 0}
        assert reports == [row["path"] for row in ledger.rows()]
        assert len(list((folder / "out").glob("*.poni"))) == 60
        arguments = ["recalibrate", folder / "image_*.dm4", "-p", folder / "cal.poni", "-o", folder / "cli", "--method",
                     "covariance", "--scheduler", cluster.scheduler_address]
        found = CliRunner().invoke(main, list(map(str, arguments)))
        assert found.exit_code == 0
        assert "60 of 60 files recalibrated" in found.stdout
    assert [row["cx"] for row in Ledger(folder / "cli").rows()] == [row["cx"] for row in ledger.rows()]


def test_a_scheduler_that_is_not_there(folder, monkeypatch):
    monkeypatch.setattr(batch, "_PATIENCE", 0.2)
    arguments = ["recalibrate", folder / "image_0.dm4", "-p", folder / "cal.poni", "-o", folder / "out"]
    found = CliRunner().invoke(main, [*map(str, arguments), "--scheduler", "tcp://127.0.0.1:9"])
    assert found.exit_code == 2
    assert "tcp://127.0.0.1:9" in found.stderr
    assert len(found.stderr.splitlines()) == 1
    assert not (folder / "out").exists()


# --- flags and the robust trajectory ----------------------------------------------------------------------------------


def trajectory(number=120, noise=0.02, seed=0):
    rng, place = np.random.default_rng(seed), np.arange(number)
    true = np.stack([100 + 0.3 * place + 4 * np.sin(place / 15), 80 - 0.8 * place], axis=1)
    return true, true + rng.normal(0, noise, true.shape)


def test_jumps_and_steps_are_flagged_and_nothing_else():
    true, found = trajectory()
    found[40] += (3, 0)
    found[0, 1] -= 2
    found[-1, 0] += 2
    found[90:92] += (-1.5, 1.5)
    found[60:] += (0, 2.5)
    errors = np.full(found.shape, 0.02)
    errors[75] = 0.5
    found[75] += 0.8
    converged = np.ones(len(found), bool)
    converged[20] = False
    alone, steps, uncertain = _trajectory.find_flags(found, errors, converged)
    assert np.flatnonzero(alone).tolist() == [0, 40, 90, 91, 119]
    assert np.flatnonzero(steps).tolist() == [60]
    assert np.flatnonzero(uncertain).tolist() == [20, 75]
    true[60:] += (0, 2.5)
    smooth = _trajectory.smooth(found, alone | uncertain, steps)
    assert np.abs(smooth - true).max() < 0.1
    good = ~(alone | uncertain)
    assert np.std((smooth - true)[good]) < 0.7 * np.std((found - true)[good])


@pytest.mark.parametrize("number", [12, 30, 300])
def test_a_wandering_beam_is_not_flagged(number):
    false = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        found = np.cumsum(rng.normal(0, 0.8, (number, 2)), axis=0) + np.outer(np.arange(number), rng.normal(0, 4, 2))
        alone, steps, uncertain = _trajectory.find_flags(found, np.full(found.shape, 0.002), np.ones(number, bool))
        false += np.count_nonzero(alone | steps | uncertain)
    assert false <= 0.01 * 40 * number


@pytest.mark.parametrize("number", range(14))
def test_short_series(number):
    _, found = trajectory(number)
    alone, steps, uncertain = _trajectory.find_flags(found, np.full(found.shape, np.nan), np.ones(number, bool))
    assert not (alone | steps | uncertain).any()
    assert _trajectory.smooth(found, alone, steps) == pytest.approx(found, abs=0.2)


def test_flags_are_in_the_ledger_and_the_raw_centre_stays(folder, plain):
    for i in range(30):
        write_dm4(folder / f"image_{i:02}.dm4", pattern(38 + 0.1 * i + 5 * (i == 12)))
    ledger = run(folder, "image_??.dm4", smooth=True)
    rows = list(ledger.rows())
    assert [row["index"] for row in rows if row["flags"]] == [12]
    assert rows[12]["flags"] == "jump"
    assert rows[12]["cx"] == pytest.approx(44.2, abs=0.2)
    assert rows[12]["smooth_cx"] == pytest.approx(39.2, abs=0.2)
    raw = [row["cx"] for row in rows]
    ledger = run(folder, "image_??.dm4", resume=True)
    assert [row["cx"] for row in ledger.rows()] == raw
    assert all(math.isnan(row["smooth_cx"]) for row in ledger.rows())


def test_progress_may_be_a_bar(folder, plain, monkeypatch):
    counted = []

    @contextmanager
    def bar(total, show, unit):
        counted.append((total, show, unit))
        yield counted.append

    monkeypatch.setattr(batch, "progress_bar", bar)
    for progress in (True, False):
        run(folder, "image_[01].dm4", progress=progress)
    assert counted == [(2, True, " files"), 1, 1, (2, False, " files"), 1, 1]


def test_a_pattern_that_nothing_matches_leaves_nothing(folder):
    with pytest.raises(FileNotFoundError, match=r"^no file matches .*none\*\.dm4$"):
        run(folder, str(folder / "none*.dm4"))
    arguments = [folder / "image_0.dm4", folder / "none*.dm4", "-p", folder / "cal.poni", "-o", folder / "out"]
    found = CliRunner().invoke(main, ["recalibrate", *map(str, arguments)])
    assert found.exit_code == 2
    assert found.stderr == f"edfast: no file matches {folder / 'none*.dm4'}\n"
    assert not (folder / "out").exists()


def test_a_file_by_two_spellings_is_done_once(folder, plain, monkeypatch):
    monkeypatch.chdir(folder)
    ledger = run(folder, ["image_0.dm4", "./image_0.dm4", ".//image_0.dm4", "./image_1.dm4"])
    assert [row["path"] for row in ledger.rows()] == ["image_0.dm4", "image_1.dm4"]


@pytest.mark.parametrize("address", ["foo", "foo:bar", "http://localhost:80", ""])
def test_an_address_that_is_none(folder, address):
    arguments = ["recalibrate", folder / "image_0.dm4", "-p", folder / "cal.poni", "-o", folder / "out"]
    found = CliRunner().invoke(main, [*map(str, arguments), "--scheduler", address])
    assert found.exit_code == 2
    assert found.stderr == f"edfast: scheduler must be an address such as tcp://HOST:PORT, not {address!r}\n"
    assert not (folder / "out").exists()


def test_an_input_that_only_ends_like_an_output_is_done(folder):
    """What the run writes is drift.png; my_drift.png in the same folder is left alone."""
    (folder / "out").mkdir()
    image = folder / "out" / "my_drift.png"
    image.write_bytes((folder / "image_0.dm4").read_bytes())
    before = image.read_bytes()
    assert run(folder, [image]).counts() == {"ok": 1, "failed": 0, "pending": 0}
    assert image.read_bytes() == before


def test_no_input_has_the_name_of_an_output(folder):
    out = folder / "out"
    out.mkdir()
    image, mask, poni = out / "drift.png", out / "report.html", out / "other.poni"
    image.write_bytes((folder / "image_0.dm4").read_bytes())
    np.save(out / "mask.npy", np.zeros(SHAPE))
    (out / "mask.npy").rename(mask)
    poni.write_text("written by hand")
    before = image.read_bytes(), mask.read_bytes()
    for options in ({"files": [folder / "image_1.dm4", image]}, {"files": str(out / "*.png")}, {"mask": mask}):
        with pytest.raises(ValueError, match="is the same file as the input"):
            run(folder, **options)
    assert (image.read_bytes(), mask.read_bytes()) == before
    assert run(folder, [folder / "image_1.dm4", poni]).counts() == {"ok": 1, "failed": 1, "pending": 0}
    assert poni.read_text() == "written by hand"  # by which it is no image: nothing is put in its place, or removed


def test_a_resumed_run_with_another_method_says_so(folder):
    arguments = ["-p", str(folder / "cal.poni"), "-o", str(folder / "out"), "--resume", "--method"]
    first, second = str(folder / "image_[012].dm4"), str(folder / "image_[34].dm4")
    found = CliRunner().invoke(main, ["recalibrate", first, *arguments, "covariance"])
    assert (found.exit_code, found.stderr) == (0, "")
    assert Ledger(folder / "out").mixture() == ""
    found = CliRunner().invoke(main, ["recalibrate", second, *arguments, "max", "--no-beamstop"])
    said = "the results are of different options: beamstop True, method covariance (3 files); beamstop False, method max"
    assert found.exit_code == 0
    assert said in found.stderr
    assert said[3:] in (folder / "out" / "report.html").read_text()
    found = CliRunner().invoke(main, ["recalibrate", str(folder / "image_[01234].dm4"), *arguments, "covariance"])
    assert (found.exit_code, found.stderr) == (0, "")
    assert "different options" not in (folder / "out" / "report.html").read_text()


def test_export_command(folder, plain):
    run(folder)
    out = folder / "out"
    found = CliRunner().invoke(main, ["export", str(out), str(out / "run.nxs"), str(out / "run.csv")])
    assert (found.exit_code, found.output) == (0, "")
    assert (out / "run.csv").read_text() == (out / "recalibration.csv").read_text()
    for arguments, message in ((["x.sqlite", "x.csv"], "there is no ledger x.sqlite"), ([out, "x.txt"], "must be one of .csv"),
                               ([out, out / "no" / "x.csv"], "there is no folder"),
                               ([folder / "cal.poni", "x.csv"], "not a ledger")):
        found = CliRunner().invoke(main, ["export", *map(str, arguments)])
        assert found.exit_code == 2
        assert message in found.stderr
        assert len(found.stderr.splitlines()) == 1
