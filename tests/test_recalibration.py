"""The documented recalibration functions, end to end: from the file that holds the image to the PONI file."""

import os
import subprocess
import sys
import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest

import edfast
from edfast._recalibrate import Options, recalibrate_image
from edfast.geometry import Poni, beam_center, center_to_poni, from_integrator, read_poni, write_poni
from edfast.recalibration import (
    CenterWarning,
    ConventionWarning,
    fit_ellipse_to_ring,
    recalibrate_no_beamstop,
    recalibrate_with_beamstop,
    update_ai,
)
from edfast.simulate import BeamStop, ring_pattern, write_dm4

SHAPE = (300, 400)
CENTER = (212.3, 141.8)
PONI = Poni(0.25, 0.0011, 0.0013, 0.002, -0.001, 0.004, 2.5e-12, 1e-5, 1.2e-5, SHAPE)
BOTH = [(recalibrate_with_beamstop, "covariance"), (recalibrate_no_beamstop, "max"), (recalibrate_no_beamstop, "centroid")]


@pytest.fixture(scope="module")
def image():
    rings, _ = ring_pattern(SHAPE, CENTER, [70], direct_beam=4000.0, random_state=3)
    return rings


@pytest.fixture
def files(tmp_path, image):
    """An image file and a PONI file, and where the output goes; the inputs must be as they were when the test ends."""
    write_dm4(tmp_path / "image.dm4", image, voltage_kv=200)
    write_poni(tmp_path / "cal.poni", PONI)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    yield tmp_path / "image.dm4", tmp_path / "cal.poni", tmp_path / "new.poni"
    for path, content in before.items():
        assert path.read_bytes() == content, f"{path.name} was changed"


def quietly(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConventionWarning)
        return function(*args, **options)


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
@pytest.mark.parametrize(("function", "method"), BOTH)
def test_the_exact_convention_puts_the_beam_where_it_was_found(tmp_path, image, orientation, function, method):
    write_poni(tmp_path / "cal.poni", replace(PONI, orientation=orientation))
    ai = function(image, tmp_path / "cal.poni", output_ponifile=tmp_path / "new.poni", method=method, convention="pyfai")
    assert from_integrator(ai) == read_poni(tmp_path / "new.poni")
    assert np.hypot(*np.subtract(beam_center(from_integrator(ai)), CENTER)) < (2 if method == "max" else 1)
    if method == "covariance":
        fit = fit_ellipse_to_ring(image)
        assert beam_center(from_integrator(ai)) == pytest.approx((fit.cx, fit.cy), abs=1e-8)
    assert replace(from_integrator(ai), poni1=PONI.poni1, poni2=PONI.poni2) == replace(PONI, orientation=orientation)


@pytest.mark.parametrize("function", [recalibrate_with_beamstop, recalibrate_no_beamstop])
def test_rings(tmp_path, function):
    image, truth = ring_pattern((512, 512), (250.3, 262.8), beamstop=BeamStop(30), random_state=0)
    write_poni(tmp_path / "cal.poni", replace(PONI, max_shape=(512, 512), orientation=1))
    mask = np.zeros((512, 512), bool)
    mask[:, 300:320] = True
    for options in ({}, {"mask": mask}):
        spoiled = np.where(mask, 1e9, image) if options else image
        ai = function(spoiled, tmp_path / "cal.poni", method="ring", convention="pyfai", **options)
        assert beam_center(from_integrator(ai)) == pytest.approx(truth.center, abs=0.05)
    with pytest.raises(ValueError, match="no ring"):
        function(np.zeros((512, 512)), tmp_path / "cal.poni", method="ring")


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
@pytest.mark.parametrize("beamstop", [True, False])
def test_the_documented_convention_is_the_default(tmp_path, image, orientation, beamstop):
    poni = replace(PONI, orientation=orientation, rot3=0.0)
    write_poni(tmp_path / "cal.poni", poni)
    if beamstop:
        ai = recalibrate_with_beamstop(image, tmp_path / "cal.poni")
        x, y = fit_ellipse_to_ring(image)[:2]
    else:
        ai = recalibrate_no_beamstop(image, tmp_path / "cal.poni")
        y, x = np.unravel_index(np.argmax(image), SHAPE)
    height, width = SHAPE
    x, y = {1: (width - x, height - y), 2: (x, height - y), 3: (x, y), 4: (width - x, y)}[orientation]
    expected = center_to_poni(x, y, poni.pixel2, poni.pixel1, poni.distance, poni.rot1, poni.rot2, poni.rot3)
    assert (ai.poni1, ai.poni2) == pytest.approx(expected, rel=1e-12)


