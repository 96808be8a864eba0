"""Options and images of the benchmarks."""

import numpy as np
import pytest

from edfast.geometry import Poni
from edfast.simulate import BeamStop, ring_pattern, write_dm4


def pytest_addoption(parser):
    parser.addoption("--size", type=int, default=2048, help="side of the benchmark images [pixel]")


@pytest.fixture(scope="session")
def size(request):
    return request.config.getoption("--size")


@pytest.fixture(scope="session")
def ring_image(size):
    """One bright ring on a background, float32, with Poisson noise."""
    return ring_pattern((size, size), (0.48 * size, 0.51 * size), [0.25 * size], widths=0.01 * size, amplitudes=1000,
                        background=60, direct_beam=0, random_state=0)[0]


@pytest.fixture(scope="session")
def stop_image(size):
    """Rings behind a beam stop, uint16."""
    return ring_pattern((size, size), (0.48 * size, 0.51 * size), [0.15 * size, 0.25 * size, 0.3 * size], widths=0.006 * size,
                        amplitudes=[300, 500, 200], background=40, background_decay=0.3 * size,
                        beamstop=BeamStop(0.06 * size), dtype=np.uint16, random_state=0)[0]


@pytest.fixture(scope="session")
def noise_image(size):
    """White noise: half of the pixels are brighter than its Otsu threshold."""
    return np.random.default_rng(0).random((size, size), np.float32)


@pytest.fixture(scope="session")
def dm4_and_poni(tmp_path_factory, ring_image, size):
    """A ring image as a DM4 file (in the page cache once it was read), and a PONI file for it."""
    from edfast.geometry import write_poni

    folder = tmp_path_factory.mktemp("recalibration")
    write_dm4(folder / "ring.dm4", ring_image, voltage_kv=200, pixel_size=5.0, exposure_time=1.0)
    half = size * 5e-6 / 2
    write_poni(folder / "cal.poni", Poni(0.25, half, half, 0.002, 0.001, 0.0, 2.5e-12, 5e-6, 5e-6, (size, size)))
    return folder / "ring.dm4", folder / "cal.poni"


@pytest.fixture(scope="session")
def spot_image(size):
    """A direct beam alone, float32."""
    return ring_pattern((size, size), (0.48 * size, 0.51 * size), [], direct_beam=1000, direct_beam_width=0.01 * size,
                        background=20, random_state=0)[0]


@pytest.fixture(scope="session")
def small_image():
    """A ring that the naive twins can manage."""
    return ring_pattern((128, 128), (61, 66), [40], widths=2.5, amplitudes=100, random_state=0)[0]
