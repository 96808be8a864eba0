"""Kernels of the direct beam against slow, obvious twins: scipy's generic filters and labels."""

import numpy as np
import pytest
from scipy import ndimage

from edfast.kernels import beam

DTYPES = [np.uint8, np.int16, np.uint32, np.float32, np.float64]


def neighbourhoods(image, masked):
    """Sorted valid values of the 3 x 3 pixels around each pixel, as a dictionary of lists."""
    valid = np.isfinite(image) & ~masked
    found = {}
    for row, col in np.ndindex(image.shape):
        window = np.s_[max(row - 1, 0):row + 2, max(col - 1, 0):col + 2]
        found[row, col] = sorted(image[window][valid[window]].tolist())
    return found


def cases():
    rng = np.random.default_rng(2)
    for dtype in DTYPES:
        for shape in [(1, 1), (1, 7), (8, 1), (5, 6), (17, 23)]:
            image = rng.integers(0, 100, shape).astype(dtype)
            if image.dtype.kind == "f":
                image[rng.random(shape) < 0.1] = np.nan
                image[rng.random(shape) < 0.1] = np.inf
            for masked in (np.zeros(shape, bool), rng.random(shape) < 0.3, np.ones(shape, bool)):
                yield image, masked


def test_the_brightest_median():
    for image, masked in cases():
        expected = neighbourhoods(image, masked)
        medians = {key: values[(len(values) - 1) // 2] for key, values in expected.items()
                   if values and np.isfinite(image[key]) and not masked[key]}
        row, col, value = beam.brightest_median(image, masked, np.empty(9, image.dtype))
        if not medians:
            assert row == -1
            continue
        assert value == medians[row, col]
        # A median above this one can only be around pixels that are themselves no brighter than it.
        assert all(image[key] <= value for key, median in medians.items() if median > value)
        if not masked.any():
            assert beam.brightest_median(image, np.zeros((0, 0), bool), np.empty(9, image.dtype)) == (row, col, value)


def test_medians_and_largest_neighbours():
    for image, masked in cases():
        medians, neighbours = np.empty((2, *image.shape))
        beam.medians_and_neighbours(image, masked, 0, 0, np.empty(9, image.dtype), medians, neighbours)
        for key, values in neighbourhoods(image, masked).items():
            assert medians[key] == values[(len(values) - 1) // 2] if values else np.isnan(medians[key])
            if np.isfinite(image[key]) and not masked[key]:
                values.remove(image[key])
                assert neighbours[key] == values[-1] if values else np.isnan(neighbours[key])


@pytest.mark.parametrize("seed", range(5))
def test_the_region_is_the_connected_one(seed):
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.normal(size=(40, 51)), 2).astype(np.float32)
    masked = rng.random(image.shape) < 0.2
    found = neighbourhoods(image, masked)
    medians = np.reshape([values[(len(values) - 1) // 2] if values else np.nan for values in found.values()], image.shape)
    level = float(np.nanmedian(medians))
    labels, _ = ndimage.label(medians > level)
    for row, col in np.argwhere(medians > level)[::50]:
        scratch = np.zeros(image.shape, bool), np.empty(image.size, np.int64), np.empty(9, np.float32)
        y, x = np.nonzero(labels == labels[row, col])
        assert beam.grow(image, masked, row, col, level, *scratch) == (y.size, x.sum(), y.sum())


@pytest.mark.parametrize("dtype", DTYPES)
def test_background_is_the_median_of_what_is_valid(dtype):
    image = np.random.default_rng(0).integers(0, 50, (40, 50)).astype(dtype)
    masked = image > 40
    assert beam.background_level(image, masked) == np.median(image[~masked].reshape(-1))
    assert np.isnan(beam.background_level(image, np.ones(image.shape, bool)))
