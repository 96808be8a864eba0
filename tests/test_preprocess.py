"""Hits, repairs and corrections against their naive twins, scikit-learn's mixture, measured patterns, and awkward input."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edfast.image import preprocess, radp
from edfast.image._friedel import friedel_center
from edfast.image._mixture import two_gaussians
from edfast.kernels import _bands
from tests import naive_image as naive

DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", ">u2", ">f4"]


def stack(dtype="f8", shape=(11, 40, 33), seed=0):
    return np.random.default_rng(seed).poisson(30, shape).astype(dtype)


def background(shape=(40, 33)):
    return 30 * np.exp(-naive.distances(shape, (19, 16)) / 40)


def hits_among_backgrounds(measured, seed, count=40):
    """The ten measured patterns among simulated empty shots (a diffuse ring, noise), shuffled: patterns, truth, background."""
    rng = np.random.default_rng(seed)
    r = naive.distances(measured.shape[1:], (129.5, 128))
    empty = 2 + 6 * np.exp(-((r - 95) / 25) ** 2)
    shots = empty + rng.normal(0, 2, (count, *empty.shape))
    order = rng.permutation(count + len(measured))
    patterns = np.concatenate([measured, shots.astype(np.float32)])[order]
    background = (empty + rng.normal(0, 2, (100, *empty.shape))).mean(axis=0)
    return patterns, (order < len(measured)).astype(int), background


# ---------------------------------------------------------------------------------------------------- scores


@pytest.mark.small
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 11])
@pytest.mark.parametrize("radii", [None, (19, 16, 5, 14), (18.3, 16.7, 0, 9.5), (19, 16, 12, 13.2), (-3, 40, 20, 33.3)])
def test_scores_like_naive(radii, count):
    patterns, b = stack(shape=(count, 40, 33)), background()
    mask = np.random.default_rng(1).random(b.shape) < 0.2
    for masked in (None, mask):
        center, limits = (None, ()) if radii is None else (radii[:2], radii[2:])
        found = preprocess.hit_scores(patterns, b, radii, masked)
        np.testing.assert_allclose(found, naive.chi_square(patterns, b, center, *limits, mask=masked), rtol=1e-12)
        if radii is not None:
            found = preprocess.hit_scores(patterns, b, radii, masked, method="pearson")
            np.testing.assert_allclose(found, naive.pearson(patterns, b, center, *limits, mask=masked), rtol=1e-9)


@pytest.mark.small
@np.errstate(invalid="ignore")  # of interpreted kernels
def test_non_finite_pixels_are_masked_pixels():
    patterns, b = stack(), background()
    rng = np.random.default_rng(2)
    for pattern in patterns[::2]:
        pattern[rng.integers(0, 40, 30), rng.integers(0, 33, 30)] = np.resize([np.nan, np.inf, -np.inf], 30)
    patterns[4, 18:21, :] = np.nan
    patterns[7] = np.inf
    b[3:6, 10] = np.nan
    found = preprocess.hit_scores(patterns, b, [19, 16, 2, 15])
    np.testing.assert_allclose(found, naive.chi_square(patterns, b, (19, 16), 2, 15), rtol=1e-12)
    assert np.isnan(found[7])
    found = preprocess.hit_scores(patterns, b, [19, 16, 2, 15], method="pearson")
    expected = naive.pearson(patterns[[0, 1, 2, 3, 4, 5, 6, 8, 9, 10]], b, (19, 16), 2, 15)
    np.testing.assert_allclose(np.delete(found, 7), expected, rtol=1e-9)
    assert np.isnan(found[7])
    assert preprocess.hit_find(patterns, b, cut_off=-1)[7] == 0
    assert preprocess.hit_find_pearson(patterns, b, [19, 16, 2, 15], max_cc=1)[7] == 0


@pytest.mark.small
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_layouts(dtype):
    patterns, b = stack(dtype), background()
    expected = naive.chi_square(patterns, b), naive.pearson(patterns, b, (19, 16), 2, 15)
    patterns.flags.writeable = False
    for variant in (patterns, patterns.tolist(), np.asfortranarray(patterns), patterns[:, ::-1][:, ::-1]):
        np.testing.assert_allclose(preprocess.hit_scores(variant, b.tolist()), expected[0], rtol=1e-12)
        found = preprocess.hit_scores(variant, b, [19, 16, 2, 15], method="pearson")
        np.testing.assert_allclose(found, expected[1], rtol=1e-9)


def test_arguments_are_left_alone():
    patterns, b, radii = stack(), background(), [None, None, 3, 12]
    mask = np.zeros(b.shape, np.int8)
    before = patterns.copy(), b.copy(), mask.copy()
    preprocess.hit_find(patterns, b, radii, mask)
    preprocess.hit_find_pearson(patterns, b, radii, mask)
    assert radii == [None, None, 3, 12]
    for now, then in zip((patterns, b, mask), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.small
@pytest.mark.parametrize("cut", [1, 1.5, np.float32(1.5), np.int64(1), np.array(1.5)])
def test_any_real_number_cuts(cut):
    patterns, b = stack(), background()
    patterns[::3] += 20
    scores = preprocess.hit_scores(patterns, b)
    np.testing.assert_array_equal(preprocess.hit_find(patterns, b, cut_off=cut), scores > float(cut))


def test_any_number_of_threads():
    patterns, b = np.random.default_rng(3).normal(size=(301, 200, 200)), np.random.default_rng(4).normal(size=(200, 200))
    for method in ("chi2", "pearson"):
        found = preprocess.hit_scores(patterns, b, [100, 100, 10, 80], method=method)
        with _bands.one_thread():
            again = preprocess.hit_scores(patterns, b, [100, 100, 10, 80], method=method)
        np.testing.assert_allclose(again, found, rtol=1e-14)


# ---------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("masked", [False, True])
def test_measured_patterns_among_simulated_backgrounds(shared_data, seed, masked):
    measured = np.load(shared_data("test_adu.npy"))
    assert not np.isfinite(measured).all()
    assert (measured < 0).any()
    mask = np.load(shared_data("mask.npy")) if masked else None
    patterns, truth, b = hits_among_backgrounds(measured, seed)
    for radii in (None, [129.5, 128, 15, 120], [None, None, 15, 120]):
        np.testing.assert_array_equal(preprocess.hit_find(patterns, b, radii, mask), truth)
        np.testing.assert_array_equal(preprocess.hit_find_pearson(patterns, b, radii, mask), truth)


def test_simulated_hits_of_any_strength():
    rng = np.random.default_rng(5)
    b = background((64, 64))
    patterns = rng.poisson(b, (300, 64, 64)).astype(float)
    truth = rng.random(300) < 0.3
    patterns[truth] += rng.poisson(np.exp(-naive.distances((64, 64), (31, 31)) / 10), (truth.sum(), 64, 64)) * \
        10 ** rng.uniform(1, 4, truth.sum())[:, None, None]
    np.testing.assert_array_equal(preprocess.hit_find(patterns, b), truth)


@pytest.mark.parametrize("seed", range(5))
def test_mixture_like_scikit_learn(seed):
    mixture = pytest.importorskip("sklearn.mixture")
    rng = np.random.default_rng(seed)
    low, high = rng.uniform(50, 200), rng.uniform(50, 200)
    values = np.concatenate([rng.normal(0, 1, int(low)), rng.normal(rng.uniform(5, 12), rng.uniform(0.5, 2), int(high))])
    ours = two_gaussians(values)
    theirs = mixture.GaussianMixture(2, random_state=0, n_init=5, tol=1e-9, max_iter=2000).fit(values[:, None])
    order = np.argsort(theirs.means_[:, 0])
    np.testing.assert_allclose(ours.means, theirs.means_[order, 0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(ours.deviations, np.sqrt(theirs.covariances_[order, 0, 0]), rtol=1e-3)
    np.testing.assert_allclose(ours.weights, theirs.weights_[order], rtol=1e-3)
    between = values[(values > ours.means[0]) & (values < ours.means[1])]
    np.testing.assert_array_equal(between > ours.cut, order[1] == theirs.predict(between[:, None]))


@pytest.mark.small
@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=2, max_size=40))
def test_mixture_of_anything(values):
    found = two_gaussians(values)
    if found is None:
        assert min(values) == max(values)
        return
    assert found.means[0] <= found.cut <= found.means[1]
    assert (found.deviations > 0).all()
    assert found.weights.sum() == pytest.approx(1)


@pytest.mark.small
def test_equal_patterns_are_no_hits():
    assert not preprocess.hit_find(np.ones((5, 8, 8)), np.arange(64.0).reshape(8, 8)).any()
    assert preprocess.score_cut(np.array([np.nan, 3.0])) == math.inf


# ---------------------------------------------------------------------------------------------------- centre


@pytest.mark.parametrize("center", [(40, 50), (47.5, 44.5), (60.3, 38.8)])
def test_centre_of_symmetry(center):
    """Speckles that obey Friedel's law, about any centre, with a gap and a beam stop."""
    rng = np.random.default_rng(6)
    y, x = np.indices((96, 90))
    pattern = np.zeros(y.shape)
    for _ in range(40):
        qy, qx, width = rng.uniform(-40, 40), rng.uniform(-40, 40), rng.uniform(2, 5)
        for sign in (-1, 1):
            pattern += np.exp(-((y - center[0] - sign * qy) ** 2 + (x - center[1] - sign * qx) ** 2) / 2 / width ** 2)
    pattern = rng.poisson(200 * pattern).astype(float)
    hidden = np.zeros(pattern.shape, bool)
    hidden[44:48] = True
    hidden[naive.distances(pattern.shape, center) < 8] = True
    pattern[hidden] = 1e5
    np.testing.assert_allclose(friedel_center(pattern, hidden), center, atol=0.2)


