"""Recalibration of many files: one PONI and one row of a ledger for each; interrupted at any moment, it can be resumed."""

from ._ledger import Ledger, LedgerError

__all__ = ["Ledger", "LedgerError"]
