"""The robots.txt files a worker remembers: each for a day at most, all together within a number of bytes.

Bounded by bytes because hosts choose the size of theirs: half a mebibyte from each of a few hundred sub-domains is
within the RFC's limit, and is no reason for a worker to grow.
"""

from __future__ import annotations

from collections import OrderedDict

from crawl.fetch.robots import Robots

ENTRY_BYTES = 300
"""Of an entry beside its rules and its origin."""


class RobotsCache:
    """Rules by origin. Times are the caller's clock, in seconds."""

    def __init__(self, keep_s: float, max_bytes: int) -> None:
        self._keep_s = keep_s
        self._max_bytes = max_bytes
        self._known: OrderedDict[str, tuple[float, Robots]] = OrderedDict()
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    def find(self, origin: str, now: float) -> Robots | None:
        """What is known of `origin`, unless it is too old."""
        entry = self._known.get(origin)
        if entry is None or entry[0] < now:
            return None
        self._known.move_to_end(origin)
        return entry[1]

    def keep(self, origin: str, rules: Robots, now: float) -> None:
        """Remember the rules of `origin`; what was looked at least lately makes room."""
        self._forget(origin)
        self._known[origin] = (now + self._keep_s, rules)
        self.num_bytes += _size(origin, rules)
        while self.num_bytes > self._max_bytes and len(self._known) > 1:
            self._forget(next(iter(self._known)))

    def _forget(self, origin: str) -> None:
        entry = self._known.pop(origin, None)
        if entry is not None:
            self.num_bytes -= _size(origin, entry[1])


def _size(origin: str, rules: Robots) -> int:
    return ENTRY_BYTES + len(origin) + len(rules.rules)