def test_positional_arguments_are_the_documents(files):
    image, poni, output = files
    first = quietly(recalibrate_with_beamstop, image, poni, 0.5, 50, output, False)
    assert read_poni(output) == from_integrator(first)
    second = quietly(recalibrate_no_beamstop, image, poni, output)
    assert read_poni(output) == from_integrator(second)
    assert from_integrator(update_ai(poni, 0.5, 0.6, output)) == replace(PONI, poni1=0.5, poni2=0.6) == read_poni(output)
    assert (read_poni(poni).poni1, update_ai(poni, 1, 2).poni2) == (PONI.poni1, 2.0)


@pytest.mark.parametrize(("function", "method"), BOTH)
def test_a_file_is_as_good_as_an_array_a_list_and_text_paths(files, image, function, method):
    path, poni, output = files
    expected = from_integrator(quietly(function, image, poni, method=method))
    for source in (path, str(path), image.tolist(), image.astype(">f4"), image[:, ::-1][:, ::-1], np.asfortranarray(image)):
        assert from_integrator(quietly(function, source, str(poni), output_ponifile=str(output), method=method)) == expected
    frozen = image.copy()
    frozen.setflags(write=False)
    assert from_integrator(quietly(function, frozen, poni, method=method)) == expected


def test_what_is_written_says_where_it_comes_from(files):
    image, poni, output = files
    recalibrate_no_beamstop(image, poni, output, convention="pyfai")
    comments = [line for line in output.read_text().splitlines() if line.startswith("#")]
    assert str(image) in comments[0]
    assert "method max, convention pyfai" in comments[1]
    assert str(poni) in comments[2]


def test_binning(tmp_path, image):
    write_poni(tmp_path / "full.poni", replace(PONI, pixel1=PONI.pixel1 / 4, pixel2=PONI.pixel2 / 4, max_shape=(1200, 1600)))
    write_poni(tmp_path / "binned.poni", PONI)
    for convention in ("pyfai", "documented"):
        full, binned = (quietly(recalibrate_with_beamstop, image, tmp_path / f"{name}.poni", convention=convention)
                        for name in ("full", "binned"))
        assert from_integrator(full) == from_integrator(binned)


def test_masked_and_non_finite_pixels_are_no_maximum(files, image):
    broken = image.copy()
    broken[10, 20], broken[11, 21], broken[12, 22] = np.inf, np.nan, 1e9
    mask = np.zeros(SHAPE, int)
    mask[12, 22] = 7
    y, x = np.unravel_index(np.argmax(image), SHAPE)
    without_mask = np.where(broken == 1e9, np.nan, broken)
    for data, options in ((without_mask, {}), (broken, {"mask": mask}), (broken, {"mask": mask.tolist()}), (image, {})):
        ai = recalibrate_no_beamstop(data, files[1], convention="pyfai", **options)
        assert beam_center(from_integrator(ai)) == pytest.approx((x, y), abs=1e-8)


def test_the_first_of_equal_maxima(files):
    image = np.zeros(SHAPE, np.uint8)
    image[100, 300] = image[101, 20] = image[200, 5] = 255
    ai = recalibrate_no_beamstop(image, files[1], convention="pyfai")
    assert beam_center(from_integrator(ai)) == pytest.approx((300, 100), abs=1e-8)


