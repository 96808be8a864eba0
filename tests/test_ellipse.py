"""The documented ring fit against its naive twin, against scikit-image, and on awkward input."""

import math
import subprocess
import sys
import threading
import tracemalloc

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops
from skimage.morphology import remove_small_objects

import edfast
from edfast.kernels import _bands, ellipse, labels, threshold
from tests import naive

INTEGERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]
FLOATS = ["f4", "f8"]


def kernel_otsu(image):
    pixels = np.ascontiguousarray(image).reshape(-1)
    low, high, _, check = ellipse.finite_extremes(pixels, ellipse.NO_MASK.reshape(-1))
    if image.dtype.kind == "f":
        return ellipse.float_otsu(pixels, ellipse.NO_MASK.reshape(-1), low, high, check)
    return ellipse.int_otsu(pixels, ellipse.NO_MASK.reshape(-1), low, high)


def kernel_region(image, threshold_rel, min_size):
    low, high, reason = ellipse.bright_from(image.reshape(-1), ellipse.NO_MASK.reshape(-1), threshold_rel)
    return None if reason else ellipse.largest_region(image, ellipse.NO_MASK, low, high, min_size)


def bright_of(image, threshold_rel):
    """scikit-image's bright pixels, by numpy's own rules for a scalar factor."""
    return image > threshold_otsu(image) * threshold_rel


def assert_like_skimage(image, threshold_rel=0.5, min_size=50):
    """Threshold, region size and counts exactly; centre to 1e-9; covariance to the rounding of its own sums."""
    try:
        with np.errstate(all="ignore"):
            expected = threshold_otsu(image)
            bright = image > expected * threshold_rel
    except ValueError as error:  # numpy has no room for 256 bins of the image's dtype: scikit-image has no answer
        assert "Too many bins" in str(error)  # noqa: PT017
        kernel_region(image, threshold_rel, min_size)
        return
    if image.min() == image.max():
        assert kernel_region(image, threshold_rel, min_size) is None
        return
    assert kernel_otsu(image) == expected
    kept = remove_small_objects(bright, max_size=min_size - 1) if min_size > 1 else bright
    found = regionprops(label(kept, connectivity=2))
    region = kernel_region(image, threshold_rel, min_size)
    if not found:
        assert region is None
        return
    largest = max(found, key=lambda p: p.area)
    assert region.regions == len(found)
    assert region.size == largest.area
    np.testing.assert_allclose((region.cy, region.cx), largest.centroid, rtol=0, atol=1e-9)
    if region.size > 1:
        covariance = np.cov(largest.coords[:, ::-1].T)
        np.testing.assert_allclose((region.cov_xx, region.cov_xy, region.cov_yy), covariance[[0, 0, 1], [0, 1, 1]],
                                   rtol=1e-9, atol=1e-9)


