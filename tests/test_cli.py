"""The `edfast` command: what it writes, what it says, and its exit codes."""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edfast import __version__, batch
from edfast._exports import COLUMNS
from edfast.cli import main
from edfast.geometry import Poni, beam_center, read_poni, write_poni
from edfast.recalibration import fit_ellipse_to_ring
from edfast.simulate import BeamStop, ring_pattern, write_dm4

SHAPE = (200, 240)
OUTPUTS = ["drift.png", "recalibration.csv", "recalibration.sqlite", "report.html"]
PONI = Poni(0.25, 0.001, 0.0012, 0.002, -0.001, 0.004, 2.5e-12, 1e-5, 1e-5, SHAPE, 2)


def edfast(*arguments):
    """Exit code, stdout and stderr of the command, in this process."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def recalibrate(*arguments, method="covariance"):
    """`edfast recalibrate`, by the method whose result is known to the last digit unless another is asked for."""
    return edfast("recalibrate", "--method", method, *arguments)


def table(folder):
    with (folder / "recalibration.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def images():
    centers = [(110 + 2.25 * i, 105 - 1.5 * i) for i in range(4)]
    return [ring_pattern(SHAPE, center, [60], direct_beam=3000.0, random_state=0)[0] for center in centers]


@pytest.fixture
def series(tmp_path, images):
    """Four images and a PONI file, unchanged when the test ends."""
    paths = [tmp_path / f"image_{i}.dm4" for i in range(4)]
    for path, image in zip(paths, images, strict=True):
        write_dm4(path, image)
    write_poni(tmp_path / "cal.poni", PONI)
    before = {path: path.read_bytes() for path in [*paths, tmp_path / "cal.poni"]}
    yield paths
    for path, content in before.items():
        assert path.read_bytes() == content, f"{path.name} was changed"


def test_help_and_version():
    for option in ("-V", "--version"):
        assert edfast(option) == (0, f"edfast {__version__}\n", "")
    for arguments in (["-h"], ["--help"], ["recalibrate", "--help"], ["demo", "-h"], ["warmup", "-h"]):
        code, out, err = edfast(*arguments)
        assert (code, err) == (0, "")
        assert "Usage: " in out
    assert "  edfast recalibrate day1/*.dm4 -p cal.poni -o out/\n" in edfast("recalibrate", "-h")[1]


def test_one_poni_and_one_row_for_each_image(series, images):
    out = series[0].parent / "deep" / "out"
    code, said, err = recalibrate(*series, "-p", series[0].with_name("cal.poni"), "-o", out)
    assert (code, err) == (0, "")
    assert "4 of 4 files recalibrated" in said
    ponis = [f"image_{i}.poni" for i in range(4)]
    assert sorted(path.name for path in out.iterdir()) == ["drift.png", *ponis, *OUTPUTS[1:]]
    assert (out / "drift.png").read_bytes()[:4] == b"\x89PNG"
    rows = table(out)
    before = beam_center(PONI)
    assert tuple(rows[0]) == COLUMNS
    for row, path, image in zip(rows, series, images, strict=True):
        fit = fit_ellipse_to_ring(image)
        assert (row["path"], row["poni"], row["status"], row["error"]) == (str(path), str(out / f"{path.stem}.poni"), "ok", "")
        numbers = [float(row[name]) for name in ("cx", "cy", "a", "b", "angle")]
        assert numbers == pytest.approx(list(fit), abs=6e-5)
        assert float(row["dx"]) == pytest.approx(fit.cx - before[0], abs=6e-5)
        assert float(row["dy"]) == pytest.approx(fit.cy - before[1], abs=6e-5)
        assert float(row["milliseconds"]) > 0
        poni = read_poni(row["poni"])
        assert beam_center(poni) == pytest.approx((fit.cx, fit.cy), abs=1e-6)
        assert replace(poni, poni1=PONI.poni1, poni2=PONI.poni2) == PONI


@pytest.mark.parametrize("beamstop", ["--beamstop", "--no-beamstop"])
def test_rings_are_the_default(tmp_path, beamstop):
    centers = [(250.3, 262.8), (258.1, 240.4)]
    for i, center in enumerate(centers):
        write_dm4(tmp_path / f"{i}.dm4", ring_pattern((512, 512), center, beamstop=BeamStop(30), random_state=i)[0])
    write_poni(tmp_path / "cal.poni", replace(PONI, max_shape=(512, 512)))
    files = [tmp_path / "0.dm4", tmp_path / "1.dm4"]
    code, _, err = edfast("recalibrate", *files, "-p", tmp_path / "cal.poni", "-o", tmp_path / "out", beamstop)
    assert (code, err) == (0, "")
    for row, center in zip(table(tmp_path / "out"), centers, strict=True):
        assert (float(row["cx"]), float(row["cy"])) == pytest.approx(center, abs=0.05)
        assert 0 < float(row["cx_err"]) < 0.05
        assert beam_center(read_poni(row["poni"])) == pytest.approx(center, abs=0.05)


@pytest.mark.parametrize("method", ["max", "centroid"])
def test_without_a_beam_stop(series, method):
    out = series[0].with_name("out")
    arguments = ["-p", series[0].with_name("cal.poni"), "-o", out, "--no-beamstop"]
    assert recalibrate(*series, *arguments, method=method)[0] == 0
    for i, row in enumerate(table(out)):
        assert float(row["cx"]) == pytest.approx(110 + 2.25 * i, abs=2 if method == "max" else 0.1)
        assert (row["a"], row["b"], row["cx_err"]) == ("", "", "")


@pytest.mark.parametrize("jobs", [1, 3])
def test_one_bad_file_does_not_stop_the_rest(series, jobs):
    folder = series[0].parent
    truncated = folder / "truncated.dm4"
    truncated.write_bytes(series[0].read_bytes()[:-50])
    files = [series[0], folder / "missing.dm4", series[1], truncated, series[2], folder, series[3]]
    code, said, err = recalibrate(*files, "-p", folder / "cal.poni", "-o", folder / "out", "--jobs", jobs)
    assert code == 1
    assert "4 of 7 files" in said
    lines = err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("edfast: ") for line in lines)
    rows = table(folder / "out")
    assert [row["path"] for row in rows] == [str(path) for path in files]
    assert [row["status"] for row in rows] == ["ok", "failed", "ok", "failed", "ok", "failed", "ok"]
    for row, line in zip([rows[1], rows[3], rows[5]], lines, strict=True):
        assert row["path"] in row["error"]
        assert line == f"edfast: {row['error']}"
        assert (row["poni"], row["cx"], row["a"]) == ("", "", "")
        assert float(row["milliseconds"]) >= 0
    assert len(list((folder / "out").glob("*.poni"))) == 4


def test_all_bad(series):
    folder = series[0].parent
    assert recalibrate(folder / "no.dm4", "-p", folder / "cal.poni", "-o", folder / "out")[0] == 1
    assert (folder / "out" / "drift.png").exists()


def test_verbose_says_where_errors_come_from(series):
    folder = series[0].parent
    code, _, err = recalibrate(series[0], folder / "no.dm4", "-p", folder / "cal.poni", "-o", folder / "out", "-v")
    assert code == 1
    assert "Traceback" in err
    assert "image_0.dm4: (" in err
    code, _, err = recalibrate(folder / "no.dm4", "-p", folder / "cal.poni", "-o", folder / "out")
    assert "Traceback" not in err


def test_usage_errors(series):
    folder = series[0].parent
    (folder / "file").write_text("x")
    (folder / "broken.poni").write_text("Distance 1\n")
    np.save(folder / "mask.npy", np.zeros((2, 3, 4)))
    (folder / "text.npy").write_text("no array")
    (folder / "csv" / "recalibration.csv").mkdir(parents=True)
    good = {"-p": folder / "cal.poni", "-o": folder / "out"}
    cases = [
        ({}, [], "Missing argument 'FILES"),
        ({"-p": None}, series, "Missing option '-p'"),
        ({"-o": None}, series, "Missing option '-o'"),
        ({"--method": "guess"}, series, "'guess' is not one of"),
        ({"--method": "max"}, series, "method must be one of 'covariance', 'ring', not 'max'"),
        ({"--threshold-rel": "-1", "--method": "covariance"}, series, "threshold_rel must be"),
        ({"--jobs": "0"}, series, "0 is not in the range"),
        ({"-p": folder / "none.poni"}, series, f"there is no PONI file {folder / 'none.poni'}"),
        ({"-p": folder / "broken.poni"}, series, "broken.poni, line 1"),
        ({"-p": series[0]}, series, "is not a PONI file"),
        ({"-o": folder / "file"}, series, "file is a file: give another one with -o"),
        ({"-o": folder / "file" / "out"}, series, "cannot be made"),
        ({"-o": folder / "csv"}, series, "recalibration.csv is a folder"),
        ({"-m": folder / "none.npy"}, series, "there is no mask"),
        ({"-m": folder / "mask.npy"}, series, "must be two-dimensional"),
        ({"-m": folder / "text.npy"}, series, "text.npy cannot be read"),
        ({"-m": folder / "file"}, series, str(folder / "file")),
    ]
    for changes, files, message in cases:
        options = [part for key, value in (good | changes).items() if value is not None for part in (key, value)]
        code, said, err = edfast("recalibrate", *files, *options)
        assert code == 2, (changes, err)
        assert message in err
        assert said == ""
        assert len(err.splitlines()) == 1 or err.startswith("Usage: ")
        assert not list(folder.rglob("image_*.poni"))


def test_mask(series, images):
    folder = series[0].parent
    mask = np.zeros(SHAPE, np.uint8)
    mask[100:] = 1
    np.save(folder / "mask.npy", mask)
    write_dm4(folder / "mask.dm4", mask)
    for name in ("mask.npy", "mask.dm4"):
        recalibrate(series[1], "-p", folder / "cal.poni", "-o", folder / "out", "-m", folder / name)
        (row,) = table(folder / "out")
        fit = fit_ellipse_to_ring(images[1], mask=mask)
        assert (float(row["cx"]), float(row["cy"])) == pytest.approx(fit[:2], abs=6e-5)
    np.save(folder / "small.npy", mask[1:])
    arguments = ["-p", folder / "cal.poni", "-o", folder / "out", "-m", folder / "small.npy"]
    code, _, err = recalibrate(series[1], *arguments)
    assert code == 1
    assert "mask has shape (199, 240)" in err


def test_options_reach_the_fit(series, images):
    folder = series[0].parent
    arguments = ["-p", folder / "cal.poni", "-o", folder / "out"]
    recalibrate(series[0], *arguments, "--threshold-rel", "0.9", "--min-size", "200")
    fit = fit_ellipse_to_ring(images[0], 0.9, 200)
    assert float(table(folder / "out")[0]["a"]) == pytest.approx(fit.a, abs=6e-5)


def test_documented_convention_says_how_far_off_it_is(series):
    folder = series[0].parent
    write_poni(folder / "tilted.poni", replace(PONI, rot3=0.05))
    arguments = ["-p", folder / "tilted.poni", "-o", folder / "out", "--convention", "documented"]
    code, _, err = recalibrate(*series, *arguments)
    assert code == 0
    assert len(err.splitlines()) == 1
    assert "--convention pyfai puts it there" in err


def test_frame(tmp_path, images):
    write_dm4(tmp_path / "stack.dm4", np.stack(images))
    write_poni(tmp_path / "cal.poni", PONI)
    for frame in (0, 3):
        arguments = ["-p", tmp_path / "cal.poni", "-o", tmp_path, "--frame", frame]
        assert recalibrate(tmp_path / "stack.dm4", *arguments)[0] == 0
    assert sorted(path.name for path in tmp_path.glob("stack*.poni")) == ["stack_frame0.poni", "stack_frame3.poni"]
    assert recalibrate(tmp_path / "stack.dm4", "-p", tmp_path / "cal.poni", "-o", tmp_path, "--frame", 4)[0] == 1


# --- names of the outputs ---------------------------------------------------------------------------------------------


def test_images_of_the_same_name_get_different_ponis(tmp_path, images):
    write_poni(tmp_path / "cal.poni", PONI)
    files = [tmp_path / day / "scan" / "a.dm4" for day in ("mon", "tue")] + [tmp_path / "mon" / "A.tif.dm4"]
    for path, image in zip(files, images, strict=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_dm4(path, image)
    assert recalibrate(*files, "-p", tmp_path / "cal.poni", "-o", tmp_path / "out")[0] == 0
    rows = table(tmp_path / "out")
    assert [Path(row["poni"]).name for row in rows] == ["mon-scan-a.dm4.poni", "tue-scan-a.dm4.poni", "A.tif.poni"]
    for row in rows:
        assert beam_center(read_poni(row["poni"])) == pytest.approx((float(row["cx"]), float(row["cy"])), abs=1e-4)


def test_the_input_poni_is_not_overwritten_by_an_image_of_its_name(series):
    folder = series[0].parent
    (folder / "cal.dm4").write_bytes(series[0].read_bytes())
    assert recalibrate(folder / "cal.dm4", *series, "-p", folder / "cal.poni", "-o", folder)[0] == 0
    assert Path(table(folder)[0]["poni"]).name == "cal.dm4.poni"


def test_a_file_named_twice_is_done_once(series):
    folder = series[0].parent
    _, said, _ = recalibrate(series[0], series[0], "-p", folder / "cal.poni", "-o", folder / "out")
    assert "1 of 1 files" in said


# --- interruptions and threads ----------------------------------------------------------------------------------------


def test_an_interruption_keeps_what_was_done(series, monkeypatch):
    folder = series[0].parent
    real = batch.recalibrate_one

    def interrupted(path, *args):
        if "image_2" in str(path):
            raise KeyboardInterrupt
        return real(path, *args)

    monkeypatch.setattr(batch, "recalibrate_one", interrupted)
    code, said, err = recalibrate(*series, "-p", folder / "cal.poni", "-o", folder / "out", "-j", 1)
    assert code == 1
    assert (said, len(err.splitlines())) == ("", 1)
    assert "interrupted" in err
    assert "--resume" in err
    assert [row["status"] for row in table(folder / "out")][:3] == ["ok", "ok", "pending"]
    monkeypatch.undo()
    arguments = [*series, "-p", folder / "cal.poni", "-o", folder / "out"]
    code, _, err = recalibrate(*arguments)
    assert code == 2
    assert "--resume" in err
    assert "--overwrite" in err
    done = [path.stat().st_mtime_ns for path in (folder / "out" / "image_0.poni", folder / "out" / "image_1.poni")]
    code, said, err = recalibrate(*arguments, "--resume")
    assert (code, err) == (0, "")
    assert "4 of 4 files" in said
    assert done == [path.stat().st_mtime_ns for path in (folder / "out" / "image_0.poni", folder / "out" / "image_1.poni")]


def test_an_interruption_before_anything_was_done(series, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "make_folder", interrupted)
    folder = series[0].parent
    assert recalibrate(*series, "-p", folder / "cal.poni", "-o", folder / "out") == (
        1, "", "edfast: interrupted before any file was done\n")


@pytest.mark.parametrize(("arguments", "said"), [
    (["hits", "x.h5", "-b", "b", "-o", "o.h5", "--method", "pearson", "--cut-off", 3], "--cut-off does nothing with --method"),
    (["hits", "x.h5", "-b", "b", "-o", "o.h5", "--max-cc", 0.5], "--max-cc does nothing with --method chi2"),
    (["recalibrate", "x.dm4", "-p", "p", "-o", "o", "--threshold-rel", 0.5], "--threshold-rel does nothing with"),
    (["recalibrate", "x.dm4", "-p", "p", "-o", "o", "--method", "max", "--min-size", 3], "--min-size does nothing with"),
    (["recalibrate", "x.dm4", "-p", "p", "-o", "o", "--resume", "--overwrite"], "--overwrite does nothing with --resume"),
    (["classify", "x.h5", "-o", "o.h5", "--perplexity", 3], "--perplexity does nothing with --method SpecEM"),
    (["classify", "x.h5", "-o", "o.h5", "--method", "TSNE", "--neighbors", 3], "--neighbors does nothing with --method TSNE"),
    (["track", "--watch", ".", "-p", "p", "--host", "0.0.0.0"], "--host does nothing without --serve"),
])
def test_options_that_do_nothing_are_refused(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    code, out, err = edfast(*arguments)
    assert (code, out) == (2, "")
    assert f"Error: {said}" in err
    assert not list(tmp_path.iterdir())


def test_messages_name_the_option(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((5, 16, 16)))
    for option, value in (("--classes", 9), ("--components", 9), ("--neighbors", 9), ("--jobs", 0)):
        code, _, err = edfast("classify", tmp_path / "x.npy", "-o", tmp_path / "o.h5", option, value)
        assert code == 2
        assert err.startswith(f"edfast: {option} must be")


def test_as_a_module():
    run = subprocess.run([sys.executable, "-m", "edfast", "-V"], capture_output=True, text=True, check=True)
    assert run.stdout == f"edfast {__version__}\n"


def test_threads_change_nothing_but_the_time(series):
    folder, tables = series[0].parent, []
    for jobs in (1, 2, 8):
        assert recalibrate(*series, "-p", folder / "cal.poni", "-o", folder / "out", "-j", jobs)[0] == 0
        tables.append([{key: value for key, value in row.items() if key != "milliseconds"} for row in table(folder / "out")])
    assert tables[0] == tables[1] == tables[2]


def test_a_full_disk_fails_the_file_and_leaves_no_piece(series, monkeypatch):
    folder, replaced = series[0].parent, Path.replace

    def full(self, target):
        if "image_1" in str(target):
            raise OSError(28, "No space left on device")
        return replaced(self, target)

    monkeypatch.setattr(Path, "replace", full)
    code, _, err = recalibrate(*series, "-p", folder / "cal.poni", "-o", folder / "out")
    assert code == 1
    assert "image_1.poni cannot be written: No space left on device" in err
    names = {path.name for path in (folder / "out").iterdir()}
    assert names == {"image_0.poni", "image_2.poni", "image_3.poni", *OUTPUTS}


def test_odd_file_names(tmp_path, images):
    write_poni(tmp_path / "cal.poni", PONI)
    names = ["with, comma \"and quotes\".dm4", "zwei\nZeilen.dm4", "Größe µ 中.dm4", "-p.dm4", os.fsdecode(b"latin-\xe9.dm4")]
    files = [tmp_path / name for name in names]
    for path in files:
        write_dm4(path, images[0])
    code, _, err = recalibrate("-p", tmp_path / "cal.poni", "-o", tmp_path / "out", "--", *files)
    assert (code, err) == (0, "")
    rows = table(tmp_path / "out")
    assert [row["path"] for row in rows[:4]] == [str(path) for path in files[:4]]
    assert len(list((tmp_path / "out").glob("*.poni"))) == 5
    assert all(read_poni(path).distance == PONI.distance for path in (tmp_path / "out").glob("*.poni"))


# --- the real command -------------------------------------------------------------------------------------------------


def test_the_installed_command(series):
    folder = series[0].parent
    command = [sys.executable, "-W", "error", "-c", "from edfast.cli import main; main()", "recalibrate"]
    command += ["--method", "covariance", *series, folder / "no.dm4"]
    run = subprocess.run([*command, "-p", folder / "cal.poni", "-o", folder / "out"], capture_output=True, text=True,
                         check=False)
    assert run.returncode == 1
    assert run.stderr == f"edfast: {folder / 'no.dm4'}: there is no such file\n"  # and no progress bar: this is no terminal
    assert "4 of 5 files" in run.stdout


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals")
def test_progress_on_a_terminal(series):
    import pty
    import termios

    folder = series[0].parent
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (25, 100))
    command = [sys.executable, "-c", "from edfast.cli import main; main()", "recalibrate", folder / "no.dm4", *series]
    command += ["-p", folder / "cal.poni", "-o", folder / "out"]
    with subprocess.Popen(command, stderr=slave, stdout=subprocess.DEVNULL) as run:
        os.close(slave)
        shown = b""
        while True:
            try:
                part = os.read(master, 4096)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            shown += part
    os.close(master)
    assert run.returncode == 1
    assert b"/5 [" in shown
    assert b"file/s]" in shown
    assert b"there is no such file\r\n" in shown


def test_help_imports_nothing_heavy():
    code = ("import sys\nfrom edfast.cli import main\n"
            "try:\n    main(['recalibrate', '--help'])\nexcept SystemExit:\n    pass\n"
            "print(sorted({'numpy', 'numba', 'pyFAI', 'matplotlib', 'h5py', 'tqdm', 'scipy'} & set(sys.modules)))")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_recalibration_of_files_needs_no_pyfai(series):
    folder = series[0].parent
    code = ("import sys\nfrom edfast.cli import main\n"
            "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
            "print('pyFAI' in sys.modules)")
    run = subprocess.run([sys.executable, "-c", code, "recalibrate", *series, "-p", folder / "cal.poni", "-o", folder / "out"],
                         capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "False"


def test_demo(tmp_path):
    code, said, err = edfast("demo", "-o", tmp_path / "demo")
    assert (code, err) == (0, "")
    lines = said.splitlines()
    errors = [float(line.split()[-1]) for line in lines if ".dm4 " in line]
    assert len(errors) == 12
    assert max(errors) < 0.1
    assert float(lines[-1].split()[-1]) == pytest.approx(np.median(errors), abs=1e-3)
    assert "12 of 12 files" in said
    assert len(list((tmp_path / "demo" / "recalibrated").glob("*.poni"))) == 12
    (tmp_path / "file").write_text("x")
    assert edfast("demo", "-o", tmp_path / "file")[0] == 2


def test_warmup_knows_images_for_every_dtype():
    from edfast._warmup import warm_up

    begun = []
    for name, seconds in warm_up(["float32", "uint32"], begin=begun.append):
        assert begun[-1] == name  # before it was compiled
        assert seconds > 0
    assert begun == ["float32", "uint32"]


def test_warmup_compiles_what_the_methods_need():
    code = """