def test_frame_of_a_stack(files, tmp_path, image):
    write_dm4(tmp_path / "stack.dm4", np.stack([image[::-1], image]))
    options = {"convention": "pyfai", "method": "centroid"}
    assert (from_integrator(recalibrate_no_beamstop(tmp_path / "stack.dm4", files[1], frame=1, **options))
            == from_integrator(recalibrate_no_beamstop(image, files[1], **options)))
    with pytest.raises(ValueError, match=r"stack\.dm4.*shape \(2, 300, 400\).*frame"):
        recalibrate_no_beamstop(tmp_path / "stack.dm4", files[1])


# --- the centroid of the direct beam ----------------------------------------------------------------------------------


def spot(center, width, peak, *, shape=(120, 150), background=5.0, seed=None):
    y, x = np.mgrid[:shape[0], :shape[1]]
    expected = background + peak * np.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / (2 * width**2))
    return expected if seed is None else np.random.default_rng(seed).poisson(expected)


def centroid(image, mask=None):
    result = recalibrate_image(image, Poni(0.2, 0, 0, 0, 0, 0, None, 1e-5, 1e-5), Options(False, "centroid"), mask)
    return np.array([result.cx, result.cy])


@pytest.mark.parametrize("width", [0.8, 1.0, 2.0, 5.0, 12.0])
@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64])
def test_centroid_is_nearly_as_good_as_the_counts_allow(width, dtype):
    rng, peak, errors = np.random.default_rng(int(10 * width)), 1000.0, []
    for seed in range(25):
        center = rng.uniform((60, 45), (90, 75))
        image = spot(center, width, peak, seed=seed).astype(dtype)
        row, column = rng.integers(0, 30, 2)
        image[row, column] = 60000  # hot, far away from the beam
        errors.append(centroid(image) - center)
    rms = np.sqrt(np.mean(np.square(errors)))
    bound = width / np.sqrt(peak * 2 * np.pi * width**2)  # Cramer-Rao without a background
    assert rms < 1.7 * bound + 0.003
    assert rms < 0.05


@pytest.mark.parametrize("width", [2.0, 5.0])
@pytest.mark.parametrize("hot", [3e3, 6e4])
def test_centroid_does_not_follow_hot_dead_or_masked_pixels_in_the_beam(width, hot):
    rng = np.random.default_rng(5)
    for seed in range(10):
        center = rng.uniform((60, 45), (90, 75))
        image = spot(center, width, 1000.0, seed=seed).astype(float)
        near = np.rint(center).astype(int) + rng.integers(-2, 3, 2)
        for value in (hot, np.nan, np.inf):
            broken = image.copy()
            broken[near[1], near[0]] = value
            assert np.hypot(*(centroid(broken) - center)) < 0.12
        masked = image.copy()
        masked[near[1], near[0]] = 1e12
        assert np.hypot(*(centroid(masked, masked == 1e12) - center)) < 0.12


def test_centroid_without_noise_and_off_the_frame():
    for center in [(70.0, 60.0), (70.5, 60.5), (70.31, 60.77)]:
        assert centroid(spot(center, 3.0, 1000.0)) == pytest.approx(center, abs=1e-4)
        assert centroid(-1e4 + spot(center, 3.0, 1000.0)) == pytest.approx(center, abs=1e-4)
    assert centroid(spot((2.4, 60.2), 3.0, 1000.0, seed=0)) == pytest.approx((2.4, 60.2), abs=0.15)


def test_centroid_of_a_disc_and_beside_rings():
    y, x = np.mgrid[:200, :260]
    disc = np.random.default_rng(0).poisson(10 + 500.0 * (np.hypot(x - 120.4, y - 90.7) < 25))
    assert centroid(disc) == pytest.approx((120.4, 90.7), abs=0.1)
    image, _ = ring_pattern((256, 256), (131.3, 120.8), [40, 70], direct_beam=3000.0, hot_pixels=40, random_state=1)
    assert centroid(image) == pytest.approx((131.3, 120.8), abs=0.05)


@pytest.mark.parametrize("image", [np.zeros((50, 50)), np.full((3, 3), np.nan), np.ones((1, 1)), np.full((9, 9), -np.inf)])
def test_no_beam(image):
    with pytest.raises(ValueError, match="no direct beam stands out"):
        centroid(image)


