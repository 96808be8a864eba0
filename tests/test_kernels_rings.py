"""The kernels behind fit_ring against their naive twins, numpy.linalg and scipy."""

import functools
import math

import numpy as np
import pytest
from scipy import ndimage, optimize, stats

from edfast.kernels import coarse, polar, profile, rings
from edfast.kernels._simd import TILE
from tests import naive

pytestmark = pytest.mark.small
NO_MASK = np.zeros((0, 0), np.uint8)
ANNULI = [(2.0, 0.5, 12), (9.0, 0.35, 20)]


def table_of(image, center, *, strain=(0.0, 0.0), bad=NO_MASK, shade=NO_MASK, size=1, annuli=ANNULI):
    first = np.concatenate([[0], np.cumsum([bins for _, _, bins in annuli])])
    lo, step = np.array([(inner, width) for inner, width, _ in annuli]).T.copy()
    table = np.empty((32, first[-1], 4))
    for below in (True, False):
        polar.unroll(image, bad, shade, size, *center, *strain, first, lo, step, below, table)
    return table


def assert_same_cells(table, expected):
    """Places are worked out in float32: their sums are right to a few hundred-thousandths of a bin for each pixel."""
    np.testing.assert_allclose(table[..., [0, 1, 3]], expected[..., [0, 1, 3]], rtol=1e-9, atol=1e-9)
    np.testing.assert_array_less(np.abs(table[..., 2] - expected[..., 2]), 3e-5 * expected[..., 0] + 1e-9)


# ------------------------------------------------------------------------------------------------------------ unrolling


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8"])
@pytest.mark.parametrize("center", [(20.37, 17.61), (3.214, 30.77), (-4.6, 12.3), (21.0001, 17.9998)])
def test_unroll(dtype, center):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 100, (37, 43)).astype(dtype)
    for strain in ((0.0, 0.0), (0.031, -0.022)):
        expected = naive.unroll(image, np.zeros(image.shape, bool), center, strain, 32, ANNULI)
        assert_same_cells(table_of(image, center, strain=strain), expected)


def test_unroll_reads_each_pixel_of_the_annuli_once():
    y, x = np.indices((64, 80))
    r = np.hypot(x - 38.28, y - 31.64)
    table = table_of(np.ones((64, 80)), (38.28, 31.64), annuli=[(0.0, 1.0, 80)])
    assert table[..., 0].sum() == 64 * 80
    np.testing.assert_array_equal(table[..., 0].sum(axis=0), np.bincount(r.astype(int).ravel(), minlength=80))


def test_unroll_leaves_masked_pixels_and_shaded_blocks_out():
    rng = np.random.default_rng(2)
    image, bad = rng.random((37, 43)), rng.random((37, 43)) < 0.2
    shade = (rng.random((10, 11)) < 0.3).astype(np.uint8)
    shaded = np.kron(shade, np.ones((4, 4)))[:37, :43] > 0
    for masks, hidden in (({"bad": bad.view(np.uint8)}, bad), ({"shade": shade, "size": 4}, shaded),
                          ({"bad": bad.view(np.uint8), "shade": shade, "size": 4}, bad | shaded)):
        expected = naive.unroll(image, hidden, (20.37, 17.61), (0.02, 0.01), 32, ANNULI)
        assert_same_cells(table_of(image, (20.37, 17.61), strain=(0.02, 0.01), **masks), expected)


def test_unroll_poisons_the_cells_of_pixels_that_are_not_finite():
    image = np.random.default_rng(3).random((37, 43))
    image[10, 14], image[11, 14], image[25, 30] = np.inf, -np.inf, np.nan
    expected = naive.unroll(image, np.zeros(image.shape, bool), (20.37, 17.61), (0, 0), 32, ANNULI)
    assert 1 <= np.isnan(expected[..., 1]).sum() <= 4
    assert_same_cells(table_of(image, (20.37, 17.61)), expected)


def test_annuli_from_bins_of_a_pixel_hold_what_the_pixels_give():
    """Wider cells made of narrow ones are those that the image gives, and so is where their pixels stand in them."""
    image = np.random.default_rng(21).poisson(50, (61, 74)).astype(np.float64)
    narrow = table_of(image, (36.3, 30.8), annuli=[(0.0, 1.0, 40)])
    wide, first, lo, step = np.empty((32, 11, 4)), np.array([0, 6, 11]), np.array([3.0, 21.0]), np.array([3.0, 2.0])
    polar.rebin(narrow, first, lo, step, wide)
    assert_same_cells(wide, table_of(image, (36.3, 30.8), annuli=[(3.0, 3.0, 6), (21.0, 2.0, 5)]))
    narrow[4, 5, 1] = np.nan
    polar.rebin(narrow, first, lo, step, wide)
    assert wide[4, 0, 0] == narrow[4, [3, 4], 0].sum()
    assert np.isfinite(wide).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("center", "strain"), [((20.37, 17.61), (0.02, -0.01)), ((20.0, 17.0), (0.0, 0.0)),
                                                ((-3.2, 44.1), (0.0, 0.03))])
def test_level_rings(dtype, center, strain):
    rng = np.random.default_rng(3)
    image = rng.poisson(50, (37, 43)).astype(dtype)
    radii, widths, crests = np.array([9.0, 14.5]), np.array([1.5, 2.5]), rng.normal(0, 9, (3, 2, 32))
    expected = naive.levelled(image, center, strain, radii, widths, *crests)
    for start, stop in ((0, 11), (11, 37)):
        polar.level_rings(*center, *strain, radii, widths, crests, image[start:stop], start)
    np.testing.assert_allclose(image, expected, rtol=1e-6, atol=1e-4 if dtype is np.float32 else 1e-9)


def test_realigned_cells_show_the_profile_about_the_other_centre():
    """A ring that is stretched and off its centre stands in one bin of all sectors."""
    y, x = np.mgrid[:161, :161].astype(float)
    image = np.exp(-0.5 * ((np.hypot((x - 82.5) / 1.04, (y - 78.0) * 1.04) - 50) / 1.5) ** 2)
    table, aligned = table_of(image, (80.0, 80.0), annuli=[(0.0, 1.0, 78)]), np.empty((32, 78, 4))
    strain = math.log(1.04), 0.0
    polar.realign(table, polar.sector_angles(32, 1.0, 0.0), np.array([2.5, -2.0, *strain]), aligned)
    places = [np.average(np.arange(40, 61) + 0.5, weights=cells[40:61, 1]) for cells in aligned]
    before = [np.average(np.arange(40, 61) + 0.5, weights=cells[40:61, 1]) for cells in table]
    assert np.abs(np.array(places) - 50).max() < 0.8 < 3 < np.ptp(before)


