"""The robots.txt rules remembered by a worker: in memory up to a limit, the others on disk.

Bounded by bytes because hosts choose the size of their files: half a mebibyte from each of a few
hundred sub-domains is within the RFC's limit, and not a reason for a worker to grow. Rules without
room in memory are not fetched again: a worker with more hosts than its cache holds would
otherwise fetch robots.txt for ever, and no page.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict

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


class RobotsCache:
    """Rules by origin, least recently used ones dropped. Times are the caller's, in seconds."""

    def __init__(self, keep_s: float, max_bytes: int) -> None:
        self._keep_s = keep_s
        self._max_bytes = max_bytes
        self._known: OrderedDict[str, tuple[float, Robots]] = OrderedDict()
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    def find(self, origin: str, now: float) -> Robots | None:
        """The rules of `origin`, unless unknown or too old."""
        entry = self._known.get(origin)
        if entry is None or entry[0] < now:
            return None
        self._known.move_to_end(origin)
        return entry[1]

    def keep(self, origin: str, rules: Robots, now: float) -> None:
        """Remember the rules of `origin`."""
        self._keep_until(origin, rules, now + self._keep_s)

    def _keep_until(self, origin: str, rules: Robots, until: float) -> None:
        self._forget(origin)
        self._known[origin] = (until, rules)
        self.num_bytes += _size(origin, rules)
        while self.num_bytes > self._max_bytes and len(self._known) > 1:
            oldest = next(iter(self._known))
            self._evicted(oldest, *self._known[oldest])
            self._forget(oldest)

    def _evicted(self, origin: str, until: float, rules: Robots) -> None:
        """Called before an entry is dropped for want of space."""

    def _forget(self, origin: str) -> None:
        entry = self._known.pop(origin, None)
        if entry is not None:
            self.num_bytes -= _size(origin, entry[1])


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


def _size(origin: str, rules: Robots) -> int:
    return ENTRY_BYTES + len(origin) + len(rules.rules) + len(rules.rights) + len(rules.evidence)