def test_a_ring_is_no_beam():
    image, _ = ring_pattern((256, 256), (128, 128), [60], amplitudes=500.0, noise=False)
    with pytest.raises(ValueError, match="no direct beam stands out"):
        centroid(image)


# --- warnings and the figure ------------------------------------------------------------------------------------------


def test_the_documented_convention_warns_where_it_is_far_off(files, image):
    path, poni, _ = files
    with pytest.warns(ConventionWarning, match=r'image\.dm4.*convention="pyfai" puts it there') as caught:
        wrong = recalibrate_no_beamstop(path, poni)
    assert caught[0].filename == __file__
    x, y = beam_center(from_integrator(wrong))
    row, column = np.unravel_index(np.argmax(image), SHAPE)
    off = np.hypot(x - column, y - row)
    assert off > 1
    assert f"{off:.1f} pixels" in str(caught[0].message)
    recalibrate_no_beamstop(path, poni, convention="pyfai")  # silent: warnings are errors here
    write_poni(poni.with_name("straight.poni"), replace(PONI, rot3=0.0))
    recalibrate_no_beamstop(path, poni.with_name("straight.poni"))


def test_plot_shows_the_documented_figure(files, monkeypatch):
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    image, poni, _ = files
    recalibrate_with_beamstop(image, poni, plot=True, convention="pyfai")
    plt.close("all")
    axes = shown[0].axes[0]
    assert axes.get_title() == "Orientation 3"
    assert len(axes.patches) == 1


# --- what goes wrong --------------------------------------------------------------------------------------------------


def damaged(kind, folder, image):
    """A file that cannot be recalibrated, and what must be said of it beside its name."""
    path = folder / f"bad-{kind}.dm4"
    if kind == "truncated":
        write_dm4(path, image)
        path.write_bytes(path.read_bytes()[:-1000])
    elif kind == "text":
        path.write_text("Dear diary, this is not a DM4 file.\n" * 100)
    elif kind == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "RGB":
        import imageio.v3 as iio

        path = path.with_suffix(".tif")
        iio.imwrite(path, np.zeros((30, 40, 3), np.uint8))
    elif kind == "line":
        import h5py

        path = path.with_suffix(".h5")
        with h5py.File(path, "w") as file:
            file["data"] = np.arange(300.0)
    elif kind == "flat":
        write_dm4(path, np.full(SHAPE, 7, np.uint8))
    elif kind == "other shape":
        write_dm4(path, image[:250])
    return path


@pytest.mark.parametrize("kind", ["truncated", "text", "noise", "empty", "RGB", "line", "flat", "other shape", "missing"])
def test_bad_images_get_one_line_with_their_name_and_leave_nothing_behind(files, image, kind):
    folder = files[0].parent
    path = damaged(kind, folder, image)
    before = sorted(folder.iterdir())
    content = path.read_bytes() if path.exists() else None
    for function in (recalibrate_with_beamstop, recalibrate_no_beamstop):
        if kind == "flat" and function is recalibrate_no_beamstop:
            continue  # the documented maximum of a flat image is its first pixel
        with pytest.raises((ValueError, TypeError, FileNotFoundError)) as error:
            function(path, files[1], output_ponifile=files[2], convention="pyfai")
        message = str(error.value)
        assert path.name in message
        assert "\n" not in message
        assert len(message) > len(str(path)) + 15
        if kind == "other shape":
            assert "(250, 400)" in message
            assert "(300, 400)" in message
    assert sorted(folder.iterdir()) == before
    assert content is None or path.read_bytes() == content


@pytest.mark.parametrize("bad", [np.zeros(10), np.zeros((4, 5, 3)), np.zeros((0, 5)), np.full((5, 5), "a"),
                                 np.zeros((5, 5), complex)])
def test_bad_arrays(files, bad):
    with pytest.raises((ValueError, TypeError), match=r"^image "):
        recalibrate_no_beamstop(bad, files[1])