def test_stretch_makes_a_circle_of_the_ellipse():
    for e1, e2 in ((0.0, 0.0), (0.05, 0.0), (-0.1, 0.2), (1e-13, 0)):
        s11, s12, s22 = polar.stretch(e1, e2)
        strain, angle = np.hypot(e1, e2), 0.5 * np.arctan2(e2, e1)
        t = np.linspace(0, 2 * np.pi, 50)
        along, across = np.exp(strain) * np.cos(t), np.exp(-strain) * np.sin(t)
        x, y = along * np.cos(angle) - across * np.sin(angle), along * np.sin(angle) + across * np.cos(angle)
        np.testing.assert_allclose(np.hypot(s11 * x + s12 * y, s12 * x + s22 * y), 1.0, rtol=1e-9)


def test_screening_finds_the_hot_pixel_and_little_else():
    image = np.random.default_rng(4).poisson(20, (60, 60)).astype(float)
    clean = table_of(image, (29.3, 30.7), annuli=[(8.0, 1.0, 20)])
    polar.screen_cells(clean)
    assert np.isnan(clean[..., 1]).sum() <= 1
    image[30, 44] = 2000.0
    table = table_of(image, (29.3, 30.7), annuli=[(8.0, 1.0, 20)])
    polar.screen_cells(table)
    lost = np.argwhere(np.isnan(table[..., 1]) & ~np.isnan(clean[..., 1]))
    assert lost.tolist() == [[31, 6]]


# ------------------------------------------------------------------------------------------------------- normal equations


def sector(rng, n, degree, bins=40):
    """Cells of one sector around n rings, as the fit takes them, and the parameters with which they are compared."""
    radii, widths = np.sort(rng.uniform(12, 30, n)), rng.uniform(1.2, 2, n)
    signal = np.concatenate([rng.uniform(20, 90, n), [30.0], rng.normal(0, 3, degree)])
    lo, step, count = 8.0, 0.6, rng.integers(0, 9, bins).astype(float)
    place = (np.arange(bins) + 0.5) / bins * 2 - 1
    mean = naive.ring_signal(place, lo + step * (np.arange(bins) + 0.5), radii, widths, signal[:n], signal[n:], rings.REACH)
    total = rng.poisson(count * np.maximum(mean, 0))
    cells = np.stack([count, total, count * rng.uniform(-0.4, 0.4, bins), total ** 2.0], axis=1)
    cells[rng.integers(bins), 1] = np.nan
    return cells, lo, step, 0.5 * step * bins, radii, widths, signal


def sectors(rng, n, degree):
    """What `sector` gives for as many sectors as are worked on side by side, each with heights and places of its own."""
    cells, lo, step, half, radii, widths, signal = sector(rng, n, degree)
    whole = [sector(np.random.default_rng(seed), n, degree) for seed in rng.integers(1000, size=TILE)]
    cells = np.stack([cells] + [each[0] for each in whole[1:]])
    signal = np.stack([signal] + [each[-1] for each in whole[1:]], axis=1)
    return cells, lo, step, half, radii[:, None] + rng.uniform(-0.3, 0.3, (n, TILE)), widths, signal


def gathered(cells, lo, step):
    """Number, mean and place of the cells, (3, bins, sectors)."""
    out = np.empty((3, cells.shape[1], len(cells)))
    rings.gather_cells(cells, np.array([0, cells.shape[1]]), np.array([lo]), np.array([step]), np.array([0, 1]),
                       out.reshape(-1))
    return out


def moved(rng):
    """Factor and offset of the backgrounds' place, (2, sectors)."""
    return np.array([rng.uniform(0.95, 1.05, TILE), rng.uniform(-0.05, 0.05, TILE)])


@pytest.mark.parametrize(("n", "degree"), [(1, 5), (2, 7), (3, 4), (4, 9)])
def test_expected_signal(n, degree):
    rng = np.random.default_rng(n)
    cells, lo, step, half, radii, widths, signal = sectors(rng, n, degree)
    ground = moved(rng)
    count, _, place = gathered(cells, lo, step)
    begin, end = np.empty((2, n), np.int64)
    (u, shape), (slope, expected) = np.full((2, n, *place.shape), np.nan), np.empty((2, *place.shape))
    rings.ring_shapes(place, half, lo + half, radii, widths, begin, end, u, shape)
    rings.expected_signal(place, ground, signal, shape, begin, end, slope, expected)
    np.testing.assert_allclose(slope, ground[0] * place + ground[1], rtol=1e-12, atol=1e-12)
    for j in range(TILE):
        usable = count[:, j] > 0
        columns, number = naive.sector_columns(cells[j], lo, step, half, radii[:, j], widths, degree, signal[:n, j],
                                               signal[:, j], ground[:, j], rings.REACH)
        np.testing.assert_array_equal(count[usable, j], number)
        np.testing.assert_allclose(expected[usable, j], columns[-1], rtol=1e-6, atol=1e-5)


def test_gaussian():
    u, out = np.linspace(-6, 6, 1001), np.empty(1001)
    rings.gaussian(u, out)
    np.testing.assert_allclose(out, np.where(abs(u) < rings.REACH, np.exp(-u * u / 2), 0), rtol=1e-9)


@pytest.mark.parametrize(("n", "degree"), [(1, 5), (3, 3), (2, 4), (5, 9)])
def test_sector_equations(n, degree):
    rng = np.random.default_rng(10 + n)
    cells, lo, step, half, radii, widths, signal = sectors(rng, n, degree)
    noise, m, spread = np.array([2.0, 1.5, 1.0, 50.0]), 3 * n + 1 + degree, rng.uniform(0.5, 3, TILE)
    cells[:, 20, :2] = 4, 4 * 500  # an outlier, which must lose weight
    work, ground = np.empty((2 * n + 5, cells.shape[1], TILE)), moved(rng)
    products, stats_, scatter, total = np.empty((m, m + 1, TILE)), np.zeros(8), np.empty((2, TILE)), np.zeros(8)
    rings.sector_equations(gathered(cells, lo, step), half, lo + half, radii, widths, degree, signal[:n] / widths[:, None],
                           signal, ground, noise, spread, work, products, stats_, scatter)
    for j in range(TILE):
        columns, number = naive.sector_columns(cells[j], lo, step, half, radii[:, j], widths, degree, signal[:n, j],
                                               signal[:, j], ground[:, j], rings.REACH)
        value, expected = columns[m], columns[m + 1]
        usual_variance = np.maximum(noise[0] + noise[1] * expected, noise[2])
        variance = spread[j] * usual_variance
        rest, usual = abs(value - expected) * number, rings.OUTLIER * (np.sqrt(number * variance) + noise[1])
        weights = number / variance * np.where(rest > usual, (usual / np.maximum(rest, 1e-9)) ** 2, 1)
        assert (rest > usual).any()
        whole = (columns[:m] * weights) @ columns[:m + 1].T
        for p in range(m):
            np.testing.assert_allclose(products[p, p:, j], whole[p, p:], rtol=1e-5, atol=1e-5 * abs(whole).max())
        squares = np.minimum((value - expected) ** 2 * number, 16 * variance) / spread[j]
        q = 1 / (usual_variance + noise[3]) ** 2 / spread[j]
        ones = np.ones_like(q)
        sums = np.sum([q, q * expected, q * expected ** 2, q * squares, q * expected * squares, ones, squares / usual_variance,
                       usual_variance], axis=1)
        np.testing.assert_allclose(scatter[:, j], sums[[6, 5]], rtol=1e-7)
        total += sums
    np.testing.assert_allclose(stats_, total, rtol=1e-7)


