"""Spots of single crystallites among texture: found where they are, and none where there are none."""

import numpy as np
import pytest

from edfast.kernels import crystallites

LANES = 64
PLACES = np.arange(LANES) + 0.5
ALL = np.ones(LANES, bool)


def spot(place, width):
    """Means over the sectors, from many places in each."""
    t = np.arange(LANES)[:, None] + (np.arange(500) + 0.5) / 500
    return np.exp(-0.5 * (((t - place + LANES / 2) % LANES - LANES / 2) / width) ** 2).mean(axis=1)


def texture(seed, harmonics=6, spread=0.4):
    rng = np.random.default_rng(seed)
    waves = rng.normal(0, spread / np.sqrt(harmonics), (harmonics, 2)) @ np.array([1, 1j])
    orders = np.arange(1, harmonics + 1)[:, None]
    return np.exp((waves[:, None] * np.exp(2j * np.pi * orders * PLACES / LANES)).sum(axis=0).real)


def found(heights, width, error, known=ALL):
    spots = np.zeros((crystallites.SPOTS, 2))
    n = crystallites.find_spots(heights, np.full(LANES, error ** 2), known, width, spots)
    return spots[:n][np.argsort(spots[:n, 0])]


@pytest.mark.small
@pytest.mark.parametrize(("place", "width"), [(20.0, 1.3), (0.2, 0.5), (63.9, 2.0), (31.6, 0.9)])
def test_a_spot_along_a_ring(place, width):
    heights, slopes, (before, after) = np.empty(LANES), np.empty(LANES), np.empty((2, LANES))
    crystallites.along_ring(place, width, heights, slopes)
    np.testing.assert_allclose(heights, spot(place, width), atol=1e-5)
    crystallites.along_ring(place - 1e-3, width, before, np.empty(LANES))
    crystallites.along_ring(place + 1e-3, width, after, np.empty(LANES))
    np.testing.assert_allclose(slopes, (after - before) / 2e-3, atol=5e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("truth", [[(9.2, 2.0)], [(0.4, 5.0), (30.7, 1.5), (33.9, 3.0)]])
def test_spots_are_found_among_texture(truth, seed):
    even = 300 * texture(seed)
    heights = even + sum(300 * height * spot(place, 0.9) for place, height in truth)
    places, sizes = found(heights + np.random.default_rng(seed).normal(0, 3, LANES), 0.9, 3.0).T
    np.testing.assert_allclose(places, [place for place, _ in truth], atol=0.1)
    np.testing.assert_allclose(sizes, [300 * height for _, height in truth], rtol=0.1)


@pytest.mark.parametrize("seed", range(10))
def test_texture_alone_has_no_spots(seed):
    noise = np.random.default_rng(seed).normal(0, 3, LANES)
    assert len(found(300 + noise, 0.9, 3.0)) == 0
    assert len(found(300 * texture(seed) + noise, 0.9, 3.0)) == 0


@pytest.mark.small
def test_a_spot_beside_a_gap():
    known = ALL.copy()
    known[20:30] = False
    heights = 100 * texture(1) + 400 * spot(32.0, 0.9)
    heights[~known] = np.nan
    (place, height), = found(heights, 0.9, 1.0, known)
    assert abs(place - 32) < 0.1
    assert abs(height - 400) < 40