def test_a_threshold_that_leaves_nothing(files):
    with pytest.raises(ValueError, match=r"image\.dm4: No ring detected.*threshold_rel"):
        recalibrate_with_beamstop(files[0], files[1], threshold_rel=50, output_ponifile=files[2])
    with pytest.raises(ValueError, match=r"image\.dm4: No ring detected.*min_size"):
        recalibrate_with_beamstop(files[0], files[1], min_size=10**6, output_ponifile=files[2])
    assert not files[2].exists()


def test_a_broken_poni_is_named_before_the_image_is_read(files, monkeypatch):
    broken = files[1].with_name("broken.poni")
    broken.write_text(files[1].read_text().replace("Rot1: ", "Rot1: x"))
    monkeypatch.setattr("edfast.filereader.load_data", None)
    for function in (recalibrate_with_beamstop, recalibrate_no_beamstop):
        with pytest.raises(ValueError, match=r"broken\.poni, line \d+: Rot1 must be a finite number, not 'x0\.002'"):
            function(files[0], broken)
    with pytest.raises(ValueError, match=r"broken\.poni, line"):
        update_ai(broken, 1, 2)


def test_outputs_are_checked_before_any_work(files, monkeypatch):
    image, poni, output = files
    monkeypatch.setattr("edfast.recalibration.read_poni", None)
    for bad in (output / "new.poni", image / "new.poni", output.parent):
        for call in (lambda bad=bad: recalibrate_with_beamstop(image, poni, output_ponifile=bad),
                     lambda bad=bad: recalibrate_no_beamstop(image, poni, bad), lambda bad=bad: update_ai(poni, 1, 2, bad)):
            with pytest.raises(OSError, match=r"^output .*(cannot be written|is a folder)"):
                call()
    link = output.with_name("link.poni")
    link.symlink_to(poni)
    for same in (poni, str(poni), link):
        with pytest.raises(ValueError, match="same file as the input"):
            recalibrate_no_beamstop(image, poni, same)
        with pytest.raises(ValueError, match="same file as the input"):
            update_ai(poni, 1, 2, same)
    with pytest.raises(ValueError, match="same file as the input"):
        recalibrate_with_beamstop(image, poni, output_ponifile=image)


@pytest.mark.parametrize(("options", "message"), [
    ({"method": "centroid"}, "method must be one of 'covariance', 'ring', not 'centroid'"),
    ({"convention": "fit2d"}, "convention must be one of"),
    ({"threshold_rel": float("nan")}, "threshold_rel must be a finite number"),
    ({"min_size": -1}, "min_size must be a whole number"),
    ({"mask": np.zeros((3, 3))}, r"mask has shape \(3, 3\), but the image has shape \(300, 400\)"),
])
def test_bad_options(files, options, message):
    with pytest.raises(ValueError, match=message):
        recalibrate_with_beamstop(files[0], files[1], output_ponifile=files[2], **options)
    assert not files[2].exists()


def test_bad_options_without_a_beamstop(files):
    with pytest.raises(ValueError, match="method must be one of 'max', 'centroid', 'ring', not 'covariance'"):
        recalibrate_no_beamstop(*files[:2], method="covariance")
    for value in (np.nan, "far", None):
        with pytest.raises((ValueError, TypeError), match="poni1_new must be a"):
            update_ai(files[1], value, 0.1)


# --- many at once -----------------------------------------------------------------------------------------------------


