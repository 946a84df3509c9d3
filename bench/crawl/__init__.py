"""Benches of crawl: `python -m bench.crawl.<name> [--json]`."""
