"""The structure of the figures: what is drawn where, and what the labels say."""

import dataclasses
import io
import math

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from edfast._results import EllipseFit, Ring, RingFit
from edfast.plots import plot_drift, plot_recalibration, plot_ring_fit, show
from edfast.simulate import BeamStop, ring_pattern

FIT = EllipseFit(40.25, 20.5, 12.0, 8.0, math.radians(30))
NAN = float("nan")


def rendered(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer)
    return buffer.getvalue()


def test_the_documented_figure():
    image = np.random.default_rng(0).normal(100, 10, (60, 90)).astype(np.float32)
    figure = plot_recalibration(image, FIT, orientation=2)
    (axes,) = figure.axes
    (shown,), (ellipse,), (center,) = axes.images, axes.patches, axes.lines
    np.testing.assert_array_equal(shown.get_array(), image)
    assert shown.get_clim() == pytest.approx(tuple(np.percentile(image, (1, 99))), rel=1e-6)
    assert shown.get_cmap().name == "gray"
    assert (axes.get_xlim(), axes.get_ylim()) == ((-0.5, 89.5), (59.5, -0.5))
    assert (ellipse.center, ellipse.width, ellipse.height) == ((40.25, 20.5), 24.0, 16.0)
    assert ellipse.angle == pytest.approx(30)
    red, green, blue = ellipse.get_edgecolor()[:3]
    assert red > 2 * max(green, blue)
    assert (center.get_marker(), center.get_xdata()[0], center.get_ydata()[0]) == ("+", 40.25, 20.5)
    color = to_hex(center.get_color())
    assert int(color[3:5], 16) > 2 * max(int(color[1:3], 16), int(color[5:], 16))
    assert axes.get_title() == "Orientation 2"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["ellipse: a = 12.00, b = 8.00 px", "centre: x = 40.25, y = 20.50 px"]
    rendered(figure)


def test_the_angle_turns_from_columns_to_rows():
    # Row 0 is at the top: the major axis at +30 degrees goes down to the right, through (cx + a cos, cy + a sin).
    figure = plot_recalibration(np.zeros((60, 90)), FIT)
    ellipse = figure.axes[0].patches[0]
    tip = ellipse.get_patch_transform().transform((1, 0))
    assert tip == pytest.approx((40.25 + 12 * math.cos(math.radians(30)), 20.5 + 12 * math.sin(math.radians(30))))


def test_a_bare_centre_has_no_ellipse():
    figure = plot_recalibration([[1, 2], [3, 4]], (0.5, 1.0))
    assert len(figure.axes[0].patches) == 0
    assert len(figure.legends[0].get_texts()) == 1


@pytest.mark.parametrize("image", [np.full((5, 5), 3), np.full((4, 6), NAN), np.array([[1, np.inf], [NAN, -np.inf]]),
                                   np.ones((1, 1)), np.zeros((3000, 20), np.uint8), np.zeros((20, 3000), ">i2"),
                                   np.full((4, 4), 1e300), np.full((4, 4), -2**62)])
def test_odd_images(image):
    figure = plot_recalibration(image, FIT)
    low, high = figure.axes[0].images[0].get_clim()
    assert low < high
    assert rendered(figure)[:4] == b"\x89PNG"


def test_the_grey_range_of_a_large_image_is_a_sample():
    image = np.random.default_rng(0).normal(size=(3000, 2100)).astype(np.float32)
    clim = plot_recalibration(image, FIT).axes[0].images[0].get_clim()
    assert clim == pytest.approx(np.percentile(image, (1, 99)), abs=0.02)