import sys
import numpy as np
from numba.core.registry import CPUDispatcher
import edfast._warmup as w
from edfast._recalibrate import Options, find_center
from edfast.cli import main

def compiled():
    return {(kernel.py_func.__module__, kernel.__name__, signature)
            for name, module in list(sys.modules.items()) if name.startswith("edfast.kernels")
            for kernel in vars(module).values() if isinstance(kernel, CPUDispatcher) for signature in kernel.signatures}

w.DTYPES = ("int16",)
w.warm_up.__defaults__ = (w.DTYPES,)
w.WITH_BEAMSTOP, w.WITHOUT_BEAMSTOP = ("covariance",), ("max",)
w._warm_up_image = lambda *_: None
w._warm_up_fringes = id
w.CenterTracker = lambda _: type("Idle", (), {"update": staticmethod(id)})
main(["warmup"], standalone_mode=False)
before = compiled()
y, x = np.mgrid[:300, :400]
image = (3000 * np.exp(-(np.hypot(x - 200, y - 150) - 60) ** 2 / 50)).astype(np.int16)
find_center(image, Options(True, "covariance"))
find_center(image, Options(False, "max"))
print(len(before), sorted(compiled() - before))
"""
    # In the cache of all tests: what it compiles, others need too.
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("int16 ")
    before, missing = run.stdout.splitlines()[-1].split(" ", 1)
    assert int(before) > 5
    assert missing == "[]"


def test_bismuth_and_the_documents_example(shared_data, tmp_path):
    image, poni = shared_data("bismuth.dm4"), shared_data("documented-example.poni")
    code, _, err = recalibrate(image, "-p", poni, "-o", tmp_path / "out")
    assert code == 1
    assert "(256, 256)" in err
    assert "(3712, 3840)" in err
    write_poni(tmp_path / "cal.poni", replace(read_poni(poni), max_shape=(256, 256)))
    code, _, err = recalibrate(image, "-p", tmp_path / "cal.poni", "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    (row,) = table(tmp_path / "out")
    assert (float(row["cx"]), float(row["cy"])) == pytest.approx((86.3, 166.1), abs=0.06)
