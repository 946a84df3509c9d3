"""Benches of clean: `python -m bench.clean.<name> [--json]`."""