def test_drift():
    dx, dy = np.array([0.5, NAN, 1.5, 2.0]), np.array([-0.5, NAN, 0.0, 1.0])
    figure = plot_drift(dx + 100, dy + 90, dx, dy, labels=["a", "b", "c", "d"])
    top, bottom, path, _ = figure.axes
    labels = ["shift in x / pixel", "shift in y / pixel", "shift in y / pixel", "file"]
    assert [axes.get_ylabel() for axes in figure.axes] == labels
    for axes, shift, middle in ((top, dx, 100), (bottom, dy, 90)):
        line = next(line for line in axes.lines if line.get_marker() == "o")
        np.testing.assert_array_equal(line.get_data(), ([1, 2, 3, 4], shift))
        failed = next(line for line in axes.lines if line.get_marker() == "x")
        assert failed.get_xdata().tolist() == [2]
        (second,) = axes.child_axes
        rendered(figure)
        assert second.get_ylim() == pytest.approx(np.add(axes.get_ylim(), middle))
    assert [text.get_text() for text in bottom.get_xticklabels()] == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(np.ma.filled(path.collections[0].get_offsets(), NAN), np.stack([dx, dy], axis=1))
    assert path.yaxis_inverted()
    assert "3 of 4 files, 1 failed" in figure.get_suptitle()
    assert isinstance(figure, Figure)


@pytest.mark.parametrize("n", [0, 1, 2, 17, 400])
@pytest.mark.parametrize("good", [True, False])
def test_any_number_of_files(n, good):
    values = np.linspace(0, 3, n) if good else np.full(n, NAN)
    labels = [f"a rather long name {i:030}.dm4" for i in range(n)]
    figure = plot_drift(values + 10, values - 10, values, -values, labels=labels)
    assert rendered(figure)[:4] == b"\x89PNG"
    assert all(len(text.get_text()) <= 24 for text in figure.axes[1].get_xticklabels())


def test_file_names_are_no_formulas_and_have_no_unknown_letters():
    figure = plot_drift([1, 2, 3], [1, 2, 3], [0, 1, 2], [0, 1, 2], labels=["a$b$", "zwei\nZeilen", "中µ\udcff"])
    assert [text.get_text() for text in figure.axes[1].get_xticklabels()] == ["a$b$", "zwei?Zeilen", "?µ?"]
    rendered(figure)


def test_a_drift_without_a_centre_says_so():
    figure = plot_drift(*[[math.nan] * 2] * 4)
    assert [text.get_text() for text in figure.axes[0].texts] == ["no file has a centre"]
    assert not plot_drift(*[[0.0, math.nan]] * 4).axes[0].texts


def test_images_of_different_size_have_no_common_position_axis():
    figure = plot_drift([100, 201], [90, 180], [0, 1], [0, 0])
    assert not figure.axes[0].child_axes


def test_show(monkeypatch):
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    open_figures = []
    monkeypatch.setattr(plt, "show", lambda: open_figures.extend(plt.get_fignums()))
    figure = show(plot_recalibration, np.zeros((4, 4)), FIT, orientation=4)
    assert open_figures == [figure.number]
    assert figure.axes[0].get_title() == "Orientation 4"
    plt.close(figure)


def ring_fit(truth, sectors=(1.0,) * 64, **changes):
    """The fit that is exactly right for a simulated pattern; what it says of itself is made up."""
    first = truth.ellipses[0]
    rings = tuple(Ring(radius, 0.01, width, height, height / 50)
                  for radius, width, height in zip(truth.radii, truth.widths, truth.amplitudes, strict=True))
    fit = RingFit(cx=truth.cx, cy=truth.cy, a=first.a, b=first.b, angle=first.angle, cx_err=0.005, cy_err=0.004, a_err=0.01,
                  b_err=0.01, cxy_err=1e-5, coverage=float(np.mean(np.array(sectors) > 0.3)), n_rings=len(rings), chi2=1.0,
                  converged=True, rings=rings, sectors=tuple(sectors))
    return dataclasses.replace(fit, **changes)


def mean_line(figure):
    """(deviation, azimuth in radian) of the mean over the rings."""
    line = next(line for line in figure.axes[-1].lines if line.get_marker() == "o")
    return line.get_xdata(), np.radians(line.get_ydata())


