"""The camera length from a whole profile: on profiles with a known truth, blends among them."""

import numpy as np

from edfast._matching import Lines, Pattern
from edfast._pawley import fit_profile

LENGTH, WIDTH = 1000.0, 2.0
TANGENT = np.array([0.06, 0.0635, 0.0642, 0.09, 0.105, 0.1068, 0.14, 0.1414])     # four of them blend in pairs
HEIGHT = np.array([50.0, 90.0, 60.0, 40.0, 25.0, 35.0, 20.0, 12.0])
LINES = Lines(TANGENT, TANGENT**2, HEIGHT)


def profile(rng, noise=0.3, *, stranger=0.0):
    place = np.arange(170) + 0.5 + rng.uniform(-0.05, 0.05, 170)
    mean = 30 + 200 * np.exp(-place / 40) + stranger * np.exp(-0.5 * ((place - 120) / WIDTH) ** 2)
    for tangent, height in zip(TANGENT, HEIGHT, strict=True):
        mean += height * np.exp(-0.5 * ((place - LENGTH * tangent) / WIDTH) ** 2)
    error = np.full(170, noise)
    error[60] = np.inf
    mean = mean + rng.normal(0, noise, 170)
    return Pattern(np.array([60.0]), np.array([0.1]), np.array([50.0]), WIDTH, 40.0, 165.0, place, mean, mean, error)


def test_blends_with_other_heights_than_the_structure_says():
    rng = np.random.default_rng(5)
    pulls = []
    for _ in range(40):
        wrong = HEIGHT * np.exp(rng.normal(0, 0.35, len(HEIGHT)))
        found = fit_profile(profile(rng), LINES, LENGTH * rng.uniform(0.9985, 1.0015), wrong, np.zeros(0))
        assert found.error < 3e-4 * LENGTH
        np.testing.assert_allclose(found.heights[[0, 3]], HEIGHT[[0, 3]], rtol=0.05)
        pulls.append((found.length - LENGTH) / found.error)
    assert 0.7 < np.sqrt(np.mean(np.square(pulls))) < 1.3


def test_a_ring_without_a_reflection_does_no_harm():
    pattern = profile(np.random.default_rng(6), stranger=80.0)
    with_it = fit_profile(pattern, LINES, LENGTH, HEIGHT, np.array([120.0]))
    without = fit_profile(pattern, LINES, LENGTH, HEIGHT, np.zeros(0))
    assert abs(with_it.length - LENGTH) < 4 * with_it.error
    assert with_it.error < without.error


def test_too_little_to_tell():
    pattern = profile(np.random.default_rng(7))
    assert fit_profile(pattern, LINES, LENGTH, np.where(HEIGHT == 90, 90.0, 0.0), np.zeros(0)) is None
    assert fit_profile(pattern._replace(outer=60.0), LINES, LENGTH, HEIGHT, np.zeros(0)) is None
    assert fit_profile(pattern._replace(error=np.full(170, np.inf)), LINES, LENGTH, HEIGHT, np.zeros(0)) is None
