"""The sweep over parameters: the grid, the plateau, the recommendation, the figure and the command."""

import io
import math

import numpy as np
import pytest
from click.testing import CliRunner

from edfast import _tune
from edfast._tune import Image, Variant, conclude, largest_plateau, plot_tuning, size_series, sweep, table, tune
from edfast.cli import main
from edfast.geometry import Poni, write_poni
from edfast.recalibration import fit_ellipse_to_ring
from edfast.simulate import BeamStop, ring_pattern, write_dm4

SHAPE = (256, 288)
PONI = Poni(0.25, 0.00128, 0.00144, 0, 0, 0, 2.5e-12, 1e-5, 1e-5, SHAPE)
NAN = math.nan
THRESHOLDS, SIZES = np.round(np.linspace(0.2, 2, 19), 6), size_series(1, 500)


def pattern(seed, **look):
    look = {"amplitudes": 300.0, "background": 200.0, "background_decay": 80.0, "widths": 3.0} | look
    return ring_pattern(SHAPE, (141.3 + seed, 125.7), [70], random_state=seed, **look)[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of a closed ring and of the same behind a beam stop, a PONI file, and what is no image."""
    folder = tmp_path_factory.mktemp("tune")
    for seed in range(3):
        write_dm4(folder / f"closed_{seed}.dm4", pattern(seed))
        write_dm4(folder / f"stop_{seed}.dm4", pattern(seed, beamstop=BeamStop(25, width=16)))
    write_dm4(folder / "dark.dm4", np.zeros(SHAPE, np.float32))
    write_dm4(folder / "small.dm4", np.zeros((40, 50), np.float32))
    (folder / "text.dm4").write_text("no image")
    write_poni(folder / "cal.poni", PONI)
    return folder


def edfast(*arguments):
    result = CliRunner().invoke(main, ["tune", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def measured(centers, ring=(100.0, 90.0), err=0.01, name="a.dm4"):
    """An `Image` with these documented centres and this ring fit."""
    variants = Variant("default", *ring, err), Variant("circles", *ring, err)
    return Image(name, np.asarray(centers, float), variants, (99.0, 91.0))


def test_series_of_sizes():
    assert size_series(1, 1000).tolist() == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
    assert size_series(3, 60).tolist() == [3, 5, 10, 20, 50, 60]
    assert size_series(7, 8).tolist() == [7, 8]


@pytest.mark.parametrize("masked", [False, True])
def test_the_grid_holds_the_documented_fits(masked):
    image = pattern(0, beamstop=BeamStop(25, width=16), amplitudes=5.0, background=2.0)
    mask = np.zeros(SHAPE, bool)
    mask[:, 100:105] = masked
    thresholds = [0.3, 0.9, 1.5, 2.5, 50.0]
    centers = sweep(image, thresholds, SIZES, mask)
    lost = 0
    for i, threshold_rel in enumerate(thresholds):
        for j, min_size in enumerate(SIZES):
            try:
                fit = fit_ellipse_to_ring(image, threshold_rel, min_size, mask=mask)
            except ValueError:
                assert np.isnan(centers[i, j]).all()
                lost += 1
            else:
                assert centers[i, j].tolist() == [fit.cx, fit.cy]
    assert lost > len(SIZES)


# ------------------------------------------------------------------------------------------------------------ plateau


def naive_plateau(centers, allowed):
    """Size of the largest plateau, by flood fill from every point among points that lie in some still 3 x 3 block."""
    n_t, n_m = centers.shape[1:3]
    best = 0
    for a in range(n_t):
        for b in range(n_m):
            still = set()
            for i in range(n_t):
                for j in range(n_m):
                    moved = [math.dist(c[i, j], c[a, b]) / limit for c, limit in zip(centers, allowed, strict=True)]
                    if np.isfinite(centers[:, i, j]).all() and max(moved) <= 1:
                        still.add((i, j))
            blocks = [{(i + k, j + m) for k in range(3) for m in range(3)} for i in range(n_t - 2) for j in range(n_m - 2)]
            solid = set().union(*(block for block in blocks if block <= still))
            region, edge = set(), {(a, b)} & solid
            while edge:
                region |= edge
                edge = {(i + k, j + m) for i, j in edge for k, m in ((0, 1), (1, 0), (0, -1), (-1, 0))} & solid - region
            best = max(best, len(region))
    return best


@pytest.mark.parametrize("seed", range(12))
def test_plateaus_are_those_of_the_naive_search(seed):
    rng = np.random.default_rng(seed)
    n, shape = 1 + seed % 3, (8, 6)
    level = np.cumsum(rng.choice([0, 0, 0, 0.6], size=(n, *shape)), axis=1 + seed % 2)
    centers = np.stack([level, rng.normal(0, 0.1, level.shape)], axis=-1)
    centers[rng.random(level.shape) < 0.02] = np.nan
    allowed = rng.uniform(0.4, 0.8, n)
    inside, at = largest_plateau(centers, allowed, (3, 3))
    expected = naive_plateau(centers, allowed)
    if expected == 0:
        assert (inside, at) == (None, None)
        return
    assert _tune._NEARLY * expected <= inside.sum() <= expected
    assert inside[at]
    moved = np.hypot(*np.moveaxis(centers - centers[:, None, None, at[0], at[1]], -1, 0)) / allowed[:, None, None]
    assert moved[:, inside].max() <= 1


def test_the_recommended_point_is_deep_inside_and_near_the_defaults():
    centers = np.zeros((1, 19, 9, 2))
    centers[0, :4] = 10
    inside, at = largest_plateau(centers, np.array([0.5]), (3, 5))
    assert (inside == (centers[0, ..., 0] == 0)).all()
    # The region is nine values high: everything five rows inside is equally deep, and (8, 4) is the nearest to (3, 5).
    assert at == (8, 4)


@pytest.mark.parametrize("centers", [
    np.arange(19 * 9 * 2).reshape(1, 19, 9, 2),                                       # moves everywhere
    np.where(np.arange(19)[:, None, None] % 2, 0, np.nan) * np.ones((1, 19, 9, 2)),   # every second value fails
    np.full((1, 19, 9, 2), np.nan),
    np.empty((0, 19, 9, 2)),
])
def test_no_plateau(centers):
    assert largest_plateau(np.asarray(centers, float), np.full(len(centers), 0.5), (3, 5)) == (None, None)


def test_a_slope_of_small_steps_is_no_plateau():
    slope = np.zeros((1, 19, 9, 2))
    slope[..., 0] = 0.4 * np.arange(19)[:, None]
    inside, _ = largest_plateau(slope, np.array([0.5]), (3, 5))
    assert inside.sum() == 3 * 9        # what lies within 0.5 of the middle of three, not the whole chain


# ----------------------------------------------------------------------------------------------------- recommendation


def test_the_error_of_the_ring_fit_widens_the_tolerance():
    wave = np.zeros((19, 9, 2))
    wave[1::2, :, 0] = 0.8
    assert conclude(THRESHOLDS, SIZES, [measured(wave, err=0.01)], 0.5).plateau is None
    assert conclude(THRESHOLDS, SIZES, [measured(wave, err=0.9)], 0.5).plateau.inside.all()


def test_all_images_decide_and_failures_count():
    still = np.full((19, 9, 2), (100.2, 90.0))
    half, lost = still.copy(), still.copy()
    half[10:] += 7
    lost[10:] = np.nan
    for images in ([still, still, half], [still, still, lost]):
        tuning = conclude(THRESHOLDS, SIZES, [measured(centers) for centers in images], 0.5)
        assert tuning.plateau.thresholds == (0.2, 1.1)
        assert tuning.plateau.moving == ()
    assert tuning.failed[0, 0] == 0
    assert tuning.failed[-1, -1] == 1
    assert np.isfinite(tuning.moves).all()
    tuning = conclude(THRESHOLDS, SIZES, [measured(still), measured(lost), measured(lost)], 0.5)
    assert np.isnan(tuning.moves[10:]).all()


def test_an_image_that_moves_wherever_the_others_stay_is_named():
    still = np.full((19, 9, 2), (100.2, 90.0))
    wild = measured(still + np.arange(19)[:, None, None] * (7, 0), name="day/wild.dm4")
    tuning = conclude(THRESHOLDS, SIZES, [measured(still), measured(still), wild], 0.5)
    assert tuning.plateau.inside.all()
    assert tuning.moves.max() == 0
    ((name, far),) = tuning.plateau.moving
    assert (name, far) == ("day/wild.dm4", 7 * max(tuning.plateau.at[0], 18 - tuning.plateau.at[0]))
    assert tuning.method == "ring"
    assert f" in 2 of 3 images, but moves by {far:.2g} in wild.dm4; " in tuning.recommendation


def test_recommendations():
    still, ring = np.full((19, 9, 2), (100.2, 90.0)), Variant("default", error="no ring found: dark")
    slope = still + np.arange(19)[:, None, None] * 7
    agree = conclude(THRESHOLDS, SIZES, [measured(still)], 0.5)
    assert agree.method == "covariance"
    assert "0.2 pixel from the rings' centre; --method ring is surer" in agree.recommendation
    apart = conclude(THRESHOLDS, SIZES, [measured(still, ring=(105.2, 90.0))], 0.5)
    assert apart.method == "ring"
    assert apart.recommendation.startswith("use --method ring: the centre stays within 0.5 pixel for threshold_rel 0.2 to 2 ")
    assert "but 5 pixel from the rings' centre" in apart.recommendation
    moving = conclude(THRESHOLDS, SIZES, [measured(slope)], 0.5)
    assert moving.method == "ring"
    assert moving.recommendation.startswith("use --method ring: no plateau: nowhere on the grid does the documented centre ")
    alone = conclude(THRESHOLDS, SIZES, [Image("a", still, (ring,), (0.0, 0.0))], 0.5)
    assert alone.method == "covariance"
    assert "nothing confirms it" in alone.recommendation
    neither = conclude(THRESHOLDS, SIZES, [Image("a", slope, (ring,), (0.0, 0.0))], 0.5)
    assert neither.method == ""
    assert neither.recommendation.startswith("neither method is reliable: no plateau")
    rings_only = conclude(THRESHOLDS, SIZES, [measured(np.full((19, 9, 2), NAN))], 0.5)
    assert rings_only.recommendation.startswith("use --method ring: the documented fit finds no image anywhere")
    assert conclude(THRESHOLDS, SIZES, [Image("a", still, (ring,), (NAN, NAN), "broken")], 0.5).images == ()
    for tuning in (agree, apart, moving, alone, neither, rings_only):
        assert len(tuning.recommendation.splitlines()) == 1
        assert table(tuning).endswith(tuning.recommendation)


def test_a_closed_ring_and_one_behind_a_stop(folder):
    closed = tune(sorted(folder.glob("closed_*")), PONI)
    assert closed.method == "covariance"
    assert closed.plateau.inside.sum() > 30
    stop = tune(sorted(folder.glob("stop_*")), PONI)
    assert stop.method == "ring"
    for tuning in (closed, stop):
        for seed, image in enumerate(tuning.images):
            assert math.dist((image.ring.cx, image.ring.cy), (141.3 + seed, 125.7)) < 0.1
            assert image.before == pytest.approx((143.5, 127.5))
        assert np.nanmax(tuning.shifts("circles")) < 0.2
        assert np.nanmax(tuning.shifts("start at PONI")) < 0.1
        assert np.isnan(tuning.shifts("no such variant")).all()
    assert np.median(stop.distances()[:, stop.plateau.at[0], stop.plateau.at[1]]) > 1.6


def test_single_rings_are_tried():
    image, _ = ring_pattern(SHAPE, (141.3, 125.7), [50, 90], random_state=0)
    names = [variant.name for variant in _tune._ring_variants(image, None, (-5.0, 0.0))]
    assert names == ["default", "circles", "ring 1 alone", "ring 2 alone"]      # no start outside the frame
    dark = list(_tune._ring_variants(np.zeros(SHAPE), None, (10.0, 10.0)))
    assert all("no ring found" in variant.error for variant in dark)


# ------------------------------------------------------------------------------------------------------------- figure


def rendered(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=50)
    return buffer.getvalue()


def test_the_figure():
    rng = np.random.default_rng(0)
    images = []
    for k in range(3):
        centers = np.full((19, 9, 2), (100.2, 90.0)) + rng.normal(0, 0.05, (19, 9, 2))
        centers[15:] += 50
        centers[18, k:] = np.nan
        images.append(measured(centers, name=f"<b>$x${k}\n\udcff.dm4"))
    tuning = conclude(THRESHOLDS, SIZES, images, 0.5)
    figure = plot_tuning(tuning)
    assert rendered(figure)[:4] == b"\x89PNG"
    large, *rest = figure.axes
    np.testing.assert_array_equal(large.images[0].get_array().T, tuning.moves)
    (hatched,) = large.patches
    assert len(hatched.get_path().vertices) == 5 * int(np.isnan(tuning.moves).sum()) == 5 * 8
    signs = [text.get_text() for text in large.get_legend().get_texts()]
    assert signs == ["default", "plateau (within 0.5 pixel)", "its middle", "no centre", "none in some images"]
    star = next(line for line in large.lines if line.get_marker() == "*")
    assert (star.get_xdata()[0], star.get_ydata()[0]) == tuning.plateau.at
    titles = [axes.get_title() for axes in rest]
    assert [title for title in titles if title.endswith(".dm4")] == [f"<b>$x${k}??.dm4" for k in range(3)]
    comparison = next(axes for axes in rest if axes.get_title().startswith("Documented centre"))
    line = next(line for line in comparison.lines if line.get_label() == "median")
    np.testing.assert_allclose(line.get_ydata()[:15], 0.2, atol=0.1)


@pytest.mark.parametrize(("n", "centre"), [(1, 100.2), (1, NAN), (20, 100.2)])
def test_any_number_of_images(n, centre):
    images = [measured(np.full((19, 9, 2), centre), name=f"{k}.dm4") for k in range(n)]
    figure = plot_tuning(conclude(THRESHOLDS, SIZES, images, 0.5))
    assert rendered(figure)[:4] == b"\x89PNG"
    assert sum(axes.get_title().endswith(".dm4") for axes in figure.axes) == min(n, 15)


# ------------------------------------------------------------------------------------------------------------ command


def test_the_command(folder, tmp_path):
    picture = tmp_path / "map.png"
    files = [folder / "stop_0.dm4", folder / "text.dm4", folder / "stop_1.dm4", folder / "missing.dm4", folder / "small.dm4",
             folder / "dark.dm4"]
    code, said, err = edfast(*files, "-p", folder / "cal.poni", "-o", picture, "-j", 2)
    assert code == 0
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert [line.split("dm4")[0] + "dm4" for line in err.splitlines()] == [
        f"edfast: {folder / name}" for name in ("text.dm4", "missing.dm4", "small.dm4", "dark.dm4")]
    assert "dark.dm4: no centre by either method (no ring found" in err
    lines = said.splitlines()
    assert lines[1].startswith("stop_0.dm4  ")
    assert lines[-2].startswith("use --method ring: ")
    assert lines[-1] == f"  figure  {picture}"


def test_nothing_to_tune(folder, tmp_path):
    code, said, err = edfast(folder / "dark.dm4", "-p", folder / "cal.poni", "-o", tmp_path / "x.png")
    assert (code, said) == (1, "no image has a centre: nothing can be recommended\n")
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("changes", "message"), [
    ({"-p": None}, "Missing option '-p'"),
    ({"-p": "missing.poni"}, "there is no PONI file"),
    ({"-o": "closed_0.dm4"}, "its name must end in .png"), ({"-o": "t.pdf"}, "its name must end in .png"),
    ({"-o": "mask.png", "-m": "mask.png"}, "inputs are never overwritten"),
    ({"-o": "no/where.png"}, "there is no folder"),
    ({"-m": "missing.npy"}, "there is no mask"),
    ({"--tolerance": ("0",)}, "tolerance must be a finite number of pixels above 0, not 0.0"),
    ({"--tolerance": ("nan",)}, "tolerance must be"),
    ({"--threshold-rel": ("1", "1")}, "threshold_rel needs a range: its end 1 must be above its beginning 1"),
    ({"--threshold-rel": ("0", "1")}, "threshold_rel must be a finite number above 0, not 0.0"),
    ({"--threshold-rel": ("1", "inf")}, "threshold_rel must be"),
    ({"--min-size": ("0", "10")}, "min_size must be a whole number of at least 1, not 0"),
    ({"--min-size": ("10", "5")}, "min_size needs a range: its end 5 must be above its beginning 10"),
    ({"--min-size": ("10", "x")}, "'x' is not a valid integer"),
    ({"--jobs": ("0",)}, "0 is not in the range"),
])
def test_wrong_use(folder, tmp_path, changes, message):
    options = {"-p": folder / "cal.poni", "-o": tmp_path / "x.png"}
    options |= {key: folder / value if isinstance(value, str) else value for key, value in changes.items()}
    arguments = [part for key, value in options.items() if value is not None
                 for part in (key, *(value if isinstance(value, tuple) else (value,)))]
    (folder / "mask.png").touch()
    code, said, err = edfast(folder / "closed_0.dm4", *arguments)
    assert (code, said) == (2, "")
    assert message in err
    assert not list(tmp_path.iterdir())


def test_larger_images_get_larger_sizes(folder):
    large = Poni(0.25, 0.001, 0.001, 0, 0, 0, None, 1e-5, 1e-5, (2048, 2304))
    assert tune([folder / "missing.dm4"], large).sizes.tolist() == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
    assert tune([folder / "missing.dm4"], PONI).sizes[-1] == 500
    assert tune([folder / "missing.dm4"], PONI, min_size=(3, 30)).sizes.tolist() == [3, 5, 10, 20, 30]


def test_no_images():
    with pytest.raises(ValueError, match="at least one image"):
        tune([], PONI)


def test_a_mask_of_the_wrong_shape_is_a_fault_of_the_image(folder):
    tuning = tune([folder / "closed_0.dm4"], PONI, mask=np.zeros((3, 3), bool))
    assert tuning.images == ()
    assert "closed_0.dm4: mask has shape (3, 3), but the image has shape (256, 288)" in tuning.unusable[0].error
