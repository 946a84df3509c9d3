"""Memory that bodies in flight share: when it is used up, the long one that has taken most time ends where it is.

Nobody waits for room. A server that sends a few megabytes and then one byte at a time would else hold its room for as
long as a request may take, and a handful of such servers would keep every longer page of all others waiting. Honest
pages come and go meanwhile, so the oldest is rarely one of them. Cut bodies are stored and marked as truncated, like
those that are longer than a page may be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

ALL_BODIES_BYTES = 24 << 20
"""What the bodies of a worker may hold together, received and decoded."""
SMALL_BYTES = 512 << 10
"""Bodies up to here are never cut: the number of requests in flight bounds what they hold."""


class Holding:
    """What one body holds."""

    def __init__(self, allowance: Allowance, stop: Callable[[], None]) -> None:
        self._allowance = allowance
        self._stop = stop
        self.num_bytes = 0
        self.is_cut = False
        """Whether the body ends here, to make room."""

    def grow_to(self, num_bytes: int) -> None:
        """The body holds so much now."""
        self._allowance.grow(self, num_bytes - self.num_bytes)

    def cut(self) -> None:
        """End the body: its reader may be waiting for bytes, so its connection ends."""
        self.is_cut = True
        self._stop()


class Allowance:
    """At most `limit_bytes` for all bodies together, apart from small ones."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._num_bytes = 0
        self._holdings: dict[Holding, None] = {}
        """In the order in which they began."""

    @contextmanager
    def holding(self, stop: Callable[[], None]) -> Iterator[Holding]:
        """What a body holds until the end of the block; `stop` ends its connection."""
        holding = Holding(self, stop)
        self._holdings[holding] = None
        try:
            yield holding
        finally:
            del self._holdings[holding]
            self._num_bytes -= holding.num_bytes

    def grow(self, holding: Holding, num_bytes: int) -> None:
        """Count bytes that came, and cut bodies while there are too many."""
        holding.num_bytes += num_bytes
        self._num_bytes += num_bytes
        excess = self._num_bytes - self._limit_bytes
        for each in list(self._holdings) if excess > 0 else ():
            if excess <= 0:
                return
            if each.num_bytes > SMALL_BYTES:
                if not each.is_cut:
                    each.cut()
                excess -= each.num_bytes
