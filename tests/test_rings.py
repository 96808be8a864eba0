"""fit_ring on patterns whose truth is known, on frames without rings, and on awkward input."""

import contextlib
import math
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import interpolate
from scipy.ndimage import gaussian_filter

import edfast
from benchmarks import scenes
from edfast import _memory, _ringfit, _ringlast, _ringlevel, _ringlook, _ringsearch, rings
from edfast._freeform import leave_out_empty, unexplained
from edfast._ringtry import STANDING
from edfast._validation import kernel_mask
from edfast.rings import RingNotFoundError, fit_ring
from edfast.simulate import BeamStop, ring_pattern

BASE = {"shape": (256, 320), "center": (163.27, 121.64), "radii": (55.0, 90.0), "widths": 2.2, "amplitudes": (120.0, 70.0),
        "background": 25.0}
# What the simulation is told, and how far from the truth the centre may be at most [pixel].
SCENES = {
    "plain": ({}, 0.03),
    "faint": ({"scale": 0.02}, 0.4),
    "bright": ({"scale": 100}, 0.004),
    "one ring": ({"radii": [70.0], "amplitudes": 100.0}, 0.05),
    "five rings": ({"radii": [30, 48, 60, 76, 97], "amplitudes": [90, 40, 100, 25, 60]}, 0.03),
    "overlapping rings": ({"radii": [60, 66], "amplitudes": [100, 80]}, 0.03),
    "wide rings": ({"widths": 6.0, "radii": [45, 90]}, 0.06),
    "narrow rings": ({"widths": 1.0}, 0.02),
    "ellipse": ({"ratio": 1.04, "angle": 0.7}, 0.03),
    "stop": ({"beamstop": BeamStop(22, direction=1.1, width=14)}, 0.04),
    "large stop": ({"beamstop": BeamStop(40, direction=-math.pi / 2, width=30), "background_decay": 60.0, "background": 200.0},
                   0.05),
    "stop beside the centre": ({"beamstop": BeamStop(25, direction=2.5, width=16, center=(175, 112))}, 0.04),
    "translucent stop": ({"beamstop": BeamStop(25, direction=0.2, width=16, transmission=0.02)}, 0.04),
    "texture": ({"texture": 0.5}, 0.05),
    "spots": ({"spots": 12}, 0.05),
    "direct beam": ({"direct_beam": 20000.0, "direct_beam_width": 4.0}, 0.03),
    "steep background": ({"background": 3000.0, "background_decay": 18.0}, 0.05),
    "hot pixels": ({"hot_pixels": 60}, 0.04),
    "dead lines": ({"dead_rows": [100, 180], "dead_columns": [60, 61, 62, 200]}, 0.04),
    "off-centre by a third": ({"center": (54.4, 171.2)}, 0.06),
    "cut by the frame": ({"center": (40.3, 60.8), "radii": [70, 110]}, 0.1),
    "half outside": ({"center": (-5.4, 130.2), "radii": [100, 140]}, 0.2),
    "64 pixels": ({"shape": (64, 64), "center": (30.4, 33.7), "radii": [18.0], "widths": 1.3, "amplitudes": 120}, 0.07),
    "high": ({"shape": (400, 120), "center": (62.3, 188.8), "radii": [40, 55]}, 0.03),
    "large": ({"shape": (900, 1100), "center": (531.7, 468.2), "radii": [180, 260], "widths": 4}, 0.02),
    # In the image on which rings are looked for, these are much narrower than a pixel.
    "large and narrow": ({"shape": (2048, 1500), "center": (731.7, 1068.2), "radii": [280, 495], "widths": 1.5}, 0.01),
    "very large and narrow": ({"shape": (4096, 4000), "center": (1931.7, 2168.2), "radii": [680, 960], "widths": 2.0}, 0.01),
    "offset": ({"offset": -1000.0, "read_noise": 2.0}, 0.04),
    "everything": ({"ratio": 1.03, "angle": -0.5, "beamstop": BeamStop(22, direction=0.4), "texture": 0.3, "spots": 5,
                    "hot_pixels": 20, "dead_rows": [77], "background": 400.0, "background_decay": 40.0, "dtype": "u2"}, 0.06),
}


def simulate(seed=0, **look):
    return ring_pattern(**BASE | look, random_state=seed)


def assert_right(fit, center, bound):
    """Within 4 of its own standard errors, and within `bound` pixels."""
    deviation = np.subtract(fit.center, center)
    assert np.abs(deviation).max() < bound, (deviation, fit)
    assert (np.abs(deviation) < 4 * np.array([fit.cx_err, fit.cy_err])).all(), (deviation, fit)
    assert max(fit.cx_err, fit.cy_err) < bound, fit


@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name in SCENES for seed in (1, 2)])
def test_centre_of_a_known_pattern(name, seed):
    look, bound = SCENES[name]
    image, truth = simulate(seed, **look)
    fit = fit_ring(image)
    assert_right(fit, truth.center, bound)
    assert fit.n_rings <= len(truth.radii) + 1
    assert min(abs(fit.radius / radius - 1) for radius in truth.radii) < 0.02
    assert 0 < fit.coverage <= 1
    assert fit.chi2 > 0
    assert fit.converged


@pytest.mark.parametrize("name", ["plain", "stop", "texture", "everything"])
def test_with_a_guess_the_centre_is_the_same(name):
    image, truth = simulate(3, **SCENES[name][0])
    without = fit_ring(image)
    for guess in (truth.center, (truth.cx + 3, truth.cy - 2)):
        fit = fit_ring(image, center=guess)
        assert math.dist(fit.center, without.center) < 0.5 * without.center_err
    fit = fit_ring(image, radius=truth.radii[1])
    assert math.dist(fit.center, without.center) < 0.5 * without.center_err
    assert fit.radius == pytest.approx(truth.radii[1], abs=0.3)


@pytest.mark.parametrize("seed", range(3))
def test_rings_much_narrower_than_the_blocks_are_all_found(seed):
    assert fit_ring(simulate(seed, **SCENES["large and narrow"][0])[0]).n_rings == 2


@pytest.mark.parametrize("name", [
    "plain", "faint", "one ring", "overlapping rings", "wide rings", "narrow rings", "ellipse", "stop", "texture", "spots",
    "cut by the frame", "large", "large and narrow", "everything"])
def test_the_rings_of_another_image_need_no_search(name, monkeypatch):
    look, bound = SCENES[name]
    before = fit_ring(simulate(1, **look)[0])
    cx, cy = look.get("center", BASE["center"])
    image, truth = simulate(2, **look | {"center": (cx + 1.7, cy - 0.8)})
    monkeypatch.delattr(rings, "try_rings")
    fit = fit_ring(image, like=before)
    assert_right(fit, truth.center, bound)
    assert fit.n_rings == before.n_rings


def test_one_circle_of_another_image(monkeypatch):
    before = fit_ring(simulate(1)[0])
    monkeypatch.delattr(rings, "try_rings")
    fit = fit_ring(simulate(2)[0], like=before, max_rings=1, radius=91, ellipse=False)
    assert fit.n_rings == fit.axis_ratio == 1
    assert fit.radius == pytest.approx(90, abs=0.3)
    far = simulate(2, center=(130.4, 150.2))[0]
    assert fit_ring(far, like=before, center=(132, 149)).center == pytest.approx((130.4, 150.2), abs=0.03)


@pytest.mark.parametrize("other", [
    {"radii": [70.0, 130.0]}, {"radii": [55.0, 75.0]}, {"center": (90.3, 150.2)}, {"shape": (900, 1100), "center": (531, 468)},
    {"center": (-30.0, 120.0), "radii": [100, 140]}])
def test_other_rings_change_nothing(other):
    image, _ = simulate(5)
    assert fit_ring(image, like=fit_ring(simulate(6, **other)[0])) == fit_ring(image)


def test_a_stop_that_moved_is_left_out():
    look = SCENES["large stop"][0] | {"beamstop": BeamStop(40, direction=0.5, width=30)}
    before = fit_ring(simulate(1, **SCENES["large stop"][0])[0])
    image, truth = simulate(2, **look)
    fit = fit_ring(image, like=before)
    assert_right(fit, truth.center, 0.05)
    assert fit.coverage < 1


@pytest.mark.parametrize("shift", [9, 12.5, 14])
def test_shadows_about_a_place_that_is_off_do_not_last(shift):
    """From so far away the quick look finds no more than the neighbourhood; a ring in false shadows was 3 errors off."""
    look = {"shape": (512, 512), "radii": [125], "widths": 6.25, "amplitudes": 1600, "background": 320}
    before = fit_ring(simulate(0, center=(250.1, 260.1), **look)[0])
    image, _ = simulate(7, center=(250.1 + shift, 260.1 - shift / 2), **look)
    fit, without = fit_ring(image, like=before), fit_ring(image)
    assert math.dist(fit.center, without.center) < 0.3 * without.center_err


def test_rings_that_are_no_longer_there_are_not_found():
    before = fit_ring(simulate(1)[0])
    for seed in range(20):
        noise, _ = simulate(seed, amplitudes=0.0)
        with pytest.raises(RingNotFoundError):
            fit_ring(noise, like=before)


