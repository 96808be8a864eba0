"""Densities of structures and features of patterns, beside gemmi, scipy and the published algorithm written out."""

import gemmi
import numpy as np
import pytest
from scipy.fft import fftn, ifftn, next_fast_len

from edfast.image import pdb2density, xyz2pdb
from edfast.image._features import pattern_features
from edfast.image.quat import quat_mul, rotv
from tests import naive_image_io as naive

RESOLUTION = 2.0
PATTERNS = 1500


def compare(benchmark, group, programs, program, *args, rounds=7):
    benchmark.group, benchmark.extra_info["program"] = group, program
    programs[program](*args)  # compiled, and in the caches
    return benchmark.pedantic(programs[program], args, rounds=rounds, iterations=1)


@pytest.fixture(scope="module")
def structure(tmp_path_factory, size):
    """A ball of protein-like atoms, as many as 1N0U1 has (6904), or fewer for small benchmarks."""
    rng = np.random.default_rng(0)
    count = max(60, min(6904, 6904 * size // 2048))
    radius = (count / 0.012) ** (1 / 3)  # a protein has an atom in about 20 cubic Angstrom; this one is as loose as 1N0U1
    directions = rng.normal(size=(count, 3))
    places = directions / np.linalg.norm(directions, axis=1)[:, None] * radius * rng.random((count, 1)) ** (1 / 3)
    path = tmp_path_factory.mktemp("structure") / "ball.pdb"
    xyz2pdb(places, rng.choice(["C", "N", "O"], count, p=[0.6, 0.16, 0.24]), rng.uniform(16, 86, count), path)
    return path


@pytest.fixture(scope="module")
def patterns(size):
    """Photon counts of single and double hits, int64 as files of patterns often have them."""
    return naive.hits(max(20, PATTERNS * size // 2048), max(16, min(128, size // 16)))[0].astype(np.int64)


def gemmi_density(path):
    """The same job by gemmi and scipy: spread on a fine grid, transform, sharpen, cut at the resolution, transform back."""
    structure = gemmi.read_structure(str(path))
    atoms = np.array([place.atom.pos.tolist() for place in structure[0].all()])
    n = next_fast_len(int(np.ceil(2 * (np.ptp(atoms, axis=0).max() + 16) / RESOLUTION)) | 1)
    length = n * RESOLUTION / 2
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(length, length, length, 90, 90, 90), "P 1"
    calculator = gemmi.DensityCalculatorX()
    calculator.d_min, calculator.rate = RESOLUTION, 1.5
    calculator.set_refmac_compatible_blur(structure[0])
    calculator.set_grid_cell_and_spacegroup(structure)
    calculator.put_model_density_on_grid(structure[0])
    fine = np.array(calculator.grid, copy=False)
    index = np.fft.fftfreq(fine.shape[0], 1 / fine.shape[0])
    s2 = ((index**2)[:, None, None] + (index**2)[:, None] + index**2) / length**2
    factors = np.where(s2 <= RESOLUTION**-2, fftn(fine, workers=2) * np.exp(calculator.blur / 4 * np.minimum(s2, 1)), 0)
    at = np.arange(-(n // 2), n - n // 2)
    coarse = np.zeros((n, n, n), factors.dtype)
    coarse[np.ix_(at, at, at)] = factors[np.ix_(at, at, at)]
    return ifftn(coarse, workers=2).real * (n / fine.shape[0]) ** 3


DENSITY = {"edfast": lambda path: pdb2density(path, RESOLUTION), "gemmi and scipy": gemmi_density}
FEATURES = {"edfast": lambda patterns: pattern_features(patterns, None, 0.3),
            "published": lambda patterns: naive.pattern_features(patterns, np.zeros(patterns.shape[1:], bool), 0.3)}
ROTATIONS = {"edfast": lambda q, v: rotv(v, quat_mul(q, q[::-1])),
             "scipy": lambda q, v: (_rotation(q) * _rotation(q[::-1])).apply(v)}


def _rotation(q):
    from scipy.spatial.transform import Rotation

    return Rotation.from_quat(q, scalar_first=True)


@pytest.mark.parametrize("program", DENSITY)
def test_density(benchmark, structure, program):
    density = compare(benchmark, "pdb2density, 6904 atoms at 2 Angstrom", DENSITY, program, structure, rounds=5)
    atoms = [place.atom.element.atomic_number for place in gemmi.read_structure(str(structure))[0].all()]
    assert density.sum(dtype=float) * (RESOLUTION / 2) ** 3 == pytest.approx(sum(atoms), rel=5e-3)


@pytest.mark.parametrize("program", FEATURES)
def test_features(benchmark, patterns, program):
    group = f"cluster_fSpec up to the decomposition, {' x '.join(map(str, patterns.shape))} int64"
    features = compare(benchmark, group, FEATURES, program, patterns, rounds=5 if program == "edfast" else 2)
    expected = naive.pattern_features(patterns, np.zeros(patterns.shape[1:], bool), 0.3)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), np.linalg.norm(expected, axis=1), rtol=1e-4)


@pytest.mark.parametrize("program", ROTATIONS)
def test_rotations(benchmark, program):
    rng = np.random.default_rng(0)
    q, v = rng.normal(size=(100_000, 4)), rng.normal(size=(100_000, 3))
    found = compare(benchmark, "100 000 vectors turned by products of quaternions", ROTATIONS, program, q, v)
    np.testing.assert_allclose(found, ROTATIONS["scipy"](q, v), rtol=0, atol=1e-12)
