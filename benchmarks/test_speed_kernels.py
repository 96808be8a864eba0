"""Each kernel beside what numpy, scipy and scikit-image offer for the same step; on a small image beside its naive twin."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import threshold_otsu

from edfast.kernels import beam, ellipse
from edfast.recalibration import center_to_poni
from tests import naive

NO_MASK = ellipse.NO_MASK.reshape(-1)


def otsu(image):
    pixels = image.reshape(-1)
    low, high, _, check = ellipse.finite_extremes(pixels, NO_MASK)
    return ellipse.float_otsu(pixels, NO_MASK, low, high, check)


def regions(image, cut):
    starts, ends, first = ellipse.bright_runs(image, ellipse.NO_MASK, image.dtype.type(cut), image.max())
    return ellipse.regions_of_runs(starts, ends, first, 1, image.shape[1])[1]


def compare(benchmark, group, programs, program, *args):
    benchmark.group, benchmark.extra_info["program"] = group, program
    return benchmark(programs[program], *args)


EXTREMES = {"edfast": lambda image: ellipse.finite_extremes(image.reshape(-1), NO_MASK)[:2],
            "numpy": lambda image: (image.min(), image.max())}
OTSU = {"edfast": otsu, "scikit-image": threshold_otsu}
REGIONS = {"edfast": regions, "scipy": lambda image, cut: ndimage.label(image >= cut, np.ones((3, 3)))[1]}
MAXIMUM = {"edfast": lambda image: ellipse.maximum(image.reshape(-1), NO_MASK), "numpy": np.argmax}
CENTROID = {"edfast": lambda image: beam.direct_beam(image, ellipse.NO_MASK)[:2],
            "scipy": lambda image: ndimage.center_of_mass(image > 0.5 * image.max())[::-1]}
SMALL_OTSU = {"edfast": otsu, "naive": naive.otsu}
SMALL_REGIONS = {"edfast": regions, "naive": lambda image, cut: len(naive.regions(image >= cut, corners=True))}


@pytest.mark.parametrize("program", EXTREMES)
def test_extremes(benchmark, ring_image, program):
    assert compare(benchmark, "kernel: extremes", EXTREMES, program, ring_image) == EXTREMES["numpy"](ring_image)


@pytest.mark.parametrize("program", OTSU)
def test_otsu(benchmark, ring_image, program):
    assert compare(benchmark, "kernel: Otsu's threshold", OTSU, program, ring_image) == threshold_otsu(ring_image)


@pytest.mark.parametrize("program", REGIONS)
@pytest.mark.parametrize("image", ["ring_image", "noise_image"])
def test_regions(benchmark, request, image, program):
    pixels = request.getfixturevalue(image)
    cut = pixels.dtype.type(threshold_otsu(pixels))
    found = compare(benchmark, f"kernel: regions, {image.removesuffix('_image')}", REGIONS, program, pixels, cut)
    assert found == REGIONS["scipy"](pixels, cut)


@pytest.mark.parametrize("program", MAXIMUM)
def test_maximum(benchmark, ring_image, program):
    assert compare(benchmark, "kernel: first maximum", MAXIMUM, program, ring_image) == np.argmax(ring_image)


@pytest.mark.parametrize("program", CENTROID)
def test_beam_centroid(benchmark, spot_image, program):
    found = compare(benchmark, "kernel: centroid of the direct beam", CENTROID, program, spot_image)
    np.testing.assert_allclose(found, CENTROID["scipy"](spot_image), atol=0.5)


@pytest.mark.parametrize("program", SMALL_OTSU)
def test_otsu_naive(benchmark, small_image, program):
    found = compare(benchmark, "kernel: Otsu's threshold, 128 x 128", SMALL_OTSU, program, small_image)
    assert found == pytest.approx(naive.otsu(small_image))


@pytest.mark.parametrize("program", SMALL_REGIONS)
def test_regions_naive(benchmark, small_image, program):
    cut = small_image.dtype.type(threshold_otsu(small_image))
    found = compare(benchmark, "kernel: regions, 128 x 128", SMALL_REGIONS, program, small_image, cut)
    assert found == SMALL_REGIONS["naive"](small_image, cut)


@pytest.mark.benchmark(group="center_to_poni, 100 000 centres")
def test_center_to_poni(benchmark):
    benchmark.extra_info["program"] = "edfast"
    columns = np.linspace(0, 2047, 100_000)
    benchmark(center_to_poni, columns, columns[::-1], 5e-6, 5e-6, 0.25, 0.01, 0.02, 0.005)
