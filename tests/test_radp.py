"""Radial profiles and shells against their naive twins, against pyFAI and scipy, and on awkward input."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from edfast.image import radp
from edfast.kernels import _bands, radial
from tests import naive_image as naive

DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">u2", ">i4", ">f4", ">f8"]
STATISTICS = ["mean", "median", "clipped"]


def noise(shape, dtype="f8", seed=0):
    values = np.random.default_rng(seed).normal(60, 20, shape).clip(1, 120)
    return values.astype(dtype)


def agree(found, expected, rtol=1e-12):
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found[:, 0], expected[:, 0])
    np.testing.assert_allclose(found[:, 1:], expected[:, 1:], rtol=rtol, atol=1e-12)


@pytest.mark.small
@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("error", ["sd", "sem"])
@pytest.mark.parametrize(("shape", "center"), [
    ((1, 1), (0, 0)), ((1, 9), (0, 3.4)), ((9, 1), (20, -3)), ((31, 40), (15, 20)), ((31, 40), (14.5, 19.5)),
    ((40, 131), (7.3, 99.8)), ((24, 25), (-10.25, 40)), ((7, 8, 9), (3, 4, 4)), ((130, 129), (0, 0)),
    ((12, 5, 11), (5.6, 2.2, -1.5)),
])
def test_like_naive(shape, center, error, statistic):
    data = noise(shape)
    mask = np.random.default_rng(1).random(shape) < 0.2
    for masked in (None, mask, np.ones(shape, bool)):
        options = {"error": error, "statistic": statistic, "clip": 2.0}
        expected = naive.radial_profile(data, center, masked, **options)
        agree(radp.radial_profile(data, center, masked, **options), expected)
        bins = radp.RadialBins(shape, center, masked)
        agree(bins.profile(data, **options), expected)
        good = np.ones(shape, bool) if masked is None else ~masked
        shell_of = np.rint(naive.distances(shape, center)).astype(int)
        np.testing.assert_array_equal(bins.counts, np.bincount(shell_of[good], minlength=len(expected)))


@pytest.mark.small
@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype, statistic):
    data = noise((33, 29), dtype)
    data.flags.writeable = False
    expected = naive.radial_profile(data, (16, 14.2), statistic=statistic)
    agree(radp.radial_profile(data, (16, 14.2), statistic=statistic), expected)


@pytest.mark.small
@pytest.mark.parametrize("statistic", STATISTICS)
def test_non_finite_pixels_are_masked_pixels(statistic):
    data = noise((300, 300), "f4")
    rng = np.random.default_rng(2)
    data[rng.integers(0, 300, 50), rng.integers(0, 300, 50)] = np.resize([np.nan, np.inf, -np.inf], 50)
    data[100] = np.nan
    mask = np.zeros(data.shape, bool)
    mask[:, 120:140] = True
    expected = radp.radial_profile(np.nan_to_num(data), (150.2, 140), mask | ~np.isfinite(data), statistic=statistic)
    np.testing.assert_array_equal(radp.radial_profile(data, (150.2, 140), mask, statistic=statistic), expected)
    agree(expected, naive.radial_profile(data, (150.2, 140), mask, statistic=statistic))
    assert not radp.radial_profile(np.full((5, 5), np.nan), (2, 2), statistic=statistic)[:, 1:].any()


def test_layouts(tmp_path):
    data = noise((64, 48))
    expected = radp.radial_profile(data, (30, 20))
    np.save(tmp_path / "data.npy", data)
    for variant in (data.tolist(), np.asfortranarray(data), np.repeat(data, 2, axis=1)[:, ::2], data[::-1][::-1],
                    np.load(tmp_path / "data.npy", mmap_mode="r"), data.astype(">f8")):
        np.testing.assert_array_equal(radp.radial_profile(variant, (30, 20)), expected)


@pytest.mark.parametrize("center", [(1020.3, 1030.7), (1023.5, 1023.5), (0, 0), (700, 2500.25)])
def test_shells_are_exact(center):
    shells, counts, _ = radial.shell_image((1900, 2048), center)
    expected = np.rint(naive.distances((1900, 2048), center)).astype(int)
    np.testing.assert_array_equal(shells, expected.reshape(-1))
    np.testing.assert_array_equal(counts, np.bincount(expected.reshape(-1)))


@pytest.mark.small
@settings(max_examples=60, deadline=None)
@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.tuples(st.integers(-400, 400), st.integers(-400, 400)),
       st.sampled_from([1, 2, 4, 10, 37]))
def test_shells_are_exact_where_halves_occur(shape, center, divisor):
    center = tuple(at / divisor for at in center)
    if max(map(abs, center)) <= 100 * max(shape):
        shells, _, _ = radial.shell_image(shape, center)
        np.testing.assert_array_equal(shells, np.rint(naive.distances(shape, center)).astype(int).reshape(-1))


def test_as_accurate_as_two_passes():
    """A small deviation on a large mean, and neighbouring shells of very different brightness."""
    shape, center = (400, 400), (200.3, 190.1)
    r = naive.distances(shape, center)
    rng = np.random.default_rng(3)
    for data in (1e9 + rng.normal(0, 1e-2, shape), 1e8 * np.exp(-r / 10) + rng.normal(0, 1, shape),
                 np.where(np.rint(r) % 2 == 0, 1e7, 1e-3) * (1 + 1e-7 * rng.random(shape))):
        agree(radp.radial_profile(data, center), naive.radial_profile(data, center), rtol=1e-6)
    constant = np.float32(0.1) * np.ones(shape, np.float32)
    assert not radp.radial_profile(constant, center)[:, 2].any()


def test_like_pyfai():
    """As pyFAI's histogram integrator without pixel splitting, its bins laid on the shells."""
    from pyFAI.detectors import Detector
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

    shape, center = (310, 290), (151.3, 140.8)
    data = np.random.default_rng(4).poisson(30, shape).astype(np.float64)
    mask = np.random.default_rng(5).random(shape) < 0.1
    expected = radp.radial_profile(data, center, mask)
    pixel, far = 1e-4, 100.0  # so far away that radius and angle are proportional
    ai = AzimuthalIntegrator(far, (center[0] + 0.5) * pixel, (center[1] + 0.5) * pixel,
                             detector=Detector(pixel, pixel, max_shape=shape))
    n = len(expected)
    result = ai.integrate1d(data, n, mask=mask, unit="r_mm", method=("no", "histogram", "cython"), correctSolidAngle=False,
                            radial_range=(-0.5 * pixel * 1e3, (n - 0.5) * pixel * 1e3), error_model="azimuthal")
    # A pixel within rounding of the edge between two shells may fall on either side.
    clear = np.ones(n, bool)
    distance = naive.distances(shape, center)
    inside = np.floor(distance[np.abs(distance % 1 - 0.5) < 2e-4]).astype(int)
    clear[np.append(inside, inside + 1).clip(max=n - 1)] = False
    assert clear.sum() > 0.5 * n
    filled = clear & (result.count > 1)
    np.testing.assert_allclose(result.intensity[filled], expected[filled, 1], rtol=1e-6)
    count = result.count[filled]
    np.testing.assert_allclose(result.std[filled] * np.sqrt(count / (count - 1)), expected[filled, 2], rtol=1e-6)