@pytest.mark.parametrize("look", [
    {}, {"radii": [70.0], "amplitudes": 100}, {"beamstop": BeamStop(20)}, {"ratio": 1.03, "angle": 0.4},
    {"center": (100.5, 140.0)}, {"widths": 4.0}, {"background_decay": 70.0, "background": 150.0}, {"texture": 0.3}])
def test_without_noise_the_centre_is_exact(look):
    image, truth = simulate(noise=False, dtype=np.float64, **look)
    np.testing.assert_allclose(fit_ring(image).center, truth.center, rtol=0, atol=0.003)


@pytest.mark.parametrize("angle", [-1.5, -0.8, -0.1, 0.0, 0.3, math.pi / 4, 1.2, math.pi / 2])
@pytest.mark.parametrize("ratio", [1.02, 1.08])
def test_axes_and_angle_come_back(ratio, angle):
    image, truth = simulate(4, ratio=ratio, angle=angle)
    fit, (_, _, a, b, true_angle) = fit_ring(image, radius=90), truth.ellipses[1]
    assert fit.a >= fit.b
    assert fit.a == pytest.approx(a, abs=max(4 * fit.a_err, 0.01))
    assert fit.b == pytest.approx(b, abs=max(4 * fit.b_err, 0.01))
    assert max(fit.a_err, fit.b_err) < 0.1
    assert abs(math.remainder(fit.angle - true_angle, math.pi)) < 4 * fit.a_err / (a - b)
    assert -math.pi / 2 < fit.angle <= math.pi / 2
    assert fit.axis_ratio == pytest.approx(ratio, abs=0.002)


def test_circles_when_asked():
    image, truth = simulate(5)
    fit = fit_ring(image, ellipse=False)
    assert fit.a == fit.b
    assert fit.angle == 0
    assert_right(fit, truth.center, 0.03)
    # A stop takes away what tells an ellipse from a shift: circles are known better.
    assert fit.center_err <= 1.01 * fit_ring(image).center_err


@pytest.mark.parametrize("look", [SCENES["stop"][0], SCENES["hot pixels"][0], SCENES["dead lines"][0]])
def test_mask_agrees_with_finding_it(look):
    image, truth = simulate(6, **look)
    masked, found = fit_ring(image, mask=truth.mask), fit_ring(image)
    assert_right(masked, truth.center, 0.04)
    assert math.dist(masked.center, found.center) < 1.5 * found.center_err


def test_masked_pixels_do_not_matter():
    image, truth = simulate(7)
    mask = np.zeros(image.shape, bool)
    mask[60:90, :200] = mask[200:, 100:] = True
    fits = []
    for junk in (0, 1e6, -1e6, np.nan, np.inf, -np.inf):
        spoilt = np.where(mask, np.float32(junk), image)
        fits.append(fit_ring(spoilt, mask=mask))
        if not math.isfinite(junk):
            fits.append(fit_ring(spoilt))  # what is not finite is masked
    assert_right(fits[0], truth.center, 0.05)
    for fit in fits[1:]:
        assert math.dist(fit.center, fits[0].center) < 0.2 * fits[0].center_err


def test_scattered_nan_and_infinities():
    image, truth = simulate(8)
    where = np.random.default_rng(8).random(image.shape)
    image[where < 0.01], image[where > 0.995], image[(where > 0.5) & (where < 0.505)] = np.nan, np.inf, -np.inf
    assert_right(fit_ring(image), truth.center, 0.04)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">i2", ">f4", ">f8"])
def test_every_dtype(dtype):
    image, truth = simulate(9, scale=0.4)
    values = image.copy() if np.dtype(dtype).kind == "u" else image - 40
    fit = fit_ring(values.astype(dtype))
    assert_right(fit, truth.center, 0.05)
    assert math.dist(fit.center, fit_ring(image).center) < 0.1 * fit.center_err


@pytest.mark.parametrize("seed", range(6))
def test_bright_spots_do_not_pull(seed):
    look = {"radii": [53.0], "widths": 6.0, "amplitudes": 460.0, "background": 100.0, "spots": 5}
    image, truth = simulate(seed, **look)
    assert_right(fit_ring(image), truth.center, 0.06)


@pytest.mark.parametrize("look", [
    {"radii": [30.0], "widths": 3.0, "amplitudes": 2000.0, "spots": 3},
    {"radii": [53.0], "widths": 6.0, "amplitudes": 4600.0, "texture": 0.4, "texture_harmonics": 8}])
def test_heights_that_differ_within_sectors_are_no_noise(look):
    """The error is that of the same rings without spots or texture, where it was a fifth or a tenth more; and it is right."""
    quoted, known, off = [], [], []
    look |= {"shape": (160, 160), "center": (79.3, 80.6), "background": 500.0}
    for seed in range(8):
        (image, truth), (even, _) = simulate(seed, **look), simulate(seed, **look | {"spots": 0, "texture": 0.0})
        fit = fit_ring(image)
        quoted.append(fit.center_err)
        known.append(fit_ring(even).center_err)
        off.append(math.dist(fit.center, truth.center))
    assert np.median(np.divide(quoted, known)) < 1.06
    assert np.sqrt(np.mean(np.square(off))) < 1.5 * np.sqrt(np.mean(np.square(quoted)))


def test_heights_within_sectors_go_over_into_each_other():
    """They are the spline of second degree whose means are the heights of the sectors; these are straight lines in gaps."""
    heights, hidden = np.random.default_rng(0).normal(10, 3, 32), np.isin(np.arange(32), [0, 1, 20])
    known = np.interp(np.arange(32), np.flatnonzero(~hidden), heights[~hidden], period=32)
    solution = SimpleNamespace(plan=(None, None, None, np.array([0, 1])), angles=np.zeros(32), signal=heights[None, None],
                               variances=np.where(hidden, np.inf, 1e-12)[None, None])
    slopes, bends = _ringlevel.within_sectors(solution)
    total = np.append(0.0, np.cumsum(known - known.mean()))
    spline = interpolate.CubicSpline(np.arange(33), np.append(total[:-1], 0.0), bc_type="periodic").derivative()
    for t in (-0.5, -0.2, 0.0, 0.3, 0.5):
        here = known + slopes[0] * t + bends[0] * (t * t - 1 / 12)
        np.testing.assert_allclose(here, spline(np.arange(32) + 0.5 + t) + known.mean(), rtol=1e-9)


def test_a_ring_of_which_less_than_half_is_in_the_frame_counts():
    look = {"shape": (256, 256), "center": (50.6, 134.1), "radii": (59.2, 146.2), "widths": 2.6, "amplitudes": (300.0, 300.0)}
    image, truth = simulate(2, **look)
    fit = fit_ring(image)
    assert fit.n_rings == 2
    assert_right(fit, truth.center, 0.03)


@pytest.mark.parametrize("seed", range(4))
def test_the_penumbra_of_a_stop_does_not_pull(seed):
    stop = BeamStop(11.5, direction=0.9, width=5.8, center=(37.9, 39.7), edge=1.7)
    look = {"shape": (96, 80), "center": (35.1, 42.2), "radii": [15.9], "widths": 1.12, "amplitudes": 250.0,
            "background": 110.0, "background_decay": 16.4, "beamstop": stop}
    image, truth = simulate(seed, **look)
    assert_right(fit_ring(image), truth.center, 0.06)


def test_same_result_from_every_kind_of_array(tmp_path):
    image, _ = simulate(10)
    expected = fit_ring(image)
    read_only = image.copy()
    read_only.flags.writeable = False
    wide = np.zeros((2 * image.shape[0], 3 * image.shape[1]), np.float32)
    wide[::2, ::3] = image
    mapped = np.memmap(tmp_path / "frame", np.float32, "w+", shape=image.shape)
    mapped[:] = image
    for same in (read_only, wide[::2, ::3], np.asfortranarray(image), image.astype(">f4"), mapped, image[::-1][::-1]):
        assert fit_ring(same) == expected


def test_saturated_rings():
    image, truth = simulate(11, scale=3)
    assert_right(fit_ring(np.minimum(image, np.quantile(image, 0.97))), truth.center, 0.1)
    counts, truth = simulate(11, scale=3, dtype=np.uint8)
    assert (counts == 255).mean() > 0.02
    assert_right(fit_ring(counts), truth.center, 0.1)


@pytest.mark.parametrize("name", ["plain", "stop", "off-centre by a third"])
def test_gain_and_offset_do_not_move_the_centre(name):
    image, _ = simulate(12, dtype=np.float64, **SCENES[name][0])
    expected = fit_ring(image)
    # Powers of two change no digit. Other factors and offsets are rounded, so that the way to the centre differs; what has
    # converged would move by less than a tenth of its error.
    for gain, offset in ((2.0 ** -20, 0), (2.0 ** 27, 0), (37.5, 0), (1, 1000), (37.5, -250), (1e8, 1e8), (0.01, -3)):
        bound = 1e-6 if math.frexp(gain)[0] == 0.5 and not offset else 0.25
        fit = fit_ring(gain * image + offset)
        assert math.dist(fit.center, expected.center) < bound * expected.center_err, (gain, offset)
        assert fit.cx_err == pytest.approx(expected.cx_err, rel=0.1), (gain, offset)
        assert fit.rings[0].amplitude == pytest.approx(gain * expected.rings[0].amplitude, rel=0.01), (gain, offset)


