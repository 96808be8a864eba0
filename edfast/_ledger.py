"""The ledger of a batch: one row for each file, in an SQLite file that a kill at any moment leaves whole.

While a run writes, it holds SQLite's own exclusive lock, which ends with the process however that ends; the journal is a
write-ahead log, which needs no shared memory under that lock and so works on network shares too. A row is committed, and on
the disk, as soon as its file is done: neither a kill nor a power cut loses one.
"""

import contextlib
import datetime
import itertools
import json
import math
import os
import sqlite3
from pathlib import Path

from ._files import check_not_input

LEDGER_NAME = "recalibration.sqlite"
APPLICATION, VERSION = 0x65646661, 1  # "edfa"

SCHEMA = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    started TEXT NOT NULL,      -- ISO 8601, UTC
    finished TEXT,              -- NULL until all files of the run are done
    digest TEXT NOT NULL,       -- of all that decides about a result besides the image
    options TEXT NOT NULL,      -- JSON
    versions TEXT NOT NULL      -- JSON
);
CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    position INTEGER NOT NULL,  -- in the order of the input, from 0
    path NOT NULL UNIQUE,       -- TEXT, or a BLOB where the name is no UTF-8
    plain TEXT NOT NULL,        -- lower-case name of the PONI if no other file wants the same
    name, key TEXT UNIQUE,      -- of the PONI file, as it is and in lower case
    listed INTEGER NOT NULL,    -- the last run that was given this file
    run INTEGER REFERENCES runs,    -- the run that the rest is of
    status TEXT NOT NULL DEFAULT 'pending',     -- ok, failed or pending
    error TEXT,
    cx REAL, cy REAL, cx_err REAL, cy_err REAL, dx REAL, dy REAL, a REAL, b REAL, angle REAL,
    quality REAL, chi2 REAL, coverage REAL, converged INTEGER, misplaced REAL,
    flags TEXT, smooth_cx REAL, smooth_cy REAL,
    milliseconds REAL, size INTEGER, mtime_ns INTEGER, poni_size INTEGER
);
CREATE INDEX files_position ON files (position);
CREATE INDEX files_plain ON files (plain);
"""
_FOLDERS = 10_000   # of the input that are remembered
# What a row has for its user, and what is "" rather than NaN where there is nothing to say.
COLUMNS = ("path", "poni", "cx", "cy", "cx_err", "cy_err", "dx", "dy", "a", "b", "angle", "status", "error", "milliseconds",
           "quality", "chi2", "coverage", "flags", "smooth_cx", "smooth_cy", "size", "mtime_ns", "index", "misplaced", "run")
TEXTS = frozenset(("path", "poni", "status", "error", "flags"))
_NONE = ["" if name in TEXTS else math.nan for name in COLUMNS]
_INDIFFERENT = frozenset(("smooth", "jobs", "block", "output", "executor"))     # options that change no result
_STORED = {"poni": "CASE status WHEN 'ok' THEN name END", "index": "position"}


# What a worker finds out, and what the end of a run adds.
RESULTS = ("status", "error", "cx", "cy", "cx_err", "cy_err", "dx", "dy", "a", "b", "angle", "quality", "chi2", "coverage",
           "converged", "misplaced", "milliseconds", "size", "mtime_ns", "poni_size", "flags", "smooth_cx", "smooth_cy")


class LedgerError(OSError):
    """A ledger that cannot be read or written, or that another run is writing. One line."""


class Ledger:
    """What became of the files of a batch, read from the SQLite file that the batch wrote. Nothing is changed by reading.

    Parameters
    ----------
    path : str or path-like
        The ledger, or the folder that it is in.

    Attributes
    ----------
    path, folder : pathlib.Path
        The file, and the folder that it is in, where the PONI files are too.
    options : dict
        The resolved options of the last run.
    versions : dict
        Of edfast, Python and the libraries in the last run.
    started, finished : str or None
        When the last run began, and when it ended (None: it was interrupted) [ISO 8601, UTC].

    Raises
    ------
    FileNotFoundError
        There is no such file.
    LedgerError
        (An OSError.) The file is no ledger, is damaged, or a run is writing it at this moment.

    See Also
    --------
    edfast.batch.recalibrate_batch
    """

    def __init__(self, path):
        path = Path(os.fsdecode(path))
        self.path = path / LEDGER_NAME if path.is_dir() else path
        self.folder = self.path.parent
        if not self.path.is_file():
            raise FileNotFoundError(f"there is no ledger {self.path}")
        with self._connected() as connection:
            run = connection.execute("SELECT started, finished, options, versions FROM runs "
                                     "ORDER BY id DESC LIMIT 1").fetchone()
        if run is None:
            raise LedgerError(f"{self.path}: this ledger has no run in it")
        self.started, self.finished = run[:2]
        self.options, self.versions = map(json.loads, run[2:])

    def __len__(self):
        return sum(self.counts().values())

    def __repr__(self):
        return f"<Ledger {self.path}: {', '.join(f'{n} {status}' for status, n in self.counts().items())}>"

    def counts(self):
        """How many files are "ok", "failed" and "pending", as a dict."""
        with self._connected() as connection:
            found = dict(connection.execute("SELECT status, count(*) FROM files GROUP BY status"))
        return {status: found.get(status, 0) for status in ("ok", "failed", "pending")}

    def mixture(self):
        """What differs if files were done by different options, such as "method covariance (3 files); method ring (5 files)".

        Resumed runs leave files alone that they are not given; "" where all were done by the same options.
        """
        with self._connected() as connection:
            found = connection.execute("SELECT options, count(*) FROM files JOIN runs ON run = runs.id WHERE status = 'ok' "
                                       "GROUP BY digest ORDER BY runs.id").fetchall()
        sets = [json.loads(options) for options, _ in found]
        names = [name for name in self.options if name not in _INDIFFERENT
                 and len({repr(each.get(name)) for each in sets}) > 1]
        names = [name for name in names if not name.endswith("sha256")] or names
        return "; ".join(", ".join(f"{name} {each.get(name)}" for name in names) + f" ({number} file{'s' * (number > 1)})"
                         for each, (_, number) in zip(sets, found, strict=True) if len(sets) > 1)

    def rows(self, status=None):
        """Iterate over the files in the order of the input, without reading all of them at once.

        Parameters
        ----------
        status : {"ok", "failed", "pending"}, optional
            Only these.

        Yields
        ------
        dict
            ``path`` of the image; ``poni``, path of its PONI file; ``status``; ``error``; ``cx, cy`` (column, row), their
            standard errors ``cx_err, cy_err`` and ``dx, dy``, the shift from where the input PONI has the beam [pixel];
            semi-axes ``a, b`` [pixel] and ``angle`` [rad] of the ellipse; ``quality`` (of a ring fit, 0 to 1), its
            ``chi2`` and ``coverage``; ``flags`` (words, with blanks between); ``smooth_cx, smooth_cy``, the robust
            trajectory if it was asked for [pixel]; ``milliseconds``; ``size`` [byte] and ``mtime_ns`` of the image;
            ``index`` in the input; ``misplaced``, how far from the centre the PONI puts the beam [pixel]; ``run``, the
            number of the run. Numbers that there are not are NaN, texts "".
        """
        with self._connected() as connection:
            yield from stored_rows(connection, self.folder, status)

    def to_csv(self, path):
        """Write the rows as a table, in the order of the input: pixels to a ten-thousandth, cells without a value empty."""
        from ._exports import write_csv

        self.check_output(path)
        write_csv(self.rows(), path)

    def to_parquet(self, path):
        """Write the rows as a Parquet file, for pandas, polars and the like, with options and versions as its metadata.

        The extra ``edfast[parquet]`` installs what it needs (ImportError).
        """
        from ._exports import write_parquet

        self.check_output(path)
        write_parquet(self.rows(), path, self._facts())

    def to_nexus(self, path):
        """Write the rows as a NeXus file (HDF5); silx and nexpy show the drift of the beam with its errors."""
        from ._exports import write_nexus

        self.check_output(path)
        write_nexus(self.rows(), path, self._facts())

    def check_output(self, path):
        """Raise if a file at `path` cannot be written, or is the ledger or one of the files that it names."""
        check_not_input(path, self.path, self.options.get("poni"), self.options.get("mask"))
        if Path(path).exists():
            # By their names first: to look for each of a million files takes minutes.
            names = Path(path).name, Path(path).resolve().name
            for row in self.rows():
                check_not_input(path, *(row[key] for key in ("path", "poni") if row[key].endswith(names)))

    def _facts(self):
        return {"options": self.options, "versions": self.versions, "started": self.started, "finished": self.finished}

    @contextlib.contextmanager
    def _connected(self):
        """A connection that only reads; errors of SQLite as one line with the name of the file.

        It may write in so far as SQLite first takes back what a killed run has left half done.
        """
        with one_line_errors(self.path, "read"), contextlib.closing(
                sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=rw", uri=True, timeout=1.0)) as connection:
            connection.execute("PRAGMA query_only = ON")
            check_is_ledger(connection, self.path)
            yield connection


def check_is_ledger(connection, path):
    """Raise unless the file is a ledger of this version."""
    found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    if found[0] != APPLICATION:
        raise LedgerError(f"{path} is not a ledger of edfast")
    if found[1] != VERSION:
        raise LedgerError(f"{path} is a ledger of version {found[1]}, and this edfast reads version {VERSION}: give another "
                          "output folder")


@contextlib.contextmanager
def one_line_errors(path, doing="written"):
    """What SQLite says, as a `LedgerError` that names the file and what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        said = str(error)
        if "locked" in said or "busy" in said:
            said = "another run is writing to it: wait until that has ended, or give another output folder"
        elif "full" in said or "I/O" in said or "readonly" in said or "unable to open" in said:
            said = (f"cannot be {doing} ({said}); when the folder has room and permission to write, go on with --resume"
                    if doing == "written" else f"cannot be {doing} ({said})")
        elif "malformed" in said or "not a database" in said:
            said = f"it is not a ledger, or it is damaged ({said})"
        raise LedgerError(f"{path}: {said}") from error


