"""The kernels of the fit of any profile against their naive twins, and the fit on fringes whose geometry is known."""

import numpy as np
import pytest

from edfast.kernels import freeform
from edfast.kernels._simd import TILE
from edfast.kernels.rings import harmonics_of
from tests import naive

small = pytest.mark.small
LO, STEP = 8.0, 0.7
GEOMETRY = np.array([0.31, -0.22, 0.010, -0.006])


def sector_angles(n):
    return (np.arange(n) + 0.5) * (2 * np.pi / n) + 0.1


# ----------------------------------------------------------------------------------------------------------------- profile


@small
def test_a_profile_between_its_values():
    values = np.random.default_rng(1).normal(50, 20, 12)
    at = np.concatenate([np.arange(12.0), np.linspace(0, 11, 200), [-0.4, 11.3]])
    found, slopes = np.transpose([freeform.between(values, place) for place in at])
    np.testing.assert_allclose(found[:12], values, rtol=1e-12)
    np.testing.assert_allclose(found, [naive.between(values, place) for place in at], rtol=1e-12)
    inside = slice(13, 211)
    differences = [(freeform.between(values, place + 1e-6)[0] - freeform.between(values, place - 1e-6)[0]) / 2e-6
                   for place in at[inside]]
    np.testing.assert_allclose(slopes[inside], differences, rtol=1e-6, atol=1e-6)
    # From one side: the place itself is the last.
    for end, side in ((0.0, 1e-6), (11.0, -1e-6)):
        value, slope = freeform.between(values, end)
        assert slope == pytest.approx((freeform.between(values, end + side)[0] - value) / side, rel=1e-4)


@small
def test_a_profile_that_is_a_parabola_is_one_between_its_values():
    bins = np.arange(10.0)
    for at in np.linspace(1, 8, 50):
        value, slope = freeform.between(3 - 2 * bins + 0.7 * bins ** 2, at)
        assert value == pytest.approx(3 - 2 * at + 0.7 * at ** 2, rel=1e-12)
        assert slope == pytest.approx(1.4 * at - 2, rel=1e-10, abs=1e-10)


def some_table(rng, sectors, bins):
    """Cells with empty ones and NaN among them, and which are of use."""
    table = rng.uniform(10, 90, (sectors, bins, 4))
    table[..., 0] = rng.integers(0, 5, (sectors, bins))
    table[..., 1] *= table[..., 0]
    table[..., 2] = rng.uniform(-0.4, 0.4, (sectors, bins)) * table[..., 0]
    table[rng.random((sectors, bins)) < 0.2, 1] = np.nan
    return table, (table[..., 0] > 0) & np.isfinite(table[..., 1])


@small
def test_mean_profile():
    table, usable = some_table(np.random.default_rng(2), 16, 20)
    table[:, [7, 8, 19], 1] = np.nan
    table[:, 13, :2] = 0.0
    usable[:, [7, 8, 13, 19]] = False
    number, total = (np.where(usable, table[..., k], 0) for k in (0, 1))
    cells, found = np.empty((3, 20, 16)), np.full(20, np.nan)
    freeform.gather_cells(table, LO, STEP, cells)
    np.testing.assert_array_equal(cells[0], number.T)
    np.testing.assert_allclose(cells[1].T * number, total, rtol=1e-12)
    inside = np.where(usable, table[..., 2], 0) / np.maximum(number, 1)
    np.testing.assert_allclose(cells[2], (LO + STEP * (np.arange(20) + 0.5 + inside)).T, rtol=1e-12)
    expected = total.sum(axis=0) / np.maximum(number.sum(axis=0), 1)
    assert np.flatnonzero(expected == 0).tolist() == [7, 8, 13, 19]
    expected[[7, 8, 13, 19]] = expected[[6, 6, 12, 18]]
    freeform.mean_profile(cells, found)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@small
