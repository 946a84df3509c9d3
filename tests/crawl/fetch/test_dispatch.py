"""The dispatcher among random answers, names and addresses: every link ends once, whatever happens, and no domain is asked twice at once."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from typing import Any

import pytest

from crawl.fetch.dispatcher import Dispatcher
from crawl.fetch.jobs import Link, locate
from crawl.fetch.network.resolver import Endpoint, Resolved
from crawl.fetch.pace.politeness import Breaker
from crawl.fetch.requests import FetchResult, Permit
from crawl.fetch.segment_ledger import Ledger
from crawl.fetch.settings import FetchConfig
from crawl.outcomes import Outcome, Reason

NUM_LINKS = 60
LOCATIONS = [
    b"/n%d",
    b"http://h%d.d1.test/q",
    b"http://elsewhere.d9.test/",
    b"http://wiki.d1.test/",
    b"http://h1.d1.test:22/",
    b"https://h%d.d2.test/robots.txt",
    b"",
]
RETRY_AFTER = [b"0", b"1", b"soon", b"Mon, 01 Jan 99999999999 00:00:00 GMT"]
PROBLEMS = [
    Reason.TIMEOUT,
    Reason.CONNECT_FAILED,
    Reason.CONNECTION_LOST,
    Reason.ADDRESS_REFUSED,
    Reason.TLS_FAILED,
    Reason.BAD_RESPONSE,
]


class Notes(Ledger):
    """Counts outcomes, keeps nothing."""

    def __init__(self) -> None:
        self.ends: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        self.ends[outcome.doc_id] += 1

    def add_page(self, outcome: Outcome, result: FetchResult) -> None:
        self.add(outcome)

    def store(self, *record: Any) -> None:
        return None

    def due(self, now: float) -> None:
        return None

    def rest(self) -> None:
        return None


class Names:
    """A name server of moods: names are forgotten soon, move between addresses, and fail now and then."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._known: dict[str, tuple[float, Resolved]] = {}

    def known(self, host: str) -> Resolved | None:
        until, answer = self._known.get(host, (0.0, None))
        return answer if until >= time.monotonic() else None

    async def lookup(self, host: str) -> None:
        await asyncio.sleep(self._draw.random() * 0.005)
        fails = {
            0: Reason.DNS_NOT_FOUND,
            1: Reason.ADDRESS_REFUSED,
            2: Reason.DNS_FAILED,
            3: Reason.DNS_FAILED,
        }
        reason = fails.get(self._draw.randrange(40))
        answer = (
            Resolved((), reason)
            if reason
            else Resolved((Endpoint(f"1.1.1.{self._draw.randrange(2)}"),))
        )
        self._known[host] = (time.monotonic() + self._draw.random() * 0.05, answer)


def answer(result: FetchResult, draw: random.Random) -> BaseException | None:
    """Whatever a server, or our own handler, may come up with."""
    mood = draw.random()
    if mood < 0.15:
        result.problem = draw.choice(PROBLEMS)
        return None
    if mood < 0.18:
        return RuntimeError("a fault of the handler's")
    result.status = draw.choice([*[200] * 6, 203, 301, 302, 404, 429, 500, 503])
    if result.status in (301, 302):
        location = draw.choice(LOCATIONS)
        result.headers = (
            (b"Location", location % draw.randrange(8) if b"%" in location else location),
        )
    elif draw.random() < 0.2:
        result.headers = ((b"Retry-After", draw.choice(RETRY_AFTER)),)
    rules = b"User-agent: *\nCrawl-delay: 0.005\nDisallow: /%d" % draw.randrange(9)
    result.body = result.wire = draw.choice([b"", b"<p>", rules])
    return None


async def crawl(seed: int) -> tuple[Counter[str], list[str]]:
    """Ends per link, and keys that were asked twice at once."""
    draw = random.Random(seed)
    config = FetchConfig(
        contact="https://example.org/",
        delay_s=draw.choice([0.0, 0.001]),
        retries=draw.choice([0, 2]),
        retry_delay_s=draw.choice([0.0, 0.01]),
        max_delay_s=0.01,
        max_retry_after_s=0.02,
        max_crawl_delay_s=0.01,
        max_redirects=3,
        concurrency=draw.choice([1, 3, 20]),
        max_in_flight_per_ip=draw.choice([1, 2, 5]),
        robots_cache_s=draw.choice([0.03, 100.0]),
    )
    links = [
        Link(str(i), f"http://h{draw.randrange(8)}.d{draw.randrange(4)}.test/{i}")
        for i in range(NUM_LINKS)
    ]
    rows = defaultdict(list)
    for row, link in enumerate(links):
        rows[_key(link.url)].append(row)
    notes = Notes()
    dispatcher = Dispatcher(
        config,
        Names(draw),  # type: ignore[arg-type]
        notes,
        links.__getitem__,
        total=NUM_LINKS,
        shard_of=lambda key: int(key == "d9.test"),
        excluded=lambda url: "wiki" in url,
        breaker=Breaker(failures=2, open_s=0.02, openings=2),
    )
    for key, own in rows.items():
        dispatcher.add_rows(key, own)
    in_flight: Counter[str] = Counter()
    twice: list[str] = []

    async def request(permit: Permit) -> None:
        key = _key(permit.result.url)
        in_flight[key] += 1
        if in_flight[key] > 1:
            twice.append(key)
        permit.result.started_at = time.monotonic()
        await asyncio.sleep(draw.random() * 0.003)
        failure = answer(permit.result, draw)
        permit.result.ended_at = time.monotonic()
        in_flight[key] -= 1
        dispatcher.finished(permit, failure)

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        while (permit := await dispatcher.next_permit()) is not None:
            group.create_task(request(permit))
    await dispatcher.close()
    return notes.ends, twice


def _key(url: str) -> str:
    place = locate(url)
    assert place is not None
    return place.key


@pytest.mark.parametrize("seeds", [range(5), pytest.param(range(5, 200), marks=pytest.mark.soak)])
def test_every_link_ends_once_whatever_happens(
    seeds: range, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    for seed in seeds:
        ends, twice = asyncio.run(crawl(seed))
        assert ends == {str(row): 1 for row in range(NUM_LINKS)}, seed
        assert twice == [], seed
