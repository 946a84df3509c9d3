"""Benches beside other projects: `python -m bench.<stage>.<name> [--json]`.

A bench asserts nothing; it prints its measurements.
"""
