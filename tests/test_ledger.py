"""The ledger of a batch: names, order, the lock, what a reader says of broken ones, and the formats that it is exported to."""

import contextlib
import csv
import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys
from itertools import count
from pathlib import Path

import h5py
import numpy as np
import pytest

from edfast import _ledger
from edfast._exports import COLUMNS, TEXTS, writer_for
from edfast.batch import Ledger, LedgerError

NAN = math.nan


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder that relative names are in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, paths, *, reserved=(), ending=".poni", digest="a", ranks=None, results=None, finish=True):
    """A ledger with these files; `results` is what became of them."""
    with _ledger.writing(folder) as connection:
        with _ledger.transaction(connection):
            run = _ledger.begin_run(connection, digest, {"method": "ring"}, {"edfast": "1"})
            _ledger.enlist(connection, zip(ranks or count(), paths, strict=False), run, ending, reserved)
        for (number, *_), result in zip(_ledger.listed(connection, run), results or (), strict=False):
            _ledger.record(connection, run, {number: result})
        if finish:
            _ledger.end_run(connection, run)
    return folder / _ledger.LEDGER_NAME


def names(folder):
    with sqlite3.connect(folder / _ledger.LEDGER_NAME) as connection:
        found = connection.execute("SELECT name FROM files ORDER BY position").fetchall()
    connection.close()
    return [os.fsdecode(name) for name, in found]


# --- names and order --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paths", [
    ["a.dm4", "a.tif"], ["x/a.dm4", "x-a.dm4", "y/a.dm4"], ["x/a.dm4", "x-a.dm4.poni", "y/a.dm4", "x-a.dm4"],
    ["a.dm4", "A.dm4"], ["a.dm4", "./a.dm4", "b/../a.dm4"], [], ["/x/a", "/y/a"], [f"{i}/a.dm4" for i in range(30)],
    ["x/y/a.dm4", "x-y/a.dm4", "x-y-a.dm4.dm4"], ["GROSS.dm4", "groß.dm4"],
])
@pytest.mark.parametrize("reserved", [(), ("a.poni",)])
def test_names_never_clash(here, paths, reserved):
    write(here, paths, reserved=reserved)
    found = [name.casefold() for name in names(here)]
    assert len(found) == len(paths)
    assert len(set(found)) == len(found)
    assert not set(found) & set(reserved)
    assert all(name.endswith(".poni") and "/" not in name for name in found)


def test_names_stay_when_files_are_added(here):
    write(here, ["x/a.dm4", "b.dm4"])
    assert names(here) == ["a.poni", "b.poni"]
    write(here, ["x/a.dm4", "y/a.dm4", "b.dm4"])
    assert names(here) == ["a.poni", "y-a.dm4.poni", "b.poni"]


def test_order_of_the_input_and_duplicates(here):
    write(here, ["c", "a", "c", "b", "a"])
    assert [(row["index"], row["path"]) for row in Ledger(here).rows()] == [(0, "c"), (1, "a"), (2, "b")]
    # What is not given again comes after what is; a pattern's matches are in the order of their names.
    write(here, ["z", "y", "a"], ranks=[0, 0, 0])
    assert [row["path"] for row in Ledger(here).rows()] == ["a", "y", "z", "c", "b"]


def test_results_of_other_options_are_forgotten(here):
    done = {"status": "ok", "cx": 1.0, "size": 1, "mtime_ns": 2, "poni_size": 3}
    write(here, ["a", "b", "c"], results=[done] * 3)
    write(here, ["a", "b"], digest="another", ending="_frame1.poni")
    assert [row["status"] for row in Ledger(here).rows()] == ["pending", "pending", "ok"]
    np.testing.assert_array_equal([row["cx"] for row in Ledger(here).rows()], [NAN, NAN, 1.0])
    assert names(here) == ["a_frame1.poni", "b_frame1.poni", "c.poni"]


# --- reading ----------------------------------------------------------------------------------------------------------