def test_like_scipy():
    data = noise((20, 30, 25))
    center = (9.7, 14, 12.5)
    shell_of = np.rint(naive.distances(data.shape, center)).astype(int)
    index = np.arange(shell_of.max() + 1)
    profile = radp.radial_profile(data, center)
    filled = np.bincount(shell_of.reshape(-1)) > 0
    np.testing.assert_allclose(profile[filled, 1], ndimage.mean(data, shell_of, index[filled]), rtol=1e-12)
    median = radp.radial_profile(data, center, statistic="median")
    np.testing.assert_allclose(median[filled, 1], ndimage.median(data, shell_of, index[filled]), rtol=1e-12)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_stack_is_the_profile_of_each(statistic):
    stack = np.random.default_rng(6).poisson(20, (7, 70, 90)).astype(np.float32)
    stack[3, 10] = np.nan
    stack[5] *= 1e6
    mask = np.zeros((70, 90), bool)
    mask[30:40] = True
    for masked in (None, mask):
        found = radp.radial_profile_stack(stack, (33.3, 50), masked, error="sem", statistic=statistic)
        for pattern, profile in zip(stack, found, strict=True):
            expected = radp.RadialBins(pattern.shape, (33.3, 50), masked).profile(pattern, error="sem", statistic=statistic)
            np.testing.assert_array_equal(profile, expected)
            np.testing.assert_allclose(profile, radp.radial_profile(pattern, (33.3, 50), masked, error="sem",
                                                                    statistic=statistic), rtol=1e-12)