@pytest.fixture(scope="module")
def scene():
    return ring_pattern((240, 320), center=(170.3, 110.8), radii=[50, 80], ratio=1.08, angle=0.6, widths=2.5, amplitudes=400,
                        background=50, random_state=3)


def test_the_figure_of_a_ring_fit(scene):
    image, truth = scene
    figure = plot_ring_fit(image, ring_fit(truth))
    left, center, *strips, right = figure.axes
    assert len(strips) == 2
    assert (left.get_xlim(), left.get_ylim()) == ((-0.5, 319.5), (239.5, -0.5))
    shown = left.images[0].get_array()
    assert shown.shape == image.shape
    assert (np.diff(shown.ravel()[np.argsort(image.ravel())]) >= 0).all()    # brighter stays brighter
    marker = next(line for line in left.lines if line.get_marker() == "+")
    assert (marker.get_xdata()[0], marker.get_ydata()[0]) == (170.3, 110.8)
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["fitted rings", "centre"]
    assert [axes.get_xticklabels()[0].get_text() for axes in strips] == ["50.0", "80.0"]
    for axes in (*strips, right):
        assert axes.get_ylim() == (360, 0)
    assert [patch.width for patch in center.patches] == pytest.approx([4 * ring_fit(truth).error_ellipse[0],
                                                                      2 * ring_fit(truth).error_ellipse[0]])
    assert "x = 170.3000 ± 0.0050 px" in center.texts[1].get_text()
    rendered(figure)


def test_rings_are_drawn_as_the_ellipses_that_they_are(scene):
    image, truth = scene
    used = plot_ring_fit(image, ring_fit(truth)).axes[0].collections[1]
    for arc, ring in zip(used.get_segments(), truth.ellipses, strict=True):
        dx, dy = arc[:, 0] - truth.cx, arc[:, 1] - truth.cy
        along, across = dx * np.cos(ring.angle) + dy * np.sin(ring.angle), dy * np.cos(ring.angle) - dx * np.sin(ring.angle)
        np.testing.assert_allclose((along / ring.a) ** 2 + (across / ring.b) ** 2, 1, rtol=1e-9)
        assert np.ptp(np.unwrap(np.arctan2(dy, dx))) == pytest.approx(2 * np.pi)


def test_strips_are_straight_where_the_fit_is_right(scene):
    image, truth = scene
    for axes, ring in zip(plot_ring_fit(image, ring_fit(truth)).axes[2:4], ring_fit(truth).rings, strict=True):
        strip = axes.images[0].get_array()
        left, right, bottom, top = axes.images[0].get_extent()
        assert (left, right) == pytest.approx((ring.radius - 4 * ring.width, ring.radius + 4 * ring.width))
        assert (bottom, top) == (360, 0)
        assert np.abs(strip.argmax(axis=1) - (strip.shape[1] - 1) / 2).max() < 0.15 * strip.shape[1]


def test_a_right_fit_has_no_deviations(scene):
    image, truth = scene
    deviation, azimuth = mean_line(plot_ring_fit(image, ring_fit(truth)))
    assert len(deviation) == 64
    assert np.abs(deviation).max() < 0.1
    assert abs(np.mean(deviation * np.cos(azimuth))) < 0.01


@pytest.mark.parametrize(("dx", "dy"), [(0.3, 0.0), (0.0, -0.3), (0.1, 0.1)])
def test_a_wrong_centre_is_a_wave_of_just_that_size(dx, dy):
    image, truth = ring_pattern((240, 320), center=(150.3, 117.8), radii=[50, 80], amplitudes=400, random_state=3)
    figure = plot_ring_fit(image, ring_fit(truth, cx=truth.cx + dx, cy=truth.cy + dy))
    deviation, azimuth = mean_line(figure)
    assert 2 * np.mean(deviation * np.cos(azimuth)) == pytest.approx(-dx, abs=0.01)
    assert 2 * np.mean(deviation * np.sin(azimuth)) == pytest.approx(-dy, abs=0.01)
    low, high = figure.axes[-1].get_xlim()
    assert -low == high > np.abs(deviation).max()


