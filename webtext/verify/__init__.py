"""Integrity checks of a whole corpus: digests, invariants and joins."""
