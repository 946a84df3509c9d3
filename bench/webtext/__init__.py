"""Benches of whole-corpus commands: `python -m bench.webtext.<name> [--json]`."""
