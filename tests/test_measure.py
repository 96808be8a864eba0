"""`edfast bench`: which stages, that they are what the fits do, the batch, the recommendation, JSON and the saved settings."""

import json
import math
import time

import numpy as np
import pytest
from click.testing import CliRunner

from edfast import _measure, _settings
from edfast._measure import Bench, Rate, Time, recommend, table, timed
from edfast._validation import as_image
from edfast.cli import main
from edfast.kernels import ellipse
from edfast.simulate import write_dm4

STAGES = ["read", "Otsu's threshold", "runs", "labels", "moments", "documented fit, in all", "ring fit", "radial profile",
          "write"]


@pytest.fixture(autouse=True)
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("EDFAST_CONFIG", str(tmp_path / "config"))


@pytest.fixture
def short(monkeypatch):
    """Few repetitions, few files: the figures do not matter."""
    values = {"ROUNDS": 1, "_FEWEST": 3, "_MOST": 4, "_WORK": 0.01, "WARM_UP": 1, "COLD": 1, "BLOCKS": (1,)}
    for name, value in values.items():
        monkeypatch.setattr(_measure, name, value)


@pytest.fixture(scope="module")
def image_file(tmp_path_factory):
    return _measure.simulated(tmp_path_factory.mktemp("bench") / "rings.dm4", 256)