def test_rows(here):
    odd = os.fsdecode(b"latin-\xe9.dm4")
    found = {"status": "ok", "cx": 10.5, "cy": 20.25, "quality": 0.9, "flags": "jump", "milliseconds": 3.0, "size": 7,
             "mtime_ns": 8}
    write(here, ["a.dm4", odd, "c"], results=[found, found, {"status": "failed", "error": f"{odd} is broken"}])
    ledger = Ledger(here)
    assert (len(ledger), ledger.counts()) == (3, {"ok": 2, "failed": 1, "pending": 0})
    assert "2 ok, 1 failed, 0 pending" in repr(ledger)
    assert (ledger.options, ledger.versions) == ({"method": "ring"}, {"edfast": "1"})
    assert ledger.started <= ledger.finished
    rows = list(ledger.rows())
    assert tuple(rows[0]) == _ledger.COLUMNS
    assert (rows[0]["cx"], rows[0]["flags"], rows[0]["size"], rows[0]["poni"]) == (10.5, "jump", 7, str(here / "a.poni"))
    assert math.isnan(rows[0]["cx_err"])
    assert (rows[1]["path"], rows[1]["poni"]) == (odd, str(here / odd).replace(".dm4", ".poni"))
    assert (rows[2]["poni"], rows[2]["flags"], rows[2]["error"]) == ("", "", f"{odd} is broken")
    assert math.isnan(rows[2]["cx"])
    assert [row["path"] for row in ledger.rows("failed")] == ["c"]
    before = ledger.path.read_bytes()
    list(Ledger(ledger.path).rows())
    assert ledger.path.read_bytes() == before
    assert [path.name for path in here.iterdir()] == [_ledger.LEDGER_NAME]


def test_what_is_no_ledger(tmp_path):
    path = tmp_path / "file.sqlite"
    with pytest.raises(FileNotFoundError, match="there is no ledger"):
        Ledger(path)
    with pytest.raises(FileNotFoundError, match=r"there is no ledger .*recalibration\.sqlite"):
        Ledger(tmp_path)
    path.write_bytes(b"no database at all, but long enough" * 100)
    with pytest.raises(LedgerError, match="not a ledger, or it is damaged"):
        Ledger(path)
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE something (x)")
    connection.close()
    with pytest.raises(LedgerError, match="is not a ledger of edfast"):
        Ledger(path)
    path.rename(tmp_path / _ledger.LEDGER_NAME)
    with pytest.raises(LedgerError, match="is not a ledger of edfast"):
        write(tmp_path, ["a"])
    (tmp_path / _ledger.LEDGER_NAME).unlink()
    with _ledger.writing(tmp_path):
        pass
    with pytest.raises(LedgerError, match="has no run in it"):
        Ledger(tmp_path)
    with sqlite3.connect(write(tmp_path, ["a"])) as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(LedgerError, match="is a ledger of version 9"):
        Ledger(tmp_path)


# --- kills and power cuts ---------------------------------------------------------------------------------------------

