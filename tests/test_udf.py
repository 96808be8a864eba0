"""CenterUDF on data sets, on a Dask cluster, and on a live acquisition from LiberTEM-live's own detector simulator."""

import itertools
import math
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from edfast.simulate import drift_series

pytest.importorskip("libertem_live")
pytestmark = pytest.mark.filterwarnings("default")  # LiberTEM's own

SCAN, SHAPE = (4, 4), (64, 64)


@pytest.fixture(scope="module")
def series():
    """(frames (4, 4, H, W) uint16, true centres (16, 2))."""
    look = {"radii": [20], "amplitudes": 300, "widths": 2.0, "dtype": np.uint16}
    pairs = list(drift_series(16, SHAPE, velocity=(0.15, -0.1), random_state=7, **look))
    return np.array([frame for frame, _ in pairs]).reshape(*SCAN, *SHAPE), np.array([truth.center for _, truth in pairs])


def check(result, truths):
    """Every centre is there, in the order of the scan, within its error of the truth."""
    found = {name: result[name].data.reshape(16) for name in ("cx", "cy", "cx_err", "cy_err", "lost", "jumped")}
    assert result["cx"].data.shape == SCAN
    assert not found["lost"].any()
    assert not found["jumped"].any()
    off = (np.stack([found["cx"], found["cy"]], 1) - truths) / np.stack([found["cx_err"], found["cy_err"]], 1)
    assert np.abs(off).max() < 5
    assert 0.5 < np.sqrt(np.mean(off ** 2)) < 1.5
    return np.stack([found["cx"], found["cy"]], 1)


@pytest.fixture(scope="module")
def context():
    from libertem_live.api import LiveContext

    with LiveContext.make_with("inline") as made:
        yield made


@pytest.mark.parametrize("partitions", [1, 3])
def test_result_does_not_depend_on_the_partitions(context, series, partitions):
    from edfast.udf import CenterUDF

    frames, truths = series
    dataset = context.load("memory", data=frames, sig_dims=2, num_partitions=partitions)
    check(context.run_udf(dataset, CenterUDF()), truths)


def test_mask_radius_and_frames_without_rings(context, series):
    from edfast.udf import CenterUDF

    frames, truths = series
    frames = frames.copy()
    frames[..., :, 10] = 60_000
    frames[1, 2] = np.random.default_rng(0).poisson(5, SHAPE)
    mask = np.zeros(SHAPE, bool)
    mask[:, 10] = True
    dataset = context.load("memory", data=frames, sig_dims=2)
    result = context.run_udf(dataset, CenterUDF(mask=mask, radius=20, ellipse=False))
    assert np.argwhere(result["lost"].data).tolist() == [[1, 2]]
    assert math.isnan(result["cx"].data[1, 2])
    assert math.dist((result["cx"].data[3, 3], result["cy"].data[3, 3]), truths[-1]) < 0.2
    with pytest.raises(ValueError, match="radius must be"):
        CenterUDF(radius=-1)


def test_on_dask(series):
    from libertem.api import Context

    from edfast.udf import CenterUDF

    frames, truths = series
    with Context.make_with("dask", cpus=1, gpus=0) as cluster:
        dataset = cluster.load("memory", data=frames, sig_dims=2, num_partitions=2)
        check(cluster.run_udf(dataset, CenterUDF()), truths)


def write_mib(folder, frames):
    """The frames as a Merlin data set (U16); returns the name of its header."""
    with (folder / "scan.mib").open("wb") as file:
        for number, frame in enumerate(frames.reshape(-1, *SHAPE), 1):
            head = (f"MQ1,{number:06d},00384,01,{SHAPE[1]:04d},{SHAPE[0]:04d},U16,   1x1,01,2026-11-21 12:00:00.000000,"
                    "1.000000,0,0,0,1.500000E+1,5.110000E+2," + "0.000000E+0," * 6 + "3RX," + "050," * 27
                    + "MQ1A,2026-11-21T12:00:00.000000000Z,1000000000ns,12,")
            file.write(head.encode().ljust(384, b"\0") + frame.astype(">u2").tobytes())
    lines = {"Frames in Acquisition (Number)": 16, "Frames per Trigger (Number)": 4, "Counter Depth (number)": 12}
    text = "HDR,\t\n" + "".join(f"{key}:\t{value}\n" for key, value in lines.items()) + "End\t"
    (folder / "scan.hdr").write_text(text)
    return folder / "scan.hdr"


@pytest.fixture
def simulator(series, tmp_path):
    """(control port, data port) of a Merlin simulator that replays the frames."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    options = [f"--{name}-port={port}" for name, port in zip(("control", "data", "trigger"), ports, strict=True)]
    command = [sys.executable, "-m", "libertem_live.detectors.merlin.sim", str(write_mib(tmp_path, series[0])), "--nav-shape",
               "4", "4", "--host", "127.0.0.1", *options]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
        try:
            for attempt in itertools.count():
                try:
                    socket.create_connection(("127.0.0.1", ports[0]), 1).close()
                    break
                except OSError:
                    assert process.poll() is None
                    assert attempt < 300
                    time.sleep(0.1)
            yield ports[:2]
        finally:
            process.kill()


def test_live(context, simulator, series):
    from edfast.udf import CenterUDF

    control, data = simulator
    connection = context.make_connection("merlin").open(api_host="127.0.0.1", api_port=control, data_host="127.0.0.1",
                                                        data_port=data)
    with connection as detector:
        pending = detector.wait_for_acquisition(timeout=20)
        assert pending is not None
        acquisition = context.make_acquisition(conn=detector, nav_shape=SCAN, pending_aq=pending)
        check(context.run_udf(acquisition, CenterUDF()), series[1])
