"""From files to files: reading a DM4, reading and writing a PONI, and the whole recalibration beside the documented code."""

import logging

import numpy as np
import pyFAI
import pytest
from ncempy.io import dm
from rsciio.digitalmicrograph import file_reader

import edfast
from benchmarks import peers
from edfast.geometry import beam_center, poni_with_center, to_integrator
from edfast.simulate import ring_pattern, write_dm4

READ_DM4 = {"edfast": lambda path: edfast.load_data(path, verbose=False)[1],
            "ncempy": lambda path: dm.dmReader(str(path))["data"],
            "RosettaSciIO": lambda path: file_reader(str(path))[0]["data"]}
READ_PONI = {"edfast": lambda path: to_integrator(edfast.read_poni(path)), "pyFAI.load": lambda path: pyFAI.load(str(path))}
RECALIBRATE = {
    "edfast": lambda dm4, poni, output: edfast.recalibrate_with_beamstop(dm4, poni, output_ponifile=output),
    "edfast, method=ring": lambda dm4, poni, output: edfast.recalibrate_with_beamstop(
        dm4, poni, output_ponifile=output, method="ring", convention="pyfai"),
    "the documented code": peers.documented_recalibration}


@pytest.fixture(autouse=True)
def quiet():
    """Nothing of what pyFAI logs: it is one line for every file that it reads and writes."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("program", READ_DM4)
def test_read_dm4(benchmark, dm4_and_poni, ring_image, program):
    benchmark.group, benchmark.extra_info["program"] = "read a DM4 file", program
    np.testing.assert_array_equal(benchmark(READ_DM4[program], dm4_and_poni[0]), ring_image)


@pytest.mark.parametrize("program", READ_PONI)
def test_poni_to_integrator(benchmark, dm4_and_poni, program):
    benchmark.group, benchmark.extra_info["program"] = "PONI file to integrator", program
    assert benchmark(READ_PONI[program], dm4_and_poni[1]).dist == 0.25


@pytest.mark.parametrize("program", RECALIBRATE)
def test_recalibrate_with_beamstop(benchmark, dm4_and_poni, tmp_path, program):
    benchmark.group, benchmark.extra_info["program"] = "recalibrate_with_beamstop, DM4 to PONI", program
    benchmark(RECALIBRATE[program], *dm4_and_poni, tmp_path / "out.poni")
    assert edfast.read_poni(tmp_path / "out.poni").distance == pytest.approx(0.25, rel=1e-4)


@pytest.mark.benchmark(group="recalibrate_no_beamstop, DM4 to PONI")
def test_recalibrate_no_beamstop(benchmark, dm4_and_poni, tmp_path):
    benchmark.extra_info["program"] = "edfast"
    benchmark(edfast.recalibrate_no_beamstop, *dm4_and_poni, tmp_path / "out.poni")


@pytest.mark.benchmark(group="update_ai")
def test_update_ai(benchmark, dm4_and_poni, tmp_path):
    benchmark.extra_info["program"] = "edfast"
    benchmark(edfast.update_ai, dm4_and_poni[1], 0.005, 0.005, tmp_path / "out.poni")


@pytest.mark.benchmark(group="beam centre to PONI and back")
def test_geometry(benchmark, dm4_and_poni, size):
    benchmark.extra_info["program"] = "edfast"
    poni = edfast.read_poni(dm4_and_poni[1])
    assert benchmark(lambda: beam_center(poni_with_center(poni, 12.25, 99.5))) == pytest.approx((12.25, 99.5))


@pytest.mark.benchmark(group="write a DM4 file")
def test_write_dm4(benchmark, ring_image, tmp_path):
    benchmark.extra_info["program"] = "edfast"
    benchmark(write_dm4, tmp_path / "out.dm4", ring_image)


@pytest.mark.benchmark(group="simulate a ring pattern")
def test_ring_pattern(benchmark, size):
    benchmark.extra_info["program"] = "edfast"
    benchmark(ring_pattern, (size, size), radii=[size / 5, size / 4], random_state=0)