def test_add_rest():
    rng = np.random.default_rng(3)
    weights, off, places = rng.random((9, 8)), rng.normal(size=(9, 8)), rng.uniform(-0.5, 14.5, (9, 8))
    places[0, :4] = 0.0, 14.0, 7.0, -0.5
    start = rng.normal(size=(2, 15))
    rest = start.copy()
    freeform.add_rest(weights, off, places, rest)
    np.testing.assert_allclose(rest, start + naive.shared_sums(weights, off, places, 15), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose((rest - start).sum(axis=1), [(weights * off).sum(), weights.sum()], rtol=1e-12)


# --------------------------------------------------------------------------------------------------------------- equations


@small
@pytest.mark.parametrize("begin", [0, 12, 24])
def test_columns_of_a_block_are_the_derivatives_of_the_model(begin):
    """By a, b, c and by a shift of the profile; the first and the last block reach beyond it in some sectors."""
    rng = np.random.default_rng(4)
    n, bins, sectors = 36, 12, 10
    profile, angles = rng.uniform(20, 90, n), sector_angles(sectors)
    geometry, deviations = np.array([0.9, -0.7, 0.02, 0.015]), rng.normal(0, [[0.2], [5.0], [3.0]], (3, sectors))
    table, usable = some_table(rng, sectors, n)
    cells, f, (number, places) = np.empty((3, n, sectors)), np.empty((6, bins, sectors)), np.empty((2, bins, sectors))
    freeform.gather_cells(table, LO, STEP, cells)
    freeform.block_columns(cells, LO, STEP, geometry, harmonics_of(angles), begin, profile, deviations, number, places, f)
    expected = np.zeros((bins, sectors))
    for row, j in np.ndindex(bins, sectors):
        if not usable[j, begin + row]:
            continue
        pixels, total, moved = table[j, begin + row, :3]
        radius = LO + STEP * (begin + row + 0.5 + moved / pixels)

        def model(change, radius=radius, j=j):
            return naive.freeform_signal(profile, radius, LO, STEP, geometry, angles[j], deviations[:, j] + change[:3],
                                         begin + 0.5 * (bins - 1), 0.5 * bins, change[3])

        signal, at = model(np.zeros(4))
        if not -0.5 <= at <= n - 0.5:
            continue
        expected[row, j] = pixels
        slopes = [(model(h)[0] - model(-h)[0]) / 2e-5 for h in 1e-5 * np.eye(4)]
        np.testing.assert_allclose([places[row, j], *f[:3, row, j], *f[4:, row, j]], [at, *slopes[:3], total / pixels, signal],
                                   rtol=1e-7, atol=1e-7)
        # Beyond its ends the profile goes on as it is.
        if 1e-3 < at < n - 1 - 1e-3:
            assert f[3, row, j] == pytest.approx(slopes[3], rel=1e-5, abs=1e-4)
    np.testing.assert_array_equal(number, expected)
    # Only those of the middle block lie all within the profile.
    assert ((expected == 0) & usable[:, begin:begin + bins].T).any() == (begin != 12)


@small
def test_a_block_about_another_centre_is_left_out():
    rng = np.random.default_rng(5)
    angles = sector_angles(32)
    scores, information, weights = rng.normal(0, 0.5, (5, 32)), rng.uniform(0.5, 2, (5, 32)), rng.uniform(0.3, 1, (5, 32))
    information[4, 1:] = 0.0    # one sector tells of no centre, however far off it is
    scores[4] = 0.0
    scores[4, 0] = 100.0
    for g, moved in ((1, 1.4), (3, 6.0)):
        scores[g] += moved * np.cos(angles - 0.8) * np.sqrt(information[g])
    before, harmonics = weights.copy(), harmonics_of(angles)
    freeform.leave_out(scores, information, harmonics, weights)
    chi2 = np.zeros(5)
    for g in range(4):
        matrix = (harmonics[:2] * before[g] * information[g]) @ harmonics[:2].T
        slope = harmonics[:2] @ (before[g] * scores[g] * np.sqrt(information[g]))
        chi2[g] = slope @ np.linalg.solve(matrix, slope)
    assert chi2[[0, 2]].max() < freeform.APART[0] < chi2[1] < freeform.APART[1] < chi2[3]
    np.testing.assert_array_equal(weights[[0, 2, 4]], before[[0, 2, 4]])
    np.testing.assert_allclose(weights[1], before[1] * freeform.APART[0] / chi2[1], rtol=1e-9)
    assert not weights[3].any()


# ----------------------------------------------------------------------------------------------------------------- the fit


def fringes(r):
    return 2000 * np.sin(r / 3) ** 2 / (1 + (r / 30) ** 2) + 20


def cells(rng, *, geometry=GEOMETRY, bins=168, sectors=64, light=lambda radius, angle, signal: signal):
    """Table of fringes whose centre and strain are off by `geometry`; `light` is what becomes of their signal."""
    angles, table = sector_angles(sectors), np.zeros((sectors, bins, 4))
    place, angle = rng.uniform(-0.3, 0.3, (sectors, bins)), angles[:, None]
    radius = LO + STEP * (np.arange(bins) + 0.5 + place)
    away = geometry[0] * np.cos(angle) + geometry[1] * np.sin(angle)
    stretched = 1 + geometry[2] * np.cos(2 * angle) + geometry[3] * np.sin(2 * angle)
    number = rng.poisson(2 * np.pi / sectors * STEP * radius)
    table[..., 0], table[..., 2] = number, number * place
    table[..., 1] = rng.poisson(number * light(radius, angle, fringes((radius - away) / stretched)))
    return table, angles


def fitted(table, angles, *, blocks=4, ellipse=True, start=0.0):
    """(geometry, its errors, weights, profile, covariance); `start` is what the room for the profile holds before."""
    weights, scores = np.empty((2, blocks, len(angles)))
    geometry, profile, covariance = np.zeros(4), np.full(table.shape[1], start), np.empty((4, 4))
    noise = np.tile([100.0, 1.0, 5.0, 300.0], (blocks, 1))
    gain = freeform.fit_freeform(table, angles, LO, STEP, ellipse, 1.0, 1e-3, noise, geometry, profile, weights, scores,
                                 covariance)
    assert gain < 1e-3
    return geometry, np.sqrt(np.diag(covariance)), weights, profile, covariance


def assert_right(geometry, errors):
    np.testing.assert_array_less(np.abs(geometry - GEOMETRY), 4 * errors)
    np.testing.assert_array_less(errors, [0.03, 0.03, 1e-3, 1e-3])


@small
def test_fit_of_few_cells():
    """Fewer than any image has, so that they can be fitted by plain Python."""
    truth = np.array([0.2, -0.15, 0.0, 0.0])
    table, angles = cells(np.random.default_rng(6), geometry=truth, bins=32, sectors=16)
    geometry, errors, *_ = fitted(table, angles, blocks=2, ellipse=False)
    np.testing.assert_array_less(np.abs(geometry - truth)[:2], 4 * errors[:2])
    assert errors[:2].max() < 0.05
    assert not geometry[2:].any()


@pytest.mark.parametrize("seed", range(3))
def test_fit_finds_centre_strain_and_profile(seed):
    table, angles = cells(np.random.default_rng(seed))
    geometry, errors, weights, profile, _ = fitted(table, angles)
    assert_right(geometry, errors)
    expected = fringes(LO + STEP * (np.arange(168) + 0.5))
    # The outermost bins are seen in some sectors only.
    off = ((profile - expected) / np.sqrt(expected / table[..., 0].sum(axis=0)))[4:-4]
    assert np.abs(off).max() < 6
    assert 0.7 < np.sqrt(np.mean(off ** 2)) < 1.4
    assert weights.mean() > 0.99


def test_errors_of_the_fit_are_right():
    pulls = []
    for seed in range(40):
        geometry, errors, *_ = fitted(*cells(np.random.default_rng(100 + seed)))
        pulls.append((geometry - GEOMETRY) / errors)
    widths = np.sqrt(np.mean(np.square(pulls), axis=0))
    assert widths.min() > 0.75, widths
    assert widths.max() < 1.3, widths


def test_circles_stay_circles():
    truth = np.array([0.31, -0.22, 0.0, 0.0])
    table, angles = cells(np.random.default_rng(7), geometry=truth)
    geometry, errors, _, _, covariance = fitted(table, angles, ellipse=False)
    assert not geometry[2:].any()
    assert not covariance[2:].any()
    np.testing.assert_array_less(np.abs(geometry - truth)[:2], 4 * errors[:2])


def test_backgrounds_of_some_sectors_do_not_pull():
    """Nor that they are brighter. The pattern is unrolled about nearly its place, as by the fit of rings before."""
    truth, pulls = 0.1 * GEOMETRY, []

    def light(radius, angle, signal):
        return signal * np.where(np.cos(angle - 1) > 0.3, 0.7, 1) + np.where(np.sin(angle) > 0.4, 900 - 7 * radius, 0)

    for seed in range(20):
        geometry, errors, *_ = fitted(*cells(np.random.default_rng(seed), geometry=truth, light=light))
        pulls.append((geometry - truth) / errors)
    assert np.abs(pulls).max() < 4
    # The mean of 20 has an error of 0.22.
    assert np.abs(np.mean(pulls, axis=0)).max() < 0.9


@pytest.mark.parametrize("seed", range(3))
def test_sectors_that_are_missing(seed):
    table, angles = cells(np.random.default_rng(seed))
    table[20:41, :, 1] = np.nan
    geometry, errors, *_ = fitted(table, angles)
    assert_right(geometry, errors)


@pytest.mark.parametrize("seed", range(3))
def test_a_rim_about_another_centre_does_not_pull(seed):
    def light(radius, angle, signal):
        return signal / (1 + np.exp(-(radius - 22 - 3 * np.cos(angle - 0.5)) / 0.8))

    table, angles = cells(np.random.default_rng(seed), light=light)
    geometry, errors, weights, *_ = fitted(table, angles)
    assert not weights[0].any()
    assert weights[1:].mean() > 0.99
    assert_right(geometry, errors)


@pytest.mark.parametrize("start", [1e6, np.nan])
def test_bins_that_nothing_fills_do_not_matter(start):
    """The innermost ones behind a stop; what happens to be in the memory of the profile is nobody's signal."""
    table, angles = cells(np.random.default_rng(8))
    table[:, :20, :3] = 0.0
    geometry, errors, *_ = fitted(table, angles, start=start)
    assert_right(geometry, errors)
    np.testing.assert_allclose(geometry, fitted(table, angles)[0], rtol=0, atol=1e-9)


def test_blocks_whose_sectors_scatter_get_as_much_noise():
    scores = np.random.default_rng(3).normal(size=(4, 64)) * [[1.0], [2.0], [0.5], [1.0]]
    scores[0, :20] = 0.0    # nothing is known of them
    scores[3, 5] = 50.0     # one that contradicts all others counts as 4 standard errors
    noise = np.ones((4, 4)) * [[1.0], [3.0], [2.0], [1.0]]
    freeform.admit_scatter(scores, noise)
    np.testing.assert_array_equal(noise[[0, 2, 3]], [[1.0] * 4, [2.0] * 4, [1.0] * 4])
    np.testing.assert_allclose(noise[1], 3 * np.minimum(scores[1] ** 2, freeform.MOST).mean())


def test_weighted_products():
    rng = np.random.default_rng(5)
    f, weights, products = rng.normal(size=(9, 33, TILE)), rng.random((33, TILE)), np.zeros((7, 8, TILE))
    begin, end = np.array([0, 3, 0, 20, 0, 8, 0, 0]), np.array([33, 12, 33, 33, 33, 8, 33, 33])
    bins = np.arange(33)
    f[:8] *= ((bins >= begin[:, None]) & (bins < end[:, None]))[..., None]
    freeform.weighted_products(f, weights, 7, begin, end, np.empty((33, TILE)), products)
    expected = np.einsum("pij,ij,qij->pqj", f[:7], weights, f[:8])
    np.testing.assert_allclose(products[np.triu_indices(7, 0, 8)], expected[np.triu_indices(7, 0, 8)], rtol=1e-10, atol=1e-12)
