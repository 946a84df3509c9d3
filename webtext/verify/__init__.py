"""Integrity checks: digests, invariants and joins of everything that a corpus holds."""
