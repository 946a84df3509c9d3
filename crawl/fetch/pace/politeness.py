"""Politeness: how long domains, hosts and addresses are left alone.

`Pace` sets the rest of a domain after each answer, `Breaker` avoids unresponsive hosts, `IpLimits`
bounds the requests to one address for all its domains, and the functions at the end decide about
retries. No clock and no queue here: times are arguments, in the caller's seconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import ipaddress
import mmap
import random
import struct
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from xxhash import xxh3_64_intdigest

from crawl.fetch.requests import FetchResult
from crawl.fetch.settings import FetchConfig
from crawl.outcomes import Reason

T = TypeVar("T")

# Connect failures in a row before a host is left alone for a while.
BREAKER_FAILURES = 5
BREAKER_OPEN_S = 900.0
# Rests of `BREAKER_OPEN_S` before a host is given up.
BREAKER_OPENINGS = 3
# Failures of the network, possibly gone in a minute.
PASSING_REASONS = frozenset(
    {Reason.TIMEOUT, Reason.CONNECT_FAILED, Reason.CONNECTION_LOST, Reason.DNS_FAILED}
)
# Answers that may differ in a minute; 501 and 505 will not.
PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
# Answers asking for a slower pace.
SLOWING_STATUSES = frozenset({429, 503})


class Pace:
    """Rests by pace key, in monotonic seconds."""

    def __init__(self, config: FetchConfig) -> None:
        self._config = config
        # `Crawl-delay` of robots.txt, if it is more than our own delay.
        self.crawl_delay_s: dict[str, float] = {}
        # Seconds between requests while a server asks for a slower pace.
        self.slow_s: dict[str, float] = {}

    def rest_until(self, key: str, result: FetchResult, now: float) -> float:
        """The earliest time of the key's next request, counted from the end of the answer."""
        config = self._config
        delay_s = max(config.delay_s, self.crawl_delay_s.get(key, 0.0), self.slow_s.get(key, 0.0))
        delay_s *= 1 + random.random() * config.jitter_frac

        ended_at = result.ended_at or now
        latency_s = ended_at - result.started_at if result.started_at else 0.0
        if config.delay_s > 0:
            delay_s = max(delay_s, min(config.latency_factor * latency_s, config.max_delay_s))
        return ended_at + delay_s

    def asked_wait_s(self, key: str, result: FetchResult) -> tuple[float, float]:
        """Slow down or recover: seconds requested by the server, and seconds of the key's rest."""
        config = self._config
        status = result.status or 0
        asked_s = (
            retry_after_s(result.header("retry-after"), datetime.now(UTC))
            if status >= 300
            else None
        )
        wait_s = min(asked_s or 0.0, config.max_retry_after_s)
        if status not in SLOWING_STATUSES:
            slow_s = self.slow_s.pop(key, 0.0) / 2
            if slow_s > config.delay_s:
                self.slow_s[key] = slow_s
            return wait_s, wait_s

        slow_s = 2 * max(self.slow_s.get(key, 0.0), config.delay_s)
        slow_s = self.slow_s[key] = min(slow_s, max(config.max_delay_s, config.delay_s))
        return wait_s, max(wait_s, slow_s)

    def obey(self, key: str, crawl_delay_s: float | None) -> float:
        """Note a `Crawl-delay`; the resulting rest of the key from now, in seconds.

        0 if it asks for no more than before.
        """
        delay_s = min(crawl_delay_s or 0.0, self._config.max_crawl_delay_s)
        if delay_s <= self.crawl_delay_s.get(key, self._config.delay_s):
            return 0.0

        self.crawl_delay_s[key] = delay_s
        return delay_s


@dataclass(slots=True)
class _HostFailures:
    failures: int = 0
    openings: int = 0
    open_until: float = 0.0