HOLDER = """
import pathlib, sys
from edfast import _ledger
with _ledger.writing(pathlib.Path(sys.argv[1])) as connection:
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_one_run_at_a_time_and_the_lock_ends_with_the_process(tmp_path):
    write(tmp_path, ["a"])
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(LedgerError, match=r"recalibration\.sqlite: another run is writing to it"):
            write(tmp_path, ["a", "b"])
        with pytest.raises(LedgerError, match="another run is writing to it"):
            Ledger(tmp_path)
        holder.kill()
    assert [row["path"] for row in Ledger(tmp_path).rows()] == ["a"]
    write(tmp_path, ["a", "b"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [_ledger.LEDGER_NAME]


def test_whatever_the_disk_has_of_the_journal_is_a_ledger(tmp_path):
    paths = [f"image_{i}.dm4" for i in range(40)]
    with _ledger.writing(tmp_path) as connection:
        with _ledger.transaction(connection):
            run = _ledger.begin_run(connection, "a", {}, {})
            _ledger.enlist(connection, enumerate(paths), run, ".poni")
        for i, (number, *_) in enumerate(list(_ledger.listed(connection, run))):
            _ledger.record(connection, run, {number: {"status": "ok", "cx": float(i)}})
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL: a commit waits for the disk
        journal = (tmp_path / f"{_ledger.LEDGER_NAME}-wal").read_bytes()
        main = (tmp_path / _ledger.LEDGER_NAME).read_bytes()
    assert len(journal) > 40 * 4096
    generator, seen = np.random.default_rng(0), set()
    for cut in [0, len(journal), *generator.integers(0, len(journal), 30)]:
        folder = tmp_path / "cut"
        folder.mkdir()
        (folder / _ledger.LEDGER_NAME).write_bytes(main)
        torn = bytearray(journal[:cut])
        torn[-100:] = bytes(len(torn[-100:]))  # a block that was never written
        (folder / f"{_ledger.LEDGER_NAME}-wal").write_bytes(torn)
        rows = []
        with contextlib.suppress(LedgerError):  # where the cut is before the first commit
            rows = list(Ledger(folder).rows())
        done = [row["cx"] for row in rows if row["status"] == "ok"]
        assert done == [float(i) for i in range(len(done))]
        assert len(rows) in (0, 40)
        seen.add(len(done))
        write(folder, paths)
        assert len(Ledger(folder)) == 40
        shutil.rmtree(folder)
    assert len(seen) > 10


def test_a_transaction_is_all_or_nothing(tmp_path):
    write(tmp_path, ["a"])

    def names():
        yield 0, "b"
        raise RuntimeError("interrupted")

    def anew(connection):
        with _ledger.transaction(connection):
            _ledger.forget(connection)
            _ledger.enlist(connection, names(), _ledger.begin_run(connection, "a", {}, {}), ".poni")

    with _ledger.writing(tmp_path) as connection, pytest.raises(RuntimeError, match="interrupted"):
        anew(connection)
    assert [row["path"] for row in Ledger(tmp_path).rows()] == ["a"]


# --- exports ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path):
    """Three files, one of which failed and one of which has a name that is no UTF-8."""
    good = {"status": "ok", "cx": 10.123456, "cy": 20.0, "cx_err": 0.01, "cy_err": 0.02, "dx": 0.5, "dy": -0.25, "a": 5.0,
            "b": 4.0, "angle": 0.1234567, "quality": 0.9, "flags": "jump uncertain", "milliseconds": 1.5, "size": 7,
            "mtime_ns": 1 << 60}
    folder = tmp_path / "run"
    folder.mkdir()
    odd = os.fsdecode(b"/data/\xe9.dm4")
    bad = {"status": "failed", "error": "empty"}
    write(folder, ["/data/a.dm4", "/data/b, \"quoted\"\n.dm4", odd], results=[good, bad, good])
    return Ledger(folder)


def test_csv(ledger, tmp_path):
    ledger.to_csv(tmp_path / "run.csv")
    with (tmp_path / "run.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    cells = [rows[0][name] for name in ("cx", "angle", "milliseconds", "smooth_cx")]
    assert cells == ["10.1235", "0.123457", "1.50", ""]
    assert (rows[1]["path"], rows[1]["cx"], rows[1]["error"]) == ("/data/b, \"quoted\"\n.dm4", "", "empty")
    assert rows[2]["path"] == "/data/\\udce9.dm4"


def test_parquet(ledger, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    ledger.to_parquet(tmp_path / "run.parquet")
    table = parquet.read_table(tmp_path / "run.parquet")
    rows = table.to_pylist()
    cells = [rows[0][name] for name in ("cx", "mtime_ns", "index", "flags")]
    assert cells == [10.123456, 1 << 60, 0, "jump uncertain"]
    assert (rows[1]["cx"], rows[1]["error"], rows[1]["size"]) == (None, "empty", None)
    assert json.loads(table.schema.metadata[b"edfast_options"]) == {"method": "ring"}
    assert table.schema.field("angle").metadata == {b"unit": b"rad"}


def test_parquet_without_pyarrow(ledger, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'edfast\[parquet\]'"):
        ledger.to_parquet(tmp_path / "run.parquet")
    assert not list(tmp_path.glob("*.parquet"))


def test_nexus_as_silx_sees_it(ledger, tmp_path):
    from silx.io.nxdata import get_default

    ledger.to_nexus(tmp_path / "run.nxs")
    with h5py.File(tmp_path / "run.nxs") as file:
        data = get_default(file)
        assert (data.signal_name, data.axes_names, data.auxiliary_signals_names) == ("dx (pixel)", ["file"], ["dy"])
        np.testing.assert_array_equal(data.signal, [0.5, NAN, 0.5])
        np.testing.assert_array_equal(data.errors, [0.01, NAN, 0.01])
        files = file["entry_1/files"]
        assert set(files) == set(COLUMNS)
        assert files["cx"].attrs["units"] == "pixel"
        np.testing.assert_array_equal(files["cy"], [20.0, NAN, 20.0])
        assert [files[name].asstr()[1] for name in TEXTS] == ["/data/b, \"quoted\"\n.dm4", "", "failed", "empty", ""]
        assert json.loads(file["entry_1/process/options"][()]) == {"method": "ring"}


@pytest.mark.parametrize("name", ["to_csv", "to_parquet", "to_nexus"])
def test_exports_replace_neither_the_ledger_nor_what_it_names(ledger, tmp_path, name):
    image = tmp_path / "image.dm4"
    image.write_text("pixels")
    write(tmp_path / "run", [str(image)])
    before = ledger.path.read_bytes()
    for path in (ledger.path, image):
        with pytest.raises(ValueError, match="is the same file as the input"):
            getattr(ledger, name)(path)
    assert ledger.path.read_bytes() == before
    assert image.read_text() == "pixels"


@pytest.mark.parametrize("name", ["run.txt", "run", "run.xlsx"])
def test_other_endings_are_refused(name):
    with pytest.raises(ValueError, match=r"must be one of \.csv, \.parquet"):
        writer_for(name)


def test_an_empty_run_is_exported(tmp_path):
    write(tmp_path, [])
    for name in ("to_csv", "to_parquet", "to_nexus"):
        getattr(Ledger(tmp_path), name)(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 0
    assert len(Path(tmp_path / "to_csv").read_text().splitlines()) == 1