@pytest.mark.parametrize("name", ["plain", "stop", "ellipse"])
def test_mirrored_and_transposed_images(name):
    image, truth = simulate(13, **SCENES[name][0])
    (height, width), fit = image.shape, fit_ring(image)
    for turned, center in ((image[:, ::-1], (width - 1 - fit.cx, fit.cy)), (image[::-1], (fit.cx, height - 1 - fit.cy)),
                           (image.T, (fit.cy, fit.cx))):
        other = fit_ring(turned)
        assert math.dist(other.center, center) < 0.5 * fit.center_err
        assert other.a == pytest.approx(fit.a, abs=fit.a_err)
        assert_right(fit, truth.center, 0.05)


def test_shifted_pattern():
    """By whole pixels and by parts of them: nothing of the grid shows in the centre."""
    for k in range(8):
        image, truth = simulate(center=(150 + k / 7, 120 + k / 3), noise=False, dtype=np.float64)
        np.testing.assert_allclose(fit_ring(image).center, truth.center, rtol=0, atol=0.003)


def test_number_of_rings():
    image, truth = simulate(14, **SCENES["five rings"][0])
    fit = fit_ring(image)
    assert fit.n_rings == len(fit.rings) == 5
    np.testing.assert_allclose([ring.radius for ring in fit.rings], truth.radii, atol=0.1)
    np.testing.assert_allclose([ring.width for ring in fit.rings], truth.widths, rtol=0.1)
    np.testing.assert_allclose([ring.amplitude for ring in fit.rings], truth.amplitudes, rtol=0.1)


@pytest.mark.parametrize("options", [{}, {"max_rings": 1}])
def test_a_radius_that_no_ring_has_is_not_answered_with_another_one(options):
    with pytest.raises(RingNotFoundError, match=r"none is near radius=30; there are rings of \[.*pixel"):
        fit_ring(simulate()[0], radius=30, **options)


def test_most_rings():
    image, truth = simulate(14, **SCENES["five rings"][0])
    single = fit_ring(image, max_rings=1, radius=60)
    assert single.n_rings == 1
    assert single.radius == pytest.approx(60, abs=0.2)
    assert_right(single, truth.center, 0.06)
    assert fit_ring(image, max_rings=2).n_rings == 2


@pytest.mark.parametrize("dtype", ["u4", "i4", "u8"])
def test_pixels_that_the_camera_marks_by_the_highest_number(dtype):
    image, truth = simulate(3)
    image, most = np.rint(image).astype(dtype), np.iinfo(dtype).max
    image.flat[np.random.default_rng(0).integers(0, image.size, 150)] = most
    image[100:108] = most
    assert_right(fit_ring(image), truth.center, 0.04)


def test_quoted_errors_are_right():
    """Errors over quoted errors have a width of one, on patterns of every sort."""
    pulls, rng = [], np.random.default_rng(15)
    for seed in range(150):
        look = {"shape": (128, 144), "center": tuple(rng.uniform((58, 52), (86, 76))), "radii": [27, 40], "widths": 1.6,
                "scale": 10 ** rng.uniform(-1, 1.5), "ratio": 1 + rng.choice([0, 0.02]), "angle": rng.uniform(0, 3),
                "texture": rng.choice([0, 0.3]), "hot_pixels": int(rng.choice([0, 8])),
                "beamstop": BeamStop(12, rng.uniform(-3, 3), 9) if seed % 2 else None}
        image, truth = simulate(seed, **look)
        fit = fit_ring(image)
        pulls.append(np.subtract(fit.center, truth.center) / (fit.cx_err, fit.cy_err))
    robust = np.median(np.abs(pulls)) / 0.6745
    assert 0.75 < robust < 1.3
    assert 0.75 < np.sqrt(np.mean(np.square(pulls))) < 1.3
    assert np.abs(np.mean(pulls, axis=0)).max() < 4 / math.sqrt(150)


def test_sixteen_threads_at_once():
    image, _ = simulate(16, **SCENES["stop"][0])
    expected, barrier, found = fit_ring(image), threading.Barrier(16), [None] * 16

    def work(k):
        barrier.wait()
        found[k] = fit_ring(image)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(fit == expected for fit in found)


@pytest.mark.parametrize("look", [
    {"radii": [128], "widths": 5.1, "amplitudes": 1000, "background": 60},
    {"radii": [60, 100, 140], "beamstop": BeamStop(25)}])
def test_a_plain_pattern_is_found_at_the_first_attempt(look, monkeypatch):
    """The inside of one bright ring passes for a shadow, and must not send the search elsewhere first."""
    attempts = []
    monkeypatch.setattr(rings, "try_rings", lambda *args, try_rings=rings.try_rings: attempts.append(args) or try_rings(*args))
    image, truth = ring_pattern((512, 512), (245.4, 260.7), random_state=0, **look)
    assert_right(fit_ring(image), truth.center, 0.02)
    assert len(attempts) == 1


def test_the_strain_is_that_of_the_axes():
    fit = rings.RingFit(**dict.fromkeys(rings.RingFit.__dataclass_fields__, 0.0) | {"a": 44.0, "b": 40.0, "angle": 0.3})
    assert math.exp(2 * math.hypot(*fit.strain)) == pytest.approx(1.1)
    assert math.atan2(*fit.strain[::-1]) / 2 == pytest.approx(0.3)


@pytest.mark.parametrize("seed", [3, 40])
def test_rounding_does_not_move_the_centre(seed):
    """Another unit of the counts rounds all numbers otherwise: what is not determined must not make it a matter of chance."""
    image = scenes.render(scenes.draw(seed)).astype(float)
    fit = fit_ring(image)
    for unit in (0.7, 1e4 / 3):
        other = fit_ring(unit * image)
        assert other.n_rings == fit.n_rings
        assert math.dist(other.center, fit.center) < 1e-3 * fit.center_err


@pytest.mark.parametrize("transmission", [0.0, 0.01])
def test_a_stop_that_hides_every_direction_is_found_whole(transmission):
    # What it lets through shines brightest about the centre.
    stop = BeamStop(40, 5.3, 16, (106.7, 122.2), transmission=transmission, edge=0.6)
    image, truth = ring_pattern((256, 256), center=(113.7, 115.5), radii=[56], widths=[2.3], amplitudes=[1270],
                                background=15700, background_decay=32, beamstop=stop, random_state=1)
    means, share = _ringsearch.block_means(image, kernel_mask(None), 2)
    found = _ringsearch.Search(means, share).stop((truth.cx + 0.5) / 2 - 0.5, (truth.cy + 0.5) / 2 - 0.5, size=2)
    y, x = np.indices(found.shape) * 2 + 0.5
    assert found[np.hypot(x - 106.7, y - 122.2) < 38].all()
    assert not found[(np.abs(np.hypot(x - truth.cx, y - truth.cy) - 56) < 4) & (y > 122)].any()
    fit = fit_ring(image)
    assert math.dist(fit.center, truth.center) < 4 * fit.center_err < 0.06


def test_narrow_rings_need_no_second_method(monkeypatch):
    """Half a block beside their centre narrow rings hardly show: the candidate is climbed before it is judged."""
    image, truth = ring_pattern((2048, 2048), (1007.5, 1042.5), random_state=2)
    monkeypatch.delattr(_ringsearch, "by_symmetry")
    assert_right(fit_ring(image.astype(np.float32)), truth.center, 0.02)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<u2", "<i4"])