def test_empty_cells_weigh_nothing_where_the_noise_does_not_grow():
    count, value, expected = np.array([[[0.0, 4.0, 0.0]], [[0.0, 9.0, 0.0]], [[8.0, 8.0, 8.0]]])
    weights, stats_, scatter = np.empty((1, 3)), np.zeros(8), np.empty((2, 3))
    rings.weigh_cells(count, value, expected, np.array([2.0, 0.0, 1.0, 2.0]), np.ones(3), weights, stats_, scatter)
    np.testing.assert_array_equal(weights, [[0, 2, 0]])
    np.testing.assert_array_equal(scatter, [[0, 2, 0], [0, 1, 0]])
    assert np.isfinite(stats_).all()


@pytest.mark.parametrize(("n", "degree"), [(1, 5), (2, 3), (3, 9)])
def test_complete_inserts_the_common_coefficients(n, degree):
    rng = np.random.default_rng(6)
    columns, precision, means = rng.normal(size=(4, 3 * n + 2 + degree, 60)), rng.random(n + 2), rng.normal(size=(n + 2, 4))
    m, base, compact = 4 * n + 3 + degree, n + 2, 3 * n + 1 + degree
    products, full = np.einsum("jpi,jqi->pqj", columns[:, :compact], columns), np.zeros((m, m + 2, 4))
    rings.complete(np.ascontiguousarray(products), n, degree, full)
    rings.tie_down(full, precision, means)
    # deviations | radii, widths | A, B_0, B_1 once more | B_2 ... | data
    order = [*range(3 * n + 2), *range(base), *range(3 * n + 2, 3 * n + 2 + degree)]
    for j in range(4):
        expected = columns[j][order][:m] @ columns[j][order].T
        expected[range(base), range(base)] += precision
        expected[:base, m] += precision * means[:, j]
        for p in range(m):
            np.testing.assert_allclose(full[p, p:m + 1, j], expected[p, p:], rtol=1e-9, atol=1e-9)


def equations(rng, m):
    """Symmetric equations (matrix, right side), and the array that `eliminate` takes."""
    root = rng.normal(size=(m, 2 * m)) * np.exp(rng.normal(size=(m, 1)))
    whole, right = root @ root.T, rng.normal(size=m)
    packed = np.full((m, m + 2), np.nan)
    packed[:, :m] = np.where(np.tri(m, k=-1) > 0, np.nan, whole)  # the lower triangle must not be read
    packed[:, m] = right
    return whole, right, packed


@pytest.mark.parametrize("m", [1, 2, 5, 12])
def test_elimination_solves_and_inverts_like_numpy(m):
    whole, right, packed = equations(np.random.default_rng(m), m)
    rings.eliminate(packed, m)
    x, inverse = np.empty(m), np.empty((m, m))
    rings.back_substitute(packed, m, x)
    rings.invert(packed, inverse)
    np.testing.assert_allclose(x, np.linalg.solve(whole, right), rtol=1e-8)
    np.testing.assert_allclose(inverse, np.linalg.inv(whole), rtol=1e-8, atol=1e-12)


def test_partial_elimination_leaves_the_schur_complement():
    whole, right, packed = equations(np.random.default_rng(7), 9)
    rings.eliminate(packed, 4)
    gain = whole[4:, :4] @ np.linalg.inv(whole[:4, :4])
    rest = whole[4:, 4:] - gain @ whole[:4, 4:]
    np.testing.assert_allclose(packed[4:, 4:9][np.triu_indices(5)], rest[np.triu_indices(5)], rtol=1e-8)
    np.testing.assert_allclose(packed[4:, 9], right[4:] - gain @ right[:4], rtol=1e-8, atol=1e-10)
    x = np.zeros(9)
    x[4:] = np.linalg.solve(whole, right)[4:]
    rings.back_substitute(packed, 4, x)
    np.testing.assert_allclose(x, np.linalg.solve(whole, right), rtol=1e-8)


def test_systems_side_by_side_are_solved_like_single_ones():
    rng = np.random.default_rng(9)
    single = [equations(rng, 9) for _ in range(5)]
    single[3][0][2] = single[3][0][:, 2] = single[3][2][2, 2:9] = single[3][2][:2, 2] = 0.0  # nothing tells this unknown
    full, x, variances = np.stack([packed for *_, packed in single], axis=2), np.zeros((9, 5)), np.empty((4, 5))
    x[4:] = tail = rng.normal(size=(5, 5))
    rings.eliminate_each(full, 4, np.empty(5), np.empty(5))
    rings.back_substitute_each(full, 4, x)
    rings.variances_each(full, 4, np.empty((4, 5)), variances)
    for j, (whole, _, packed) in enumerate(single):
        alone = np.concatenate([np.zeros(4), tail[:, j]])
        rings.eliminate(packed, 4)
        rings.back_substitute(packed, 4, alone)
        np.testing.assert_allclose(x[:, j], alone, rtol=1e-9)
        np.testing.assert_allclose(full[4:, 4:10, j][np.triu_indices(5, 0, 6)], packed[4:, 4:10][np.triu_indices(5, 0, 6)],
                                   rtol=1e-9, atol=1e-12)
        told = [k for k in range(4) if (j, k) != (3, 2)]
        np.testing.assert_allclose(variances[told, j], np.diag(np.linalg.inv(whole[np.ix_(told, told)])), rtol=1e-8)
    assert variances[2, 3] == np.inf


def test_unknown_that_nothing_tells_is_dropped():
    whole, right, packed = equations(np.random.default_rng(8), 6)
    packed[2, 2:] = packed[:2, 2] = 0.0
    rest = [0, 1, 3, 4, 5]
    rings.eliminate(packed, 6)
    x, inverse = np.empty(6), np.empty((6, 6))
    rings.back_substitute(packed, 6, x)
    rings.invert(packed, inverse)
    np.testing.assert_allclose(x[rest], np.linalg.solve(whole[np.ix_(rest, rest)], right[rest]), rtol=1e-8)
    np.testing.assert_allclose(inverse[np.ix_(rest, rest)], np.linalg.inv(whole[np.ix_(rest, rest)]), rtol=1e-8)
    assert x[2] == 0
    assert not inverse[2].any()