class Breaker:
    """Connect failures by host.

    Old links are full of dead hosts; without this, each of their URLs would cost a connect time-out
    and its retries. Sources: the circuit breaker pattern; StormCrawler's handling of dead hosts.
    """

    def __init__(
        self,
        *,
        failures: int = BREAKER_FAILURES,
        open_s: float = BREAKER_OPEN_S,
        openings: int = BREAKER_OPENINGS,
    ) -> None:
        self._failures = failures
        self._open_s = open_s
        self._openings = openings
        self._hosts: dict[str, _HostFailures] = {}

    def failed(self, host: str, now: float) -> None:
        """Count a failed connect attempt."""
        state = self._hosts.setdefault(host, _HostFailures())
        state.failures += 1
        if state.failures >= self._failures:
            state.failures = 0
            state.openings += 1
            state.open_until = now + self._open_s

    def answered(self, host: str) -> None:
        """Forget the failures of a host after an answer with any status."""
        self._hosts.pop(host, None)

    def open_until(self, host: str, now: float) -> float | None:
        """The earliest time of the host's next try, or None if it may be tried now."""
        state = self._hosts.get(host)
        return state.open_until if state is not None and state.open_until > now else None

    def gave_up(self, host: str) -> bool:
        """True if the host has had its last rest."""
        state = self._hosts.get(host)
        return state is not None and state.openings >= self._openings


@lru_cache(maxsize=1 << 14)
def address_group(ip: str) -> str:
    """The address charged with a request: itself, or the /64 network of an IPv6 address."""
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return ip

    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, 64), strict=False))

    return ip


class IpPacer(Protocol):
    """Grants requests to an address at a bounded rate."""

    interval_s: float
    """Seconds between requests to an address."""

    def reserve(self, group: str) -> float:
        """Seconds until a request to the address may be made; 0.0 if one is granted now."""


class SharedIpPacer:
    """Grants requests to addresses for all workers with the same file open.

    The file is a table of times, one slot for each hash of an address, changed under a lock. Two
    addresses of one slot are slowed together: never impolite.
    """

    NUM_SLOTS = 1 << 16
    STALE_FACTOR = 64
    """A time further ahead than this many intervals comes from a clock that was set back."""

    def __init__(self, path: Path, interval_s: float) -> None:
        self.interval_s = interval_s
        self._file = path.open("a+b")
        size = self.NUM_SLOTS * 8
        if path.stat().st_size < size:
            self._file.truncate(size)
        self._table = mmap.mmap(self._file.fileno(), size)

    def reserve(self, group: str) -> float:
        if not self.interval_s:
            return 0.0

        at = xxh3_64_intdigest(group.encode()) % self.NUM_SLOTS * 8
        self._lock(fcntl.LOCK_EX)
        try:
            # Wall clock: several machines may share the file.
            now = time.time()
            (due,) = struct.unpack_from("<d", self._table, at)
            if now < due <= now + self.STALE_FACTOR * self.interval_s:
                return float(due - now)
            struct.pack_into("<d", self._table, at, now + self.interval_s)
            return 0.0
        finally:
            self._lock(fcntl.LOCK_UN)

    def _lock(self, operation: int) -> None:
        # Some file systems have no locks; two workers may then ask in the same instant.
        with contextlib.suppress(OSError):
            fcntl.flock(self._file, operation)

    def close(self) -> None:
        """Close the file; its times stay for other workers."""
        self._table.close()
        self._file.close()


class OwnIpPacer:
    """Grants requests to addresses for one worker, where nothing can be shared with others."""

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._due: dict[str, float] = {}

    def reserve(self, group: str) -> float:
        now = time.monotonic()
        due = self._due.get(group, 0.0)
        if now < due:
            return due - now

        if len(self._due) > 1 << 16:
            self._due = {group: at for group, at in self._due.items() if at > now}
        self._due[group] = now + self.interval_s
        return 0.0


