"""The frontier on a clock of ours: pace and order as laws, checked by a referee that knows nothing of heaps."""

from __future__ import annotations

import heapq
import itertools
import random
import struct
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawl.fetch.pace import politeness
from crawl.fetch.pace.frontier import Frontier, pace_key
from crawl.fetch.pace.politeness import (
    Breaker,
    IpLimits,
    OwnIpPacer,
    SharedIpPacer,
    backoff_s,
    may_pass,
    retry_after_s,
)
from crawl.outcomes import Reason
from tests.processor_time import least_cpu_s


def test_one_lease_per_key_and_the_delay_between() -> None:
    frontier: Frontier[int] = Frontier()
    frontier.add("a", range(3))
    lease = frontier.lease(0.0)
    assert lease is not None
    assert (lease.key, lease.item) == ("a", 0)
    assert frontier.lease(5.0) is None, "one in flight per key"
    frontier.release("a", 7.0)
    assert frontier.next_ready() == 7.0
    assert frontier.lease(6.9) is None
    assert frontier.lease(7.0) == ("a", 1)
    frontier.release("a")
    assert frontier.lease(7.0) == ("a", 2), "without a request there is no new delay"
    frontier.release("a", 8.0)
    assert frontier.lease(100.0) is None
    assert len(frontier) == 0


def test_the_most_work_goes_first() -> None:
    frontier: Frontier[int] = Frontier()
    for key, count in (("small", 2), ("large", 9), ("middle", 5)):
        frontier.add(key, range(count))
    leases = [frontier.lease(0.0) for _ in range(3)]
    assert [lease.key for lease in leases if lease] == ["large", "middle", "small"]


def test_a_postponed_host_waits_as_a_whole() -> None:
    frontier: Frontier[int] = Frontier()
    frontier.add("a", range(2))
    frontier.postpone("a", 60.0)
    assert frontier.lease(59.0) is None
    assert frontier.next_ready() == 60.0
    assert frontier.lease(60.0) == ("a", 0)


def test_retries_keep_their_time_and_do_not_hold_up_the_rest() -> None:
    frontier: Frontier[str] = Frontier()
    frontier.add("a", ["x", "y"])
    assert frontier.lease(0.0) == ("a", "x")
    frontier.push("a", "x again", not_before=30.0)
    frontier.release("a", 1.0)
    assert frontier.lease(1.0) == ("a", "y")
    frontier.release("a", 2.0)
    assert frontier.lease(29.9) is None
    assert frontier.next_ready() == 30.0
    assert frontier.lease(30.0) == ("a", "x again")


def test_an_earlier_item_is_not_hidden_by_a_later_one() -> None:
    frontier: Frontier[str] = Frontier()
    frontier.push("a", "late", not_before=50.0)
    frontier.push("a", "soon")
    assert frontier.lease(0.0) == ("a", "soon")
    frontier.release("a", 1.0)
    assert frontier.lease(49.0) is None
    assert frontier.lease(50.0) == ("a", "late")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_any_history_keeps_pace_and_loses_nothing(seed: int) -> None:
    draw = random.Random(seed)
    frontier: Frontier[int] = Frontier()
    keys = [f"k{i}" for i in range(draw.randint(1, 6))]
    expected = set()
    for index, key in enumerate(keys):
        rows = range(index * 100, index * 100 + draw.randint(0, 8))
        frontier.add(key, rows, ready_at=draw.choice([0.0, 3.0]))
        expected |= set(rows)
    now, seen = 0.0, set()
    free_at = dict.fromkeys(keys, 0.0)
    not_before: dict[int, float] = {}
    held: list[tuple[float, str]] = []
    fresh = 1000
    for _ in range(400):
        while held and held[0][0] <= now:
            _, key = heapq.heappop(held)
            free_at[key] = now + draw.choice([0.0, 1.0, 5.0])
            frontier.release(key, free_at[key])
        lease = frontier.lease(now)
        if lease is None:
            if not held and frontier.next_ready() is None:
                break
            now = max(now, min([entry[0] for entry in held] + [frontier.next_ready() or 1e9]))
            continue
        assert lease.key not in [key for _, key in held]
        assert now >= free_at[lease.key]
        assert now >= not_before.get(lease.item, 0.0)
        seen.add(lease.item)
        heapq.heappush(held, (now + draw.random(), lease.key))
        if draw.random() < 0.2 and fresh < 1040:
            fresh += 1
            expected.add(fresh)
            if draw.random() < 0.5:
                not_before[fresh] = now + draw.choice([0.5, 4.0])
                frontier.push(draw.choice(keys), fresh, not_before=not_before[fresh])
            else:
                frontier.push(draw.choice(keys), fresh)
    assert seen == expected
    assert len(frontier) == 0


