"""Fixtures shared by all tests."""

from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run, however slow the machine: ``pytest --hypothesis-profile=search`` looks for new ones.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile("same")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data():
    """Path of a file of the development data, or a skip where that folder is not there (on a user's machine)."""

    def path(name):
        found = SHARED / name
        if not found.exists():
            pytest.skip(f"{name} is not on this machine (development data)")
        return found

    return path
