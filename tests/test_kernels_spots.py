"""Spots on a ring: what they do to its sectors, against the pattern itself."""

import numpy as np
import pytest
from scipy import optimize

from edfast.kernels import spots

pytestmark = pytest.mark.small
RADIUS, LANES = 53.0, 64
ANGLES = (np.arange(LANES) + 0.5) * 2 * np.pi / LANES
NOISE = np.full(LANES, 1e-6)
SEEN = np.ones(LANES, bool)


def sectors_of(width, spots_, texture=lambda angle: 1.0):
    """Height and place, less that of the ring, of a Gaussian fitted to each sector of a ring with spots (angle, height)."""
    r = RADIUS + np.linspace(-4, 4, 41) * width

    def gaussian(r, height, place, width):
        return height * np.exp(-0.5 * ((r - place) / width) ** 2)

    heights, places = np.empty((2, LANES))
    for j, middle in enumerate(ANGLES):
        profile = 0.0
        for angle in middle + (np.arange(15) - 7) / 15 * 2 * np.pi / LANES:
            profile = profile + texture(angle) * gaussian(r, 1, RADIUS, width)
            for where, height in spots_:
                square = r ** 2 + RADIUS ** 2 - 2 * r * RADIUS * np.cos(angle - where)
                profile = profile + height * np.exp(-0.5 * square / width ** 2)
        (heights[j], place, _), _ = optimize.curve_fit(gaussian, r, profile / 15, p0=(1, RADIUS, width))
        places[j] = place - RADIUS
    return heights, places