def test_a_wrong_ellipse_is_a_wave_of_two_periods(scene):
    image, truth = scene
    fit = ring_fit(truth)
    deviation, azimuth = mean_line(plot_ring_fit(image, dataclasses.replace(fit, a=fit.a * 1.004, b=fit.b / 1.004)))
    wave = 2 * abs(np.mean(deviation * np.exp(2j * azimuth)))
    assert 0.15 < wave < 0.4      # 0.4 % of 50 and 80 pixel
    assert 2 * abs(np.mean(deviation * np.exp(1j * azimuth))) < 0.02


def test_rejected_sectors_look_different(scene):
    image, truth = scene
    weights = np.ones(64)
    weights[[0, 40, 41, 42]], weights[10] = 0, 0.3
    figure = plot_ring_fit(image, ring_fit(truth, weights))
    left, _, *strips, right = figure.axes
    wedges, used, rejected = left.collections
    assert len(wedges.get_paths()) == 3
    assert len(rejected.get_segments()) == len(used.get_segments()) == 3 * 2
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["fitted rings", "rejected", "centre"]
    first = used.get_segments()[0]      # of the inner ring, between sectors 0 and 10
    assert np.degrees(np.arctan2(*(first[0] - ring_fit(truth).center)[::-1])) == pytest.approx(360 / 64, abs=1.5)
    for axes in strips:
        edges = [(patch.get_y(), patch.get_y() + patch.get_height()) for patch in axes.patches]
        assert np.allclose(edges, np.array([(0, 1), (10, 11), (40, 43)]) * 360 / 64)
    deviation, _ = mean_line(figure)
    np.testing.assert_array_equal(np.isnan(deviation), weights <= 0.3)
    assert len(right.patches) == 3 + 1      # and the green band
    rendered(figure)


@pytest.mark.parametrize("weights", [np.zeros(32), np.r_[0, np.ones(31)], np.r_[np.ones(31), 0], [1.0], [0.0]])
def test_any_sectors(scene, weights):
    image, truth = scene
    assert rendered(plot_ring_fit(image, ring_fit(truth, weights)))[:4] == b"\x89PNG"


def test_masked_pixels_are_shown_and_not_used():
    image, truth = ring_pattern((200, 200), radii=[60], beamstop=BeamStop(20, width=12), amplitudes=300, random_state=1)
    spoilt = np.where(truth.stop, 1e6, image)
    with_nan = np.where(truth.stop, np.nan, image)
    one, other = (plot_ring_fit(*pair, mask=mask) for pair, mask in (((spoilt, ring_fit(truth)), truth.stop),
                                                                     ((with_nan, ring_fit(truth)), None)))
    for figure in (one, other):
        np.testing.assert_array_equal(np.isfinite(figure.axes[0].images[0].get_array().filled(np.nan)), ~truth.stop)
        assert np.nanmax(np.abs(mean_line(figure)[0])) < 0.15
        assert figure.axes[0].images[0].get_clim()[1] < 20
    np.testing.assert_array_equal(mean_line(one)[0], mean_line(other)[0])
    assert np.isnan(mean_line(one)[0]).any()
    assert np.array_equal(plot_ring_fit(spoilt, ring_fit(truth), mask=truth.stop.astype(int)).axes[0].images[0].get_clim(),
                          one.axes[0].images[0].get_clim())


@pytest.mark.parametrize(("shape", "center"), [((150, 400), (60.3, 70.8)), ((400, 150), (70.3, 350.8)),
                                               ((150, 150), (-10.0, 75))])