def edfast(*arguments):
    result = CliRunner().invoke(main, ["bench", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


# ------------------------------------------------------------------------------------------------------------- stages


def test_times_are_medians_of_what_is_measured_after_warm_up():
    calls, pauses = [], iter([0.05, 0.05, 0.05, *[0.001] * 9, 0.03])

    def task(pause):
        calls.append(pause)
        time.sleep(pause)

    found = timed(task, 10, lambda: (next(pauses),))
    assert len(calls) == _measure.WARM_UP + 10
    assert 1 <= found.median < 20       # neither the warm-up nor the one slow run
    assert found.median < found.p95
    assert found.p95 > 10


def test_what_takes_time_to_prepare_is_not_counted():
    assert timed(lambda: None, 3, lambda: time.sleep(0.01) or ()).median < 5


def test_a_stage_that_fails_says_why():
    def fail():
        raise ValueError("no\nring")

    assert timed(fail, 5).error == "no ring"
    assert math.isnan(timed(fail, 5).median)


@pytest.mark.parametrize("seed", range(4))
def test_the_stages_are_those_of_the_documented_fit(seed):
    rng = np.random.default_rng(seed)
    image = as_image(rng.random((180, 131)) + (np.hypot(*np.mgrid[-90:90, -60:71]) < 30 + 10 * seed))
    low, high, _ = ellipse.bright_from(image.reshape(-1), ellipse.NO_MASK.reshape(-1), 0.5)
    region = ellipse.largest_region(image, ellipse.NO_MASK, low, high, 50)
    runs = ellipse.bright_runs(image, ellipse.NO_MASK, low, high)
    _starts, _ends, _first, parents = found = _measure._regions([part.copy() for part in runs], image.shape[1])
    assert -parents.min() == region.size
    sums = _measure._moments(*found)
    assert all(math.isfinite(value) for value in sums)
    assert sums[0] / (region.size - 1) == pytest.approx(region.cov_xx, rel=0.01)


def test_no_bright_region_is_no_crash():
    starts = np.zeros(0, np.uint16)
    left = _measure._regions([starts, starts, np.zeros(4, np.int64)], 10)
    with pytest.raises(ValueError, match="no group"):
        _measure._moments(*left)


# -------------------------------------------------------------------------------------------------------------- batch


def rates(*medians):
    return tuple(Rate(jobs, block, median, 0.9 * median, 1.1 * median) for jobs, block, median in medians)


def test_what_is_recommended():
    assert recommend(()) is None
    best = recommend(rates((1, 1, 60), (2, 1, 110), (2, 8, 112), (4, 1, 113), (4, 8, 90)))
    assert (best.jobs, best.block) == (2, 1)        # as fast as any, within what is worth it
    best = recommend(rates((1, 1, 60), (2, 1, 80), (2, 8, 112), (4, 1, 90)))
    assert (best.jobs, best.block) == (2, 8)
    best = recommend(rates((1, 1, 60), (2, 1, 61)))
    assert best.jobs == 1


def test_predictions():
    stages = {"read, not cached": (Time(50.0, 60.0), None)}
    found = Bench({}, {}, 30, "ring", stages, rates((2, 1, 100)), rates((2, 1, 100))[0], "", 100_000)
    assert found.seconds == pytest.approx(1000)
    assert found.reading == pytest.approx(5000)
    assert not found.busy
    restless = Bench({}, {}, 30, "ring", stages, (Rate(1, 1, 50, 20, 60),), None, "", 1)
    assert restless.busy
    assert math.isnan(restless.seconds)
    assert [_measure._duration(seconds) for seconds in (5, 119, 150, 7200, 3e5)] == [
        "5.0 seconds", "119.0 seconds", "2.5 minutes", "2.0 hours", "3.5 days"]


def test_the_batch_is_run_with_each_setting(short, image_file, monkeypatch):
    from edfast import batch

    monkeypatch.setattr(_measure, "BLOCKS", (1, 2))
    asked, real = [], batch.recalibrate_batch

    def spy(files, *arguments, **options):
        asked.append((options["jobs"], options["block"], len(files)))
        return real(files, *arguments, **options)

    monkeypatch.setattr(batch, "recalibrate_batch", spy)
    found = _measure.bench(image_file, repeat=2, files=1000)
    settings = {(rate.jobs, rate.block) for rate in found.rates}
    assert {setting[:2] for setting in asked} == settings
    assert (1, 1) in settings
    assert all(rate.least <= rate.median <= rate.most for rate in found.rates)
    assert all(rate.least > 0 for rate in found.rates)
    assert len(asked) == 1 + _measure.ROUNDS * len(settings)
    # What is only started up with is not counted.
    assert all(number > jobs * block for jobs, block, number in asked)
    assert found.best in found.rates
    assert found.seconds == pytest.approx(1000 / found.best.median)


# ------------------------------------------------------------------------------------------------------------ command


def test_the_command(short, image_file, tmp_path):
    file = tmp_path / "bench.json"
    before = image_file.read_bytes()
    code, said, err = edfast(image_file, "--repeat", 2, "-n", 5000, "--json", file, "--save")
    assert code == 0
    assert image_file.read_bytes() == before
    lines = said.splitlines()
    assert "rings.dm4: 256 x 256 float32, 0.3 MB" in lines[1]
    for name in STAGES:
        (line,) = (line for line in lines if line.startswith(name + " "))
        median, tail = map(float, line[26:44].split())
        assert 0 < median <= tail
    assert any(line.startswith("recommended: jobs ") and "5000 such files take" in line for line in lines)
    found = json.loads(file.read_text())
    assert [name for name in found["stages"] if name != "read, not cached"] == STAGES
    assert found["stages"]["ring fit"]["one_thread"]["median"] > 0
    assert found["repetitions"] == 2
    best = found["batch"]["recommended"]
    assert best["files_per_second"] > 0
    assert found["batch"]["seconds"] == pytest.approx(5000 / best["files_per_second"])
    assert _settings.load() == {"jobs": best["jobs"], "block": best["block"]}
    assert f"saved jobs = {best['jobs']} and block = {best['block']} in {_settings.path()}" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.json", "config"]


def test_a_batch_uses_what_was_saved(short, image_file, tmp_path):
    from edfast.batch import recalibrate_batch
    from edfast.geometry import Poni, write_poni

    _settings.save({"jobs": 3, "block": 2})
    write_poni(tmp_path / "cal.poni", Poni(0.2, 0.001, 0.001, 0, 0, 0, None, 1e-5, 1e-5, max_shape=(256, 256)))
    ledger = recalibrate_batch([image_file], tmp_path / "cal.poni", output=tmp_path / "out")
    assert (ledger.options["jobs"], ledger.options["block"]) == (3, 2)


def test_json_alone_and_without_an_image(short, monkeypatch):
    simulated = _measure.simulated
    monkeypatch.setattr(_measure, "simulated", lambda path: simulated(path, 200))
    code, said, err = edfast("--repeat", 1, "--json", "-", "--method", "covariance")
    assert code == 0
    found = json.loads(said)
    assert found["image"]["shape"] == [200, 200]
    assert found["batch"]["method"] == "covariance"
    assert [line.split(": ")[0] for line in err.splitlines()] == ["edfast"] * 3
    assert _settings.load() == {}


def test_an_image_without_rings(short, tmp_path):
    write_dm4(tmp_path / "dark.dm4", np.zeros((64, 64), np.float32))
    code, said, err = edfast(tmp_path / "dark.dm4", "--repeat", 1, "--save", "--json", tmp_path / "x.json")
    assert code == 1
    assert "not measured, the image fails: no ring found" in said
    stages = [line[28:] for line in said.splitlines() if line.startswith(("ring fit", "runs", "labels"))]
    assert stages
    found = json.loads((tmp_path / "x.json").read_text())["stages"]
    assert stages == [found[name]["one_thread"]["error"] for name in found if name.startswith(("ring fit", "runs", "labels"))]
    found = json.loads((tmp_path / "x.json").read_text())
    assert found["batch"]["recommended"] is None
    assert found["batch"]["seconds"] is None
    assert "error" in found["stages"]["ring fit"]["one_thread"]
    assert "saved" not in err
    assert _settings.load() == {}


@pytest.mark.parametrize(("arguments", "message"), [
    (["missing.dm4"], "there is no such file"), (["text.dm4"], "text.dm4"), (["."], "this is a folder"),
    (["rings.dm4", "--json", "no/x.json"], "there is no folder"),
    (["rings.dm4", "--json", "rings.dm4"], "is the same file as the input"),
    (["rings.dm4", "--repeat", "0"], "0 is not in the range"), (["rings.dm4", "-n", "0"], "0 is not in the range"),
    (["rings.dm4", "--method", "max"], "'max' is not one of"), (["rings.dm4", "--frame", "3"], "rings.dm4"),
    (["rings.dm4", "--save"], "settings.toml: is no TOML"),
])
def test_wrong_use(short, image_file, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rings.dm4").write_bytes(image_file.read_bytes())
    (tmp_path / "text.dm4").write_text("no image")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.toml").write_text("jobs = " if "--save" in arguments else "")
    code, said, err = edfast(*arguments)
    assert (code, said) == (2, "")
    assert message in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config", "rings.dm4", "text.dm4"]


def test_the_table_tells_a_busy_machine():
    machine = {"edfast": "0", "processor": "p", "threads": 1}
    image = {"path": "a\nb.dm4", "shape": [2, 3], "dtype": "u1", "bytes": 9}
    rate = Rate(1, 1, 50, 20, 60)
    found = Bench(machine, image, 3, "ring", {"read": (Time(1.0, 2.0), None)}, (rate,), rate, "", 9)
    lines = table(found).splitlines()
    assert lines[1].startswith("a?b.dm4: 2 x 3 u1")
    assert lines[-1].startswith("the rounds differ by more than half")