@pytest.mark.parametrize("row", [0, 450, 699])
def test_one_pixel_of_a_large_image(row):
    """It is not finite: the part that it is in is added anew, and what comes after with care."""
    data = noise((700, 900), "f4")
    data[row, 50] = np.inf
    found = radp.radial_profile(data, (300.2, 411))
    agree(found, naive.radial_profile(data, (300.2, 411)))
    mask = ~np.isfinite(data)
    data[mask] = 0
    np.testing.assert_array_equal(radp.radial_profile(data, (300.2, 411), mask), found)


def test_any_number_of_threads():
    data = np.random.default_rng(7).random((1500, 1500))
    data[::170, 20] = np.nan
    expected = radp.radial_profile(data, (700.1, 800))
    with _bands.one_thread():
        np.testing.assert_array_equal(radp.radial_profile(data, (700.1, 800)), expected)
    start, results = threading.Barrier(6), []

    def call():
        start.wait()
        results.append(radp.radial_profile(data, (700.1, 800)))

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    for result in results:
        np.testing.assert_array_equal(result, expected)


def test_outliers_do_not_move_median_and_clipped():
    rng = np.random.default_rng(8)
    data = rng.normal(100, 5, (200, 200))
    data[rng.random(data.shape) < 0.02] = 1e5
    ring = slice(20, 90)
    assert np.abs(radp.radial_profile(data, (100, 100))[ring, 1] - 100).mean() > 500
    for statistic in ("median", "clipped"):
        found = radp.radial_profile(data, (100, 100), statistic=statistic)
        assert np.abs(found[ring, 1] - 100).max() < 3
        assert found[ring, 2].mean() == pytest.approx(5, rel=0.1)


# ---------------------------------------------------------------------------------------------------- radp_norm


@pytest.mark.small
@pytest.mark.parametrize(("shape", "center"), [((30, 41), (14.2, 20)), ((9, 10, 11), (4, 5.5, 5))])
def test_radp_norm(shape, center):
    data = noise(shape)
    before = data.copy()
    mask = np.random.default_rng(9).random(shape) < 0.1
    n = len(radp.radial_profile(data, center))
    wanted = np.random.default_rng(10).random(n + 3) + 1
    scaled = radp.radp_norm(wanted, data, center, mask)
    profile = radp.radial_profile(scaled, center, mask)
    filled = radp.RadialBins(shape, center, mask).counts > 0
    np.testing.assert_allclose(profile[filled, 1], wanted[:n][filled], rtol=1e-12)
    np.testing.assert_array_equal(data, before)
    np.testing.assert_allclose(radp.radp_norm(radp.radial_profile(data, center), data, center), data)


def test_radp_norm_leaves_empty_shells():
    data = np.ones((9, 9), np.float32)
    data[4, 4] = 0
    scaled = radp.radp_norm(np.full(8, 3), data, (4, 4))
    assert scaled.dtype == np.float32
    assert scaled[4, 4] == 0
    assert (np.delete(scaled.reshape(-1), 40) == 3).all()


# ---------------------------------------------------------------------------------------------------- shells and circles


@pytest.mark.small
@pytest.mark.parametrize(("shape", "center"), [((20, 31), (9.5, 15)), ((20, 31), (-3, 40.2)), ((1, 1), (0, 0)),
                                               ((8, 9, 10), (3, 4.4, 12)), ((5, 6, 7), (2, 3, 3))])
def test_shells_like_naive(shape, center):
    rads = [0, 1, 2.5, 7, 12.25, 300]
    found, expected = radp.shells(rads, shape, center), naive.shells(rads, shape, center)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.shape == (len(other), len(shape))