def test_rings_that_the_frame_cuts(shape, center):
    image, truth = ring_pattern(shape, center=center, radii=[50, 90, 140], amplitudes=300, random_state=2)
    figure = plot_ring_fit(image, ring_fit(truth))
    left = figure.axes[0]
    assert (left.get_xlim(), left.get_ylim()) == ((-0.5, shape[1] - 0.5), (shape[0] - 0.5, -0.5))
    strip = figure.axes[4].images[0].get_array()
    assert np.ma.getmaskarray(np.ma.masked_invalid(strip)).any()
    deviation, _ = mean_line(figure)
    assert np.isfinite(deviation).sum() > 10
    assert np.nanmax(np.abs(deviation)) < 0.3
    rendered(figure)


def test_a_ring_outside_the_frame_is_an_empty_strip():
    image, truth = ring_pattern((100, 100), radii=[40, 200], random_state=2)
    figure = plot_ring_fit(image, ring_fit(truth))
    assert not np.isfinite(figure.axes[3].images[0].get_array().filled(np.nan)).any()
    rendered(figure)


@pytest.mark.parametrize("image", [np.zeros((90, 120)), np.full((90, 120), NAN), np.full((90, 120), -7, np.int8),
                                   np.full((90, 120), 1e300), -np.ones((90, 120)),
                                   np.arange(10800).reshape(90, 120).astype(">i4"),
                                   np.where(np.eye(90, 120) > 0, np.inf, 1), np.zeros((90, 120), bool)])
def test_a_ring_fit_on_odd_images(image):
    _, truth = ring_pattern((90, 120), radii=[30])
    figure = plot_ring_fit(image, ring_fit(truth))
    low, high = figure.axes[0].images[0].get_clim()
    assert low < high
    assert rendered(figure)[:4] == b"\x89PNG"


def test_negative_pixels_are_black_not_lost():
    image, truth = ring_pattern((120, 120), radii=[35], offset=-500.0, dtype=np.int16, random_state=1)
    assert image.max() < 0
    figure = plot_ring_fit(image, ring_fit(truth))
    shown = figure.axes[0].images[0].get_array()
    assert np.isfinite(shown).all()
    assert shown.min() == 0
    ring = np.abs(np.hypot(*(np.indices(image.shape) - 59.5)) - 35) < 1
    assert shown[ring].mean() > shown[~ring].mean() + 0.5


def test_no_error_and_no_convergence_can_be_drawn_too(scene):
    image, truth = scene
    fit = ring_fit(truth, cx_err=0.0, cy_err=0.0, cxy_err=0.0, converged=False)
    fit = dataclasses.replace(fit, rings=tuple(ring._replace(amplitude_err=0.0) for ring in fit.rings))
    figure = plot_ring_fit(image, fit)
    assert "not converged" in figure.axes[1].texts[1].get_text()
    assert np.abs(mean_line(figure)[0]).max() < 0.1
    rendered(figure)


def test_the_input_of_the_ring_figure_is_checked_and_not_changed(scene):
    image, truth = scene
    before = image.copy()
    figure = Figure(layout="constrained")
    assert plot_ring_fit(image, ring_fit(truth), mask=truth.stop, figure=figure) is figure
    np.testing.assert_array_equal(image, before)
    with pytest.raises(TypeError, match="fit must be a RingFit, as fit_ring returns it, not EllipseFit"):
        plot_ring_fit(image, FIT)
    with pytest.raises(ValueError, match=r"mask has shape \(3, 3\)"):
        plot_ring_fit(image, ring_fit(truth), mask=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="two-dimensional"):
        plot_ring_fit(image[0], ring_fit(truth))


def test_a_fit_of_a_real_pattern(shared_data):
    from edfast import fit_ring, load_data

    _, image = load_data(shared_data("bismuth.dm4"), verbose=False)
    fit = fit_ring(image)
    figure = plot_ring_fit(image, fit)
    assert len(figure.axes) == 3 + fit.n_rings
    rendered(figure)
