"""The rows of a ledger as a table for other programs: CSV, Parquet, NeXus."""

import csv
import json
from pathlib import Path

from ._files import check_output, replacing

COLUMNS = ("path", "poni", "cx", "cy", "cx_err", "cy_err", "dx", "dy", "a", "b", "angle", "status", "error", "milliseconds",
           "quality", "chi2", "coverage", "flags", "smooth_cx", "smooth_cy")
TEXTS = ("path", "poni", "status", "error", "flags")
_UNITS = {"angle": "rad", "milliseconds": "ms", "quality": "", "chi2": "", "coverage": ""}
_DECIMALS = {"angle": 6, "milliseconds": 2}
_ROWS = 10_000  # that are in the memory at the same time
ENDINGS = {".csv": "to_csv", ".parquet": "to_parquet", ".h5": "to_nexus", ".hdf5": "to_nexus", ".nxs": "to_nexus"}


def unit(column):
    """Unit of a column of numbers."""
    return _UNITS.get(column, "pixel")


def write_csv(rows, path):
    """Write the rows, dicts as of `Ledger.rows`: pixels to a ten-thousandth, cells without a value empty."""
    check_output(path)
    # replacing() says what cannot be written, also where that turns out late.
    with replacing(path) as temporary, temporary.open("x", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({name: _cell(name, row[name]) for name in COLUMNS} for row in rows)


def _cell(name, value):
    if not isinstance(value, float):
        return value
    return "" if value != value else f"{value:.{_DECIMALS.get(name, 4)}f}"


def write_parquet(rows, path, facts):
    """Write the rows; numbers that there are not are null, and `facts` (a dict) are the file's metadata."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError("Parquet files need pyarrow: pip install 'edfast[parquet]'") from error
    check_output(path)
    types = {name: pyarrow.string() if name in TEXTS else pyarrow.float64() for name in COLUMNS}
    types |= {"size": pyarrow.int64(), "mtime_ns": pyarrow.int64(), "index": pyarrow.int64()}
    fields = [pyarrow.field(name, kind, metadata={"unit": unit(name)} if kind == pyarrow.float64() else None)
              for name, kind in types.items()]
    schema = pyarrow.schema(fields, metadata={f"edfast_{name}": json.dumps(value) for name, value in facts.items()})
    with replacing(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        for some in _batches(rows):
            columns = [pyarrow.array([_known(row[name]) for row in some], kind) for name, kind in types.items()]
            writer.write_batch(pyarrow.record_batch(columns, schema=schema))


def _known(value):
    """The value for a table that has nulls; names of files that are no UTF-8 with escapes."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    return None if value != value else value


def _batches(rows):
    some = []
    for row in rows:
        some.append(row)
        if len(some) == _ROWS:
            yield some
            some = []
    if some:
        yield some


def write_nexus(rows, path, facts):
    """Write a NeXus file whose default plot is the shift of the beam, with error bars, over the number of the file.

    ``entry_1/drift`` has the shift in x and y, ``entry_1/centre`` the path of the centre, ``entry_1/files`` all columns, and
    ``entry_1/process`` the `facts` (a dict) about the run.
    """
    import h5py
    import numpy as np

    from . import __version__
    from .image._h5 import write_nxdata

    check_output(path)
    numbers = [name for name in COLUMNS if name not in TEXTS]
    with replacing(path) as temporary, h5py.File(temporary, "x") as file:
        file.attrs["NX_class"], file.attrs["default"], file.attrs["creator"] = "NXroot", "entry_1", f"edfast {__version__}"
        entry = file.create_group("entry_1")
        entry.attrs["NX_class"], entry.attrs["default"] = "NXentry", "drift"
        _write_facts(entry, {"program": "edfast recalibrate"} | facts)
        files = entry.create_group("files")
        files.attrs["NX_class"] = "NXcollection"
        for name in (*numbers, *TEXTS):
            kind = h5py.string_dtype() if name in TEXTS else float
            files.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(_ROWS,))
            if name not in TEXTS and unit(name):
                files[name].attrs["units"] = unit(name)
        for some in _batches(rows):
            for name, column in files.items():
                column.resize(len(column) + len(some), axis=0)
                column[-len(some):] = [_known(row[name]) for row in some] if name in TEXTS else [row[name] for row in some]
        columns = {name: files[name][()] for name in ("dx", "dy", "cx", "cy", "cx_err", "cy_err")}
        number = np.arange(1, len(columns["dx"]) + 1)
        drift = {"dx": columns["dx"], "dy": columns["dy"], "dx_errors": columns["cx_err"], "dy_errors": columns["cy_err"]}
        data = [write_nxdata(entry, "drift", "dx", drift | {"file": number}, axes=["file"], auxiliary=["dy"],
                             title="Shift of the beam from the input PONI, in x (column) and y (row)"),
                write_nxdata(entry, "centre", "file", {"file": number, "cx": columns["cx"], "cy": columns["cy"]},
                             axes=["cx", "cy"], title="Centre of each file")]
        for group in data:
            for name in group:
                if name not in ("title", "file"):
                    group[name].attrs["units"] = "pixel"


def _write_facts(entry, facts):
    process = entry.create_group("process")
    process.attrs["NX_class"] = "NXprocess"
    for name, value in facts.items():
        process[name] = json.dumps(value) if isinstance(value, dict) else "" if value is None else value


def writer_for(path):
    """Name of the method of `Ledger` that writes such a file; ValueError if there is none."""
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise ValueError(f"{path}: the ending says what is written, and must be one of {', '.join(ENDINGS)}")
    return ENDINGS[ending]

