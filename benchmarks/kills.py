"""Kill runs of `edfast recalibrate` at random moments, resume them, and compare with a run that nobody disturbed.

    python -m benchmarks.kills              a thousand kills (make kills)
    python -m benchmarks.kills --kills 20   fewer

Each trial is a small run in a folder of its own, which is killed (kill -9) up to eight times, each time after a random time
between a millisecond and that of an undisturbed run, and resumed until it ends. Between a kill and the resumed run, the ledger
is read. What must hold:

- a file whose row was written before a kill is not fitted again,
- at the end, every row has the same content as that of the undisturbed run, times of computing apart,
- the PONI files are the same, byte for byte, none is missing, and nothing else is left in the folder.
"""

import argparse
import random
import shutil
import sqlite3
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np

FILES, SHAPE, JOBS = 40, (96, 112), 2
# From a server that has loaded all and run nothing: a thousand processes that load it themselves would take an hour.
PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(["edfast.batch", "edfast.filereader", "edfast.kernels._bands", "scipy.ndimage"])
OUTPUTS = {"recalibration.sqlite", "recalibration.csv", "drift.png", "report.html"}


def child(folder, output, resume, began):
    """One run; `began` gets a message when it begins, and the file `fitted` a line for each image that is worked on."""
    from edfast import _recalibrate, batch

    one, log = batch.recalibrate_one, (folder / "fitted").open("a")

    def logged(path, *rest):
        print(path, file=log, flush=True)
        return one(path, *rest)

    # Loading the kernels takes longer than such a run; so do the picture and the report, which are made when all is done.
    _recalibrate.find_center = batch.find_center = lambda image, options, mask, like=None: (*centroid(image), None)
    batch.recalibrate_one, batch._draw, batch._report = logged, lambda ledger: None, lambda ledger: None
    began.send(None)
    batch.recalibrate_batch(str(folder / "*.dm4"), folder / "cal.poni", output=output, jobs=JOBS, resume=resume)


def centroid(image):
    """(cx, cy) of a small image."""
    y, x = np.mgrid[:image.shape[0], :image.shape[1]]
    return float((image * x).sum() / image.sum()), float((image * y).sum() / image.sum())


def prepare(folder):
    """Images, some of them damaged, and a PONI file."""
    from edfast.geometry import Poni, write_poni
    from edfast.simulate import write_dm4

    y, x = np.mgrid[:SHAPE[0], :SHAPE[1]]
    for i in range(FILES):
        radius = np.hypot(x - 50 - 0.1 * i - 6 * (i == 30), y - 45 + 0.05 * i)
        write_dm4(folder / f"image_{i:02}.dm4", (1000 * np.exp(-((radius - 25) / 4) ** 2)).astype(np.float32))
    truncated = folder / "image_07.dm4"
    truncated.write_bytes(truncated.read_bytes()[:-100])
    (folder / "image_11.dm4").write_bytes(b"")
    write_poni(folder / "cal.poni", Poni(0.2, 0.0005, 0.0005, 0, 0, 0, None, 1e-5, 1e-5, max_shape=SHAPE))


def run(folder, output, resume, after=None):
    """(seconds, whether it was killed) of one run; it is killed `after` so many seconds."""
    began, tell = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=child, args=(folder, output, resume, tell))
    process.start()
    tell.close()
    began.recv()
    start = time.perf_counter()
    process.join(after)
    killed = process.is_alive()
    process.kill()
    process.join()
    began.close()
    if not killed and process.exitcode:
        raise RuntimeError(f"the run ended with exit code {process.exitcode}")
    return time.perf_counter() - start, killed


def state(output):
    """All rows without what may differ, and the contents of all PONI files."""
    from edfast.batch import Ledger

    rows = [{name: repr(value) for name, value in row.items() if name not in ("milliseconds", "run", "poni")}
            | {"poni": Path(row["poni"]).name} for row in Ledger(output).rows()]
    return rows, {path.name: path.read_bytes() for path in output.glob("*.poni")}


def trial(folder, output, generator, seconds, wanted):
    """Number of kills of one trial, at most `wanted`; AssertionError if something is not as it must be."""
    from edfast.batch import Ledger

    fitted, kills, resume = folder / "fitted", 0, False
    delays = [0.001 * (seconds / 0.001) ** generator.random() for _ in range(min(generator.randint(1, 8), wanted))]
    for after in [*delays, None]:
        known = set()
        if (output / "recalibration.sqlite").exists():
            try:
                known = {row["path"] for row in Ledger(output).rows("ok")}
            except OSError:
                assert not resume or not list(output.glob("*.poni")), "a ledger that had rows cannot be read"
        fitted.write_text("")
        _, killed = run(folder, output, resume, after)
        again = known & set(fitted.read_text().splitlines())
        assert not again, f"done twice: {sorted(again)}"
        kills, resume = kills + killed, True
    return kills


def campaign(folder, kills, seed=0, say=print):
    """Kill `kills` runs; the work is in `folder`."""
    generator, done, trials, start = random.Random(seed), 0, 0, time.perf_counter()
    prepare(folder)
    run(folder, folder / "first", False)  # whatever is compiled or cached, before the clock runs
    seconds = 1.2 * run(folder, folder / "undisturbed", False)[0]
    expected = state(folder / "undisturbed")
    assert [row["status"] for row in expected[0]].count("'ok'") == FILES - 2
    while done < kills:
        output = folder / "disturbed"
        done, trials = done + trial(folder, output, generator, seconds, kills - done), trials + 1
        assert state(output) == expected, f"trial {trials}: not the same as the undisturbed run"
        left = {path.name for path in output.iterdir()} - OUTPUTS - set(expected[1])
        assert not left, f"trial {trials}: left behind {left}"
        with sqlite3.connect(output / "recalibration.sqlite") as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
        shutil.rmtree(output)
        if trials % 20 == 0:
            say(f"{done} kills in {trials} trials, {time.perf_counter() - start:.0f} s", flush=True)
    say(f"{done} kills in {trials} trials of {FILES} files ({seconds:.2f} s undisturbed): all ledgers and PONI files the "
        f"same, no file with a row fitted again; {time.perf_counter() - start:.0f} s", flush=True)
    return done, trials


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        campaign(Path(folder), arguments.kills, arguments.seed)


if __name__ == "__main__":
    main()
