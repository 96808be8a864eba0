"""Where each ring stands: radii, centres and strains of rings that overlap, with errors that are right."""

import math

import numpy as np
import pytest

from edfast._places import N, Places, find_places
from edfast.rings import fit_ring


def overlapping(seed, rings):
    """Counts of rings (cx, cy, a, b, height), ellipses along the rows, 3 pixels wide, on a sloping background."""
    y, x = np.mgrid[:420, :440].astype(float)
    expected = 400 * np.exp(-np.hypot(x - 221, y - 208) / 150)
    for cx, cy, a, b, height in rings:
        mean = math.sqrt(a * b)
        expected += height * np.exp(-0.5 * ((np.hypot((x - cx) / a, (y - cy) / b) - 1) * mean / 3) ** 2)
    return np.random.default_rng(seed).poisson(expected)


# The second and the third overlap, the fourth and the fifth do so nearly.
RINGS = ((221.3, 207.8, 60.4, 60.0, 900), (221.1, 208.0, 95.5, 95.0, 600), (220.8, 208.2, 100.4, 100.1, 300),
         (220.5, 208.3, 150.6, 150.0, 400), (220.2, 208.5, 161.2, 160.7, 200))


@pytest.mark.parametrize("seed", range(3))
def test_rings_that_overlap(seed):
    image = overlapping(seed, RINGS)
    fit = fit_ring(image)
    truth = np.array([(math.sqrt(a * b), cx, cy, 0.5 * math.log(a / b), 0.0) for cx, cy, a, b, _ in RINGS])
    radii = truth[:, 0] + 0.4 * (-1.0) ** np.arange(5)
    found = find_places(image, None, fit, radii, np.array([row[4] for row in RINGS], float), np.arange(5), 3.3)
    stretch = 0.5 * math.log(fit.a / fit.b)
    start = 0, fit.cx, fit.cy, stretch * math.cos(2 * fit.angle), stretch * math.sin(2 * fit.angle)
    pulls = (found.values + np.column_stack([radii, np.tile(start[1:], (5, 1))]) - truth) / found.errors
    assert np.abs(pulls).max() < 4
    assert 0.6 < np.sqrt(np.mean(pulls**2)) < 1.5
    assert found.errors[:, :3].max() < 0.15
    assert found.width == pytest.approx(3.0, abs=0.1)


def test_reflections_of_one_ring_move_together():
    image = overlapping(0, RINGS)
    fit = fit_ring(image)
    truth = [math.sqrt(a * b) for _, _, a, b, _ in RINGS]
    heights = np.array([row[4] for row in RINGS], float)
    found = find_places(image, None, fit, np.add(truth, (0, 0.3, 0.3, 0, 0)), heights, np.array([0, 1, 1, 2, -1]), 3.0)
    assert found.values.shape == (3, N)
    assert found.values[:, 0] == pytest.approx([0, -0.3, 0], abs=0.06)


def test_nothing_is_told_of_a_ring_that_is_not_there():
    image = overlapping(0, RINGS)
    fit = fit_ring(image)
    radii = np.array([math.sqrt(a * b) for _, _, a, b, _ in RINGS] + [126.0])
    found = find_places(image, None, fit, radii, np.array([row[4] for row in RINGS] + [300.0]), np.arange(6), 3.0)
    assert found.errors[5, 0] > 0.5
    assert found.errors[:5, 0].max() < 0.1
    assert np.abs(found.values[:5, 0]).max() < 0.2
    nothing = Places(np.zeros((1, N)), np.zeros((N, N)), 1.0)
    assert np.isinf(nothing.errors).all()