@pytest.mark.parametrize(("place", "arc", "width"), [(0.0, 5.2, 6.2), (0.4, 5.2, 2.0), (-0.5, 6.0, 0.8)])
def test_a_spot_in_its_sectors(place, arc, width):
    heights, moments = np.empty((2, 9))
    spots.spot_in_sectors(place, arc, width, 4, heights, moments)
    d = (np.arange(-4, 5)[:, None] + (np.arange(2000) + 0.5) / 2000 - 0.5 - place) * arc
    spot = np.exp(-0.5 * (d / width) ** 2)
    np.testing.assert_allclose(heights, spot.mean(axis=1), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(moments, (spot * d * d).mean(axis=1), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("spots_", [[(1.0, 3.0)], [(0.3, 6.0), (0.62, 2.0), (4.0, 1.0)]])
@pytest.mark.parametrize("width", [2.0, 4.0, 6.2])
def test_spots_are_allowed_for(width, spots_):
    heights, places = sectors_of(width, spots_)
    shifts = np.empty(LANES)
    spots.shift_by_spots(heights, NOISE, SEEN, RADIUS, width, shifts)
    assert np.abs(places).max() > 0.02
    assert np.abs(shifts - places).max() < 0.2 * np.abs(places).max()
    # What would pass for a shift of the centre: next to nothing is left.
    for wave in (np.cos(ANGLES), np.sin(ANGLES)):
        assert abs(np.mean((shifts - places) * wave)) < 0.1 * np.abs(places).mean()


@pytest.mark.parametrize("texture", [
    np.ones_like, lambda angle: 1 + 0.5 * np.cos(3 * angle), lambda angle: np.exp(np.cos(2 * angle) + np.sin(5 * angle) / 2)])
def test_texture_is_no_spot(texture):
    shifts = np.empty(LANES)
    spots.shift_by_spots(texture(ANGLES), NOISE, SEEN, RADIUS, 4.0, shifts)
    np.testing.assert_array_equal(shifts, 0)


@pytest.mark.parametrize("spots_", [[(1.0, 4.0)], [(1.0, 4.0), (2.2, 0.8)], [(1.0, 1.5), (1.9, 3.0), (4.1, 2.0), (5.9, 6.0)]])
def test_spots_in_a_texture(spots_):
    """The smooth texture, which rises and falls as much as some of the spots, is not taken for a row of them."""
    heights, places = sectors_of(4.0, spots_, lambda angle: 1 + 0.5 * np.cos(3 * angle) + 0.3 * np.sin(angle))
    shifts = np.empty(LANES)
    spots.shift_by_spots(heights, NOISE, SEEN, RADIUS, 4.0, shifts)
    assert np.abs(shifts - places).max() < 0.2 * np.abs(places).max()
    seen = (ANGLES < 2.8) | (ANGLES > 3.6)
    hidden = np.empty(LANES)
    spots.shift_by_spots(np.where(seen, heights, -3.0), np.where(seen, NOISE, np.inf), seen, RADIUS, 4.0, hidden)
    assert (hidden[~seen] == 0).all()
    assert np.abs(hidden - places)[seen].max() < 0.2 * np.abs(places).max()


@pytest.mark.parametrize("seed", [1, 3, 5])
def test_a_crowd_of_spots(seed):
    """What lies between spots that overlap all round is not known: what exceeds the fainter sectors is taken for spots."""
    rng, shifts = np.random.default_rng(seed), np.empty(LANES)
    crowd = list(zip(rng.uniform(0, 2 * np.pi, 14), 3 * rng.exponential(1, 14), strict=True))
    heights, places = sectors_of(5.0, crowd, lambda angle: 1 + 0.3 * np.cos(3 * angle))
    spots.shift_by_spots(heights, NOISE, SEEN, RADIUS, 5.0, shifts)
    assert np.std(shifts - places) < 0.5 * np.std(places)


def test_the_height_of_a_spot_on_a_parabola():
    i, rng = np.arange(-6, 7), np.random.default_rng(0)
    shape = np.exp(-0.5 * ((i - 0.3) / 1.4) ** 2)
    values, rest, weights = rng.normal(size=13), np.empty(13), np.empty(13)
    parabola = np.stack([i ** 0, i, i ** 2], axis=1)
    spots.off_parabola(values, rest)
    np.testing.assert_allclose(rest, values - parabola @ np.linalg.lstsq(parabola, values)[0], atol=1e-12)
    spots.matched(shape, weights)
    fit = np.linalg.lstsq(np.column_stack([shape, parabola]), values)[0]
    assert weights @ values == pytest.approx(fit[0])


def test_gaps_are_filled_around_the_circle():
    values, seen = np.arange(8.0), np.array([False, True, True, False, False, True, False, False])
    spots.fill_gaps(values, seen)
    np.testing.assert_allclose(values, [2, 1, 2, 3, 4, 5, 4, 3])


def test_noise_is_no_texture():
    """A third of the shifts was left where it passed for one, which it did in every fifth case."""
    heights, places = sectors_of(6.0, [(0.3, 4.0), (1.3, 3.0), (1.8, 1.0), (2.3, 1.5)])
    shifts, noise = np.empty(LANES), 0.02
    for seed in range(60):
        noisy = heights + noise * np.random.default_rng(seed).normal(size=LANES)
        spots.shift_by_spots(noisy, np.full(LANES, noise ** 2), SEEN, RADIUS, 6.0, shifts)
        for wave in (np.cos(ANGLES), np.sin(ANGLES)):
            assert abs(np.mean((shifts - places) * wave)) < 0.1 * np.abs(places).mean(), seed


def test_noise_is_no_spot():
    rng, shifts = np.random.default_rng(0), np.empty(LANES)
    for _ in range(50):
        spots.shift_by_spots(1 + 0.05 * rng.normal(size=LANES), np.full(LANES, 0.05 ** 2), SEEN, RADIUS, 4.0, shifts)
        np.testing.assert_array_equal(shifts, 0)


@pytest.mark.parametrize(("heights", "seen", "width"), [
    (np.ones(LANES), np.arange(LANES) < 7, 4.0), (-np.ones(LANES), SEEN, 4.0), (np.ones(LANES), SEEN, -1.0),
    (np.ones(LANES), SEEN, 60.0)])
def test_where_nothing_can_be_said(heights, seen, width):
    shifts = np.ones(LANES)
    spots.shift_by_spots(heights, NOISE, seen, RADIUS, width, shifts)
    np.testing.assert_array_equal(shifts, 0)