@pytest.mark.parametrize("strength", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("harmonic", [0.0, 4.0])
def test_scatter_precision(strength, harmonic):
    rng, angles = np.random.default_rng(9), np.arange(64) * (2 * np.pi / 64)
    variances = rng.uniform(0.5, 2, 64)
    values = 7 + rng.normal(0, strength, 64) + harmonic * np.cos(angles - 1) + rng.normal(0, np.sqrt(variances))
    variances[[3, 40]] = np.inf
    found = rings.scatter_precision(values, variances, angles)
    assert found == pytest.approx(naive.scatter_precision(values, variances, angles), rel=1e-9)
    if strength or harmonic:
        assert found == pytest.approx(1 / (strength ** 2 + harmonic ** 2 / 2), rel=0.5)
    assert rings.scatter_precision(values, np.where(angles < 0.15, variances, np.inf), angles) == 0


@pytest.mark.parametrize(("amplitude", "precision"), [(0.0, 2.0), (3.0, 2.0), (3.0, 0.01), (1.0, np.inf)])
def test_coherent_part(amplitude, precision):
    rng, angles = np.random.default_rng(28), (np.arange(64) + 0.5) * (2 * np.pi / 64)
    variances, truth = rng.uniform(0.5, 2, 64), amplitude * np.cos(angles - 1)
    values = 7 + truth + rng.normal(0, np.sqrt(variances))
    values[5] += 1000
    variances[[3, 40]] = np.inf
    found = np.full(64, np.nan)
    rings.coherent_part(values, variances, precision, angles, found)
    np.testing.assert_allclose(found, naive.coherent_part(values, variances, precision, angles, rings.COHERENT), atol=1e-9)
    assert found.any() == (amplitude > 0 and precision > 1)
    if found.any():
        np.testing.assert_allclose(found, truth, atol=0.8)
    rings.coherent_part(values, variances, 0.0, angles, found)
    assert not found.any()


@pytest.mark.parametrize("radii", [[20.0], [20.0, 40.0, 80.0], [20.0, 23.0, 26.0, 60.0], list(np.linspace(10, 90, 10))])
def test_annuli_do_not_overlap_and_hold_their_rings(radii):
    radii, widths, n = np.array(radii), np.linspace(1.5, 2.5, len(radii)), len(radii)
    lo, step = np.zeros((2, n))
    ring_first, bins, degrees = np.zeros((3, n + 1), np.int64)
    groups = rings.plan_groups(radii, widths, 6.0, 200.0, 3.5, False, (3, 9), ring_first, lo, step, bins, degrees)
    ends = lo + step * bins[:n]
    assert ring_first[0] == 0
    assert ring_first[groups] == n
    assert (lo[1:groups] >= ends[:groups - 1] - 1e-9).all()
    for g in range(groups):
        inside = slice(ring_first[g], ring_first[g + 1])
        assert degrees[g] == min(3 + 2 * (inside.stop - inside.start), 9)
        assert (lo[g] < radii[inside] - widths[inside]).all()
        assert (ends[g] > radii[inside] + widths[inside]).all()
        assert step[g] <= widths[inside].min() / 3.5 + 1e-12


def test_the_annulus_of_a_wide_ring_leaves_the_middle_out():
    (lo, step), (ring_first, bins, degrees) = np.zeros((2, 1)), np.zeros((3, 2), np.int64)
    rings.plan_groups(np.array([40.0]), np.array([12.0]), 6.0, 200.0, 3.5, False, (7, 11), ring_first, lo, step, bins, degrees)
    assert (lo[0], degrees[0]) == (rings.INNER * 40, 9)


# -------------------------------------------------------------------------------------------------------------- first look


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "f4", "f8"])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_block_means(dtype, size):
    rng = np.random.default_rng(11)
    image, bad = rng.integers(0, 200, (25, 38)).astype(dtype), rng.random((25, 38)) < 0.3
    bad[:7, :7] = True
    if image.dtype.kind == "f":
        image[rng.random(image.shape) < 0.1] = np.nan
        image[20, 20], image[3, 30] = np.inf, -np.inf
    shape = tuple(-(-n // size) for n in image.shape)
    for mask, hidden in ((NO_MASK, np.zeros(image.shape, bool)), (bad.view(np.uint8), bad)):
        means, share = np.empty((2, *shape), np.float32)
        with np.errstate(invalid="ignore"):  # interpreted, inf - inf warns
            middle = shape[0] // 2  # in two bands, as on two threads
            for rows in (slice(0, middle), slice(middle, shape[0])):
                coarse.block_means(image, mask, size, rows.start, means[rows], share[rows])
        expected = naive.block_means(image, hidden, size)
        np.testing.assert_allclose(means, expected[0], rtol=1e-5)
        np.testing.assert_allclose(share, expected[1], rtol=1e-6)


@pytest.mark.parametrize("radius", [0, 1, 3, 30])
def test_box_mean(radius):
    rng = np.random.default_rng(12)
    values, weights = rng.normal(size=(17, 23)), (rng.random((17, 23)) < 0.6).astype(float)
    weights[:9, :9] = 0
    out = np.empty_like(values)
    coarse.box_mean(values, weights, radius, out)
    np.testing.assert_allclose(out, naive.box_mean(values, weights, radius), atol=1e-9)
    coarse.box_mean(values, np.ones_like(values), radius, out)
    if radius:
        box = np.ones((2 * radius + 1,) * 2)
        sums = [ndimage.convolve(v, box, mode="constant") for v in (values, np.ones_like(values))]
        np.testing.assert_allclose(out, sums[0] / sums[1], atol=1e-9)


@pytest.mark.parametrize("least", [1, 4, 12, 1000])
def test_keep_large_like_scipy(least):
    flags = (np.random.default_rng(13).random((33, 21)) < 0.35).astype(np.uint8)
    labels, number = ndimage.label(flags, np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=number + 1)
    expected = (sizes[labels] >= least) & (labels > 0)
    coarse.keep_large(flags, least, np.empty(flags.size, np.int64))
    np.testing.assert_array_equal(flags, expected)


@pytest.mark.parametrize(("n", "degree"), [(1, 3), (3, 2)])
def test_groups_add_up_by_the_chain_rule(n, degree):
    """Radii in a sector move with centre, strain and their own radius; all else is common already."""
    rng = np.random.default_rng(11)
    sectors, all_rings, k0 = 12, 5, 1
    m, base, b0 = 4 * n + 3 + degree, n + 2, 4 + 3 * all_rings
    size = b0 + degree + 1
    full, weights, radii = rng.random((m, m + 2, sectors)), rng.random(sectors), rng.uniform(20, 40, all_rings)
    angles = np.linspace(0, 2 * np.pi, sectors, endpoint=False)
    own = [4 + part * all_rings + k0 + k for part in range(3) for k in range(n)] + list(range(b0, size))
    expected, total = np.zeros((size, size + 2)), np.zeros((size, size + 2))
    for j, (angle, weight) in enumerate(zip(angles, weights, strict=True)):
        chain = np.zeros((m - base, size))
        chain[range(m - base), own] = 1
        turns = np.array([np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)])
        chain[:n, :4] = turns * np.array([np.ones(n), np.ones(n), radii[k0:k0 + n], radii[k0:k0 + n]]).T
        upper = np.triu(full[base:, base:m, j])
        expected[:, :size] += weight * chain.T @ (upper + upper.T - np.diag(np.diag(upper))) @ chain
        expected[:, size] += weight * chain.T @ full[base:, m, j]
    rings.add_group(full, rings.harmonics_of(angles), k0, n, radii, b0, weights, total)
    np.testing.assert_allclose(np.triu(total[:, :size]), np.triu(expected[:, :size]), atol=1e-9)
    np.testing.assert_allclose(total[:, size], expected[:, size], atol=1e-9)


def test_own_centres_are_where_gradient_and_curvature_put_them():
    """Ring k with a centre of its own moves by (dx cos + dy sin) in each sector: the chain rule on the sectors' equations."""
    rng = np.random.default_rng(8)
    n, degree, sectors = 2, 3, 16
    m, base = 4 * n + 3 + degree, n + 2
    full, x, weights = rng.random((m, m + 2, sectors)), rng.random((m, sectors)), rng.random(sectors)
    angles = np.linspace(0, 2 * np.pi, sectors, endpoint=False)
    harmonics = np.array([np.cos(angles), np.sin(angles), np.cos(2 * angles), np.sin(2 * angles), np.ones(sectors)])
    moves = np.empty((n, 5))
    rings.own_centers(full, n, x, harmonics, weights, moves)
    for j in range(n):
        gradient, curvature = np.zeros(2), np.zeros((2, 2))
        for s in range(sectors):
            upper = np.triu(full[:, :m, s])
            matrix = (upper + upper.T - np.diag(np.diag(upper)))[base:, base:]
            slope = full[base + j, m, s] - matrix[j] @ x[base:, s]
            gradient += weights[s] * slope * harmonics[:2, s]
            curvature += weights[s] * matrix[j, j] * np.outer(harmonics[:2, s], harmonics[:2, s])
        np.testing.assert_allclose(moves[j], [*gradient, curvature[0, 0], curvature[0, 1], curvature[1, 1]])


@pytest.mark.parametrize("center", [(11.3, 8.9), (0.0, 0.0), (-6.5, 30.25)])
def test_profile_score(center):
    rng = np.random.default_rng(14)
    contrast, weights = rng.normal(size=(21, 26)), (rng.random((21, 26)) < 0.8).astype(float)
    sums = np.empty((34, 2))
    found = coarse.profile_score(contrast, weights, *center, sums)
    assert found == pytest.approx(naive.profile_score(contrast, weights, center, 34), rel=1e-9, abs=1e-9)
    assert coarse.profile_score(contrast, np.zeros_like(weights), *center, sums) == 0
    found = coarse.ellipse_score(contrast, weights, (*center, 0.03, -0.05), sums)
    assert found == pytest.approx(naive.profile_score(contrast, weights, center, 34, (0.03, -0.05)), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("strain", [(0.04, 0.01), (-0.02, 0.05), (0.0, 0.0)])
def test_climb_ellipse_finds_centre_and_strain(strain):
    r = naive.radii((90, 100), (52.3, 43.8), strain)
    contrast = sum(np.exp(-0.5 * ((r - radius) / 0.8) ** 2) for radius in (18, 27, 39))
    place, weights, sums = np.array([51.9, 44.4, 0.0, 0.0]), np.ones((90, 100)), np.empty((136, 2))
    first = coarse.ellipse_score(contrast - contrast.mean(), weights, place, sums)
    assert coarse.climb_ellipse(contrast - contrast.mean(), weights, place, sums) >= first
    np.testing.assert_allclose(place[:2], (52.3, 43.8), atol=0.5)
    np.testing.assert_allclose(place[2:], strain, atol=0.007)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.65, 1.0])
