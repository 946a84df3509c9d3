"""Benches of shards: `python -m bench.shards.<name> [--json]`."""
