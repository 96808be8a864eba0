"""Every program is used as it is meant to be: on an easy pattern it finds the centre."""

import numpy as np
import pytest

from benchmarks import centre_peers
from benchmarks.centre_peers import PEERS, locate
from edfast.simulate import ring_pattern


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", PEERS)
def test_easy_ring(name, masked):
    if problem := centre_peers.absent(name):
        pytest.skip(problem)
    image, truth = ring_pattern((300, 300), center=(155.3, 146.8), radii=[80], widths=3, amplitudes=800, background=80,
                                random_state=1)
    before = image.copy()
    outcome = locate(name, image, np.zeros(image.shape, bool) if masked else None)
    assert outcome.problem == ""
    assert np.hypot(outcome.center[0] - truth.cx, outcome.center[1] - truth.cy) < 1.5
    assert outcome.seconds > 0
    np.testing.assert_array_equal(image, before)


def test_failures_and_absence_are_reported(monkeypatch):
    def fails(image, mask):
        raise SystemExit("no")

    for name, function in (("edfast fails", fails), ("edfast nan", lambda image, mask: (np.nan, 1.0))):
        monkeypatch.setitem(PEERS, name, function)
        monkeypatch.setitem(centre_peers._MODULES, "edfast", "edfast")
        assert locate(name, np.ones((4, 4))).center is None
    assert locate("edfast fails", np.ones((4, 4))).problem == "SystemExit: no"
    monkeypatch.setitem(PEERS, "absent", fails)
    monkeypatch.setitem(centre_peers._MODULES, "absent", "no_such_module")
    assert locate("absent", np.ones((4, 4))).problem.startswith("not installed: No module named 'no_such_module'")