def test_centre_of_measured_patterns(shared_data):
    measured, mask = np.load(shared_data("test_adu.npy")), np.load(shared_data("mask.npy")) > 0
    for pattern in measured:
        np.testing.assert_allclose(friedel_center(pattern, mask), (129.5, 128.2), atol=0.6)


# ---------------------------------------------------------------------------------------------------- repair


@pytest.mark.small
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("center", [(19, 16), (19.5, 16.5), (10.3, 25.9), (0, 0)])
def test_repair_like_naive(center, dtype):
    patterns = stack(dtype)
    rng = np.random.default_rng(7)
    artifacts, mask = rng.random((40, 33)) < 0.15, rng.random((40, 33)) < 0.1
    artifacts[15:24, 12:20] = True  # whole shells, with their partners
    if patterns.dtype.kind == "f":
        patterns[2, 5:9] = np.nan
    for masked in (None, mask):
        expected = naive.fix_artifact(patterns, center, artifacts, masked)
        fixed = patterns.copy()
        assert preprocess.fix_artifact(fixed, center, artifacts.astype(float), masked) is fixed
        assert fixed.dtype == patterns.dtype
        np.testing.assert_allclose(fixed, expected, rtol=1e-6 if patterns.itemsize == 4 else 1e-12)
        left = ~artifacts if masked is None else ~artifacts | masked
        np.testing.assert_array_equal(fixed[:, left], patterns[:, left])


