"""A cache of bounded bytes whose entries grow old."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class AgedCache(ABC, Generic[K, V]):
    """Values by key, least recently used ones dropped. Times are the caller's, in seconds."""

    def __init__(self, keep_s: float, max_bytes: int) -> None:
        self._keep_s = keep_s
        self._max_bytes = max_bytes
        self._known: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    def find(self, key: K, now: float) -> V | None:
        """The value of a key, unless unknown or too old."""
        entry = self._known.get(key)
        if entry is None or entry[0] < now:
            return None
        self._known.move_to_end(key)
        return entry[1]

    def keep(self, key: K, value: V, now: float) -> None:
        """Remember a value."""
        self._keep_until(key, value, now + self._keep_s)

    @abstractmethod
    def _size(self, key: K, value: V) -> int:
        """The bytes that an entry counts for."""

    def _evicted(self, key: K, until: float, value: V) -> None:
        """Called before an entry is dropped for want of space."""

    def _keep_until(self, key: K, value: V, until: float) -> None:
        self._forget(key)
        self._known[key] = (until, value)
        self.num_bytes += self._size(key, value)
        while self.num_bytes > self._max_bytes and len(self._known) > 1:
            oldest = next(iter(self._known))
            self._evicted(oldest, *self._known[oldest])
            self._forget(oldest)

    def _forget(self, key: K) -> None:
        entry = self._known.pop(key, None)
        if entry is not None:
            self.num_bytes -= self._size(key, entry[1])
