"""The scripts about batches, on a few tiny files: ``make bench-smoke`` runs them so that they stay alive."""

import logging

import pytest

from benchmarks import batch, many


@pytest.fixture(autouse=True)
def quiet():
    """Nothing of what pyFAI logs."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def test_throughput_and_latency(tmp_path, capsys):
    batch.throughput(tmp_path, 256, 10, 1)
    batch.latency(256, frames=5)
    said = capsys.readouterr().out
    assert said.count("ring ") >= 4
    assert "256 x 256" in said


def test_many(tmp_path, capsys):
    many.prepare(tmp_path, 60)
    many.child(f"{tmp_path}/*.dm4", tmp_path / "cal.poni", tmp_path / "out")
    assert "60 files, 60 ok" in capsys.readouterr().out
