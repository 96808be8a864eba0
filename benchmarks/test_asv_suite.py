"""Every benchmark of the asv suite once, with the first value of each of its parameters."""

import inspect
import subprocess
import sys

import pytest

from benchmarks.asv_suite import accuracy, speed

KINDS = ("time_", "timeraw_", "peakmem_", "track_")
CASES = [(suite, name) for module in (speed, accuracy) for _, suite in inspect.getmembers(module, inspect.isclass)
         if suite.__module__ == module.__name__ for name in dir(suite) if name.startswith(KINDS)]


def first_values(suite):
    params = getattr(suite, "params", ())
    if params and not isinstance(params[0], (list, tuple)):
        params = (params,)
    return [values[0] for values in params]


@pytest.mark.parametrize(("suite", "name"), CASES)
def test_runs(suite, name):
    case, values = suite(), first_values(suite)
    if hasattr(case, "setup"):
        case.setup(*values)
    try:
        result = getattr(case, name)(*values)
        if name.startswith("timeraw"):
            subprocess.run([sys.executable, "-c", result], check=True)
        elif name.startswith("track"):
            assert result > 0
    finally:
        if hasattr(case, "teardown"):
            case.teardown(*values)
