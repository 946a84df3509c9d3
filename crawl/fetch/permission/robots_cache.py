"""The robots.txt rules remembered by a worker: in memory up to a limit, the others on disk.

Bounded by bytes because hosts choose the size of their files: half a mebibyte from each of a few
hundred sub-domains is within the RFC's limit, and not a reason for a worker to grow. Rules without
room in memory are not fetched again: a worker with more hosts than its cache holds would
otherwise fetch robots.txt for ever, and no page.
"""

from __future__ import annotations

import sqlite3

from crawl.fetch.permission.aged_cache import AgedCache
from crawl.fetch.permission.robots import Access, Robots

# Rules of some 30,000 to 80,000 hosts.
ROBOTS_CACHE_BYTES = 32 << 20
# Memory of an entry beside its rules and its origin.
ENTRY_BYTES = 300
_CREATE = """CREATE TABLE rules (
    origin TEXT PRIMARY KEY, until REAL, access TEXT, rules TEXT, delay REAL, cause TEXT,
    rights TEXT, evidence TEXT
) WITHOUT ROWID"""
_PUT = "INSERT OR REPLACE INTO rules VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_GET = "SELECT until, access, rules, delay, cause, rights, evidence FROM rules WHERE origin = ?"


class RobotsCache(AgedCache[str, Robots]):
    """Rules by origin."""

    def _size(self, origin: str, rules: Robots) -> int:
        texts = (origin, rules.rules, rules.rights, rules.evidence)
        return ENTRY_BYTES + sum(map(len, texts))


class SpillingRobotsCache(RobotsCache):
    """A cache that moves evicted rules to a temporary file. The file vanishes with the worker."""

    def __init__(self, keep_s: float, max_bytes: int) -> None:
        super().__init__(keep_s, max_bytes)
        self._disk: sqlite3.Connection | None = None
        self.num_spilled = 0

    def find(self, origin: str, now: float) -> Robots | None:
        rules = super().find(origin, now)
        if rules is not None or self._disk is None:
            return rules

        row = self._disk.execute(_GET, (origin,)).fetchone()
        if row is None or row[0] < now:
            return None

        until, access, text, delay_s, cause, rights, evidence = row
        rules = Robots(Access(access), text, delay_s, cause, rights, evidence)
        self._keep_until(origin, rules, until)

        return rules

    def close(self) -> None:
        """Remove the temporary file."""
        if self._disk is not None:
            self._disk.close()
            self._disk = None

    def _evicted(self, origin: str, until: float, rules: Robots) -> None:
        if self._disk is None:
            # An empty name means a file that SQLite removes itself. Nothing here outlives a crash,
            # so nothing waits for the disk.
            self._disk = sqlite3.connect("", isolation_level=None)
            self._disk.execute("PRAGMA journal_mode = OFF")
            self._disk.execute("PRAGMA synchronous = OFF")
            self._disk.execute(_CREATE)

        self.num_spilled += 1
        row = (
            origin,
            until,
            rules.access,
            rules.rules,
            rules.crawl_delay_s,
            rules.cause,
            rules.rights,
            rules.evidence,
        )
        self._disk.execute(_PUT, row)
