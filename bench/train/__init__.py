"""Benches of train: `python -m bench.train.<name> [--json]`."""