def stored_rows(connection, folder, status=None):
    """The rows as `Ledger.rows` gives them; `folder` is where the PONI files are."""
    columns = ", ".join(f'{_STORED.get(name, name)} AS "{name}"' for name in COLUMNS)
    where, values = ("", ()) if status is None else ("WHERE status = ?", (status,))
    folder = os.path.join(folder, "")  # noqa: PTH118 (hundreds of thousands of them)
    for row in connection.execute(f"SELECT {columns} FROM files {where} ORDER BY position, id", values):
        found: dict = {name: none if value is None else value for name, value, none in zip(COLUMNS, row, _NONE, strict=True)}
        for name in TEXTS:
            if type(found[name]) is bytes:
                found[name] = os.fsdecode(found[name])
        if found["poni"]:
            found["poni"] = folder + found["poni"]
        yield found


# --------------------------------------------------------------------------------------------------------------- writing


@contextlib.contextmanager
def writing(folder):
    """The ledger in `folder`, made where needed and locked until the block or the process ends, as a connection."""
    path = folder / LEDGER_NAME
    with one_line_errors(path), contextlib.closing(sqlite3.connect(path, timeout=1.0, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        # The first statement that touches the file: two that begin at the same time cannot both get as far as reading.
        with transaction(connection, "EXCLUSIVE"):
            if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                check_is_ledger(connection, path)
            else:
                for statement in SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION}")
                connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        try:
            yield connection
        finally:
            # One file again, that can be read in a folder without permission to write. Who read the ledger of a killed run
            # has left another one.
            with contextlib.suppress(sqlite3.Error, OSError):
                connection.execute("PRAGMA journal_mode = DELETE")
                path.with_name(f"{path.name}-shm").unlink(missing_ok=True)


@contextlib.contextmanager
def transaction(connection, kind="IMMEDIATE"):
    """All of the block, or nothing of it."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
    except BaseException:
        # On a full disk SQLite may have rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def last_run(connection):
    """(digest, finished) of the last run, or None."""
    return connection.execute("SELECT digest, finished FROM runs ORDER BY id DESC LIMIT 1").fetchone()


def forget(connection):
    """Empty the ledger."""
    connection.execute("DELETE FROM files")
    connection.execute("DELETE FROM runs")


def begin_run(connection, digest, options, versions):
    """Number of a new run."""
    return connection.execute("INSERT INTO runs (started, digest, options, versions) VALUES (?, ?, ?, ?)",
                              (_now(), digest, json.dumps(options), json.dumps(versions))).lastrowid


def end_run(connection, run):
    """Note that nothing of the run is left to do."""
    connection.execute("UPDATE runs SET finished = ? WHERE id = ?", (_now(), run))


def enlist(connection, names, run, ending, reserved=()):
    """Give each file of the run a row, a place in the order of the input, and the name of its PONI, which ends in `ending`.

    `names` is an iterable of (rank, path): files of one rank are brought into the order of their names. A name is the image's
    stem where that is unique and not `reserved`, else the folders stand in front of it. Upper and lower case count as equal,
    since they are on some file systems. Rows that are there already keep their results, and their names if they have them.
    """
    root, seen = None, set[str]()

    def entries():
        nonlocal root
        for rank, path in names:
            folder = os.path.dirname(path)  # noqa: PTH120 (a million of them)
            if folder not in seen:
                if len(seen) > _FOLDERS:
                    seen.clear()
                seen.add(folder)
                parent = os.path.abspath(folder)  # noqa: PTH100
                root = parent if root is None else os.path.commonpath([root, parent])
            yield rank, _storable(path), _key(_plain(path) + ending), run

    connection.executemany("INSERT INTO files (position, path, plain, listed) VALUES (?, ?, ?, ?) ON CONFLICT (path) "
                           "DO UPDATE SET position = excluded.position, plain = excluded.plain, listed = excluded.listed "
                           "WHERE listed != excluded.listed", entries())
    connection.execute("UPDATE files SET position = place FROM (SELECT id AS other, row_number() OVER "
                       "(ORDER BY listed != ?, position, path) - 1 AS place FROM files) WHERE id = other", (run,))
    _forget_outdated(connection, run)
    _name(connection, root, ending, reserved)


def _forget_outdated(connection, run):
    """Make the files of this run pending again whose results come from other options."""
    cleared = ", ".join(f"{name} = NULL" for name in ("name", "key", "run", *RESULTS) if name != "status")
    connection.execute(f"UPDATE files SET status = 'pending', {cleared} WHERE listed = :run AND run IN (SELECT id FROM runs "
                       "WHERE digest != (SELECT digest FROM runs WHERE id = :run))", {"run": run})


def _name(connection, root, ending, reserved):
    connection.create_function("plain_name", 1, lambda path: _storable(_plain(os.fsdecode(path)) + ending))
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS taken (key TEXT PRIMARY KEY)")
    connection.execute("DELETE FROM taken")
    connection.executemany("INSERT OR IGNORE INTO taken VALUES (?)", ((_key(name),) for name in reserved))
    connection.execute("INSERT OR IGNORE INTO taken SELECT plain FROM files GROUP BY plain HAVING count(*) > 1")
    connection.execute("INSERT OR IGNORE INTO taken SELECT key FROM files WHERE key IS NOT NULL")
    connection.execute("UPDATE files SET name = plain_name(path), key = plain WHERE key IS NULL AND plain NOT IN taken")
    free = "SELECT NOT EXISTS (SELECT 1 FROM taken WHERE key = :key) AND NOT EXISTS (SELECT 1 FROM files WHERE key = :key)"
    while some := connection.execute("SELECT id, path FROM files WHERE key IS NULL ORDER BY position LIMIT 1000").fetchall():
        for number, path in some:
            longer = "-".join(Path(path := os.fsdecode(path)).absolute().relative_to(root).parts)
            candidates = itertools.chain([longer + ending], (f"{longer}-{i}{ending}" for i in itertools.count(2)))
            name = next(name for name in candidates if connection.execute(free, {"key": _key(name)}).fetchone()[0])
            connection.execute("UPDATE files SET name = ?, key = ? WHERE id = ?", (_storable(name), _key(name), number))


def listed(connection, run):
    """Files of the run, in the order of the input: (id, path, name, status, size, mtime_ns, poni_size), a few at a time."""
    place = -1
    while some := connection.execute("SELECT id, path, name, status, size, mtime_ns, poni_size, position FROM files WHERE "
                                     "listed = ? AND position > ? ORDER BY position LIMIT 256", (run, place)).fetchall():
        place = some[-1][-1]
        for number, path, name, *known, _ in some:
            yield number, os.fsdecode(path), os.fsdecode(name), *known


def count_listed(connection, run):
    """How many files the run has."""
    return connection.execute("SELECT count(*) FROM files WHERE listed = ?", (run,)).fetchone()[0]


def record(connection, run, results):
    """Write what became of files, {id: dict with the keys `RESULTS`}, all of them or none."""
    change = f"UPDATE files SET run = ?, {', '.join(f'{name} = ?' for name in RESULTS)} WHERE id = ?"
    rows = [(run, *(_value(found.get(name)) for name in RESULTS), number) for number, found in results.items()]
    if len(rows) == 1:
        connection.execute(change, rows[0])
        return
    with transaction(connection):
        connection.executemany(change, rows)


def good_numbers(connection, names):
    """Rows (id, *names) of the files that are done, in the order of the input; 0 for a number that there is not."""
    columns = ", ".join(f"ifnull({name}, {1 if name == 'converged' else 0})" for name in names)
    return connection.execute(f"SELECT id, {columns} FROM files WHERE status = 'ok' ORDER BY position, id")


def set_flags(connection, words, trajectory):
    """Write the flags, {id: words}, and the robust trajectory, rows of (cx, cy, id), in place of all that were there."""
    with transaction(connection):
        connection.execute("UPDATE files SET flags = NULL, smooth_cx = NULL, smooth_cy = NULL "
                           "WHERE flags IS NOT NULL OR smooth_cx IS NOT NULL")
        connection.executemany("UPDATE files SET flags = ? WHERE id = ?", ((word, number) for number, word in words.items()))
        connection.executemany("UPDATE files SET smooth_cx = ?, smooth_cy = ? WHERE id = ?",
                               ((float(x), float(y), int(number)) for x, y, number in trajectory))


def _value(value):
    if isinstance(value, str):
        return _storable(value) or None
    return None if value != value else value


def _plain(path):
    """Name of the PONI file of an image, without its ending; not that of the image itself, should that be called .poni."""
    path = Path(path)
    return path.name if path.suffix.lower() == ".poni" else path.stem


def _key(name):
    """Names are compared in lower case, and as text also where they are no UTF-8."""
    return os.fsencode(name.casefold()).decode(errors="backslashreplace")


def _storable(text):
    """Text as SQLite takes it: bytes where it is a file name that is no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text)
    return text


def _now():
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
