"""Any cache, number of workers, joins and kills give the same pages, at a pace that all keep.

The dispatchers of a batch run on a virtual clock against a web that is a function of the URL. What
must come out is walked by hand in `walk`, which knows neither queues nor workers.
"""

from __future__ import annotations

import asyncio
import random
import types
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawl.fetch import dispatcher as dispatcher_module
from crawl.fetch.dispatcher import Dispatcher
from crawl.fetch.jobs import Link, locate
from crawl.fetch.network.resolver import Endpoint, Resolved
from crawl.fetch.pace import politeness
from crawl.fetch.pace.frontier import shard_of
from crawl.fetch.pace.politeness import IpLimits
from crawl.fetch.requests import FetchResult, Permit
from crawl.fetch.settings import FetchConfig
from crawl.outcomes import Outcome, Reason
from tests.crawl.fetch.test_dispatch import Notes
from tests.crawl.fetch.virtual_clock import VirtualLoop

DELAY_S, LATENCY_S, MAX_REDIRECTS = 1.0, 0.2, 4
COMMIT_S, SLOWEST_S = 5.0, 100_000.0
# Time after which the heartbeat of a killed worker may have missed a request (`_quiet_until`).
QUIET_S = 1.0 + DELAY_S * 1.1
# A page's end: its reason, its last address and its redirects.
End = tuple[Reason | None, str, tuple[str, ...]]


@dataclass(frozen=True)
class World:
    """A web: answers by URL, rules by host."""

    links: list[str]
    moves: dict[str, str]
    failing: frozenset[str]
    """Pages with status 404."""
    busy: frozenset[str]
    """Pages that answer 503 once."""
    rules: dict[str, str]
    """robots.txt by host: `missing`, `closed`, `down`, or `slow` for a delay of 3 s."""


