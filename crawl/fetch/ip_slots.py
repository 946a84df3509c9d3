"""Requests in flight by IP address: many domains live on one server, which feels them all together."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class IpSlots(Generic[T]):
    """At most `limit` requests in flight per address; what finds none free waits here, in order."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: Counter[str] = Counter()
        self._by_url: dict[str, str] = {}
        self._waiting: defaultdict[str, deque[T]] = defaultdict(deque)

    def is_free(self, ip: str) -> bool:
        """Whether one more request may go to `ip`."""
        return self._taken[ip] < self._limit

    def wait(self, ip: str, item: T) -> None:
        """Keep `item` until a request to `ip` comes to its end."""
        self._waiting[ip].append(item)

    def take(self, ip: str, url: str) -> None:
        """A request for `url` goes to `ip`."""
        self._taken[ip] += 1
        self._by_url[url] = ip

    def leave(self, url: str) -> str:
        """The request for `url` came to its end; the address it went to."""
        ip = self._by_url.pop(url)
        self._taken[ip] -= 1
        if self._taken[ip] <= 0:
            del self._taken[ip]
        return ip

    def next_waiting(self, ip: str) -> T | None:
        """The item that has waited longest for `ip`, taken out, if there is a place for it now.

        To be asked again once that item took its place, or turned out to go elsewhere: nobody else wakes the rest.
        """
        waiting = self._waiting.get(ip)
        if not waiting or not self.is_free(ip):
            return None
        item = waiting.popleft()
        if not waiting:
            del self._waiting[ip]
        return item
