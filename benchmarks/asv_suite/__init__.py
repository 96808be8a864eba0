"""The asv suite: ``asv run --python=same``."""
