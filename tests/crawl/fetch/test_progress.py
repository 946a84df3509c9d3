"""Progress whatever the robots cache holds: every robots.txt that is fetched lets a page go."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict

import pytest

from crawl.fetch.dispatcher import Dispatcher
from crawl.fetch.jobs import Link
from crawl.fetch.permission.robots import parse
from crawl.fetch.permission.robots_cache import SpillingRobotsCache
from crawl.fetch.requests import Permit
from crawl.fetch.settings import FetchConfig
from tests.crawl.fetch.test_dispatch import Names, Notes
from tests.crawl.loopback import Shard, Web, ok

RULES = b"User-agent: *\n" + b"".join(b"Disallow: /private/%d/\n" % i for i in range(60))


class Still(Names):
    """A name server that knows every name."""

    def __init__(self) -> None:
        super().__init__(__import__("random").Random(3))

    def known(self, host: str) -> object:  # type: ignore[override]
        from crawl.fetch.network.resolver import Endpoint, Resolved

        return Resolved((Endpoint("1.1.1.1"),))


async def crawl(num_hosts: int, per_host: int, **settings: object) -> tuple[int, Counter[str]]:
    """Pages fetched and requests by path kind, with every answer at once."""
    config = FetchConfig.model_validate(
        {"contact": "https://example.org/", "delay_s": 0.0, "latency_factor": 0.0} | settings
    )
    links = [
        Link(f"{host}-{page}", f"http://h{host}.d{host}.test/{page}")
        for host in range(num_hosts)
        for page in range(per_host)
    ]
    rows = defaultdict(list)
    for row, link in enumerate(links):
        rows[link.url.split("/")[2].partition(".")[2]].append(row)
    notes = Notes()
    dispatcher = Dispatcher(
        config,
        Still(),  # type: ignore[arg-type]
        notes,
        links.__getitem__,
        total=len(links),
    )
    for key, own in rows.items():
        dispatcher.add_rows(key, own)
    asked: Counter[str] = Counter()

    def answer(permit: Permit) -> None:
        asked["pages" if permit.result.page else "robots"] += 1
        permit.result.status = 200
        permit.result.body = permit.result.wire = b"<p>" if permit.result.page else RULES
        dispatcher.finished(permit, None)

    async with asyncio.timeout(60):
        while (permit := await dispatcher.next_permit()) is not None:
            asyncio.get_running_loop().call_soon(answer, permit)
            await asyncio.sleep(0)
            assert asked.total() <= 3 * len(links), "robots.txt in circles"
    await dispatcher.close()
    assert notes.ends == {link.doc_id: 1 for link in links}
    return dispatcher.reasons["ok"], asked


@pytest.mark.parametrize("keep_s", [86400.0, 0.02])
@pytest.mark.parametrize("per_host", [1, 3])
def test_more_hosts_than_the_cache_holds(keep_s: float, per_host: int) -> None:
    """900 hosts, rules of 430 in memory: one robots.txt a host, and every page."""
    ok_pages, asked = asyncio.run(
        crawl(900, per_host, robots_cache_bytes=1 << 20, robots_cache_s=keep_s)
    )
    assert ok_pages == asked["pages"] == 900 * per_host
    most = 900 if keep_s > 1 else 900 * per_host
    assert 900 <= asked["robots"] <= most


def test_the_livelock_on_a_real_socket(web: Web, shard: Shard) -> None:
    hosts = [f"h{i}.test" for i in range(300)]
    rules = b"User-agent: *\n" + b"".join(
        b"Disallow: /no/%05d/%s\n" % (i, b"x" * 99) for i in range(60)
    )
    for host in hosts:
        web.on(f"{host}/robots.txt", ok(rules))
    outcomes = shard.crawl([f"http://{host}/x" for host in hosts], robots_cache_bytes=1 << 20)
    assert {row["reason"] for row in outcomes.values()} == {None}
    assert len(web.hits) == 600


def test_evicted_rules_are_found_on_disk() -> None:
    cache = SpillingRobotsCache(keep_s=100.0, max_bytes=5000)
    rules = [
        parse(b"User-agent: *\nCrawl-delay: %d\nDisallow: /%d" % (i, i) + b"x" * 900, "webtext")
        for i in range(50)
    ]
    for number, each in enumerate(rules):
        cache.keep(f"http://{number}.test:80", each, now=float(number))
        assert cache.num_bytes <= 5000
    for number, each in enumerate(rules):
        assert cache.find(f"http://{number}.test:80", 60.0) == each
    assert cache.find("http://3.test:80", 103.5) is None, "too old there as well"
    assert cache.find("http://none.test:80", 1.0) is None
    cache.close()
