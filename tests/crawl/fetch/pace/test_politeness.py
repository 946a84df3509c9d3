"""Borders of breakers and limits of addresses. Clocks stand still or are arguments."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from crawl.fetch.pace import politeness
from crawl.fetch.pace.politeness import Breaker, IpLimits, OwnIpPacer, Pace, address_share
from crawl.fetch.requests import FetchResult
from crawl.fetch.settings import FetchConfig


def answer(status: int = 200, *, started: float = 0.0, ended: float = 0.0) -> FetchResult:
    return FetchResult("http://d.test/", 1 << 20, started_at=started, ended_at=ended, status=status)


def test_a_host_rests_after_five_failures_and_is_given_up_after_three_rests() -> None:
    breaker = Breaker()
    rests = []
    for failure in range(1, 16):
        breaker.failed("h", float(failure))
        rests.append(breaker.open_until("h", float(failure)))
        assert breaker.gave_up("h") is (failure == 15)
    assert rests == [None] * 4 + [905.0] * 5 + [910.0] * 5 + [915.0]
    # Due just now is not a rest.
    assert breaker.open_until("h", 914.9) == 915.0
    assert breaker.open_until("h", 915.0) is None
    assert breaker.open_until("other", 0.0) is None
    assert not breaker.gave_up("other")


def test_an_answer_forgets_failures_and_rests() -> None:
    breaker = Breaker(failures=2, open_s=10.0, openings=2)
    for _ in range(3):
        breaker.failed("h", 0.0)
    breaker.answered("h")
    breaker.answered("never asked")
    breaker.failed("h", 100.0)
    assert breaker.open_until("h", 0.0) is None
    breaker.failed("h", 100.0)
    assert breaker.open_until("h", 0.0) == 110.0
    assert not breaker.gave_up("h")


def test_a_host_without_a_delay_does_not_wait_for_its_latency() -> None:
    slow = answer(started=10.0, ended=20.0)
    free = Pace(FetchConfig(delay_s=0.0, jitter_frac=0.0))
    assert free.rest_until("d", slow, now=0.0) == 20.0
    asked = Pace(FetchConfig(delay_s=0.001, jitter_frac=0.0, latency_factor=1.0))
    assert asked.rest_until("d", slow, now=0.0) == 30.0


def test_a_pace_that_recovers_to_our_own_delay_is_forgotten() -> None:
    limits = Pace(FetchConfig(delay_s=2.0, jitter_frac=0.0, max_delay_s=30.0))
    for slow_s, left in ((8.0, {"d": 4.0}), (4.0, {}), (4.1, {"d": 2.05})):
        limits.slow_s = {"d": slow_s}
        limits.asked_wait_s("d", answer())
        assert limits.slow_s == left


def test_a_delay_above_the_cap_is_the_pace_of_a_slow_host() -> None:
    limits = Pace(FetchConfig(delay_s=50.0, jitter_frac=0.0, max_delay_s=30.0))
    assert [limits.asked_wait_s("d", answer(503))[1] for _ in range(2)] == [50.0, 50.0]


def test_one_workers_own_table_with_a_clock_that_stands_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr(politeness, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    pacer = OwnIpPacer(5.0)
    assert [pacer.reserve("a") for _ in range(2)] == [0.0, 5.0]
    clock[0] = 105.0
    assert [pacer.reserve("a") for _ in range(2)] == [0.0, 5.0], "due just now"
    # Up to 65,536 addresses are kept; with one more, those that are due are forgotten.
    pacer._due = {str(number): 105.0 for number in range(1 << 16)}
    pacer.reserve("b")
    assert len(pacer._due) == (1 << 16) + 1
    pacer._due["later"] = 106.0
    pacer.reserve("c")
    assert pacer._due == {"b": 110.0, "c": 110.0, "later": 106.0}
    assert pacer.reserve("b") == 5.0, "and no other"


class Granting:
    """Grants every request, or asks to wait."""

    interval_s = 1.0

    def __init__(self) -> None:
        self.wait_s = 0.0

    def reserve(self, group: str) -> float:
        return self.wait_s


def test_an_address_has_as_many_requests_in_flight_as_its_limit() -> None:
    limits: IpLimits[str] = IpLimits(2, Granting())
    assert [limits.take("1.1.1.1", 0.0) for _ in range(3)] == [True, True, False]
    limits.wait("1.1.1.1", "first")
    limits.wait("1.1.1.1", "second")
    limits.wait("1.1.1.1", "earliest", first=True)
    assert limits.next_waiting("1.1.1.1") is None, "nothing has ended"
    limits.leave("1.1.1.1")
    assert [limits.next_waiting("1.1.1.1") for _ in range(4)] == [
        "earliest",
        "first",
        "second",
        None,
    ]
    limits.leave("1.1.1.1")
    assert "1.1.1.1" not in limits._taken
    assert not limits._waiting
    assert limits.next_waiting("2.2.2.2") is None, "never asked"


def test_an_address_that_has_to_wait_is_due_at_its_time() -> None:
    pacer = Granting()
    limits: IpLimits[str] = IpLimits(2, pacer)
    assert limits.next_due() is None
    pacer.wait_s = 3.0
    assert not limits.take("1.1.1.1", 10.0)
    assert not limits.take("1.1.1.1", 12.0), "which has one time"
    limits.wait("1.1.1.1", "one")
    assert limits.next_due() == 13.0
    assert limits.next_waiting("1.1.1.1") is None
    assert limits.pop_due(12.9) == []
    assert limits.pop_due(13.0) == ["1.1.1.1"]
    assert limits.next_waiting("1.1.1.1") == "one"
    assert limits.next_due() is None


@pytest.mark.parametrize(
    ("workers", "table", "share"),
    [(1, True, (8, 1.0)), (8, True, (1, 1.0)), (9, True, (1, 1.0)), (1, False, (8, 1.0)), (4, False, (2, 4.0)),
     (7, False, (1, 7.0)), (8, False, (1, 8.0)), (9, False, (1, 8.0))],
)  # fmt: skip
def test_a_workers_share_of_an_address(workers: int, table: bool, share: tuple[int, float]) -> None:
    """Not slower than one domain's pace, however many workers there are."""
    config = FetchConfig(max_in_flight_per_ip=8, delay_s=8.0)
    assert address_share(config, workers, has_table=table) == share


@pytest.mark.parametrize(
    ("ip", "group"),
    [("1.2.3.4", "1.2.3.4"), ("2001:db8:0:1::1", "2001:db8:0:1::/64"), ("2001:db8:0:1:ffff::", "2001:db8:0:1::/64"),
     ("fe80::1%eth0", "fe80::/64"), ("not one", "not one")],
)  # fmt: skip
def test_an_address_of_version_6_is_its_network_of_64_bits(ip: str, group: str) -> None:
    assert politeness.address_group(ip) == group