def makespan(loads: dict[str, int], *, delay_s: float, latency_s: float, slots: int) -> float:
    """Simulated seconds that `slots` parallel fetches need for all items."""
    frontier: Frontier[int] = Frontier()
    for key, count in loads.items():
        frontier.add(key, range(count))
    now, flying = 0.0, list[tuple[float, str]]()
    while True:
        while flying and flying[0][0] <= now:
            at, key = heapq.heappop(flying)
            frontier.release(key, at + delay_s)
        lease = frontier.lease(now) if len(flying) < slots else None
        if lease is not None:
            heapq.heappush(flying, (now + latency_s, lease.key))
            continue
        times = [entry[0] for entry in flying[:1]]
        if len(flying) < slots and (ready := frontier.next_ready()) is not None:
            times.append(ready)
        if not times:
            return now
        now = max(now, min(times))


@pytest.mark.parametrize("num_hosts", [1000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_a_zipf_load_ends_close_to_its_lower_bound(num_hosts: int) -> None:
    """At most 1.1 times what the hottest domain, or the slots, need in any order."""
    loads = {f"h{rank}": max(1, num_hosts * 2 // rank) for rank in range(1, num_hosts + 1)}
    delay_s, latency_s = 1.0, 0.2
    for slots in (5, 50):
        total = sum(loads.values())
        bound = max(max(loads.values()) * (delay_s + latency_s), total * latency_s / slots)
        assert makespan(loads, delay_s=delay_s, latency_s=latency_s, slots=slots) <= 1.1 * bound


def test_leasing_stays_cheap_with_many_hosts() -> None:
    """Ten times the hosts may not cost ten times as much: no pass over all hosts."""

    def seconds_per_lease(num_hosts: int) -> float:
        frontier: Frontier[int] = Frontier()
        for host in range(num_hosts):
            frontier.add(f"h{host}", range(10))
        steps = itertools.count()

        def lease_some() -> None:
            for step in itertools.islice(steps, 1000):
                lease = frontier.lease(step * 0.001)
                assert lease is not None
                frontier.release(lease.key, step * 0.001 + 1.0)

        return least_cpu_s(lease_some, measured_s=0) / 1000

    assert seconds_per_lease(20_000) < 50e-6 + 5 * seconds_per_lease(2000)


@pytest.mark.soak
def test_a_million_urls_on_a_hundred_thousand_hosts() -> None:
    frontier: Frontier[int] = Frontier()
    for host in range(100_000):
        frontier.add(f"h{host}.example", range(host * 10, host * 10 + 10))
    frontier.lease(0.0)  # all hosts are ranked once
    began = time.process_time()
    for step in range(200_000):
        lease = frontier.lease(step * 0.001)
        assert lease is not None
        frontier.release(lease.key, step * 0.001 + 1.0)
    assert (time.process_time() - began) / 200_000 <= 50e-6


def test_platforms_share_a_pace() -> None:
    assert pace_key("blogspot.com") == pace_key("BLOGSPOT.com.")


def test_backoff_doubles_up_to_its_limit() -> None:
    assert [backoff_s(tries, 10.0, 60.0) for tries in (1, 2, 3, 4, 99)] == [10, 20, 40, 60, 60]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Fri, 02 Jan 2026 00:01:30 GMT", 90.0),
        ("Thu, 01 Jan 2026 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("9" * 40, None),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None),
        (None, None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, datetime(2026, 1, 2, tzinfo=UTC)) == seconds


def test_what_may_pass() -> None:
    assert may_pass(Reason.TIMEOUT, None)
    assert may_pass(None, 503)
    assert not may_pass(None, 404)
    assert not may_pass(Reason.TLS_FAILED, None)
    assert not may_pass(None, 501)


def test_places_at_an_address_reach_whoever_waits() -> None:
    limits: IpLimits[str] = IpLimits(2, OwnIpPacer(0.0))
    assert limits.take("1.1.1.1", 0.0)
    assert limits.take("1.1.1.1", 0.0)
    assert not limits.take("1.1.1.1", 0.0)
    for name in ("c", "d", "e"):
        limits.wait("1.1.1.1", name)
    assert limits.next_waiting("1.1.1.1") is None, "no place is free"
    limits.leave("1.1.1.1")
    assert limits.next_waiting("1.1.1.1") == "c"
    assert limits.next_waiting("1.1.1.1") == "d", "c went elsewhere: the place is still free"
    assert limits.take("1.1.1.1", 0.0)
    assert limits.next_waiting("1.1.1.1") is None
    assert limits.next_waiting("2.2.2.2") is None
    assert limits.next_due() is None


class Clock:
    """A pacer with a clock of its own."""

    def __init__(self, interval_s: float) -> None:
        self.now, self.due, self.interval_s = 0.0, dict[str, float](), interval_s

    def reserve(self, group: str) -> float:
        wait_s = self.due.get(group, 0.0) - self.now
        if wait_s <= 0:
            self.due[group] = self.now + self.interval_s
        return max(0.0, wait_s)


def test_an_address_gets_requests_at_its_rate_in_order() -> None:
    clock = Clock(0.5)
    limits: IpLimits[int] = IpLimits(8, clock)
    waiting = []
    for item in range(6):
        if not limits.take(f"2001:db8:1:2::{item:x}", clock.now):
            limits.wait(f"2001:db8:1:2::{item:x}", item)
            waiting.append(item)
    assert waiting == [1, 2, 3, 4, 5], "one /64 is one address"
    assert limits.take("2001:db8:1:3::1", clock.now), "another /64 is not"
    began: list[tuple[float, int]] = []
    while (due := limits.next_due()) is not None:
        clock.now = due
        for group in limits.pop_due(clock.now):
            item = limits.next_waiting(group)
            while item is not None:
                if limits.take(group, clock.now):
                    began.append((clock.now, item))
                else:
                    limits.wait(group, item, first=True)
                item = limits.next_waiting(group)
    assert began == [(0.5, 1), (1.0, 2), (1.5, 3), (2.0, 4), (2.5, 5)]


def test_workers_share_the_rate_of_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a second of a clock that goes on by a millisecond each time all have asked."""
    now = [1000.0]
    monkeypatch.setattr(politeness, "time", SimpleNamespace(time=lambda: now[0]))
    pacers = [SharedIpPacer(tmp_path / "ip", 0.05) for _ in range(4)]
    granted = []
    for millisecond in range(1000):
        now[0] = 1000.0 + millisecond / 1000
        granted += [now[0] for pacer in pacers if not pacer.reserve("1.2.3.4")]
    assert 19 <= len(granted) <= 20
    assert min(after - before for before, after in pairwise(granted)) > 0.0499
    assert pacers[0].reserve("4.3.2.1") == 0.0
    with (tmp_path / "ip").open("r+b") as file:
        file.write(struct.pack("<d", 1e12) * SharedIpPacer.NUM_SLOTS)
    assert pacers[0].reserve("1.2.3.4") == 0.0, "a clock that was set back stops nobody"
    for pacer in pacers:
        pacer.close()


def test_the_breaker_rests_then_gives_up() -> None:
    breaker = Breaker(failures=2, open_s=100.0, openings=2)
    breaker.failed("h", 0.0)
    assert breaker.open_until("h", 0.0) is None
    breaker.failed("h", 1.0)
    assert breaker.open_until("h", 2.0) == 101.0
    assert breaker.open_until("h", 101.0) is None
    assert not breaker.gave_up("h")
    breaker.failed("h", 102.0)
    breaker.failed("h", 103.0)
    assert breaker.gave_up("h")
    breaker.answered("h")
    assert not breaker.gave_up("h")


def test_keys_with_items_or_a_holder_are_not_forgotten() -> None:
    frontier: Frontier[int] = Frontier()
    frontier.add("full", [1, 2])
    frontier.add("other", [3])
    frontier.add("held", [4])
    claims = {}
    while (claim := frontier.lease(0.0)) is not None:
        claims[claim.key] = claim.item
    assert claims == {"full": 1, "other": 3, "held": 4}
    frontier.release("full", 5.0)
    frontier.release("other", 5.0)
    frontier.forget(lambda key: True)
    assert [*frontier.leased()] == ["held"]
    assert dict(frontier.loads()) == {"full": 1}
    assert frontier.postponed(0.0, 1.0) == {"full": 5.0}
    # A wait of just so many seconds is no longer one.
    assert frontier.postponed(2.0, 3.0) == {}
    assert frontier.postponed(2.0, 2.9) == {"full": 5.0}
    frontier.release("held")


def test_a_key_waits_once_for_one_time() -> None:
    frontier: Frontier[int] = Frontier()
    for number in range(3):
        frontier.push("a", number, not_before=5.0)
    assert (frontier.num_waiting, len(frontier)) == (1, 3)
    frontier.push("a", 4, not_before=4.0)
    assert (frontier.num_waiting, frontier.next_ready()) == (2, 4.0)