def patterns(rng, shape):
    """Images in [0, 1], each hard on another part of the algorithm."""
    y, x = np.indices(shape)
    yield rng.random(shape)
    yield (y + x) % 2.0
    yield ((y // 2) % 2) * 1.0
    yield (x % 2) * 1.0
    yield ((y % 4 == 0) | (x % 5 == 0)) * 1.0
    r, phi = np.hypot(y - shape[0] / 2, x - shape[1] / 2), np.arctan2(y - shape[0] / 2, x - shape[1] / 2)
    yield (np.sin(r / 2 + phi) > 0) * 1.0  # a spiral: one region, found in pieces
    yield np.exp(-((r - min(shape) / 3) / 3) ** 2)
    yield np.exp(-((r - min(shape) / 3) / 3) ** 2) + rng.normal(scale=0.2, size=shape)
    yield ((y % 8 < 6) & (x % 8 < 6)) * 1.0  # many regions of the same size: the first must win
    yield np.where(rng.random(shape) < 0.3, rng.random(shape), 0)
    yield np.where((y + 2 * x) % 7 < 3, 1.0, 0.0)  # stairs that touch at corners only
    yield (np.maximum(y, x) % 4 < 2) * 1.0


def as_dtype(pattern, dtype, rng):
    """`pattern` over some of the range of `dtype`, negative values among them."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return (pattern * rng.choice([1e-3, 1, 255, 4095, 1e6]) - rng.choice([0, 0.3, 100])).astype(dtype)
    spread = min(np.iinfo(dtype).max, int(rng.choice([1, 50, 120, 4000, 100_000, 5_000_000])))
    offset = 0 if dtype.kind == "u" else -int(rng.integers(0, spread + 1))
    return np.clip(np.rint(pattern * spread) + offset, np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
@pytest.mark.parametrize("seed", range(10))
def test_like_skimage(dtype, seed):
    rng = np.random.default_rng([seed, ord(dtype[0]), int(dtype[1])])
    shapes = [(1, 2), (2, 1), (1, 63), (1, 64), (1, 65), (3, 128), (128, 3), (17, 129), (64, 64), (61, 191)]
    for shape in [shapes[seed], tuple(rng.integers(1, 150, 2))]:
        for pattern in patterns(rng, shape):
            image = as_dtype(pattern, dtype, rng)
            assert_like_skimage(image, float(rng.choice([0.3, 0.5, 0.9, 1, 1.3])), int(rng.choice([0, 1, 2, 5, 50])))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_values_on_bin_edges(dtype):
    rng = np.random.default_rng(5)
    for span in (1, 3, 255, 256, 257, 512, 1000, 4096, 4097, 60_000):
        for step in (1, 0.1, 1 / 3, 2.0**-12, 1e-7, 1e5):
            for offset in (0, -7.25, 1000.1):
                whole = rng.integers(0, span + 1, (40, 50)).astype(dtype)
                whole[0, 0], whole[0, 1] = 0, span
                image = (whole * np.dtype(dtype).type(step) + np.dtype(dtype).type(offset)).astype(dtype)
                if image.min() < image.max():
                    try:
                        expected = threshold_otsu(image)
                    except ValueError:  # numpy: too many bins for so narrow a range
                        continue
                    assert kernel_otsu(image) == expected, (span, step, offset)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_histogram_of_next_numbers_to_each_edge(dtype):
    rng = np.random.default_rng(6)
    for low, high in ((0, 1), (-3.7, 11.9), (1000, 1001), (0.1, 0.7), (0, 255), (0, 256), (-5, 507)):
        low, high = np.array([low, high], dtype)
        edges = np.linspace(low, high, 257, dtype=dtype)
        values = np.concatenate([edges, np.nextafter(edges, low), np.nextafter(edges, high), rng.uniform(low, high, 999)])
        values = rng.permutation(values.astype(dtype))
        assert kernel_otsu(values[None]) == threshold_otsu(values[None])
        counts = np.zeros(256, int)
        codes = np.zeros(values.size, np.uint8)
        work = np.empty(threshold.CHUNK, dtype)
        unit = np.array(256, dtype) / (high - low)
        window = math.ceil(3 + 2 * np.spacing(max(abs(low), abs(high))) * unit * (2**15 if dtype == "f4" else 2**44))
        threshold.encode(values, low, unit, window, edges, work, work.view(dtype.replace("f", "i")), codes)
        np.add.at(counts, codes, 1)
        np.testing.assert_array_equal(counts, np.histogram(values, 256)[0])


@pytest.mark.small
@settings(max_examples=150, deadline=None)
@given(hnp.arrays(st.sampled_from([np.float32, np.float64]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=20),
                  elements=st.floats(-1e6, 1e6, width=32)), st.sampled_from([0.5, 1.0]), st.integers(0, 9))
def test_any_float_image_like_skimage(image, threshold_rel, min_size):
    assert_like_skimage(image, threshold_rel, min_size)


@pytest.mark.small
@settings(max_examples=150, deadline=None)
@given(hnp.arrays(st.sampled_from([np.int8, np.uint16, np.int32]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=20),
                  elements=st.integers(0, 127)), st.integers(0, 9))
def test_any_integer_image_like_skimage(image, min_size):
    assert_like_skimage(image, 0.7, min_size)


@pytest.mark.parametrize("shape", [(1024, 1024), (1023, 1025), (4096, 4096), (1, 100_000), (100_000, 1)])
def test_large_images_like_skimage(shape):
    rng = np.random.default_rng(7)
    y, x = np.ogrid[:shape[0], :shape[1]]
    r = np.hypot(y - 0.45 * shape[0], x - 0.55 * shape[1])
    image = (500 * np.exp(-((r - min(max(shape) / 4, 600)) / 9) ** 2) + rng.normal(40, 6, shape)).astype(np.float32)
    assert_like_skimage(image)
    assert_like_skimage(np.rint(image))
    assert_like_skimage(np.rint(image).astype(np.uint16))


@pytest.mark.small
def test_like_the_naive_twin():
    rng = np.random.default_rng(8)
    for pattern in patterns(rng, (31, 70)):
        image = pattern.astype(np.float32)
        if image.min() == image.max():
            continue
        assert kernel_otsu(image) == pytest.approx(naive.otsu(image), abs=0.02)
        pixels, n = naive.largest_region(bright_of(image, 0.8), 5)
        region = kernel_region(image, 0.8, 5)
        if pixels is None:
            assert region is None
            continue
        assert (region.size, region.regions) == (len(pixels), n)
        expected = naive.covariance_ellipse(pixels)
        fit = edfast.fit_ellipse_to_ring(image, 0.8, 5)
        np.testing.assert_allclose(fit[:4], expected[:4], rtol=1e-9, atol=1e-6)
        if fit.a > fit.b * (1 + 1e-9):
            assert math.cos(2 * (fit.angle - expected[4])) == pytest.approx(1)


@pytest.mark.parametrize("angle", [-1.5, -0.8, 0, 0.3, 1.2, math.pi / 2])
def test_axes_and_angle_of_a_filled_ellipse(angle):
    y, x = np.indices((400, 500)) - np.array([180, 260])[:, None, None]
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    fit = edfast.fit_ellipse_to_ring(((u / 150) ** 2 + (v / 90) ** 2 < 1).astype(np.uint8))
    assert fit[:2] == pytest.approx((260, 180), abs=0.01)
    assert (2 * fit.a, 2 * fit.b) == pytest.approx((150, 90), rel=1e-3)
    assert fit.angle == pytest.approx(angle, abs=1e-3)
    assert -math.pi / 2 < fit.angle <= math.pi / 2


@pytest.mark.small
def test_masked_and_non_finite_pixels_are_left_out():
    rng = np.random.default_rng(9)
    image = rng.random((90, 130)).astype(np.float32)
    image[20:40, 30:60] += 5
    hidden = rng.random(image.shape) < 0.2
    expected = edfast.fit_ellipse_to_ring(np.where(hidden, np.nan, image), min_size=3)
    for damaged in (np.where(hidden, np.inf, image), np.where(hidden, -np.inf, image)):
        assert edfast.fit_ellipse_to_ring(damaged, min_size=3) == expected
    loud = np.where(hidden, 1e9, image).astype(np.float32)
    for mask in (hidden, hidden.astype(int), hidden.tolist(), np.asfortranarray(hidden)):
        assert edfast.fit_ellipse_to_ring(loud, min_size=3, mask=mask) == expected
    values = image[~hidden]
    bright = np.where(hidden, False, image > threshold_otsu(values[None]) * 0.5)
    pixels, _ = naive.largest_region(bright, 3)
    np.testing.assert_allclose(expected[:2], pixels.mean(axis=0)[::-1], atol=1e-9)


@pytest.mark.small
@pytest.mark.parametrize("dtype", INTEGERS)
def test_masked_integers(dtype):
    rng = np.random.default_rng(10)
    image = rng.integers(0, 100, (60, 70)).astype(dtype)
    hidden = rng.random(image.shape) < 0.3
    expected = threshold_otsu(image[~hidden][None])
    image[hidden] = np.iinfo(dtype).max
    low, *_ = ellipse.bright_from(image.reshape(-1), hidden.reshape(-1), 1.0)
    assert low == expected + 1


def test_same_result_from_every_kind_of_array(tmp_path):
    rng = np.random.default_rng(11)
    image = (rng.random((80, 90)) + 3 * (np.hypot(*(np.indices((80, 90)) - 40)) < 20)).astype(np.float32)
    expected = edfast.fit_ellipse_to_ring(image)
    read_only = image.copy()
    read_only.flags.writeable = False
    mapped = np.memmap(tmp_path / "image.raw", np.float32, "w+", shape=image.shape)
    mapped[:] = image
    wide = np.zeros((160, 180), np.float32)
    wide[::2, ::2] = image
    for other in (read_only, mapped, wide[::2, ::2], np.asfortranarray(image), image.astype(">f4"), image.tolist()):
        assert edfast.fit_ellipse_to_ring(other) == expected
    del mapped


@pytest.mark.small
@pytest.mark.parametrize(("dtype", "low", "high"), [
    ("f4", -3e38, 3e38), ("f8", -1.7e308, 1.7e308), ("f4", 1e-42, 1e-41), ("f4", 1e8, 1e8 + 8), ("f4", 1e8, 1e8 + 1000),
    ("f8", 1e15, 1e15 + 0.25), ("i8", -2**63, 2**63 - 1), ("u8", 0, 2**64 - 1),
    ("i4", -2**31, 2**31 - 1), ("i1", -128, 127),
])
def test_extreme_values(dtype, low, high):
    if numba.config.DISABLE_JIT and dtype == "i1":
        pytest.skip("numpy's int8 scalars overflow where compiled kernels compute in int64")
    y, x = np.indices((40, 40))
    disc = np.hypot(y - 20, x - 18) < 9
    edfast.fit_ellipse_to_ring(disc.astype(dtype), 1)  # kernels that small values compile must not be taken for large ones
    image = np.where(disc, np.array(high, dtype), np.array(low, dtype))
    if (dtype, low) == ("f8", 1e15):  # one step of the dtype apart
        with pytest.raises(ValueError, match="too close together"):
            edfast.fit_ellipse_to_ring(image, 1)
    else:
        assert edfast.fit_ellipse_to_ring(image, 1)[:2] == pytest.approx((18, 20), abs=1e-9)


@pytest.mark.parametrize(("image", "message"), [
    (np.ones((5, 5)), "same value"), (np.full((4, 4), np.nan), "no pixel is finite"),
    (np.full((4, 4), np.inf), "no pixel is finite"),
    (np.zeros(3), "two-dimensional"), (np.zeros((3, 3, 3)), "grey"), (np.zeros((0, 4)), "no pixels"), (7, "two-dimensional"),
])
def test_images_without_a_ring(image, message):
    with pytest.raises(ValueError, match=message):
        edfast.fit_ellipse_to_ring(image)


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"threshold_rel": 100}, ValueError, "No ring detected: threshold_rel=100 .*lower it"),
    ({"min_size": 10**9}, ValueError, "No ring detected: no group of at least min_size=1000000000"),
    ({"threshold_rel": 0}, ValueError, "threshold_rel must be .* above 0, not 0"),
    ({"threshold_rel": math.nan}, ValueError, "threshold_rel"), ({"threshold_rel": "1"}, TypeError, "threshold_rel"),
    ({"min_size": -1}, ValueError, "min_size"), ({"min_size": 2.5}, ValueError, "min_size must be a whole number"),
    ({"mask": np.ones((2, 2))}, ValueError, r"mask has shape \(2, 2\)"), ({"mask": np.full((9, 9), "a")}, TypeError, "mask"),
    ({"mask": np.ones((9, 9))}, ValueError, "no pixel is finite and unmasked"),
])
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        edfast.fit_ellipse_to_ring(np.arange(81.0).reshape(9, 9), **options)


def test_complex_image_is_refused():
    with pytest.raises(TypeError, match="real numbers, not complex128"):
        edfast.fit_ellipse_to_ring(np.ones((4, 4), complex))


@pytest.mark.parametrize("bands", [1, 2, 3, 5, 64])
def test_bands_do_not_change_anything(bands, monkeypatch):
    rng = np.random.default_rng(12)
    monkeypatch.setattr(_bands, "PIXELS_PER_BAND", 1)
    monkeypatch.setattr(_bands.numba.config, "NUMBA_NUM_THREADS", bands)
    monkeypatch.setattr(_bands, "_jobs", None)
    for pattern in patterns(rng, (70, 131)):
        for dtype in ("f4", "u2", "i4"):
            assert_like_skimage(as_dtype(pattern, dtype, rng), 0.6, 4)
            hidden = rng.random(pattern.shape) < 0.1
            image = as_dtype(pattern, dtype, rng)
            with _bands.one_thread():
                expected = ellipse.bright_from(image.reshape(-1), hidden.reshape(-1), 1.0)
            assert ellipse.bright_from(image.reshape(-1), hidden.reshape(-1), 1.0) == expected


def test_sixteen_threads_at_once():
    rng = np.random.default_rng(13)
    images = [rng.normal(size=(1100, 1100)).astype(np.float32) + 4 * (np.hypot(*(np.indices((1100, 1100)) - 500 - k)) < 99)
              for k in range(4)]
    expected = [edfast.fit_ellipse_to_ring(image) for image in images]
    barrier, found = threading.Barrier(16), [None] * 16

    def run(k):
        barrier.wait()
        found[k] = edfast.fit_ellipse_to_ring(images[k % 4])

    threads = [threading.Thread(target=run, args=(k,)) for k in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected * 4


def test_an_error_in_a_band_reaches_the_caller(monkeypatch):
    monkeypatch.setattr(_bands, "PIXELS_PER_BAND", 1)

    def task(start, stop):
        if start:
            raise KeyError(start)
        return stop

    with pytest.raises(KeyError, match="5"):
        _bands.in_bands(task, 10, 2)


def test_a_forked_child_makes_threads_of_its_own():
    code = ("import os, numpy, edfast\n"
            "image = numpy.random.default_rng(0).normal(size=(1100, 1100)).astype('f4')\n"
            "expected = edfast.fit_ellipse_to_ring(image)\n"
            "child = os.fork()\n"
            "if child == 0: os._exit(edfast.fit_ellipse_to_ring(image) != expected)\n"
            "assert os.waitpid(child, 0)[1] == 0\n")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_long_winding_regions_take_time_in_proportion():
    """Combs and spirals make the longest paths in union-find; each run must still be looked at a bounded number of times."""
    n = 600
    comb = np.zeros((n, n), np.uint8)
    comb[:, ::2] = 1
    comb[-1] = 1
    for image in (comb, comb[::-1], comb.T, comb.T[::-1]):
        assert_like_skimage(np.ascontiguousarray(image))
    starts, ends, first = ellipse.bright_runs(comb, ellipse.NO_MASK, np.uint8(1), np.uint8(1))
    parents, regions = ellipse.regions_of_runs(starts, ends, first, 0, n)
    assert regions == 1
    assert parents[0] == -comb.sum(dtype=int)


@pytest.mark.small
def test_first_maximum():
    image = np.array([1, 5, np.nan, 5, np.inf, -np.inf])
    assert ellipse.maximum(image, ellipse.NO_MASK.reshape(-1)) == 1
    assert ellipse.maximum(image, np.array([0, 1, 0, 0, 0, 0], bool)) == 3
    assert ellipse.maximum(np.full(3, np.nan), ellipse.NO_MASK.reshape(-1)) == -1
    assert ellipse.maximum(np.array([-3, -1, -1], np.int8), ellipse.NO_MASK.reshape(-1)) == 1
    assert ellipse.maximum(np.array([-3.0, -0.0, 0.0]), ellipse.NO_MASK.reshape(-1)) == 1


@pytest.mark.small
def test_runs_of_bits():
    rng = np.random.default_rng(14)
    for width in (1, 5, 63, 64, 65, 127, 128, 200):
        image = rng.integers(0, 2, (9, width)).astype(np.uint8)
        hidden = rng.random(image.shape) < 0.2
        starts, ends, first = ellipse.bright_runs(image, hidden, np.uint8(1), np.uint8(9))
        rebuilt = np.zeros(image.shape, bool)
        for row in range(9):
            for run in range(first[row], first[row + 1]):
                rebuilt[row, starts[run]:ends[run]] = True
        np.testing.assert_array_equal(rebuilt, (image > 0) & ~hidden)
        assert starts.size == first[-1]
        assert labels.LANES == 64


def test_memory_beyond_the_image(tmp_path):
    """Peak memory of numpy arrays: at most 1 MB on a ring image; what the kernels themselves allocate is 256 kB a thread."""
    rng = np.random.default_rng(15)
    y, x = np.ogrid[:2048, :2048]
    ring = 100 * np.exp(-((np.hypot(y - 900, x - 1000) - 500) / 9) ** 2)
    image = rng.normal(ring + 10, 1).astype(np.float32)
    checkerboard = ((y + x) % 2).astype(np.float32)
    stripes = np.broadcast_to((x % 2).astype(np.float32), (2048, 2048)).copy()
    for pattern, limit in ((image, 1e6), (checkerboard, 20e6), (stripes, 20e6), (rng.random((2048, 2048), np.float32), 20e6)):
        kernel_region(pattern, 0.5, 50)
        tracemalloc.start()
        kernel_region(pattern, 0.5, 50)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < limit