@pytest.mark.parametrize(("shape", "size"), [((1030, 700), 3), ((1030, 701), 3), ((300, 1025), 3), ((400, 512), 1)])
def test_block_means_are_made_while_the_image_is_read(shape, size, dtype, tmp_path, monkeypatch):
    image = np.random.default_rng(1).poisson(20, shape).astype(dtype)
    image[3, 5:90] = 7
    (tmp_path / "pixels").write_bytes(bytes(100) + image.tobytes())
    monkeypatch.setattr(_memory, "_PART", 10_000)
    with _ringsearch.reading(), (tmp_path / "pixels").open("rb", buffering=0) as file:
        file.seek(100)
        pixels = _memory.read_pixels(file, np.dtype(dtype), shape)
        found = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
        expected = size, *_ringsearch.block_means(found, kernel_mask(None), size)
        if np.dtype(dtype).isnative:
            monkeypatch.delattr(_ringsearch, "block_means")
        result = _ringsearch.blocks(found, kernel_mask(None), _ringsearch.MIDDLE)
    for one, other in zip(result, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_block_means_of_what_was_read_are_for_nothing_else(tmp_path):
    image = np.random.default_rng(1).poisson(20, (600, 600)).astype(np.float32)
    image.tofile(tmp_path / "pixels")
    bad = np.zeros(image.shape, np.uint8)
    bad[:300] = 1
    with _ringsearch.reading(), (tmp_path / "pixels").open("rb", buffering=0) as file:
        found = _memory.read_pixels(file, image.dtype, image.shape)
        none = kernel_mask(None)
        for other, hidden, longest in ((found + 1, none, 512), (found, bad, 512), (found, none, 100)):
            factor, means, share = _ringsearch.blocks(other, hidden, longest)
            for one, expected in zip((means, share), _ringsearch.block_means(other, hidden, factor), strict=True):
                np.testing.assert_array_equal(one, expected)
    found += 1
    np.testing.assert_array_equal(_ringsearch.blocks(found, bad, 512)[1], _ringsearch.block_means(found, bad, 2)[0])


@pytest.mark.parametrize("seed", [0, 2, 4, 5, 12, 15])
def test_two_rings_that_look_like_one(seed):
    """Three widths apart, on the slope of a bright beam: one bump fits neither, and two halves of it do.

    That the model misses the slope, all round, must not pass for spots (5, 12, 15).
    """
    image, truth = ring_pattern((64, 64), (39.02, 15.14), [15.9, 19.1], widths=1.08, amplitudes=[120, 250], background=1260,
                                background_decay=15.7, direct_beam=18000, direct_beam_width=2.0, random_state=seed)
    fit = fit_ring(image)
    assert_right(fit, truth.center, 0.1)
    assert [ring.radius for ring in fit.rings] == pytest.approx([15.9, 19.1], abs=0.2)


def with_profile(shape, seed, *, side=256, radius=70.0, width=6.0, counts=100.0):
    """(image, centre): one ring whose profile over u, the distance from its radius in widths, is ``shape(u)``."""
    rng = np.random.default_rng(seed)
    cx, cy = side / 2 + rng.uniform(-20, 20, 2)
    y, x = np.mgrid[:side, :side]
    return rng.poisson(counts * (0.2 + shape((np.hypot(x - cx, y - cy) - radius) / width))).astype(np.float32), (cx, cy)


PROFILES = {
    "steep outside": lambda u: np.exp(-0.5 * (u / np.where(u < 0, 1.5, 0.7)) ** 2),
    "steep inside": lambda u: np.exp(-0.5 * (u / np.where(u < 0, 0.7, 1.5)) ** 2),
    "flat": lambda u: 1 / (1 + (u / 2.5) ** 8),
    "three in one": lambda u: sum(np.exp(-0.5 * (u - shift) ** 2) for shift in (-2, 0, 2)),
}


@pytest.mark.parametrize("counts", [5, 2000])
@pytest.mark.parametrize("name", PROFILES)
def test_rings_of_any_profile_are_found(name, counts):
    for seed in range(6):
        image, center = with_profile(PROFILES[name], seed, counts=counts)
        assert_right(fit_ring(image), center, 0.02 + 0.5 / math.sqrt(counts))


@pytest.mark.parametrize("name", ["steep outside", "steep inside"])
def test_errors_are_right_where_a_faint_ring_is_lopsided(name):
    pulls = []
    for seed in range(40):
        image, center = with_profile(PROFILES[name], seed, counts=5)
        with contextlib.suppress(RingNotFoundError):
            fit = fit_ring(image)
            pulls += [(fit.cx - center[0]) / fit.cx_err, (fit.cy - center[1]) / fit.cy_err]
    assert len(pulls) > 75
    assert 0.7 < np.sqrt(np.mean(np.square(pulls))) < 1.25


def test_errors_are_right_where_no_ring_is_gaussian():
    pulls = []
    for seed in range(30):
        image, center = with_profile(lambda u: 0.5 * np.exp(-0.5 * u * u) + 0.5 / (1 + (u / 1.18) ** 2), seed, counts=2000)
        fit = fit_ring(image)
        pulls += [(fit.cx - center[0]) / fit.cx_err, (fit.cy - center[1]) / fit.cy_err]
    assert 0.7 < np.sqrt(np.mean(np.square(pulls))) < 1.25


@pytest.mark.parametrize("tails", [0.0, 0.6])
@pytest.mark.parametrize("seed", range(3))
def test_a_glass_off_the_middle(tails, seed):
    """Its rings are so wide that each lies in the annulus of the next, and the frame cuts the annuli unevenly."""
    y, x = np.mgrid[:1024, :1024]
    r = np.hypot(x - 411.4, y - 478.2)
    image = 200 + 300 / (1 + (r / 150) ** 2) ** 1.2
    for radius, height, width in ((365, 3000, 77), (620, 1100, 88), (985, 400, 95)):
        u = (r - radius) / width
        image += height * ((1 - tails) * np.exp(-0.5 * u * u) + tails / (1 + (u / 1.18) ** 2))
    assert_right(fit_ring(np.random.default_rng(seed).poisson(image)), (411.4, 478.2), 0.04)


@pytest.mark.parametrize("seed", range(3))
def test_a_glass_about_a_direct_beam(seed):
    """The beam, 300 times as high as the first ring, lies within six widths of it."""
    y, x = np.mgrid[:256, :256]
    r = np.hypot(x - 141.3, y - 142.0)
    image = 1e6 * np.exp(-0.5 * (r / 3) ** 2) + 300
    for radius, height, width in ((75, 3300, 13.9), (127.6, 1000, 15.3), (203, 400, 17)):
        image += height * np.exp(-0.5 * ((r - radius) / width) ** 2)
    assert_right(fit_ring(np.random.default_rng(seed).poisson(image)), (141.3, 142.0), 0.03)


@pytest.mark.parametrize("beam", [1e3, 1e4, 1e5])
def test_a_direct_beam_that_outshines_the_rings_hides_none_of_them(beam):
    """Its tail too is steeper and brighter than the rings are; nothing is clipped."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:512, :512]
    r = np.hypot(x - 263.3, y - 248.7)
    image = 0.6 * np.exp(-(r - 80) / 90)
    for radius, height in ((80, 1), (92, 0.5), (131, 0.4), (153, 0.4)):
        image += height * np.exp(-0.5 * ((r - radius) / 3) ** 2)
    image += beam * (np.exp(-0.5 * (r / 3) ** 2) + 0.003 / (1 + (r / 6) ** 2) ** 1.5)
    fit = fit_ring(rng.poisson(100 * image))
    assert_right(fit, (263.3, 248.7), 0.04)
    assert fit.n_rings == 4


@pytest.mark.parametrize("counts", [1, 4])
def test_the_rim_of_a_round_stop_is_not_about_the_centre(counts):
    """It is a few pixels off, cuts into the innermost ring, and looks like a ring itself."""
    pulls = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:512, :512]
        r = np.hypot(x - 258.3, y - 251.7)
        image = 0.02 + 0.8 * np.exp(-(r - 82) / 70)
        for radius, height in ((82, 1), (95, 0.5), (134, 0.35), (157, 0.38), (206, 0.15)):
            image += height * np.exp(-0.5 * ((r - radius) / 4.5) ** 2)
        shift, size = rng.normal(0, 3, 2), 82 * rng.uniform(0.9, 1.12)
        stop = gaussian_filter((np.hypot(x - 258.3 - shift[0], y - 251.7 - shift[1]) > size) * 1.0, 1.0)
        fit = fit_ring(rng.poisson(counts * image * stop))
        pulls.append(math.hypot((fit.cx - 258.3) / fit.cx_err, (fit.cy - 251.7) / fit.cy_err))
    assert max(pulls) < 6


def steep_pattern(seed, radius, width, height, level, power, stop, aside, soft, through=0.0, arm=True):
    """(image, centre): a ring on a background that falls as a power of the radius, behind a soft stop beside the centre.

    `level` is that of the background at the ring; the beam may shine `through` the stop.
    """
    rng = np.random.default_rng(seed)
    (cx, cy), direction, along = 128 + rng.uniform(-12, 12, 2), *rng.uniform(0, 2 * math.pi, 2)
    y, x = np.mgrid[:256, :256]
    r = np.hypot(x - cx, y - cy)
    image = level * (np.maximum(r, 3) / radius) ** -power + height * np.exp(-0.5 * ((r - radius) / width) ** 2)
    image += 100 * level * (through > 0) * np.exp(-0.5 * (r / 4) ** 2)
    x, y = x - cx - aside * math.cos(direction), y - cy - aside * math.sin(direction)
    away = np.hypot(x, y) - stop
    if arm:
        across, back = y * math.cos(along) - x * math.sin(along), -x * math.cos(along) - y * math.sin(along)
        away = np.minimum(away, np.maximum(np.abs(across) - 6, back))
    image *= through + (1 - through) / (1 + np.exp(np.clip(-2 * away / soft, -50, 50)))
    return rng.poisson(image).astype(np.float32), (cx, cy)


@pytest.mark.parametrize(("seed", "look"), [
    (0, {"radius": 55, "width": 4, "height": 100, "level": 400, "power": 1.5, "stop": 30, "aside": 3.5, "soft": 1.5,
         "through": 0.03, "arm": False}),
    (2, {"radius": 105, "width": 1.2, "height": 20, "level": 80, "power": 3, "stop": 45, "aside": 10, "soft": 1.5,
         "arm": False}),
    (0, {"radius": 84, "width": 4, "height": 1000, "level": 8000, "power": 3, "stop": 20, "aside": 7.5, "soft": 1.5}),
    (2, {"radius": 61, "width": 1.2, "height": 1000, "level": 4000, "power": 2.5, "stop": 14, "aside": 7, "soft": 1.5,
         "through": 0.01}),
    (4, {"radius": 57, "width": 1.2, "height": 1000, "level": 8000, "power": 3, "stop": 14, "aside": 4, "soft": 3,
         "arm": False}),
    (0, {"radius": 106, "width": 1.2, "height": 100, "level": 200, "power": 2.5, "stop": 20, "aside": 7, "soft": 3}),
    (2, {"radius": 48, "width": 2, "height": 100, "level": 800, "power": 2.5, "stop": 14, "aside": 2, "soft": 1.5,
         "through": 0.01}),
    (2, {"radius": 76, "width": 1.2, "height": 100, "level": 800, "power": 2.5, "stop": 45, "aside": 10.5, "soft": 3,
         "arm": False}),
    (6, {"radius": 60, "width": 4, "height": 20, "level": 80, "power": 2, "stop": 20, "aside": 3, "soft": 0.8}),
    (7, {"radius": 60, "width": 4, "height": 20, "level": 80, "power": 2, "stop": 20, "aside": 3, "soft": 0.8})])
def test_a_ring_about_a_stop_on_a_steep_background(seed, look):
    """The light beside the stop is as symmetric about that as the ring is about its centre; and no ring, nor a profile."""
    image, center = steep_pattern(seed, **look)
    fit = fit_ring(image)
    assert math.dist(fit.center, center) < 4 * fit.center_err < 1
    assert any(abs(ring.radius - look["radius"]) < 0.5 for ring in fit.rings)


def test_a_dark_frame_about_the_pattern_is_no_stop():
    """All within it would count as a hole of it."""
    image, truth = ring_pattern(**BASE | {"radii": [60.0], "amplitudes": 200.0, "background": 300.0}, random_state=4)
    for dark in (np.s_[8:16, 8:-8], np.s_[-16:-8, 8:-8], np.s_[8:-8, 8:16], np.s_[8:-8, -16:-8]):
        image[dark] = 1
    search = rings._levels(image, kernel_mask(None)).search
    assert search.shadows.any()
    assert not search.closed.any()
    assert_right(fit_ring(image), truth.center, 0.05)


def test_a_broad_bump_is_background_to_a_ring():
    """It takes no feet away from it, even if there is no such bump."""
    radii = np.arange(128) + 0.5
    radial = SimpleNamespace(mean=100 + 460 * np.exp(-0.5 * ((radii - 88) / 4) ** 2), error=np.full(128, 3.0))
    standing = _ringlook.which_stand(radial, np.array([[88, 4, 460, 130.0], [42, 23, 7300, 22]]), STANDING, fitted=1)
    assert standing.tolist() == [True, False]


def test_the_rim_of_a_stop_is_one_beside_the_beam_too():
    radii = np.arange(200) + 0.5
    mean = 4 * np.exp(-0.5 * (radii / 6) ** 2) + 12 * np.exp(-(radii - 92) / 60) / (1 + np.exp(-(radii - 90) / 0.8))
    rings = np.array([[13, 5, 2, 40.0], [92, 2.7, 13, 48], [99, 5.3, 12, 26], [112, 10, 10, 27]])
    assert _ringlook.is_rim(SimpleNamespace(mean=mean, error=np.full(200, 0.05)), rings)


def test_a_steep_background_does_not_call_for_the_whole_profile():
    radii = np.arange(128) + 0.5
    ring = np.array([[84, 4, 20, 60.0]])
    mean = 80 * (radii / 84) ** -1.5 + 20 * np.exp(-0.5 * ((radii - 84) / 4) ** 2)
    radial = SimpleNamespace(mean=mean, error=np.where(radii < 16, np.inf, np.sqrt(mean / (2 * np.pi * radii))))
    assert unexplained(radial, ring) < 0.25


def test_rings_that_agree_need_one_search_and_no_more_bumps(monkeypatch):
    """None about the rim of a stop, and no fit with bumps that tell next to nothing."""
    searches, joins = [], []
    for module, name, calls, bumps in (rings, "try_rings", searches, None), (_ringlast, "_joined", joins, 2):
        usual = getattr(module, name)

        def counted(*given, usual=usual, calls=calls, bumps=bumps):
            if bumps is None or len(given[bumps]):
                calls.append(given)
            return usual(*given)

        monkeypatch.setattr(module, name, counted)
    image, truth = ring_pattern((2048, 2048), (1010.3, 1033.7), [300, 480, 610], widths=4.0, amplitudes=200.0,
                                beamstop=BeamStop(60), random_state=1)
    assert_right(fit_ring(image.astype(np.float32)), truth.center, 0.02)
    assert len(searches) == 1
    assert not joins


def test_what_tells_next_to_nothing_replaces_no_pattern(monkeypatch):
    """What lies beyond the rim of what may be a stop contradicts itself less, if it is little."""
    y, x = np.mgrid[:256, :320]
    r = np.hypot(x - 163.3, y - 121.6)
    image = 25 - 25 * np.exp(-(r / 45) ** 4)
    for radius, height in ((55, 120), (90, 70)):
        image += height * np.exp(-0.5 * ((r - radius) / 2.2) ** 2)

    def found(scale):
        levels = rings._levels(np.random.default_rng(1).poisson(scale * image), kernel_mask(None))
        return levels, rings._best(levels, levels.search.centers(), rings.try_rings, True, {})[0]

    (levels, pattern), (_, little) = found(1), found(0.02)
    monkeypatch.setattr(rings, "try_rings", lambda *args: tuple(little)[1:])
    pattern.solution.chi2 = 16.0
    assert pattern.solution.worth < little.solution.worth
    assert rings._dark_within(pattern)
    assert rings._behind_rim(levels, pattern, True) is pattern


@pytest.mark.parametrize("blur", [0.8, 1.5])
def test_errors_are_right_where_the_noise_of_neighbours_is_alike(blur):
    pulls = []
    for seed in range(20):
        image, truth = simulate(seed, shape=(256, 256), radii=(60.0, 85.0), widths=3.5, center=(131.3, 125.6))
        fit = fit_ring(gaussian_filter(image.astype(np.float32), blur))
        pulls += [(fit.cx - truth.cx) / fit.cx_err, (fit.cy - truth.cy) / fit.cy_err]
    assert 0.75 < np.sqrt(np.mean(np.square(pulls))) < 1.4


@pytest.mark.parametrize("seed", range(4))
def test_the_rim_of_a_stop_before_a_broad_beam_is_no_ring(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:128, :128]
    image = 100 + 400 * np.exp(-np.hypot(x - 57, y - 74) ** 2 / (2 * 18 ** 2))
    image[np.hypot(x - 56, y - 77) < 22] = 100
    with pytest.raises(RingNotFoundError):
        fit_ring(rng.poisson(image))


@pytest.mark.parametrize("seed", [3, 4, 13])
def test_a_start_off_its_place_makes_no_lasting_shadows(seed, monkeypatch):
    """About a wrong centre the gaps beside narrow rings look dark: a sixth of the image was left out, a ring torn in two."""
    image, _ = simulate(seed, **SCENES["ellipse"][0])
    frames = []
    monkeypatch.setattr(_ringlast, "_reshaded", lambda frame, *args, _reshaded=_ringlast._reshaded: frames.append(
        frame) or _reshaded(frame, *args))
    for turned in (image, image[:, ::-1], image[::-1], image.T):
        fit = fit_ring(turned)
        assert [ring.radius for ring in fit.rings] == pytest.approx([55, 90], abs=0.1)
        assert not frames.pop().shade.any()


@pytest.mark.parametrize(("seed", "exposure"), [(183, 0), (67, 0), (67, 1), (95102, 0)])
def test_rings_that_others_would_spoil_or_hide(seed, exposure):
    """A bump of the background must not take a ring away (183); blends are parted (67), also where a bump goes (95102)."""
    scene = scenes.draw(seed)
    fit = fit_ring(scenes.exposures(scene, 2)[exposure])
    assert_right(fit, scene.center, 0.04)
    for radius in scene.radii[:3]:
        assert min(abs(ring.radius - radius) for ring in fit.rings) < 0.5


@pytest.mark.parametrize(("seed", "exposure", "most"), [
    pytest.param(31, 1, 0.5, id="two faint rings in one, strained"),
    pytest.param(234, 1, 0.015, id="a ring that is missing beside a brighter one"),
    pytest.param(191, 1, 0.02, id="rings that show once the others are known"),
    pytest.param(60095, 1, 0.3, id="a blend beside a clear ring"),
    pytest.param(80258, 1, 0.06, id="a spot far brighter than its ring"),
    pytest.param(100165, 1, 0.03, id="a ring that spots keep from its width"),
    pytest.param(340158, 0, 0.015, id="texture that looks like spots in finer sectors"),
    pytest.param(350148, 0, 0.03, id="a stop of which only a narrow arm tells"),
])
def test_what_misleads_the_last_fit(seed, exposure, most):
    """The centre was 2 to 25 times its bound off."""
    scene = scenes.draw(seed)
    assert_right(fit_ring(scenes.exposures(scene, 2)[exposure]), scene.center, most)


def test_texture_that_is_taken_for_spots_does_not_move_the_centre():
    """Three wide rings whose nine waves of texture were allowed for as spots: off by twice the bound in every exposure."""
    scene = scenes.draw(340075)
    off = [np.subtract(fit_ring(image).center, scene.center) for image in scenes.exposures(scene, 8)]
    assert (np.abs(np.mean(off, axis=0)) < scenes.crb(scene)).all()


@pytest.mark.parametrize("seed", [18, 97, 340014, 340020])
def test_spots_among_texture_do_not_move_the_centre(seed):
    """Off by more than twice the bound in the mean of all exposures as long as their shifts came from single sectors.

    Others (18, 340020) were as long as spots were taken out whole: at a place that is off they push it to the other side.
    """
    scene = scenes.draw(seed)
    off = [np.subtract(fit_ring(image).center, scene.center) for image in scenes.exposures(scene, 8)]
    assert (np.abs(np.mean(off, axis=0)) < 1.5 * np.array(scenes.crb(scene))).all()


def test_of_two_rings_that_contradict_each_other_the_surer_one_is_fitted():
    """A stop that is nowhere seen by its shadow hides the flank of the inner one: together they were 14 bounds off."""
    scene = scenes.draw(350154)
    for image in scenes.exposures(scene, 2):
        fit = fit_ring(image)
        assert (np.abs(np.subtract(fit.center, scene.center)) < 4 * np.array(scenes.crb(scene))).all()
        assert fit.n_rings == 1


def test_a_bright_beam_does_not_tell_the_centre_of_rings():
    """The whole profile tells as much as rings that leave no scatter; but the beam is round, and the rings are not."""
    scene = scenes.draw(145)
    fits = [fit_ring(image) for image in scenes.exposures(scene, 8)]
    assert not any(fit.whole_profile for fit in fits)
    off = np.mean([np.subtract(fit.center, scene.center) for fit in fits], axis=0)
    assert (np.abs(off) < scenes.crb(scene)).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_small_stop_on_a_flat_background(seed):
    """It hides less than a hundredth of the frame: the background passed for the dark level, narrow rings for shadows."""
    image, truth = ring_pattern((2048, 2048), (1010.3, 1033.7), [300, 480, 610], widths=4.0, amplitudes=200.0, background=20.0,
                                beamstop=BeamStop(60), random_state=seed)
    assert truth.stop.mean() < 0.01
    fit = fit_ring(image)
    assert_right(fit, truth.center, 0.02)
    assert fit.n_rings == 3


def test_sectors_that_tell_next_to_nothing_are_no_reason_for_doubt():
    """A spot far brighter than its ring hides both rings in four sectors; the quoted error was above four bounds for them."""
    scene = scenes.draw(39)
    for image in scenes.exposures(scene, 2):
        fit = fit_ring(image)
        assert_right(fit, scene.center, 0.03)
        assert fit.center_err < 3.5 * np.hypot(*scenes.crb(scene))


@pytest.mark.parametrize("place", [20.0, 20.3, 20.5, 20.9])
def test_flanks_of_a_narrow_ring_are_known_to_a_fraction_of_a_bin(place):
    mean = np.exp(-0.5 * (np.arange(60) - place) ** 2)
    radial = _ringfit.Profile(None, mean, np.full(60, 1e-3), None, None)
    sides = _ringlook._sides(radial, np.array([place + 0.5, 1.0, 1.0, 50.0]))
    # From three quarters to one quarter of the height.
    flank = math.sqrt(2 * math.log(4)) - math.sqrt(2 * math.log(4 / 3))
    assert sides.flanks == pytest.approx((flank, flank), abs=0.22)
    assert not sides.lopsided


def uneven(seed, tilt, **look):
    """Exposures of a pattern on a background that is brighter on one side, and the true centre."""
    _, truth = simulate(seed, noise=False, **look)
    y, x = np.indices(truth.expected.shape)
    light = 200 * (1 + tilt * (0.6 * (x / x.max() - 0.5) + 0.4 * (y / y.max() - 0.5))) * ~truth.mask
    rng = np.random.default_rng(seed)
    return [rng.poisson(truth.expected + light).astype(float) for _ in range(12)], truth.center


@pytest.mark.parametrize("look", [{}, {"radii": [70.0], "amplitudes": 100.0}, {"beamstop": BeamStop(22, direction=1.1)}])
def test_an_uneven_background_does_not_pull(look):
    images, center = uneven(3, 1.0, **look)
    fits = [fit_ring(image) for image in images]
    off = np.subtract([fit.center for fit in fits], center) / [(fit.cx_err, fit.cy_err) for fit in fits]
    # The mean of 12 has an error of 0.29.
    assert np.abs(off.mean(axis=0)).max() < 1
    assert np.sqrt(np.mean(off ** 2)) < 1.5


@pytest.mark.parametrize(("look", "tilt"), [
    ({"radii": [100.0], "amplitudes": 40.0, "widths": 1.2, "ratio": 1.07, "angle": 0.4}, 1.5),
    ({"radii": [75.0, 100.0], "amplitudes": [20.0, 16.0]}, 1.9)])
def test_rings_that_an_uneven_background_hides_are_found(look, tilt):
    images, center = uneven(4, tilt, **look)
    for image in images[:4]:
        assert_right(fit_ring(image), center, 0.3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_pattern_in_an_image_that_is_nearly_black(seed):
    _, truth = simulate(noise=False, direct_beam=3e4, direct_beam_width=4.0)
    image = np.clip(np.random.default_rng(seed).poisson(truth.expected) // 90, 0, 255).astype(np.uint8)
    assert (image == 0).mean() > 0.9
    assert_right(fit_ring(image), truth.center, 0.2)


def test_no_more_rings_than_asked_for():
    """Two faint rings that pass for one are not parted then."""
    image = scenes.exposures(scenes.draw(31), 2)[1]
    assert fit_ring(image).n_rings > 1
    assert fit_ring(image, max_rings=1).n_rings == 1


@pytest.mark.parametrize("seed", [10, 12])
def test_a_polycrystal_whose_rings_overlap(seed):
    """Rings of an fcc metal, two pairs of which are 1.4 and 1.2 widths apart: as one they have a false centre (0.05 pixel)."""
    radii = 37.53 * np.sqrt([3, 4, 8, 11, 12, 16, 19, 20, 24])
    heights = 1000 * np.array([1, 0.7, 0.9, 0.8, 0.7, 0.5, 0.6, 0.5, 0.4])
    image, truth = ring_pattern((384, 320), (174.6, 187.1), radii.tolist(), widths=[3.5] * 9, amplitudes=heights.tolist(),
                                background=50, texture=0.3, texture_harmonics=4, ratio=1.02, angle=0.5, random_state=seed)
    fit = fit_ring(image)
    assert_right(fit, truth.center, 0.01)
    assert [ring.radius for ring in fit.rings] == pytest.approx(radii, abs=0.1)


def test_errors_are_right_where_rings_overlap_and_their_textures_differ():
    """Sectors side by side are off alike: errors for which they average out were three to five times too small."""
    pulls = []
    for seed in (14, 34, 54, 70):
        _, scene = scenes.draw_crystal(seed)
        fit = fit_ring(scenes.render(scene))
        pulls += [(fit.cx - scene.center[0]) / fit.cx_err, (fit.cy - scene.center[1]) / fit.cy_err]
    assert np.sqrt(np.mean(np.square(pulls))) < 1.7


def test_a_ring_that_takes_away_from_what_the_other_tells_is_left_out():
    """The soft edge of a stop lies on the inner ring, which pulled the centre by seven times its bound."""
    scene = scenes.draw(91055)
    fit = fit_ring(scenes.exposures(scene, 2)[1])
    assert_right(fit, scene.center, 0.01)
    assert fit.n_rings == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_stop_in_front_of_faint_rings_is_found(seed):
    """It covers the flank of the first ring where hardly anything else is brighter than the stop."""
    stop = BeamStop(29, direction=-0.3, width=9, center=(118.2, 128.6), edge=2.5)
    image, truth = ring_pattern((256, 256), (113.0, 122.5), [40, 54.6, 68.8, 83.7], widths=[4.3, 4.9, 4.3, 4.5],
                                amplitudes=[5.7, 5.4, 5.1, 5.0], background=0.3, beamstop=stop, random_state=seed)
    assert_right(fit_ring(image), truth.center, 0.15)


@pytest.mark.parametrize("seed", range(3))
def test_a_stop_on_the_crest_of_a_ring_does_not_pull(seed):
    """What the narrow crest hides from the search is left out when the sectors contradict each other."""
    stop = BeamStop(24, direction=-1.2, width=6, center=(79.7, 97.2), edge=3.0)
    image, truth = ring_pattern((192, 160), (79.7, 91.1), [32.6, 55.4, 66.8, 77.1], widths=[3.1, 3.8, 3.4, 3.1],
                                amplitudes=[305, 141, 283, 232], background=33, texture=0.45, texture_harmonics=7,
                                beamstop=stop, random_state=seed)
    assert_right(fit_ring(image), truth.center, 0.035)


@pytest.mark.parametrize("seed", range(3))
def test_a_ring_in_the_corners_of_the_frame_counts_beside_one_that_is_whole(seed):
    """Its outer foot lies beyond the frame, but it tells ten times as much."""
    image, truth = ring_pattern((64, 64), (29.2, 33.8), [17, 36.1], widths=[1.17, 1.0], amplitudes=[14, 57], background=272,
                                background_decay=8.0, random_state=seed)
    fit = fit_ring(image)
    assert_right(fit, truth.center, 0.08)
    assert fit.n_rings == 2


def test_a_ring_that_tells_nothing_beside_the_others_is_left_out():
    look = {"shape": (512, 512), "center": (250.3, 260.8), "radii": [60, 110, 190], "widths": 2.0}
    image, truth = ring_pattern(**look, amplitudes=[4000, 3000, 12], background=100, random_state=3)
    fit = fit_ring(image)
    assert_right(fit, truth.center, 0.02)
    assert fit.n_rings == 2
    dim = fit_ring(image, max_rings=1, radius=190)
    assert dim.radius == pytest.approx(190, abs=0.5)
    assert_right(dim, truth.center, 0.5)


def form_factor(q):
    """Scattering of a sphere, 1 at the centre."""
    return (3 * (np.sin(q) - q * np.cos(q)) / q ** 3) ** 2


def sphere(center, shape, fineness, background=0.0, stop=None):
    """Expected counts of the scattering of a sphere, clipped at the top; none behind a stop, a disc with an arm."""
    y, x = np.indices(shape)
    q = np.maximum(fineness * np.hypot(x - center[0], y - center[1]), 1e-3)
    counts = np.minimum(1e6 * form_factor(q), 1e4) + background
    return counts * (stop.lets_through(x, y) > 0.5) if stop else counts


def limit(center, shape, fineness, background=0.0, stop=None):
    """The error of the centre, in both directions, that the counts leave at best."""
    counts = sphere(center, shape, fineness, background, stop)
    seen, square = counts > 0, 0.0
    for step in ([5e-4, 0], [0, 5e-4]):
        slope = (sphere(np.add(center, step), shape, fineness) - sphere(np.subtract(center, step), shape, fineness)) / 1e-3
        square += 1 / np.sum(slope[seen] ** 2 / counts[seen])
    return math.sqrt(square)


FRINGES = {
    "plain": (((263.3, 248.7), (512, 512), 0.1, 20.0), np.float32),
    "stop": (((263.3, 248.7), (512, 512), 0.3, 0.0, BeamStop(30, direction=0.7, width=14, center=(268, 252))), np.uint16),
    "stop, off the middle": (
        ((140.4, 380.2), (480, 640), 0.15, 20.0, BeamStop(30, direction=2.2, width=14, center=(143, 377))), np.float32),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", FRINGES)
def test_fringes(name, seed):
    """As rings they are hardly any, of unlike widths and profiles; that they are the same all round tells the centre."""
    look, dtype = FRINGES[name]
    fit = fit_ring(np.random.default_rng(seed).poisson(sphere(*look)).astype(dtype))
    assert (np.abs(np.subtract(fit.center, look[0])) < 3 * np.array([fit.cx_err, fit.cy_err])).all(), fit
    assert 0.9 * limit(*look) < fit.center_err < 3 * limit(*look)
    assert fit.converged


@pytest.mark.parametrize("name", ["plain", "stop, off the middle"])
def test_fringes_tell_more_than_some_of_their_rings(name):
    look, dtype = FRINGES[name]
    errors, off = [], []
    for seed in range(6):
        image = np.random.default_rng(seed).poisson(sphere(*look)).astype(dtype)
        fits = fit_ring(image), fit_ring(image, max_rings=3)
        errors.append([fit.center_err for fit in fits])
        off.append([math.dist(fit.center, look[0]) for fit in fits])
    for all_of_them, some in (np.median(errors, axis=0), np.sqrt(np.mean(np.square(off), axis=0))):
        assert 3 * all_of_them < some


@pytest.mark.parametrize("seed", range(4))
def test_fringes_of_another_exposure(seed):
    look, dtype = FRINGES["stop"]
    first, second = np.random.default_rng(seed).poisson(sphere(*look), (2, *look[1])).astype(dtype)
    before = fit_ring(first)
    fit = fit_ring(second, like=before)
    assert (np.abs(np.subtract(fit.center, look[0])) < 3 * np.array([fit.cx_err, fit.cy_err])).all(), fit
    assert 1 / 1.5 < fit.center_err / before.center_err < 1.5


FINE_FRINGES = {
    "faint": ((248.7, 252.6), (512, 512), 0.43, 2.0, BeamStop(58, direction=2.1, width=24, center=(243.4, 249.9))),
    "bright": ((190.2, 193.6), (384, 384), 0.395, 0.0, BeamStop(30, direction=3.0, width=12, center=(194, 195))),
}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", FINE_FRINGES)
def test_fringes_hardly_wider_than_the_blocks_of_the_search(name, seed):
    """About a place that is off by one fringe the next ones fit nearly as well: there the centre was 4 pixels off, or none."""
    look = FINE_FRINGES[name]
    fit = fit_ring(np.random.default_rng(seed).poisson(sphere(*look)).astype(np.uint16))
    assert math.dist(fit.center, look[0]) < 0.15


def brighter_on_one_side(center, shape, period, power, contrast, peak, background):
    """Expected counts of the fringes of a sphere whose fall is taken away in part."""
    y, x = np.indices(shape)
    r = np.hypot(x - center[0], y - center[1])
    q = np.maximum(np.pi * r / period, 1e-3)
    counts = form_factor(q) * q ** power * (1 + contrast * (x - center[0]) / np.maximum(r, 1))
    return peak * counts / np.quantile(counts, 0.95) + background


LOPSIDED_FRINGES = {
    "several": ((65.3, 61.2), (128, 128), 13.6, 2.6, 0.4, 1500, 30),
    "a wide one": ((63.2, 65.1), (128, 128), 29.0, 2.8, 0.4, 500, 10),
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", LOPSIDED_FRINGES)
def test_fringes_brighter_on_one_side(name, seed):
    """A fringe that is no Gaussian moves with its brightness, and nothing contradicts it: rings were 6 to 30 errors off."""
    look = LOPSIDED_FRINGES[name]
    fit = fit_ring(np.random.default_rng(seed).poisson(brighter_on_one_side(*look)).astype(np.float32))
    assert math.dist(fit.center, look[0]) < 0.05
    assert fit.whole_profile


def test_blocks_between_single_counts_say_nothing_of_the_noise():
    """Most of their cells hold nothing but zeros: the noise was taken for none, and they told more than the rings."""
    means = np.array([0.02, 0.02, 3.0, 3.0])[:, None]
    pixels = np.random.default_rng(4).poisson(means, (64, 4, 12)) - 7.0
    table = np.stack([np.full((64, 4), 12.0), pixels.sum(2), np.zeros((64, 4)), np.square(pixels).sum(2)], axis=2)
    table[:40] = 0
    before = table.copy()
    leave_out_empty(table, 2)
    assert not table[:, :2].any()
    np.testing.assert_array_equal(table[:, 2:], before[:, 2:])


@pytest.mark.parametrize("size", [16, 17, 20, 24, 32])
def test_images_that_are_hardly_larger_than_their_ring(size):
    """Whatever is found in them is right: there the profile has fewer bins than are looked at elsewhere."""
    for seed in range(8):
        image, truth = ring_pattern((size, size + seed % 3), (size / 2 + 0.3, size / 2 - 0.4), radii=[0.3 * size], widths=1.0,
                                    amplitudes=400, background=10, random_state=seed)
        with contextlib.suppress(RingNotFoundError):
            assert_right(fit_ring(image), truth.center, 0.3)


@pytest.mark.parametrize(("number", "look"), [
    (30, {"shape": (96, 96), "center": (46.4, 43.7), "radii": [18, 30], "widths": 1.5, "amplitudes": [10, 6],
          "background": 1}),
    (60, {"amplitudes": [1.0, 0.6], "background": 0.3})])
@pytest.mark.parametrize("seed", range(4))
def test_zingers_hide_no_rings(seed, number, look):
    """Each darkened the contrast of all that is within eight blocks, where no ring was seen any more."""
    image, truth = simulate(seed, **look)
    rng = np.random.default_rng(seed)
    for y, x in rng.integers(0, np.subtract(image.shape, 1), (number, 2)).tolist():
        for dy, dx in ((0, 0), (1, 0), (0, 1))[:rng.integers(1, 4)]:
            image[y + dy, x + dx] = 10 ** rng.uniform(5, 6)
    fit = fit_ring(image)
    assert (np.abs(np.subtract(fit.center, truth.center)) < 3 * np.array([fit.cx_err, fit.cy_err])).all(), fit
    assert fit.center_err < 0.2


# ----------------------------------------------------------------------------------------------------------- no rings there


def without_rings(kind, rng):
    """A frame without rings."""
    shape = tuple(int(n) for n in rng.integers(64, 260, 2))
    y, x = np.indices(shape).astype(float)
    r = np.hypot(x - shape[1] * rng.uniform(0.3, 0.7), y - shape[0] * rng.uniform(0.3, 0.7))
    peak, size = 10 ** rng.uniform(0.5, 4), min(shape)
    mean = np.full(shape, 0.1 * peak)
    if kind == "noise":
        return rng.normal(0, peak, shape)
    if kind == "ramp":
        mean += peak * (0.7 * x / shape[1] + 0.3 * y / shape[0])
    if kind == "blob":
        mean += peak * np.exp(-0.5 * (r / (size * rng.uniform(0.05, 0.3))) ** 2)
    if kind == "slope":
        mean += peak * np.exp(-r / (0.15 * size))
    if kind == "disc":
        mean += peak / (1 + np.exp(np.clip((r - 0.25 * size) / 2, -50, 50)))
    if kind == "stop":
        mean += peak * np.exp(-0.5 * (r / (0.2 * size)) ** 2)
        mean *= BeamStop(0.08 * size, -math.pi / 2, 0.05 * size, (shape[1] / 2, shape[0] / 2)).lets_through(x, y)
    if kind == "crystal":
        step = 0.12 * size
        for h, k in np.ndindex(9, 9):
            u, v = shape[1] / 2 + (h - 4) * step + 0.2 * (k - 4) * step, shape[0] / 2 + (k - 4) * step
            mean += peak * rng.exponential(3) * np.exp(-0.5 * ((x - u) ** 2 + (y - v) ** 2) / 1.5 ** 2)
    return rng.poisson(mean)


@pytest.mark.parametrize(("kind", "seed"), [
    (kind, seed) for kind in ("flat", "noise", "ramp", "blob", "slope", "disc", "stop", "crystal") for seed in range(5)])
def test_no_ring_where_there_is_none(kind, seed):
    image = without_rings(kind, np.random.default_rng([seed, len(kind), ord(kind[0])]))
    with pytest.raises(RingNotFoundError, match=r"^no ring found: \w+ .*\w+") as caught:
        fit_ring(image)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("exposure", [0, 1])
def test_a_ring_is_seen_between_spots_that_are_far_brighter(exposure):
    scene = scenes.draw(360196)
    assert_right(fit_ring(scenes.exposures(scene, 2)[exposure]), scene.center, 0.05)


@pytest.mark.parametrize("seed", range(6))
def test_wide_spots_side_by_side_are_no_ring(seed):
    """Spots of a single crystal so near each other that the nearest ones fill all directions."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:128, :128]
    mean = np.full((128, 128), 20.0)
    for h, k in np.ndindex(13, 13):
        u, v = 63.3 + 16 * (h - 6 + 0.5 * (k - 6)), 64.8 + 13.9 * (k - 6)
        height = 500 * rng.exponential() * math.exp(-((u - 63.3) ** 2 + (v - 64.8) ** 2) / 40 ** 2)
        mean += height * np.exp(-0.5 * ((x - u) ** 2 + (y - v) ** 2) / 4 ** 2)
    with pytest.raises(RingNotFoundError):
        fit_ring(rng.poisson(mean))


@pytest.mark.parametrize("seed", [158, 213, 411, 466, 532, 576, 6230, 6758, 6890])
def test_the_soft_edge_of_a_disc_is_no_ring(seed):
    """Two rings beside each other explain it; what is left when one of them falls must stand alone."""
    kind, image = scenes.ring_free(seed)
    assert kind == "disc"
    with pytest.raises(RingNotFoundError):
        fit_ring(image)


@pytest.mark.parametrize("seed", [5330, 5418, 6397, 80185, 80229, 80273, 80592, 81197, 81219, 81318])
def test_the_light_around_a_stop_is_no_ring(seed):
    """A steep flank at the rim and a long one beyond: a narrow ring and a wide one would explain them."""
    kind, image = scenes.ring_free(seed)
    assert kind == "stop"
    with pytest.raises(RingNotFoundError):
        fit_ring(image)


def test_several_rings_in_the_noise_are_none():
    """Four of them were found where they looked best: 6 standard errors together, from chance alone."""
    kind, image = scenes.ring_free(4279)
    assert kind == "flat"
    with pytest.raises(RingNotFoundError):
        fit_ring(image)


def test_no_ring_in_one_bright_pixel():
    image = np.zeros((64, 80))
    image[30, 41] = 1
    with pytest.raises(RingNotFoundError, match="no ring found"):
        fit_ring(image)


def test_lines_that_nobody_masked_do_not_move_the_centre():
    image, truth = simulate(6, dead_rows=[100], dead_columns=[150, 151, 152], amplitudes=8, background=3)
    assert_right(fit_ring(image), truth.center, 0.2)


@pytest.mark.parametrize(("image", "reason"), [
    (np.zeros((64, 64)), "constant"), (np.full((64, 80), 7, np.uint16), "constant"), (np.full((64, 64), np.nan), "not finite"),
    (np.ones((15, 200)), "too small"), (np.zeros((1, 1)), "too small")])
def test_nothing_at_all(image, reason):
    with pytest.raises(RingNotFoundError, match=reason):
        fit_ring(image)
    assert issubclass(RingNotFoundError, ValueError)


def test_everything_masked():
    image, _ = simulate()
    with pytest.raises(RingNotFoundError, match="masked"):
        fit_ring(image, mask=np.ones(image.shape, bool))


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"mask": np.zeros((3, 3), bool)}, ValueError, r"mask has shape \(3, 3\), but the image has shape \(256, 320\)"),
    ({"center": (1, 2, 3)}, ValueError, "center"),
    ({"center": 5}, (ValueError, TypeError), "center"),
    ({"center": (math.nan, 5)}, ValueError, "center must be a finite number.* nan"),
    ({"center": ("a", 5)}, TypeError, "center must be a number, not 'a'"),
    ({"radius": 0}, ValueError, "radius must be a finite number above 0 .*, not 0"),
    ({"radius": -3}, ValueError, "radius"),
    ({"radius": math.inf}, ValueError, "radius"),
    ({"radius": "30"}, TypeError, "radius must be a number, not '30'"),
    ({"max_rings": 0}, ValueError, "max_rings must be a whole number of at least 1, not 0"),
    ({"max_rings": 1.5}, ValueError, "max_rings"),
    ({"like": (163.27, 121.64)}, TypeError, "like must be a RingFit, not tuple")])