@pytest.mark.small
def test_repair_of_what_cannot_be_written():
    patterns = stack()
    artifacts = np.zeros((40, 33), bool)
    artifacts[5, 7] = True
    expected = naive.fix_artifact(patterns, (19, 16), artifacts)
    before = patterns.copy()
    patterns.flags.writeable = False
    for variant in (patterns, patterns.tolist()):
        np.testing.assert_array_equal(preprocess.fix_artifact(variant, (19, 16), artifacts), expected)
    np.testing.assert_array_equal(patterns, before)
    out = np.zeros(patterns.shape, np.float32)
    assert preprocess.fix_artifact(patterns, (19, 16), artifacts, out=out) is out
    np.testing.assert_array_equal(out, expected)
    for layout in (np.asfortranarray(before), np.repeat(before, 2, axis=2)[:, :, ::2], before.astype(">f8")):
        assert preprocess.fix_artifact(layout, (19, 16), artifacts) is layout
        np.testing.assert_array_equal(layout, expected)


def test_listed_bad_pixels_of_measured_patterns(shared_data):
    """The two stripes stand out of their shells before, and no more than their neighbours do after."""
    measured = np.load(shared_data("test_adu.npy"))
    artifacts, mask = (np.load(shared_data(name)) for name in ("artifacts.npy", "mask.npy"))
    bad, center = artifacts > 0, (129.5, 128)
    fixed = preprocess.fix_artifact(measured.copy(), center, artifacts, mask)
    np.testing.assert_array_equal(fixed, naive.fix_artifact(measured, center, artifacts, mask))
    np.testing.assert_array_equal(fixed[:, ~bad], measured[:, ~bad])
    assert np.isfinite(fixed[:, bad]).all()
    partner = np.rint(2 * np.array(center) - np.argwhere(bad)).astype(int)
    beside = bad[:, :].copy()
    beside[:, 1:-1] = (bad[:, 2:] | bad[:, :-2]) & ~bad[:, 1:-1]
    for before, after in zip(measured, fixed, strict=True):
        wrong = np.abs(before[bad] - before[tuple(partner.T)])
        right = np.abs(after[bad] - after[tuple(partner.T)])
        assert np.median(right) == 0
        assert np.median(wrong) > 5


