"""Radial profiles, hits and stacks in files, beside the published algorithms written out, pyFAI, scikit-ued and HDF5 itself.

The published algorithms stand in tests/naive_image.py. Patterns of stacks are an eighth of what ``--size`` asks for in each
direction, those in files a quarter.
"""

import functools
import time

import h5py
import numpy as np
import pytest

from edfast.image import fix_artifact, hit_find, hit_find_pearson, radial_profile, radial_profile_stack
from edfast.image.preprocess import hit_scores
from edfast.kernels._bands import in_bands
from edfast.kernels._jit import jit
from tests import naive_image as naive

FRAMES = 400


def compare(benchmark, group, program, function, *args):
    benchmark.group, benchmark.extra_info["program"] = group, program
    function(*args)  # compiled
    start = time.perf_counter()
    function(*args)
    # Half a second of each: it takes some twenty reads until 200 MB of data are where they stay.
    rounds = min(max(int(0.5 / (time.perf_counter() - start)), 7), 50)
    return benchmark.pedantic(function, args, rounds=rounds, iterations=1, warmup_rounds=rounds // 2)


@pytest.fixture(scope="module")
def center(size):
    return 0.5 * size - 0.7, 0.5 * size + 6.3


@pytest.fixture(scope="module")
def stack(size):
    """Patterns, float64: (stack, background, radii_range)."""
    side = max(size // 8, 16)
    rng = np.random.default_rng(0)
    radii = naive.distances((side + 4, side + 1), (side / 2, side / 2))
    background = 3 + 10 * np.exp(-((radii - 0.3 * side) / (0.1 * side)) ** 2)
    patterns = rng.normal(background, 2, (FRAMES, *background.shape))
    patterns[::7] += rng.normal(0, 3, patterns[::7].shape)
    return patterns, background, [side / 2, side / 2, 0.04 * side, 0.39 * side]


@jit(fastmath=True)
def _sum(values):
    total = 0.0
    for i in range(values.size):
        total += values[i]
    return total


def read_once(stack):
    """One look at each pixel, on all cores: nothing that uses the data can be faster."""
    values = stack.reshape(-1)
    return sum(in_bands(lambda a, b: _sum(values[a:b]), values.size, values.size))


@functools.cache
def pyfai_integrator(shape, center):
    from pyFAI.detectors import Detector
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

    return AzimuthalIntegrator(100.0, (center[0] + 0.5) * 1e-4, (center[1] + 0.5) * 1e-4,
                               detector=Detector(1e-4, 1e-4, max_shape=shape))


def pyfai_profile(image, center, method="csc"):
    """PyFAI's fastest for one centre, mean and standard deviation; its sparse matrix is kept between calls."""
    bins = int(np.hypot(*image.shape) / 2) + 1
    return pyfai_integrator(image.shape, center).integrate1d(image, bins, unit="r_mm", method=("no", method, "cython"),
                                                             correctSolidAngle=False, error_model="azimuthal")


def moved(image, center):
    """Another centre at each call: nothing is kept."""
    moved.calls += 1
    return radial_profile(image, (center[0] + 1e-3 * moved.calls, center[1]))


moved.calls = 0
PROFILES = {"edfast": radial_profile, "edfast, centre moved": moved, "pyFAI, CSC": pyfai_profile,
            "pyFAI, CSR": functools.partial(pyfai_profile, method="csr"),
            "pyFAI, histogram": functools.partial(pyfai_profile, method="histogram"),
            "the published algorithm": naive.published_radial_profile}
HITS = {"edfast": hit_find, "one read of the data": lambda patterns, *_: read_once(patterns),
        "the published algorithm": lambda patterns, b, radii: naive.published_hit_find(patterns, b, radii[:2], *radii[2:])}
PEARSON = {"edfast": hit_find_pearson, "one read of the data": lambda patterns, *_: read_once(patterns),
           "the published algorithm": lambda patterns, b, radii: naive.published_pearson(
               patterns, b, radii[:2], int(radii[2]), int(radii[3]))}


@pytest.mark.parametrize("program", PROFILES)
def test_radial_profile(benchmark, ring_image, center, program):
    found = compare(benchmark, "radial_profile, mean and deviation", program, PROFILES[program], ring_image, center)
    if program == "edfast":
        np.testing.assert_allclose(found, naive.published_radial_profile(ring_image, center), rtol=1e-5, atol=1e-5)


def test_radial_profile_scikit_ued(benchmark, ring_image, center):
    skued = pytest.importorskip("skued")
    compare(benchmark, "radial_profile, mean and deviation", "scikit-ued (whole centre, mean alone)",
            lambda image, at: skued.azimuthal_average(image, at), ring_image, tuple(map(round, center)))


@pytest.mark.parametrize("program", ["edfast", "the published algorithm"])
def test_radial_profile_stack(benchmark, stack, program):
    patterns, _, radii = stack
    function = functools.partial(radial_profile_stack, center=radii[:2]) if program == "edfast" else \
        lambda patterns: [naive.published_radial_profile(pattern, radii[:2]) for pattern in patterns]
    compare(benchmark, "radial_profile_stack", program, function, patterns[:100])


@pytest.mark.parametrize("program", HITS)
def test_hit_find(benchmark, stack, program):
    found = compare(benchmark, "hit_find, annulus", program, HITS[program], *stack)
    if program == "edfast":
        assert found.nonzero()[0].tolist() == list(range(0, FRAMES, 7))


@pytest.mark.parametrize("program", PEARSON)
def test_hit_find_pearson(benchmark, stack, program):
    compare(benchmark, "hit_find_pearson, annulus", program, PEARSON[program], *stack)


@pytest.mark.parametrize("program", ["edfast", "the naive twin"])
def test_fix_artifact(benchmark, stack, program):
    patterns, background, radii = stack
    bad = np.random.default_rng(1).random(background.shape) < 0.003
    function = {"edfast": fix_artifact, "the naive twin": naive.fix_artifact}[program]
    compare(benchmark, "fix_artifact, 10 patterns", program, function, patterns[:10].copy(), radii[:2], bad)


FILES = {"contiguous": {}, "chunked": {"chunks": True}, "bitshuffle": {"bitshuffle": True}}


@pytest.fixture(scope="module", params=FILES)
def file(request, size, tmp_path_factory):
    """A stack of uint16 in an HDF5 file, in the page cache: (layout, data set, background)."""
    side = max(size // 4, 16)
    chunks = {"chunks": (4, side, side)} if FILES[request.param] else {}
    if FILES[request.param].get("bitshuffle"):
        chunks |= pytest.importorskip("hdf5plugin").Bitshuffle()
    rng = np.random.default_rng(2)
    path = tmp_path_factory.mktemp("stacks") / "stack.h5"
    frames = rng.poisson(10, (16, side, side)).astype(np.uint16)
    with h5py.File(path, "w") as opened:
        data = opened.create_dataset("x", (1024, side, side), np.uint16, **chunks)
        for start in range(0, 1024, 16):
            data[start:start + 16] = frames + np.uint16(start % 5)
    with h5py.File(path) as opened:
        yield request.param, opened["x"], rng.random((side, side))


def read_file(data, _background):
    """HDF5's own reading, into one buffer."""
    buffer = np.empty((16, *data.shape[1:]), data.dtype)
    for start in range(0, len(data), 16):
        data.read_direct(buffer, np.s_[start:start + 16])


@pytest.mark.parametrize("program", ["edfast", "HDF5 reading alone"])
def test_scores_of_a_file(benchmark, file, program):
    layout, data, background = file
    function = hit_scores if program == "edfast" else read_file
    compare(benchmark, f"hit_scores of a file, {layout}", program, function, data, background)