def test_bad_options(options, error, message):
    image, _ = simulate()
    with pytest.raises(error, match=message) as caught:
        fit_ring(image, **options)
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, RingNotFoundError)


@pytest.mark.parametrize(("image", "error"), [
    (np.zeros((2, 64, 64)), ValueError), (np.zeros((0, 64)), ValueError), (np.zeros((64, 64), complex), TypeError),
    ("image.dm4", (TypeError, ValueError))])
def test_bad_images(image, error):
    with pytest.raises(error, match="image"):
        fit_ring(image)


def test_result_reads_well():
    image, truth = simulate(17)
    fit = fit_ring(image)
    assert repr(fit).startswith("<RingFit: centre (163.")
    assert f"{fit.n_rings} rings" in repr(fit)
    assert fit.center == (fit.cx, fit.cy)
    assert fit.center_rc == (fit.cy, fit.cx)
    major, minor, _ = fit.error_ellipse
    assert major ** 2 + minor ** 2 == pytest.approx(fit.center_err ** 2)
    assert len(fit.sectors) in (32, 64)
    moments = fit.to_moments()
    assert moments[:2] == fit.center
    assert moments.a == pytest.approx(truth.ellipses[0].a / math.sqrt(2), rel=0.01)


def test_bismuth(shared_data):
    """A real pattern: rings fitted one by one agree with all of them together."""
    _, image = edfast.load_data(shared_data("bismuth.dm4"), verbose=False)
    joint = fit_ring(image)
    assert math.dist(joint.center, (99.25, 141.65)) < 0.05
    assert joint.converged
    assert joint.n_rings >= 3
    assert all(ring.width < 2 for ring in joint.rings)  # the halo of the beam and the corner of the frame are no rings
    for radius in (38.9, 67.4, 103.0):
        single = fit_ring(image, max_rings=1, radius=radius)
        assert single.n_rings == 1
        assert single.radius == pytest.approx(radius, abs=1)
        assert math.dist(single.center, joint.center) < 0.1
