"""The frontier: queues by pace key, ordered by the earliest time of their next request.

A pace key is the registered domain, so all blogs of a platform share one pace. A key has at most
one lease; its holder returns it with the earliest time of the key's next lease. Of the ready keys,
the one with the most items left goes first (longest processing time first): the hottest domain
decides how long a crawl takes.

Two heaps: waiting keys by time, and ready keys by load. A key is in one of them, or leased, or has
no items. Leasing is O(log keys), for any number of URLs: a key's unstarted items are a
sequence and a position. No sockets and no clock here.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

from xxhash import xxh3_64_intdigest

T = TypeVar("T")


def pace_key(domain: str) -> str:
    """The pace key of `domain`, a registered domain (the ICANN part of the suffix list).

    Platforms need no list: under ICANN suffixes, all of blogspot.com is one registered domain.
    """
    return domain.lower().rstrip(".")


def shard_of(key: str, num_shards: int) -> int:
    """The shard of a pace key. No key is asked by two shards."""
    return xxh3_64_intdigest(key.encode()) % num_shards


class Claim(NamedTuple, Generic[T]):
    """An item with its key. The key is blocked until `release`."""

    key: str
    item: T


class _Queue(Generic[T]):
    __slots__ = ("delayed", "fresh", "front", "leased", "listed_at", "position", "ready_at")

    def __init__(self) -> None:
        self.fresh: Sequence[T] = ()
        self.position = 0
        self.front: deque[T] | None = None
        self.delayed: list[tuple[float, int, T]] | None = None
        self.ready_at = 0.0
        self.leased = False
        # The time by which the key is listed in a heap; None if it is in none.
        self.listed_at: float | None = None

    def __len__(self) -> int:
        return len(self.fresh) - self.position + len(self.front or ()) + len(self.delayed or ())

    def available_at(self) -> float:
        """The earliest time for taking an item; only meaningful if there are items."""
        if self.front or self.position < len(self.fresh) or not self.delayed:
            return self.ready_at
        return max(self.ready_at, self.delayed[0][0])

    def take(self, now: float) -> T:
        if self.front:
            return self.front.popleft()
        if self.delayed and self.delayed[0][0] <= now:
            return heapq.heappop(self.delayed)[2]

        item = self.fresh[self.position]
        self.position += 1
        if self.position == len(self.fresh):
            self.fresh, self.position = (), 0
        return item


class Frontier(Generic[T]):
    """Items by pace key. Times are the caller's clock, in seconds."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue[T]] = {}
        self._waiting: list[tuple[float, int, str]] = []
        self._ready: list[tuple[int, int, str]] = []
        self._sequence = 0
        self._num_items = 0

    def __len__(self) -> int:
        """Items in the queues, without leased ones."""
        return self._num_items

    @property
    def num_ready(self) -> int:
        """Keys ready at the last lease."""
        return len(self._ready)

    @property
    def num_waiting(self) -> int:
        """Keys not yet due."""
        return len(self._waiting)

    def add(self, key: str, items: Sequence[T], *, ready_at: float = 0.0) -> None:
        """Add the unstarted items of a key, in their order. Once per key."""
        queue = self._queue(key)
        if queue.fresh:
            raise ValueError(f"{key!r} has its items already")

        queue.fresh = items
        queue.ready_at = max(queue.ready_at, ready_at)
        self._num_items += len(items)
        self._list(key, queue)

    def push(self, key: str, item: T, *, not_before: float | None = None) -> None:
        """Add an item ahead of the unstarted ones, or from `not_before` on."""
        queue = self._queue(key)
        if not_before is None:
            if queue.front is None:
                queue.front = deque()
            queue.front.append(item)
        else:
            if queue.delayed is None:
                queue.delayed = []
            heapq.heappush(queue.delayed, (not_before, self._next(), item))

        self._num_items += 1
        self._list(key, queue)

    def lease(self, now: float) -> Claim[T] | None:
        """Claim the next item; None while none may go."""
        while self._waiting and self._waiting[0][0] <= now:
            key = heapq.heappop(self._waiting)[2]
            if (waiting := self._queues.get(key)) is not None:
                self._rank(key, waiting, now)

        while self._ready:
            key = heapq.heappop(self._ready)[2]
            queue = self._queues.get(key)
            if queue is None:  # forgotten
                continue
            queue.listed_at = None
            if queue.leased or not len(queue):
                continue
            if queue.available_at() > now:  # postponed since it was ranked
                self._list(key, queue)
                continue
            item = queue.take(now)
            queue.leased = True
            self._num_items -= 1
            return Claim(key, item)

        return None

    def release(self, key: str, ready_at: float | None = None) -> None:
        """Return a key; it may be leased from `ready_at` on (None: no request was made)."""
        queue = self._queues[key]
        queue.leased = False
        if ready_at is not None:
            queue.ready_at = max(queue.ready_at, ready_at)
        self._list(key, queue)

    def postpone(self, key: str, until: float) -> None:
        """Postpone all items of `key` until a time."""
        queue = self._queue(key)
        queue.ready_at = max(queue.ready_at, until)

    def next_ready(self) -> float | None:
        """The due time of the next waiting key; None if no key waits."""
        return self._waiting[0][0] if self._waiting else None

    def postponed(self, now: float, more_than_s: float) -> dict[str, float]:
        """Keys waiting longer than `more_than_s` from now, with their times."""
        return {
            key: queue.ready_at
            for key, queue in self._queues.items()
            if queue.ready_at - now > more_than_s
        }

    def withdraw(self, belongs: Callable[[str], bool], keep: Callable[[T], bool]) -> list[T]:
        """Remove the items of keys selected by `belongs`, except those to `keep`; the removed ones.

        Leased items stay with their holders.
        """
        removed: list[T] = []
        for key in [key for key in self._queues if belongs(key)]:
            queue = self._queues[key]
            before = len(queue)
            waiting = [*(queue.front or ()), *(item for _, _, item in queue.delayed or ())]
            removed += queue.fresh[queue.position :]
            removed += [item for item in waiting if not keep(item)]
            queue.fresh, queue.position = (), 0
            queue.front = deque(item for item in waiting if keep(item)) or None
            queue.delayed = None
            self._num_items += len(queue) - before
            self._list(key, queue)

        return removed

    def leased(self) -> Iterator[str]:
        """Leased keys. O(keys)."""
        return (key for key, queue in self._queues.items() if queue.leased)

    def loads(self) -> Iterator[tuple[str, int]]:
        """Keys with items left, and how many. O(keys)."""
        return ((key, len(queue)) for key, queue in self._queues.items() if len(queue))

    def forget(self, belongs: Callable[[str], bool]) -> None:
        """Drop keys without items, if `belongs` selects them."""
        for key in [key for key in self._queues if belongs(key)]:
            if not len(self._queues[key]) and not self._queues[key].leased:
                del self._queues[key]

    def heaviest(self, count: int) -> list[tuple[str, int]]:
        """Keys with the most items left, and how many. O(keys)."""
        heaviest = heapq.nlargest(count, ((load, key) for key, load in self.loads()))
        return [(key, load) for load, key in heaviest]

    def _queue(self, key: str) -> _Queue[T]:
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue()
        return queue

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _list(self, key: str, queue: _Queue[T]) -> None:
        """List the key as waiting, unless it is leased, empty or listed for that time already.

        A key may be listed twice, after a new item due before the others. The first entry serves;
        the other then finds the key leased, empty or not due.
        """
        if queue.leased or not len(queue):
            return

        at = queue.available_at()
        if queue.listed_at is None or at < queue.listed_at:
            queue.listed_at = at
            heapq.heappush(self._waiting, (at, self._next(), key))

    def _rank(self, key: str, queue: _Queue[T], now: float) -> None:
        """List a key as ready, when its time has come."""
        queue.listed_at = None
        if queue.leased or not len(queue):
            return
        if queue.available_at() > now:
            self._list(key, queue)
            return

        queue.listed_at = -math.inf
        heapq.heappush(self._ready, (-len(queue), self._next(), key))