@pytest.mark.parametrize("njobs", [1, -1])
def test_bad_pixels_are_found(njobs):
    rng = np.random.default_rng(8)
    center = (49.5, 47)
    smooth = 200 * np.exp(-naive.distances((100, 95), center) / 30) + 20
    patterns = rng.poisson(smooth, (130, 100, 95)).astype(np.float32)
    clean = patterns.copy()
    bad = np.zeros(smooth.shape, bool)
    bad[20:30, 40:43] = bad[70, 10] = bad[3, 94] = True
    patterns[:, bad] += 100
    patterns[:, 80, 60] = 0
    bad[80, 60] = True
    fixed = preprocess.fix_artifact_auto(patterns.copy(), center, njobs, vol_of_bins=50)
    changed = (fixed != patterns).any(axis=0)
    assert changed[bad].all()
    assert (changed & ~bad).sum() <= 0.002 * bad.size
    assert np.abs(fixed[:, bad].mean(axis=0) - smooth[bad]).max() < 5 * np.sqrt(220 / 50)
    np.testing.assert_array_equal(fixed[:, ~changed], clean[:, ~changed])


def test_bad_pixels_of_measured_patterns_are_found(shared_data):
    measured, mask = np.load(shared_data("test_adu.npy")), np.load(shared_data("mask.npy"))
    bad = np.load(shared_data("artifacts.npy")) > 0
    fixed = preprocess.fix_artifact_auto(measured.copy(), (129.5, 128), mask=mask)
    changed = (fixed != measured).any(axis=0)
    assert changed[bad].mean() > 50 * changed[~bad].mean()
    assert changed[bad].sum() > 30
    np.testing.assert_array_equal(fixed[:, mask > 0], measured[:, mask > 0])


# ---------------------------------------------------------------------------------------------------- the rest


@pytest.mark.small
@pytest.mark.parametrize("polarization", ["x", "y", "none"])
@pytest.mark.parametrize("center", [None, (3, 11.5)])
def test_correction_like_naive(polarization, center):
    found = preprocess.cal_correction_factor((20, 15), polarization, 120.0, 3.5, center)
    at = (9.5, 7) if center is None else center
    np.testing.assert_allclose(found, naive.correction_factor((20, 15), polarization, 120.0, 3.5, at), rtol=1e-14)


def test_solid_angle_of_everything():
    """A large detector, unpolarized light: the sum of its solid angles is that of a half sphere, less what is beyond."""
    side = 2001
    angle = preprocess.cal_correction_factor((side, side), "none", 100.0, 1.0) / \
        (1 - _sine2(side, 100.0) / 2)
    half = side / 2
    expected = 4 * math.asin(half ** 2 / (half ** 2 + 100.0 ** 2))
    assert angle.sum() == pytest.approx(expected, rel=1e-4)


def _sine2(side, distance):
    r2 = naive.distances((side, side), ((side - 1) / 2,) * 2) ** 2
    return r2 / (r2 + distance ** 2)


@pytest.mark.small
@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize(("shape", "factor"), [((12, 9), 3), ((13, 10), 4), ((5, 5), (1, 2)), ((6, 7, 8), 2),
                                               ((6, 7, 8), (3, 1, 5))])
