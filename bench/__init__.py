"""Benches beside other projects: `python -m bench.<name> [--json]`.

A bench asserts nothing; it prints its measurements.
"""