@st.composite
def worlds(draw: st.DrawFn) -> World:
    random_ = random.Random(draw(st.integers(0, 2**32)))
    hosts = [f"{sub}.d{n}.test" for n in range(draw(st.integers(1, 7))) for sub in ("a", "b")]
    urls = [f"http://{host}/{n}" for host in hosts for n in range(draw(st.integers(1, 4)))]
    moves = {url: random_.choice(urls) for url in urls if random_.random() < 0.3}
    rest = [url for url in urls if url not in moves]
    rules = {
        host: random_.choice(["missing", "missing", "closed", "down", "slow"]) for host in hosts
    }
    return World(
        links=random_.sample(urls, k=max(1, len(urls) * 3 // 4)),
        moves=moves,
        failing=frozenset(url for url in rest if random_.random() < 0.2),
        busy=frozenset(url for url in rest if random_.random() < 0.2),
        rules=rules,
    )


@dataclass
class Fleet:
    """Workers of a batch: how many there are, and what happens to them."""

    num_shards: int
    slots: int
    """Shards that are fetched at the same time; more join when others end."""
    cache_bytes: int
    kills: list[float]
    """Virtual seconds after the start at which a running worker is killed."""


fleets = st.builds(
    Fleet,
    num_shards=st.integers(1, 6),
    slots=st.integers(1, 6),
    cache_bytes=st.sampled_from([1, 700, 1 << 20]),
    kills=st.lists(st.floats(0.5, 60.0), max_size=4),
)


def walk(world: World, url: str) -> End:
    """The end of a link, hop by hop."""
    hops: tuple[str, ...] = ()
    while True:
        host, path = url.removeprefix("http://").split("/")
        if world.rules[host] == "down":
            return Reason.ROBOTS_UNREACHABLE, url, hops
        if world.rules[host] == "closed" and path == "1":
            return Reason.ROBOTS_DISALLOWED, url, hops
        if url not in world.moves:
            return Reason.HTTP_STATUS if url in world.failing else None, url, hops
        if (target := world.moves[url]) in (*hops, url):
            return Reason.REDIRECT_LOOP, url, hops
        if len(hops) == MAX_REDIRECTS:
            return Reason.REDIRECT_LIMIT, url, hops
        hops, url = (*hops, url), target


class Names:
    """A name server that knows all hosts, at two addresses."""

    def known(self, host: str) -> Resolved:
        return Resolved((Endpoint(f"1.1.1.{len(host) % 2}"),))


class SharedPacer:
    """The pace of addresses over all workers, on the virtual clock."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s, self._due = interval_s, dict[str, float]()

    def reserve(self, group: str) -> float:
        now = asyncio.get_running_loop().time()
        if (wait_s := self._due.get(group, 0.0) - now) > 0:
            return wait_s
        self._due[group] = now + self._interval_s
        return 0.0


class Journal(Notes):
    """Outcomes of a worker, durable at each commit."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        self.open.append(outcome)


@dataclass
class Crawl:
    """A batch under way."""

    world: World
    fleet: Fleet
    hits: list[tuple[str, str, float, float]] = field(default_factory=list)
    """Pace key, URL, begin and end of each request."""
    ends: dict[str, list[Outcome]] = field(default_factory=lambda: defaultdict(list))
    queues: dict[int, list[Link]] = field(default_factory=lambda: defaultdict(list))
    states: dict[int, dict[str, Any]] = field(default_factory=dict)
    lives: Counter[int] = field(default_factory=Counter)
    running: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.config = FetchConfig(
            contact="https://example.org/",
            delay_s=DELAY_S,
            latency_factor=0.0,
            max_redirects=MAX_REDIRECTS,
            retry_delay_s=5.0,
        ).model_copy(update={"robots_cache_bytes": self.fleet.cache_bytes})
        self.pacer = SharedPacer(self.config.ip_interval_s)
        for number, url in enumerate(self.world.links):
            self.queues[self.owner(url)].append(Link(str(number), url))

    def owner(self, url: str) -> int:
        return shard_of(_key(url), self.fleet.num_shards)

    async def run(self) -> None:
        """Fetch all shards, as many at once as there are slots, until no link is left."""
        killer = asyncio.create_task(self.kill())
        while any(self.queues.values()) or self.running:
            for shard in range(self.fleet.num_shards):
                if (
                    self.queues[shard]
                    and shard not in self.running
                    and len(self.running) < self.fleet.slots
                ):
                    self.running[shard] = asyncio.create_task(self.life(shard))
            await asyncio.wait(self.running.values(), return_when=asyncio.FIRST_COMPLETED)
            for shard, task in [*self.running.items()]:
                if task.done():
                    del self.running[shard]
                    if not task.cancelled():
                        task.result()
        killer.cancel()

    async def kill(self) -> None:
        loop = asyncio.get_running_loop()
        for at in sorted(self.fleet.kills):
            await asyncio.sleep(max(0.0, 1000.0 + at - loop.time()))
            if self.running:
                self.running[sorted(self.running)[int(at * 7) % len(self.running)]].cancel()

    async def life(self, shard: int) -> None:
        """One worker of a shard, until it ends or is killed. Only what it committed remains."""
        loop = asyncio.get_running_loop()
        self.lives[shard] += 1
        links = {_name(link): link for link in self.queues[shard]}
        journal = Journal()
        state = self.states.get(shard, {})
        quiet_until = state.get("alive_at", -QUIET_S) + QUIET_S
        self.states[shard] = {**state, "alive_at": loop.time()}
        dispatcher = Dispatcher(
            self.config,
            Names(),  # type: ignore[arg-type]
            journal,
            [*links.values()].__getitem__,
            total=len(links),
            owns=lambda key: shard_of(key, self.fleet.num_shards) == shard,
            ip_limits=IpLimits(8, self.pacer),
        )
        for link in links.values():
            dispatcher.add_job(link.job(), ready_at=quiet_until)
        for key, delay_s in state.get("crawl_delay_s", {}).items():
            dispatcher.set_pace(key, crawl_delay_s=delay_s, ready_at=quiet_until + delay_s)
        for key, until in state.get("postponed", {}).items():
            dispatcher.set_pace(key, ready_at=until)

        requests: set[asyncio.Task[None]] = set()
        saver = asyncio.create_task(self.save(shard, dispatcher, journal, links))
        try:
            while (permit := await dispatcher.next_permit()) is not None:
                requests.add(asyncio.create_task(self.request(permit, dispatcher)))
            self.commit(shard, journal, links)
            self.note(shard, dispatcher)
        finally:
            for task in (saver, *requests):
                task.cancel()
            await dispatcher.close()

    async def save(
        self, shard: int, dispatcher: Dispatcher, journal: Journal, links: dict[str, Link]
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1.0)
            self.note(shard, dispatcher)
            if int(loop.time()) % COMMIT_S == 0:
                self.commit(shard, journal, links)
            for link in [each for each in self.queues[shard] if _name(each) not in links]:
                links[_name(link)] = link
                dispatcher.total += 1
                dispatcher.add_job(link.job())

    def note(self, shard: int, dispatcher: Dispatcher) -> None:
        """Save what the next worker of the shard must know; a kill loses the last second."""
        now = asyncio.get_running_loop().time()
        self.states[shard] = {**dispatcher.state(now, now), "alive_at": now}

    def commit(self, shard: int, journal: Journal, links: dict[str, Link]) -> None:
        """Make outcomes durable, and hand over links that lead to others."""
        for outcome in journal.open:
            gone = [link for link in self.queues[shard] if link.doc_id == outcome.doc_id]
            self.queues[shard].remove(min(gone, key=lambda link: len(link.redirects)))
            if outcome.reason is Reason.HANDED_OVER:
                target = str(outcome.final_url)
                redirects = tuple(outcome.redirects)
                link = Link(outcome.doc_id, outcome.url, target, redirects)
                self.queues[self.owner(target)].append(link)
            else:
                self.ends[outcome.doc_id].append(outcome)
        journal.open.clear()

    async def request(self, permit: Permit, dispatcher: Dispatcher) -> None:
        loop = asyncio.get_running_loop()
        result, began = permit.result, loop.time()
        result.started_at = began
        try:
            await asyncio.sleep(LATENCY_S)
        finally:
            self.hits.append((_key(result.url), result.url, began, loop.time()))
        self.answer(result)
        result.ended_at = loop.time()
        dispatcher.finished(permit, None)

    def answer(self, result: FetchResult) -> None:
        url, world = result.url, self.world
        host, path = url.removeprefix("http://").split("/")
        self.asked[url] += 1
        result.status = 200
        result.body = result.wire = b"<p>"
        if path == "robots.txt":
            rules = world.rules[host]
            result.status = {"missing": 404, "down": 501}.get(rules, 200)
            delay = b"Crawl-delay: 3\n" if rules == "slow" else b""
            result.body = result.wire = (
                b"User-agent: *\n" + delay + b"Disallow: " + (b"/1" if rules == "closed" else b"")
            )
        elif url in world.moves:
            result.status, result.headers = 302, ((b"Location", world.moves[url].encode()),)
        elif url in world.failing:
            result.status = 404
        elif url in world.busy and self.asked[url] == 1:
            result.status = 503


def _is_slow(world: World, url: str) -> bool:
    return world.rules[url.split("/")[2]] == "slow"


def _name(link: Link) -> str:
    return f"{link.doc_id} {len(link.redirects)}"


def _key(url: str) -> str:
    site = locate(url)
    assert site is not None
    return site.key


@pytest.fixture(scope="module", autouse=True)
def virtual_time() -> Iterator[None]:
    """The clocks of the dispatcher and of its pace are those of the running loop."""
    with pytest.MonkeyPatch.context() as patch:
        clock = types.SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time())
        patch.setattr(dispatcher_module, "time", clock)
        patch.setattr(politeness, "time", clock)
        yield


def crawled(world: World, fleet: Fleet) -> Crawl:
    crawl = Crawl(world, fleet)
    loop = VirtualLoop()
    try:
        loop.run_until_complete(asyncio.wait_for(crawl.run(), SLOWEST_S))
    finally:
        loop.close()
    return crawl


def check(world: World, fleet: Fleet) -> None:
    crawl = crawled(world, fleet)
    for number, url in enumerate(world.links):
        [end] = crawl.ends[str(number)]
        found = (end.reason, end.final_url or end.url, tuple(end.redirects))
        assert found == walk(world, url), url

    by_key = defaultdict(list)
    for key, url, began, ended in sorted(crawl.hits, key=lambda hit: hit[2]):
        by_key[key].append((url, began, ended))
    for key, hits in by_key.items():
        rest_s = DELAY_S
        for (url, _, ended), (_, began, _) in pairwise(hits):
            # A worker that is killed within a second of a robots.txt has not saved its delay.
            if url.endswith("robots.txt") and _is_slow(world, url) and not fleet.kills:
                rest_s = 3.0
            assert began - ended >= rest_s - 1e-6, (key, url)

    began_at = sorted(hit[2] for hit in crawl.hits)
    for first, last in zip(began_at, began_at[2:], strict=False):
        assert last - first >= crawl.config.ip_interval_s - 1e-6, "two addresses, three requests"

    # Rules are asked for once in the life of a worker, whatever the size of the cache.
    for url, times in crawl.asked.items():
        if url.endswith("robots.txt"):
            # `retries` more of a site that is down.
            tries = 3 if world.rules[url.split("/")[2]] == "down" else 1
            assert times <= tries * crawl.lives[crawl.owner(url)], url


@settings(max_examples=25, deadline=None)
@given(worlds(), fleets)
def test_any_workers_fetch_the_same_pages_at_the_same_pace(world: World, fleet: Fleet) -> None:
    check(world, fleet)


@pytest.mark.soak
@settings(max_examples=2000, deadline=None)
@given(worlds(), fleets)
def test_any_workers_fetch_the_same_pages_soak(world: World, fleet: Fleet) -> None:
    check(world, fleet)
