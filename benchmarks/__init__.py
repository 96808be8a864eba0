"""Benchmarks: speed (pytest-benchmark, asv) and accuracy."""