@pytest.mark.small
@pytest.mark.parametrize("rad", [0.1, 1, 1.2, 3.5, 5, 30])
def test_circle_like_naive(rad):
    for dims in (2, 3):
        if rad < 10 or dims == 2:
            side = int(np.ceil(rad)) + 1
            expected = naive.ball((2 * side + 1,) * dims, (side,) * dims, rad) - side
            np.testing.assert_array_equal(radp.circle(dims, rad), expected)
    for shape, center in (((17, 20), (3, 18.5)), ((17, 20), None), ((6, 7, 8), (0, 6, 3))):
        middle = tuple((n - 1) / 2 for n in shape) if center is None else center
        found = radp.circle(shape, rad, center=center)
        np.testing.assert_array_equal(found, naive.ball(shape, middle, rad))
        assert (found >= 0).all()
        assert (found < shape).all()


# ---------------------------------------------------------------------------------------------------- bad input


@pytest.mark.small
@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: radp.radial_profile(np.ones(5), (1,)), ValueError, "data must have 2 or 3 axes, not the shape (5,)"),
    (lambda: radp.radial_profile(np.ones((0, 5)), (1, 1)), ValueError, "data has no pixels"),
    (lambda: radp.radial_profile(np.ones((5, 5), complex), (1, 1)), TypeError, "data must hold real numbers, not complex128"),
    (lambda: radp.radial_profile([["a"]], (0, 0)), TypeError, "data must hold real numbers"),
    (lambda: radp.radial_profile(np.ones((5, 5)), (1, 1, 1)), ValueError, "center must be 2 finite numbers"),
    (lambda: radp.radial_profile(np.ones((5, 5)), (1, np.nan)), ValueError, "nan"),
    (lambda: radp.radial_profile(np.ones((5, 5)), None), ValueError, "center must be 2 finite numbers"),
    (lambda: radp.radial_profile(np.ones((5, 5)), (1e9, 0)), ValueError, "far away"),
    (lambda: radp.radial_profile(np.ones((5, 5)), (1, 1), np.ones((5, 6))), ValueError, "mask has shape (5, 6)"),
    (lambda: radp.radial_profile(np.ones((5, 5)), (1, 1), error="var"), ValueError, "error must be one of 'sd', 'sem'"),
    (lambda: radp.radial_profile(np.ones((5, 5)), (1, 1), statistic="mode"), ValueError, "statistic must be one of"),
    (lambda: radp.radial_profile(np.ones((5, 5)), (1, 1), clip=0), ValueError, "clip must be a finite number above 0"),
    (lambda: radp.RadialBins((5,), (1,)), ValueError, "shape must be 2 or 3 numbers of pixels, not (5,)"),
    (lambda: radp.RadialBins(5, (1,)), ValueError, "shape must be 2 or 3"),
    (lambda: radp.RadialBins((5, 0), (1, 1)), ValueError, "shape must be a whole number of at least 1, not 0"),
    (lambda: radp.RadialBins((5, 5), (1, 1)).profile(np.ones((5, 6))), ValueError, "these bins are for (5, 5)"),
    (lambda: radp.RadialBins((5, 5), (1, 1)).profile_stack(np.ones((2, 5, 6))), ValueError, "these bins are for (5, 5)"),
    (lambda: radp.radial_profile_stack(np.ones((5, 6)), (1, 1)), ValueError, "dataset must be a stack"),
    (lambda: radp.radp_norm(np.ones(3), np.ones((9, 9)), (4, 4)), ValueError, "ref_Iq has 3 radii"),
    (lambda: radp.radp_norm(np.ones((3, 2)), np.ones((9, 9)), (4, 4)), ValueError, "ref_Iq must be finite numbers"),
    (lambda: radp.radp_norm([np.inf] * 9, np.ones((9, 9)), (4, 4)), ValueError, "not finite"),
    (lambda: radp.shells([-1], (5, 5), (1, 1)), ValueError, "rads must be a finite number at least 0, not -1"),
    (lambda: radp.shells([1], 5, (1, 1)), ValueError, "data_shape must be a shape"),
    (lambda: radp.circle(4, 3), ValueError, "data_shape must be 2, 3 or a shape"),
    (lambda: radp.circle(2, 0), ValueError, "rad must be a finite number above 0"),
    (lambda: radp.circle(2, 3, center=(1, 1)), ValueError, "center needs the shape"),
])
def test_bad_input(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