def test_radial_quantile(share):
    rng = np.random.default_rng(15)
    values, usable = rng.normal(size=(24, 19)), (rng.random((24, 19)) < 0.7).astype(float)
    out, away = np.empty(20), np.empty(values.shape, np.int32)
    place = naive.distances(values.shape, (8.4, 13.7), 19)
    coarse.distances(8.4, 13.7, 0.0, 0.0, 19, away)
    np.testing.assert_array_equal(away, place)
    coarse.radial_quantile(values, usable, away, share, 5, out)
    for radius in range(20):
        ring = np.sort(values[(place == radius) & (usable > 0)])
        expected = np.quantile(ring, share, method="lower") if len(ring) >= 5 else np.nan
        np.testing.assert_equal(out[radius], expected)


@pytest.mark.parametrize("kind", ["random", "few values", "rising", "falling", "equal", "one"])
def test_select(kind):
    rng = np.random.default_rng(21)
    values = {"random": rng.normal(size=101), "few values": rng.integers(0, 4, 101).astype(float), "rising": np.arange(50.0),
              "falling": np.arange(50.0)[::-1], "equal": np.full(20, 3.0), "one": np.array([7.0])}[kind]
    for rank, expected in enumerate(np.sort(values)):
        assert coarse.select(values.copy(), rank) == expected


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(9, 14), (130, 90)])
def test_quantile_of_what_has_a_weight(share, shape):
    rng = np.random.default_rng(22)
    values, weights = rng.normal(size=shape), (rng.random(shape) < 0.8).astype(float)
    some = values[weights > 0]
    expected = np.quantile(some[::max(1, len(some) // coarse.SAMPLE)], share, method="lower")
    assert coarse.quantile(values, weights, share) == expected
    assert np.isnan(coarse.quantile(values, np.zeros_like(weights), share))


def hidden_spikes(means, background):
    """Blocks that `hide_spikes` hides, all being usable before; the usual values are those of the background."""
    usable, ones = np.ones_like(means), np.ones_like(means)
    coarse.hide_spikes(means, usable, *(coarse.quantile(background, ones, share) for share in (0.01, 0.99)))
    return usable == 0


@pytest.mark.parametrize("spike", [
    np.s_[14:15, 20:21], np.s_[14:17, 20:23], np.s_[:1, :1], np.s_[:3, :3], np.s_[-1:, -1:], np.s_[-2:, :1], np.s_[9:10, -3:],
    ([0, 27], [20, 20]), ([9, 9], [0, 37])])    # the last two: what lies beyond an edge is not the other edge
def test_spikes_are_hidden_and_nothing_else(spike):
    y, x = np.indices((30, 40))
    background = 10 + 0.1 * x + 0.15 * y + np.random.default_rng(31).normal(0, 0.3, (30, 40))
    means, expected = background.copy(), np.zeros((30, 40), bool)
    means[spike] *= 100
    expected[spike] = True
    np.testing.assert_array_equal(hidden_spikes(means, background), expected)


def test_a_spike_that_another_one_outshines_is_hidden_too():
    background = 10 + np.random.default_rng(32).random((20, 20))
    means = background.copy()
    means[8, 8], means[11, 9], means[8, 14] = 1e3, 1e5, 1e7
    assert np.argwhere(hidden_spikes(means, background)).tolist() == [[8, 8], [8, 14], [11, 9]]


@pytest.mark.parametrize("center", [(31.2, 28.7), (5.6, 50.3)])   # the second ring is cut by the frame
def test_a_ring_as_bright_as_a_spike_is_not_hidden(center):
    background = 10 + np.random.default_rng(33).random((60, 64))
    means = np.where(abs(naive.radii((60, 64), center, (0, 0)) - 18) < 0.8, 1000.0, background)
    assert not hidden_spikes(means, background).any()
    means[28, 40] = 1000.0
    assert np.argwhere(hidden_spikes(means, background)).tolist() == [[28, 40]]


def test_no_spikes_where_usual_values_are_all_the_same():
    means, usable = np.full((20, 20), 3.0), np.ones((20, 20))
    means[5, 7] = 1e6
    coarse.hide_spikes(means, usable, 3.0, 3.0)
    assert usable.all()


def test_what_is_not_usable_is_no_reason_to_keep_a_spike():
    background = 10 + np.random.default_rng(34).random((20, 20))
    means, usable = background.copy(), np.ones((20, 20))
    means[8, 8] = means[11, 9] = 1e4
    usable[11, 9] = 0
    coarse.hide_spikes(means, usable, 10.0, 11.0)
    assert np.argwhere(usable == 0).tolist() == [[8, 8], [11, 9]]


@pytest.mark.parametrize("shape", [(40, 50), (1, 9), (9, 1), (2, 2)])
def test_fill_holes(shape):
    flags = (np.random.default_rng(28).random(shape) < 0.55).astype(np.uint8)
    filled = flags.copy()
    coarse.fill_holes(filled, np.empty(flags.size, np.int64))
    np.testing.assert_array_equal(filled, ndimage.binary_fill_holes(flags))
    assert filled.dtype == np.uint8
    assert (filled.sum() > flags.sum()) == (shape == (40, 50))


@pytest.mark.parametrize("radius", [1, 3])
def test_box_plane(radius):
    rng = np.random.default_rng(27)
    values, weights = rng.normal(size=(14, 17)), (rng.random((14, 17)) < 0.7).astype(float)
    weights[5:, 9:] = 0
    weights[12, 14:] = 1
    out = np.empty_like(values)
    coarse.box_plane(values, weights, radius, out)
    mean = naive.box_mean(values, weights, radius)
    least = coarse.SLOPES * (radius * (radius + 1) / 3) ** 2
    seen = []
    for y, x in np.ndindex(values.shape):
        i, j = np.nonzero(weights)
        near = (np.abs(i - y) <= radius) & (np.abs(j - x) <= radius)
        i, j = i[near], j[near]
        seen.append(len(i) > 0 and np.linalg.det(np.cov(np.stack([j, i]), bias=True)) > least)
        terms = np.stack([np.ones(len(i)), j - x, i - y], axis=1)
        plane = np.linalg.lstsq(terms, values[i, j])[0][0] if seen[-1] else mean[y, x]
        assert out[y, x] == pytest.approx(plane, abs=1e-9)
    assert 0 < sum(seen) < len(seen)


@pytest.mark.parametrize("outlier", [0.0, 1e6])
def test_contrast(outlier):
    rng = np.random.default_rng(26)
    means, weights = rng.poisson(30, (20, 26)).astype(float), (rng.random((20, 26)) < 0.8).astype(float)
    means[4, 5] += outlier
    out = np.empty_like(means)
    around = naive.box_mean(means, weights, 3)
    coarse.contrast(means, weights, around, 12.0, out)
    signal = np.maximum(around - 12, 0)
    median = functools.partial(np.quantile, q=0.5, method="lower")
    values = np.where(weights > 0, (means - around) / np.sqrt(signal + 0.05 * median(signal[weights > 0])), 0)
    limit = 4 * median(np.abs(values[weights > 0]))
    np.testing.assert_allclose(out, np.clip(values, -limit, limit), atol=1e-9)
    coarse.contrast(np.full((6, 7), 3.0), np.ones((6, 7)), np.full((6, 7), 3.0), 0.0, out[:6, :7])
    assert not out[:6, :7].any()


@pytest.mark.parametrize(("start", "step"), [((13.0, 16.0), 1.0), ((9.0, 21.0), 4.0), ((12.1, 17.2), 1.0)])
def test_climb_ends_where_no_step_leads_higher(start, step):
    y, x = np.indices((30, 33))
    contrast, weights = np.cos(1.1 * np.hypot(x - 12.3, y - 16.8)), np.ones((30, 33))
    sums = np.empty((46, 2))
    first = coarse.profile_score(contrast, weights, *start, sums)
    best, cx, cy = coarse.climb(contrast, weights, first, *start, step, sums)
    assert best >= first
    assert math.dist((cx, cy), (12.3, 16.8)) < 0.35
    assert best == pytest.approx(max(naive.profile_score(contrast, weights, (u, v), 46) for u in np.arange(11, 14, 0.1)
                                     for v in np.arange(15, 18, 0.1)), rel=0.1)


def test_slopes_vote_for_the_middle_of_rings():
    y, x = np.indices((40, 44))
    contrast, weights = np.cos(1.1 * np.hypot(x - 18.2, y - 23.7)), np.ones((40, 44))
    weights[:10, :12] = 0
    votes = np.empty_like(contrast)
    assert coarse.slope_votes(contrast, weights, 4.0, votes)
    row, column = np.unravel_index(votes.argmax(), votes.shape)
    assert math.dist((column, row), (18.2, 23.7)) < 1.5
    assert not coarse.slope_votes(contrast, np.zeros_like(weights), 4.0, votes)


@pytest.mark.parametrize("gaps", [(), (0, 1, 2), (20, 21, 39), (1, 37, 38, 39)])
def test_expected_light(gaps):
    profile = np.random.default_rng(23).exponential(1.0, 40) * (np.arange(40) > 6)
    profile[list(gaps)] = np.nan
    filled, expected = profile.copy(), np.empty(40)
    start = coarse.expected_light(filled, 0.05, expected)
    known = np.isfinite(profile)
    whole = np.interp(np.arange(40), np.flatnonzero(known), profile[known])
    np.testing.assert_allclose(filled, whole, rtol=1e-12)
    likely = np.minimum(whole, ndimage.median_filter(whole, 11, mode="nearest"))
    np.testing.assert_allclose(expected, likely, rtol=1e-12)
    lit = [whole[i] > max(0.05, 0.3 * likely[i:i + 13].max()) for i in range(40)]
    assert start == next((i for i in range(38) if all(lit[i:i + 3])), 0)


def test_add_darker():
    rng = np.random.default_rng(24)
    values, usable = rng.normal(1, 1, (15, 21)), (rng.random((15, 21)) < 0.8).astype(float)
    away, expected = np.empty(values.shape, np.int32), rng.normal(1, 1, 12)
    coarse.distances(8.4, 3.7, 0.0, 0.0, 11, away)
    flags = (rng.random(values.shape) < 0.1).astype(np.uint8)
    limits = np.minimum(0.3 * expected, expected - 5 * 0.1 * np.sqrt(np.maximum(expected, 0)))
    wanted = (flags > 0) | ((values < limits[away]) & (usable > 0))
    coarse.add_darker(values, usable, away, expected, 0.3, 0.1, flags)
    np.testing.assert_array_equal(flags, wanted)


@pytest.mark.parametrize("by", [0, 1, 3, 40])
def test_grow_like_scipy(by):
    flags = (np.random.default_rng(25).random((23, 17)) < 0.02).astype(np.uint8)
    out = np.empty_like(flags)
    coarse.grow(flags, by, out)
    np.testing.assert_array_equal(out, ndimage.maximum_filter(flags, 2 * by + 1, mode="constant"))


def test_slope_tensor():
    rng = np.random.default_rng(16)
    contrast, usable = rng.normal(size=(14, 18)), (rng.random((14, 18)) < 0.8).astype(float)
    tensor = np.empty((3, 14, 18))
    coarse.slope_tensor(contrast, usable, *tensor)
    gy, gx = (2 * g for g in np.gradient(contrast))
    inside = np.pad(usable[1:-1, 1:-1], 1)
    np.testing.assert_allclose(tensor, np.array([gx * gx, gx * gy, gy * gy]) * inside, atol=1e-12)


def test_votes_meet_at_the_centre_of_a_ring():
    y, x = np.indices((48, 56)).astype(float)
    r = np.hypot(x - 30.5, y - 20.5)
    contrast, usable = np.exp(-0.5 * ((r - 14) / 2) ** 2), np.ones(r.shape)
    tensor, votes = np.empty((3, 48, 56)), np.empty((48, 56))
    coarse.slope_tensor(contrast, usable, *tensor)
    coarse.radial_votes(*tensor, usable, np.median(tensor[0] + tensor[2]), 3.0, votes)
    row, column = np.unravel_index(ndimage.uniform_filter(votes, 3).argmax(), votes.shape)
    assert abs(row - 20.5) <= 1.5
    assert abs(column - 30.5) <= 1.5


# ----------------------------------------------------------------------------------------------------------------- profile


def test_robust_profile():
    rng = np.random.default_rng(17)
    table = np.zeros((32, 15, 4))
    table[..., 0] = rng.integers(0, 30, (32, 15))
    table[..., 1] = rng.normal(50, 5, (32, 15)) * table[..., 0]
    table[..., 3] = table[..., 1] ** 2 / np.maximum(table[..., 0], 1) + 9 * table[..., 0]
    table[rng.random((32, 15)) < 0.1, 1] = np.nan
    table[2, :, 1] *= 1000  # a spot
    table[3:, 7, 0] = 0
    mean, error, coverage = np.empty((3, 15))
    profile.robust_profile(table, mean, error, coverage)
    np.testing.assert_allclose(mean, naive.robust_profile(table, profile.TRIM), rtol=1e-9)
    assert error[7] == np.inf
    assert coverage[7] < 4 / 32
    assert (np.abs(mean - 50) < 4)[np.arange(15) != 7].all()


def test_judgement_of_rings():
    rng = np.random.default_rng(22)
    signal, variances, weights = rng.gamma(2, 5, (2, 5, 32)), rng.random((2, 5, 32)), rng.random((2, 32))
    signal[0, 1, 4] *= 100  # a spot
    variances[rng.random((2, 5, 32)) < 0.2] = np.inf
    variances[1, 1, 3:] = np.inf
    heights, even, typical = np.zeros((3, 4))
    shown = rings.judge_rings(signal, variances, weights, np.array([0, 2, 4]), 3.0, heights, even, typical)
    assert shown.tolist() == [True, True, True, False]
    for k, (g, p) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        known = np.isfinite(variances[g, p])
        used = signal[g, p, known & (weights[g] > 0.3)]
        assert typical[k] == pytest.approx(stats.trim_mean(signal[g, p, known], rings.TRIM))
        if shown[k]:
            kept = np.minimum(used, 3 * stats.trim_mean(used, rings.TRIM))
            assert (heights[k], even[k]) == pytest.approx((used.mean(), kept.sum() ** 2 / (len(kept) * (kept ** 2).sum())))
    assert even[1] < 0.95


def test_sectors_that_show_a_ring():
    """Those with at least half of the pixels that lie within a ring's crest, and the highest weight of the groups."""
    rng = np.random.default_rng(23)
    first, lo, step, ring_first = np.array([0, 12, 30]), np.array([20.0, 40.0]), np.array([0.5, 0.7]), np.array([0, 1, 3])
    radii, widths, by_group = np.array([23.0, 44.0, 48.0]), np.array([1.1, 1.3, 0.9]), rng.random((2, 16))
    table = np.zeros((16, 30, 4))
    table[..., 0] = rng.poisson(4, (16, 30)) * (rng.random((16, 1)) < 0.7)
    table[rng.random((16, 30)) < 0.1, 1] = np.nan
    usable = np.where(np.isfinite(table[..., 1]), table[..., 0], 0)
    expected, shown = np.zeros(16), np.zeros(16, bool)
    for radius, width, g in zip(radii, widths, (0, 1, 1), strict=True):
        places = lo[g] + step[g] * (np.arange(first[g + 1] - first[g]) + 0.5)
        crest = np.abs(places - radius) < 1.5 * width
        area = crest.sum() * step[g] * radius * 2 * np.pi / 16
        visible = usable[:, first[g]:first[g + 1]][:, crest].sum(axis=1) > 0.5 * area
        expected, shown = np.maximum(expected, np.where(visible, by_group[g], 0)), shown | visible
    weights, there = np.zeros(16), np.zeros(16, bool)
    rings.show_sectors(table, first, lo, step, ring_first, radii, widths, by_group, weights, there)
    np.testing.assert_array_equal(weights, expected)
    np.testing.assert_array_equal(there, shown)
    assert 0 < shown.sum() < 16


def test_robust_profile_is_scipys_trimmed_mean_where_all_sectors_weigh_the_same():
    values = np.random.default_rng(18).standard_t(2, (40, 6))
    table = np.stack([np.full_like(values, 4), 4 * values, 0 * values, 4 * values ** 2 + 1], axis=2)
    mean, error, coverage = np.empty((3, 6))
    profile.robust_profile(table, mean, error, coverage)
    np.testing.assert_allclose(mean, stats.trim_mean(values, profile.TRIM), rtol=1e-9)
    assert (coverage == 1).all()


def bumpy(rng, n=120):
    """A profile with a bump at 52.3 of width 2.4 and height 30, its error, and a gap where it is not known."""
    x = np.arange(n)
    error = rng.uniform(0.5, 1.5, n)
    mean = 100 - 0.4 * x + 0.002 * x ** 2 + 30 * np.exp(-0.5 * ((x - 52.3) / 2.4) ** 2) + error * rng.normal(size=n)
    error[48] = np.inf
    mean[48] = 1e6
    return x, mean, error


@pytest.mark.parametrize("phase", [0.0, 0.5])
@pytest.mark.parametrize("width", [0.8, 2.0, 8.5])
def test_fit_bumps_is_a_weighted_least_squares_fit_at_every_place(width, phase):
    x, mean, error = bumpy(np.random.default_rng(19))
    heights, precisions = np.empty((2, len(x)))
    profile.fit_bumps(mean, 1 / error ** 2, 0, phase, width, heights, precisions)
    for place in range(4, len(x) - 4):
        u = (x - place - phase) / width
        near = (np.abs(u) * width <= 3 * width + 1) & (error < np.inf)
        u = u[near]
        columns = np.array([np.exp(-0.5 * u * u), np.ones_like(u), u, u * u]) / error[near]
        best = np.linalg.lstsq(columns.T, mean[near] / error[near])[0]
        chi2 = np.sum((mean[near] / error[near] - best @ columns) ** 2) / max(near.sum() - 4, 1)
        variance = np.linalg.inv(columns @ columns.T)[0, 0] * max(chi2, 1)
        assert heights[place] == pytest.approx(best[0], rel=1e-6, abs=1e-6 * np.sqrt(variance))
        assert precisions[place] == pytest.approx(1 / variance, rel=1e-5)


@pytest.mark.parametrize("reach", [0, 2, 30])
def test_level_sectors(reach):
    rng = np.random.default_rng(29)
    table = rng.normal(5, 1, (8, 21, 4))
    table[..., 0] = rng.integers(0, 4, (8, 21))
    table[rng.random((8, 21)) < 0.1, 1] = np.nan
    table[:, 17, 0] = 0
    expected = naive.level_sectors(table, reach)
    profile.level_sectors(table, reach)
    np.testing.assert_allclose(table, expected, rtol=1e-12, atol=1e-12)


def test_errors_of_nothing_do_not_count():
    mean, error, coverage = np.array([0.0, 0, 0, 5, 9]), np.array([0.0, 0, 0, 1, 3]), np.ones(5)
    profile.admit_doubt(mean, error, coverage, 0.2)
    np.testing.assert_allclose(error, np.hypot([0, 0, 0, 1, 3], 0.6), rtol=1e-9)


@pytest.mark.parametrize("number", [0, 1, 6, 7])
def test_admit_doubt(number):
    rng = np.random.default_rng(27)
    mean, error, coverage = rng.normal(size=9), rng.exponential(size=9), np.where(np.arange(9) < number, 0.3, 0.1)
    error[8] = np.inf
    expected = np.where(coverage < 0.2, np.inf, error)
    if number:
        least = 0.2 * np.median(error[:number]) + 1e-12 * np.abs(mean[:number]).max()
        expected = np.hypot(expected, least)
    profile.admit_doubt(mean, error, coverage, 0.2)
    np.testing.assert_allclose(error, expected, rtol=1e-14)


def test_fit_bumps_knows_nothing_where_nothing_is_known():
    heights, precisions = np.empty((2, 30))
    profile.fit_bumps(np.ones(10), np.zeros(10), -10, 0.5, 2.0, heights, precisions)
    assert not heights.any()
    assert not precisions.any()


def test_refine_bump_ends_where_scipy_does():
    x, mean, error = bumpy(np.random.default_rng(20))
    bump = np.array([51.4, 2.0, 20.0, 0.0])
    assert profile.refine_bump(mean, error, bump)

    def model(x, place, width, height, a, b, c):
        return height * np.exp(-0.5 * ((x - place) / width) ** 2) + a + b * (x - 52) + c * (x - 52) ** 2

    near = (abs(x - bump[0]) <= 3 * bump[1] + 1) & (error < np.inf)
    best, covariance = optimize.curve_fit(model, x[near], mean[near], [52, 2, 25, 80, 0, 0], error[near])
    # A weak pull towards the start remains, far below the errors.
    assert (abs(bump[:3] - best[:3]) < 0.3 * np.sqrt(np.diag(covariance))[:3]).all()
    assert not profile.refine_bump(100 - 0.4 * x.astype(float), np.ones(len(x)), np.array([51.4, 2.0, 20.0, 0.0]))


def test_rings_in_a_profile():
    rng, x = np.random.default_rng(21), np.arange(150)
    mean = 300 * np.exp(-x / 20) + 20
    for place, width, height in ((40.2, 2.0, 25.0), (70.6, 3.0, 60.0), (110.1, 1.5, 12.0)):
        mean += height * np.exp(-0.5 * ((x - place) / width) ** 2)
    mean += rng.normal(0, 0.5, 150)
    widths, found = np.array([0.8, 1.1, 1.5, 2.1, 3.0, 4.2, 6.0]), np.zeros((6, 4))
    number = profile.find_rings(mean.copy(), np.full(150, 0.5), widths, 4.0, 2.2, found)
    assert number >= 3
    strongest = found[:3]
    np.testing.assert_allclose(np.sort(strongest[:, 0]), [40.2, 70.6, 110.1], atol=0.4)
    np.testing.assert_allclose(strongest[np.argsort(strongest[:, 0]), 2], [25, 60, 12], rtol=0.2)
    assert profile.find_rings(20 + rng.normal(0, 0.5, 150), np.full(150, 0.5), widths, 6.0, 2.2, found) == 0


def test_a_ring_in_a_bump_that_no_fit_keeps():
    """Three rings with long tails stand out most clearly as one of 8 bins, which runs away: then a narrower one is found."""
    bump = [0, 3, 4, 6, 9, 16, 22, 35, 49, 64, 80, 92, 98, 100, 105, 111, 123, 141, 160, 172, 173, 162, 139, 116, 96, 80, 70,
            64, 56, 48, 38, 30, 23, 15, 13, 9, 6, 5, 4, 3, 2, 2]
    mean, widths = np.pad(np.array(bump, float), 50), np.array([0.5, 0.8, 1.1, 1.5, 2.1, 3.0, 4.2, 6.0, 8.5, 12.0, 17.0])
    found = np.zeros((10, 4))
    number = profile.find_rings(mean, np.full(len(mean), 0.8), widths, 4.0, 2.2, found)
    assert number > 0
    assert abs(found[0, 0] - 69.7) < 0.5


def test_rings_are_subtracted_by_their_mean_over_each_bin():
    radii, widths, heights = np.array([12.3, 20.0, 39.6]), np.array([0.4, 3.0, 1.0]), np.array([50.0, 20.0, 30.0])
    fine = (np.arange(40 * 100) + 0.5) / 100
    shapes = heights * np.exp(-0.5 * ((fine[:, None] - radii) / widths) ** 2)
    for skipped in (-1, 1):
        mean = np.full(40, 7.0)
        profile.subtract_rings(mean, radii, widths, heights, skipped)
        expected = 7 - np.delete(shapes, [skipped] * (skipped >= 0), axis=1).sum(axis=1).reshape(40, 100).mean(axis=1)
        np.testing.assert_allclose(mean, expected, atol=1e-3)


def test_feet():
    x, error = np.arange(120) + 0.5, np.full(120, 0.2)

    def feet(mean, error=error):
        return profile.count_feet(mean, error, np.array([60.0]), np.array([2.5]), np.array([40.0]), 0.1, 2.0).item()

    ring = 10 + 40 * np.exp(-0.5 * ((x - 60) / 2.5) ** 2)
    assert feet(ring) == 2
    assert feet(ring, np.where(x > 61, np.inf, error)) == 1
    assert feet(10 + 80 / (1 + np.exp((x - 60) / 2))) == 0
    assert feet(10 + 40 * np.exp(-0.5 * (x / 40) ** 2)) == 0
