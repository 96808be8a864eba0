"""The ledger of a batch: one row for each file, in an SQLite file that a kill at any moment leaves whole.

While a run writes, it holds SQLite's own exclusive lock, which ends with the process however that ends; the journal is a
write-ahead log, which needs no shared memory under that lock and so works on network shares too. A row is committed as soon as
its file is done, so that a kill loses none; a power cut may lose the last rows, but never the order of things.
"""

import contextlib
import json
import math
import os
import sqlite3
from pathlib import Path

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
# What a row has for its user, and what is "" rather than NaN where there is nothing to say.
COLUMNS = ("path", "poni", "cx", "cy", "cx_err", "cy_err", "dx", "dy", "a", "b", "angle", "status", "error", "milliseconds",
           "quality", "chi2", "coverage", "flags", "smooth_cx", "smooth_cy", "size", "mtime_ns", "index", "misplaced", "run")
TEXTS = frozenset(("path", "poni", "status", "error", "flags"))
_STORED = {"poni": "CASE status WHEN 'ok' THEN name END", "index": "position"}


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
            run = connection.execute("SELECT started, finished, options, versions FROM runs ORDER BY id DESC LIMIT 1").fetchone()
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
        columns = ", ".join(f'{_STORED.get(name, name)} AS "{name}"' for name in COLUMNS)
        where, values = ("", ()) if status is None else ("WHERE status = ?", (status,))
        with self._connected() as connection:
            for row in connection.execute(f"SELECT {columns} FROM files {where} ORDER BY position, id", values):
                yield self._readable(row)

    def _readable(self, row):
        found = {name: ("" if name in TEXTS else math.nan) if value is None else value
                 for name, value in zip(COLUMNS, row, strict=True)}
        found["path"] = os.fsdecode(found["path"])
        if found["poni"]:
            found["poni"] = str(self.folder / os.fsdecode(found["poni"]))
        return found

    @contextlib.contextmanager
    def _connected(self):
        """A connection that only reads; errors of SQLite as one line with the name of the file."""
        with one_line_errors(self.path), contextlib.closing(
                sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True, timeout=1.0)) as connection:
            check_is_ledger(connection, self.path)
            yield connection


def check_is_ledger(connection, path):
    """Raise unless the file is a ledger of this version."""
    found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    if found[0] != APPLICATION:
        raise LedgerError(f"{path} is not a ledger of edfast")
    if found[1] != VERSION:
        raise LedgerError(f"{path} is a ledger of version {found[1]}, this edfast reads version {VERSION}: take another edfast, "
                          "or another output folder")


@contextlib.contextmanager
def one_line_errors(path):
    """What SQLite says, as a `LedgerError` that names the file and what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        said = str(error)
        if "locked" in said or "busy" in said:
            said = "another run is writing to it; wait until that has ended, or give another output folder"
        elif "malformed" in said or "not a database" in said:
            said = f"it is not a ledger, or it is damaged ({said})"
        raise LedgerError(f"{path}: {said}") from error