def address_share(config: FetchConfig, num_workers: int, *, has_table: bool) -> tuple[int, float]:
    """One worker's part of the limits of an address: requests in flight, and seconds between them.

    Without a table that all workers see, each takes its part of the rate, but not less than one
    domain's: with very many workers, an address gets more than its rate.
    """
    in_flight = max(1, config.max_in_flight_per_ip // num_workers)
    if has_table:
        return in_flight, config.ip_interval_s

    return in_flight, min(config.delay_s, config.ip_interval_s * num_workers)


class IpLimits(Generic[T]):
    """Requests per address, in flight and per second; waiting items are kept in order.

    One server may have many domains and receives the sum of their requests.
    """

    def __init__(self, limit: int, pacer: IpPacer) -> None:
        self._limit = limit
        self._pacer = pacer
        self._taken: Counter[str] = Counter()
        self._waiting: defaultdict[str, deque[T]] = defaultdict(deque)
        self._due: list[tuple[float, str]] = []
        self._has_due: set[str] = set()

    def share(self, limit: int, interval_s: float) -> None:
        """Change the limits after a change in the number of workers sharing an address."""
        self._limit = limit
        self._pacer.interval_s = interval_s

    def take(self, ip: str, now: float) -> bool:
        """Begin a request to `ip`, if the address may receive one now."""
        group = address_group(ip)
        if self._taken[group] >= self._limit:
            return False

        wait_s = self._pacer.reserve(group)
        if wait_s > 0:
            self._wake_at(now + wait_s, group)
            return False

        self._taken[group] += 1
        return True

    def wait(self, ip: str, item: T, *, first: bool = False) -> None:
        """Keep `item` until the address may receive a request; `first`: it has waited longest."""
        waiting = self._waiting[address_group(ip)]
        if first:
            waiting.appendleft(item)
        else:
            waiting.append(item)

    def leave(self, ip: str) -> None:
        """End a request to `ip`."""
        group = address_group(ip)
        self._taken[group] -= 1
        if self._taken[group] <= 0:
            del self._taken[group]

    def next_due(self) -> float | None:
        """The earliest time of a request to the next waiting address."""
        return self._due[0][0] if self._due else None

    def pop_due(self, now: float) -> list[str]:
        """Addresses now due, to be passed to `next_waiting`."""
        groups = []
        while self._due and self._due[0][0] <= now:
            group = heapq.heappop(self._due)[1]
            self._has_due.discard(group)
            groups.append(group)
        return groups

    def next_waiting(self, ip: str) -> T | None:
        """Remove and return the longest waiting item for `ip`, if one may be tried now.

        Call it again after trying the item: nothing else wakes the others.
        """
        group = address_group(ip)
        waiting = self._waiting.get(group)
        if not waiting or self._taken[group] >= self._limit or group in self._has_due:
            return None

        item = waiting.popleft()
        if not waiting:
            del self._waiting[group]
        return item

    def withdraw(self, belongs: Callable[[T], bool]) -> list[T]:
        """Remove waiting items selected by `belongs`; the removed ones."""
        removed: list[T] = []
        for group in [*self._waiting]:
            removed += [item for item in self._waiting[group] if belongs(item)]
            rest = deque(item for item in self._waiting[group] if not belongs(item))
            if rest:
                self._waiting[group] = rest
            else:
                del self._waiting[group]
        return removed

    def _wake_at(self, due: float, group: str) -> None:
        if group not in self._has_due:
            self._has_due.add(group)
            heapq.heappush(self._due, (due, group))


def may_pass(reason: Reason | None, status: int | None) -> bool:
    """True if the same request may succeed later."""
    return reason in PASSING_REASONS or status in PASSING_STATUSES


def backoff_s(num_tries: int, first_s: float, limit_s: float) -> float:
    """Seconds to wait after `num_tries` (1 or more) failures: doubled each time, up to a limit."""
    return float(min(limit_s, first_s * 2 ** min(num_tries - 1, 30)))


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Seconds of a `Retry-After` header (RFC 9110, 10.2.3); None if unreadable."""
    if value is None:
        return None

    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) < 12 else None

    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None

    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())
