"""`edfast hits`: what it writes, that silx plots it, its picture, and its errors."""

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from edfast.cli import main
from edfast.image import hit_find, hit_find_pearson, hit_scores
from edfast.image._hits_file import hits_file, plot_scores, score_histogram


@pytest.fixture
def run7(tmp_path):
    """A CXI file with 120 patterns, ten of them hits; (path, patterns, background)."""
    rng = np.random.default_rng(0)
    r = np.hypot(*np.ogrid[-30:30, -32:32])
    background = 20 * np.exp(-((r - 20) / 8) ** 2) + 2
    patterns = rng.poisson(background, (120, 60, 64)).astype(np.float32)
    patterns[5::12] += rng.poisson(80 * np.exp(-r / 5), (10, 60, 64))
    patterns[7] = np.nan
    with h5py.File(tmp_path / "run7.cxi", "w") as file:
        file.create_dataset("entry_1/data_1/data", data=patterns, chunks=(8, 60, 64), compression="gzip")
        file["background"] = background
        file["mask"] = r < 3
    np.save(tmp_path / "background.npy", background)
    np.save(tmp_path / "mask.npy", r < 3)
    return tmp_path / "run7.cxi", patterns, background


def call(*arguments):
    return CliRunner().invoke(main, ["hits", *map(str, arguments)])


@pytest.mark.parametrize("method", ["chi2", "pearson"])
@pytest.mark.parametrize("inside", [True, False])
def test_results_are_those_of_the_functions(run7, method, inside):
    path, patterns, background = run7
    image, mask = ("background", "mask") if inside else (path.parent / "background.npy", path.parent / "mask.npy")
    output = path.parent / "hits.h5"
    result = call(path, "-b", image, "-o", output, "-m", mask, "--method", method, "--radii", 2, 28)
    assert result.exit_code == 0, result.output
    assert "10 of 120 patterns are hits" in result.output
    r = np.hypot(*np.ogrid[-30:30, -32:32])
    arguments = patterns, background, [None, None, 2, 28], r < 3
    expected = hit_find(*arguments) if method == "chi2" else hit_find_pearson(*arguments)
    with h5py.File(output) as file:
        entry = file[file.attrs["default"]]
        data = entry[entry.attrs["default"]]
        assert data.attrs["signal"] == "scores"
        np.testing.assert_array_equal(data["labels"], expected)
        np.testing.assert_array_equal(data["scores"], hit_scores(*arguments, method=method))
        np.testing.assert_array_equal(entry["hits"], np.flatnonzero(expected))
        assert entry["hits"][()].tolist() == list(range(5, 120, 12))
        assert entry["histogram/patterns"][()].sum() == 119  # one has no score
        assert entry["process/source"].asstr()[()] == str(path)
        scores, cut = data["scores"][()], entry["process/cut"][()]
    np.testing.assert_array_equal(scores > cut if method == "chi2" else scores < cut, expected == 1)


def test_silx_plots_it(run7):
    nxdata = pytest.importorskip("silx.io.nxdata")
    path, _, _ = run7
    hits_file(path, "background", path.parent / "hits.h5")
    with h5py.File(path.parent / "hits.h5") as file:
        default = nxdata.get_default(file)
        assert default.is_valid
        assert default.signal_name == "scores"
        assert default.auxiliary_signals_names == ["labels"]
        assert default.axes[0][()].tolist() == list(range(120))
        histogram = nxdata.NXdata(file["entry_1/histogram"])
        assert histogram.is_valid
        assert histogram.is_curve


def test_picture(run7):
    path, _, _ = run7
    found, picture = hits_file(path, "background", path.parent / "hits.h5", cut_off=0.5)
    assert picture.read_bytes()[:4] == b"\x89PNG"
    axes = plot_scores(*found).axes[0]
    names = {text.get_text() for text in axes.get_legend().get_texts()}
    assert names == {"109 empty", "10 hits", "cut at 0.5"}
    bars = {bar.get_x(): bar.get_height() for bar in axes.patches}
    assert sum(bar.get_height() for bar in axes.patches) == 119
    assert min(abs(x / 0.5 - 1) for x in bars) < 1e-9  # no bar on both sides of the cut
    assert {2, 5} < set(axes.get_yticks())
    axes.figure.draw_without_rendering()
    assert axes.get_legend().get_window_extent().y0 > axes.get_window_extent().y1  # hides no bar


@pytest.mark.parametrize("scores", [[1.0, 1.0], [0.0, 0.0], [np.nan, np.nan], [0, 5, 1e9], [np.nan, 2.0]])
@pytest.mark.parametrize("method", ["chi2", "pearson"])
def test_histogram_of_anything(scores, method):
    scores = np.array(scores) / (1e9 if method == "pearson" else 1)
    for cut in (2.0, np.inf, 0.5, -1.0):
        counts, edges = score_histogram(scores, cut, method)
        assert counts.sum() == np.isfinite(scores).sum()
        assert (np.diff(edges) > 0).all()
        plot_scores((scores > cut).astype(int), scores, cut, method=method)


def test_nothing_is_half_written(run7):
    path, _, _ = run7
    folder = path.parent
    for name in ("old.h5", "old.png"):
        (folder / name).write_bytes(b"something else")
    before = sorted(file.name for file in folder.iterdir())
    for arguments, message in (
        ((path, "-b", "nothing", "-o", folder / "x.h5"), "background nothing: there is no such file, and no such data set"),
        ((path, "-b", "background", "-o", path), "is the same file as the input"),
        ((path, "-b", folder / "old.h5", "-o", folder / "old.h5"), "old.h5 is the same file as the input"),
        ((path, "-b", folder / "old.png", "-o", folder / "old.h5"), "old.png is the same file as the input"),
        ((path, "-b", "background", "-m", folder / "old.h5", "-o", folder / "old.h5"), "old.h5 is the same file as the input"),
        ((path, "-b", "background", "-o", folder / "x.txt"), "must end in one of .h5"),
        ((path, "-b", "background", "-o", folder / "x.png"), "must end in one of .h5"),
        ((path, "-b", "background", "-o", folder / "no" / "x.h5"), "cannot be written"),
        ((folder / "none.h5", "-b", "background", "-o", folder / "x.h5"), "there is no such file"),
        ((path, "-b", "mask", "-o", folder / "x.h5", "--radii", 70, 90), "--radii leaves no pixel"),
        ((path, "-b", folder / "background.npy", "-o", folder / "x.h5", "-d", "nope"), "nope"),
        ((path, "-b", "background", "-o", folder / "x.h5", "--max-cc", 3, "--method", "pearson"), "max_cc"),
    ):
        result = call(*arguments)
        assert result.exit_code == 2, result.output
        assert message in result.output
        assert len(result.output.splitlines()) == 1
    assert sorted(file.name for file in folder.iterdir()) == before
    assert (folder / "old.h5").read_bytes() == (folder / "old.png").read_bytes() == b"something else"