def test_sixteen_threads_get_what_one_gets(tmp_path):
    images = [ring_pattern(SHAPE, (180 + 3 * i, 150 - 2 * i), [70], direct_beam=4000.0, random_state=i)[0] for i in range(16)]
    write_poni(tmp_path / "cal.poni", PONI)

    def work(image, output):
        results = [function(image, tmp_path / "cal.poni", output_ponifile=output, method=method, convention="pyfai")
                   for function, method in BOTH]
        return [from_integrator(ai) for ai in results]

    expected = [work(image, tmp_path / "one.poni") for image in images]
    results, barrier = [None] * 16, threading.Barrier(16)

    def thread(i):
        barrier.wait()
        results[i] = [work(images[i], tmp_path / f"{i}.poni") for _ in range(5)]

    threads = [threading.Thread(target=thread, args=(i,)) for i in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [[one] * 5 for one in expected]
    assert [read_poni(tmp_path / f"{i}.poni") for i in range(16)] == [one[-1] for one in expected]


CHILD = """
import sys, edfast
from edfast.geometry import beam_center, from_integrator
image, poni, output = sys.argv[1:]
ai = edfast.recalibrate_no_beamstop(image, poni, output_ponifile=output, method="centroid", convention="pyfai")
fit = edfast.fit_ellipse_to_ring(edfast.load_data(image, verbose=False)[1])
print(beam_center(from_integrator(ai)), tuple(fit))
"""


def test_processes_that_start_together_on_a_cold_cache(files, tmp_path):
    image, poni, output = files
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    children = [subprocess.Popen([sys.executable, "-c", CHILD, image, poni, output], env=environment, text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    answers = [child.communicate(timeout=300) for child in children]
    expected = beam_center(from_integrator(recalibrate_no_beamstop(image, poni, method="centroid", convention="pyfai")))
    fit = edfast.fit_ellipse_to_ring(edfast.load_data(image, verbose=False)[1])
    assert [out for out, _ in answers] == [f"{expected} {tuple(fit)}\n"] * 3, answers[0][1]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert list((tmp_path / "cache").rglob("*.nbc"))
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["cal.poni", "image.dm4", "new.poni"]


# --- real data --------------------------------------------------------------------------------------------------------


def test_a_centroid_that_a_stop_has_pulled_aside(tmp_path):
    write_poni(tmp_path / "cal.poni", Poni(0.5, 0.003, 0.003, 0, 0, 0, None, 2e-5, 2e-5, (300, 320)))
    look = {"radii": [60, 90], "widths": 2.5, "amplitudes": [200, 100], "background": 20, "random_state": 0}
    image, _ = ring_pattern((300, 320), (150, 140), beamstop=BeamStop(30, width=60, direction=0.3), **look)
    with pytest.warns(CenterWarning, match=r'the image: .* near \(15\d, 1[34]\d\); method="ring" finds it'):
        recalibrate_with_beamstop(image, tmp_path / "cal.poni", convention="pyfai")
    # Where the stop is masked out of the question, or absent, or the method is another, there is nothing to warn of.
    recalibrate_with_beamstop(image, tmp_path / "cal.poni", method="ring", convention="pyfai")
    recalibrate_with_beamstop(ring_pattern((300, 320), (150, 140), **look)[0], tmp_path / "cal.poni", convention="pyfai")


def test_bismuth(shared_data, tmp_path):
    path = shared_data("bismuth.dm4")
    write_poni(tmp_path / "cal.poni", Poni(0.5, 0.003, 0.003, 0, 0, 0, 3.9e-12, 2.4e-5, 2.4e-5, (2048, 2048)))
    with pytest.warns(CenterWarning, match=r'bismuth.dm4: the brightest .* near \(99, 142\); method="ring" finds it'):
        ai = recalibrate_with_beamstop(path, tmp_path / "cal.poni", output_ponifile=tmp_path / "new.poni", convention="pyfai")
    assert beam_center(from_integrator(ai)) == pytest.approx((86.3, 166.1), abs=0.06)
    assert (ai.pixel1, ai.detector.shape) == (8 * 2.4e-5, (256, 256))


def test_the_documents_example_with_a_4k_image(shared_data, tmp_path):
    image = np.zeros((3712, 3840), np.uint8)
    image[1800, 1900] = 200
    with pytest.warns(ConventionWarning, match=r"1[34]\.\d pixels from where it was found, \(1900\.0, 1800\.0\)"):
        recalibrate_no_beamstop(image, shared_data("documented-example.poni"))
    ai = recalibrate_no_beamstop(image, shared_data("documented-example.poni"), tmp_path / "new.poni", convention="pyfai")
    assert beam_center(from_integrator(ai)) == pytest.approx((1900, 1800), abs=1e-6)


def test_name_on_the_package():
    assert edfast.recalibrate_with_beamstop is recalibrate_with_beamstop