def test_pooling_like_naive(shape, factor, padding):
    data = np.random.default_rng(9).random(shape)
    data[0, 0] = np.nan
    factors = (factor,) * len(shape) if isinstance(factor, int) else factor
    found = preprocess.avg_pooling(data, factor, padding)
    np.testing.assert_allclose(found, naive.avg_pooling(data, factors, padding), rtol=1e-14)
    whole = (data[1:] * 100).astype(np.int16)
    np.testing.assert_allclose(preprocess.avg_pooling(whole, factor, padding), naive.avg_pooling(whole, factors, padding))


@pytest.mark.small
def test_photons():
    rng = np.random.default_rng(10)
    counts = rng.poisson(0.2, (30, 40, 41))
    patterns = 26.5 * counts + rng.normal(0, 2, counts.shape)
    patterns[3, 4, 5] = np.inf
    mask = np.zeros((40, 41), bool)
    mask[7] = True
    share = (counts > 0).mean()
    adu, photons = preprocess.adu2photon(patterns, mask, share)
    assert adu == pytest.approx(26.5, rel=0.01)
    np.testing.assert_array_equal(photons[:, ~mask], np.where(np.isfinite(patterns), counts, 0)[:, ~mask])
    adu, photons = preprocess.adu2photon(26.5 * counts, mask, share / 2)
    assert adu == 26.5
    np.testing.assert_array_equal(photons[:, ~mask], counts[:, ~mask])
    assert not photons[:, mask].any()
    assert preprocess.adu2photon(26.5 * counts, mask, share / 2, transfer=False) == 26.5
    one, other = (preprocess.adu2photon(patterns, mask, share, force_poisson=True, random_state=3)[1] for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one.mean() == pytest.approx(np.maximum(patterns[np.isfinite(patterns)], 0).mean() / adu, rel=0.2)


# ---------------------------------------------------------------------------------------------------- bad input

PATTERNS, BACKGROUND = np.ones((3, 8, 8)), np.arange(64.0).reshape(8, 8)


@pytest.mark.small
@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: preprocess.hit_find(np.ones((8, 8)), BACKGROUND), ValueError, "dataset must be a stack of patterns"),
    (lambda: preprocess.hit_find(np.ones((0, 8, 8)), BACKGROUND), ValueError, "dataset is empty (shape (0, 8, 8))"),
    (lambda: preprocess.hit_find([[[1]], [[1, 2]]], BACKGROUND), ValueError, "dataset must be patterns of one shape"),
    (lambda: preprocess.hit_find(PATTERNS.astype(complex), BACKGROUND), TypeError, "dataset must hold real numbers"),
    (lambda: preprocess.hit_find(PATTERNS, np.ones((8, 9))), ValueError, "background has shape (8, 9), but the patterns"),
    (lambda: preprocess.hit_find(PATTERNS, np.ones((8, 8))), ValueError, "background is constant (1)"),
    (lambda: preprocess.hit_find(PATTERNS, BACKGROUND, mask=np.ones((8, 8))), ValueError, "mask leaves no pixel"),
    (lambda: preprocess.hit_find(PATTERNS, BACKGROUND, mask=np.ones((8, 7))), ValueError, "mask has shape (8, 7)"),
    (lambda: preprocess.hit_find(PATTERNS, BACKGROUND, [4, 4, 90, 99]), ValueError, "radii_range leaves no pixel"),
    (lambda: preprocess.hit_find(PATTERNS, BACKGROUND, [4, 4, 1]), ValueError, "radii_range must be [center x, center y"),
    (lambda: preprocess.hit_find(PATTERNS, BACKGROUND, 5), ValueError, "radii_range must be [center x, center y"),
    (lambda: preprocess.hit_find(PATTERNS, BACKGROUND, [4, None, 1, 3]), ValueError, "both coordinates of the centre"),
    (lambda: preprocess.hit_find(PATTERNS, BACKGROUND, [4, 4, 3, 3]), ValueError, "radii_range's outer radius must be"),
    (lambda: preprocess.hit_find(PATTERNS, BACKGROUND, [4, 4, -1, 3]), ValueError, "radii_range's inner radius must be"),
    (lambda: preprocess.hit_find(PATTERNS, BACKGROUND, [np.nan, 4, 1, 3]), ValueError, "radii_range's centre must be 2"),
    (lambda: preprocess.hit_find(PATTERNS, BACKGROUND, [None, None, 1, 3]), ValueError, "the centre cannot be found"),
    (lambda: preprocess.hit_find(PATTERNS, BACKGROUND, cut_off="1"), TypeError, "cut_off must be a number, not '1'"),
    (lambda: preprocess.hit_find(PATTERNS, BACKGROUND, cut_off=np.nan), ValueError, "cut_off must be a finite number"),
    (lambda: preprocess.hit_find(PATTERNS[:1], BACKGROUND), ValueError, "cut_off must be given for a single pattern"),
    (lambda: preprocess.hit_find_pearson(PATTERNS, BACKGROUND, max_cc=2), ValueError, "max_cc must be a finite number"),
    (lambda: preprocess.hit_find_pearson(PATTERNS, BACKGROUND, [4, 4, 2, 3]), ValueError, "at least two radii"),
    (lambda: preprocess.hit_find_pearson(PATTERNS, np.ones((8, 8)), [4, 4, 0, 3]), ValueError, "constant radial profile"),
    (lambda: preprocess.hit_scores(PATTERNS, BACKGROUND, method="cc"), ValueError, "method must be one of 'chi2', 'pearson'"),
    (lambda: preprocess.fix_artifact(PATTERNS, (4, 4), np.ones((8, 9))), ValueError, "artifacts has shape (8, 9)"),
    (lambda: preprocess.fix_artifact(PATTERNS, (4, 4), None), TypeError, "artifacts must be an array"),
    (lambda: preprocess.fix_artifact(PATTERNS, (4,), BACKGROUND), ValueError, "estimated_center must be 2 finite numbers"),
    (lambda: preprocess.fix_artifact(PATTERNS, (4, 4), BACKGROUND, out=np.ones(3)), ValueError, "out must be an array"),
    (lambda: preprocess.fix_artifact(PATTERNS, (4, 4), BACKGROUND, out=np.ones((3, 8, 8), int)), TypeError, "out has dtype"),
    (lambda: preprocess.fix_artifact_auto(PATTERNS, (4, 4), 0), ValueError, "njobs must be a number of threads, or -1"),
    (lambda: preprocess.fix_artifact_auto(PATTERNS, (4, 4), vol_of_bins=0), ValueError, "vol_of_bins must be a whole number"),
    (lambda: preprocess.fix_artifact_auto(PATTERNS, (4, 4), threshold=0), ValueError, "threshold must be a finite"),
    (lambda: preprocess.cal_correction_factor((3,), "x", 1, 1), ValueError, "det_size must be two numbers"),
    (lambda: preprocess.cal_correction_factor((3, 0), "x", 1, 1), ValueError, "det_size must be a whole number"),
    (lambda: preprocess.cal_correction_factor((3, 3), "z", 1, 1), ValueError, "polarization must be one of"),
    (lambda: preprocess.cal_correction_factor((3, 3), "x", 0, 1), ValueError, "detd must be a finite number above 0"),
    (lambda: preprocess.cal_correction_factor((3, 3), "x", 1, -1), ValueError, "pixsize must be a finite number above 0"),
    (lambda: preprocess.adu2photon(PATTERNS, photon_percent=0), ValueError, "photon_percent must be a finite number above 0"),
    (lambda: preprocess.adu2photon(-PATTERNS), ValueError, "photon_percent=0.1 is too large"),
    (lambda: preprocess.adu2photon(PATTERNS * np.nan), ValueError, "no pixel that is finite"),
    (lambda: preprocess.avg_pooling(BACKGROUND, 0), ValueError, "factor must be a whole number of at least 1, not 0"),
    (lambda: preprocess.avg_pooling(BACKGROUND, 9), ValueError, "factor 9 is larger than data of shape (8, 8)"),
    (lambda: preprocess.avg_pooling(BACKGROUND, (2, 2, 2)), ValueError, "factor must be one number or 2"),
])
def test_bad_input(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert (PATTERNS == 1).all()
    assert radp.circle(2, 0.5).tolist() == [[0, 0]]
