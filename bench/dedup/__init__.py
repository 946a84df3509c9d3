"""Benches of dedup: `python -m bench.dedup [--part PART] [--json]` and `python -m bench.dedup.overlap`."""
