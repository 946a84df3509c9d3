"""Any cache, joins, leaves, kills and freezes give the same pages, at a pace that all workers keep.

The workers of a batch run on a virtual clock against a web that is a function of the URL, with the
crawl's own roster, leases and journals in a store in memory. What must come out is walked by hand in
`walk`, which knows neither shards nor workers.
"""

from __future__ import annotations

import asyncio
import io
import random
import types
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import FatalError, LostLeaseError
from corpus.storage import lease
from corpus.storage.interface import Store
from crawl.fetch import dispatcher as dispatcher_module
from crawl.fetch.dispatcher import Dispatcher
from crawl.fetch.fleet import roster, tending
from crawl.fetch.fleet.journals import Journals
from crawl.fetch.fleet.link_tables import LinkTables
from crawl.fetch.fleet.membership import Membership
from crawl.fetch.fleet.tending import Tender, Terms
from crawl.fetch.jobs import locate
from crawl.fetch.network.resolver import Endpoint, Resolved
from crawl.fetch.pace import politeness
from crawl.fetch.pace.frontier import shard_of
from crawl.fetch.pace.politeness import IpLimits, OwnIpPacer, address_share
from crawl.fetch.requests import FetchResult, Permit
from crawl.fetch.segment_ledger import Commit, Committer
from crawl.fetch.settings import FetchConfig
from crawl.outcomes import STORED_SCHEMA, Outcome, Reason, to_table
from tests.crawl.fetch.test_dispatch import Notes
from tests.crawl.fetch.virtual_clock import VirtualLoop

DELAY_S, LATENCY_S, MAX_REDIRECTS = 1.0, 0.2, 4
COMMIT_S, SLOWEST_S = 5.0, 100_000.0
CALL_S = 0.15
# Time after which the heartbeat of a killed worker may have missed a request (`_quiet_until`).
QUIET_S = 1.0 + DELAY_S * 1.1
# The crawl's own, before the small ones of this module's worlds.
LEAST_GAP, WEIGH_S = roster.LEAST_GAP, tending.WEIGH_S
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


@dataclass(frozen=True)
class Event:
    """Something that happens to the fleet, so many virtual seconds after the start."""

    at: float
    kind: str
    """`join`, `leave`, `kill` or `freeze`."""
    frozen_s: float = 0.0


@dataclass
class Fleet:
    """Workers of a batch, and what happens to them."""

    num_shards: int
    workers: int
    cache_bytes: int
    events: list[Event]

    @property
    def is_safe(self) -> bool:
        """True if every worker saves what it knows."""
        return all(event.kind in ("join", "leave") for event in self.events)


events = st.builds(
    Event,
    at=st.floats(0.5, 80.0),
    kind=st.sampled_from(["join", "leave", "kill", "freeze"]),
    frozen_s=st.sampled_from([3.0, 60.0, 300.0]),
)
fleets = st.builds(
    Fleet,
    num_shards=st.integers(1, 24),
    workers=st.integers(1, 4),
    cache_bytes=st.sampled_from([1, 700, 1 << 20]),
    events=st.lists(events, max_size=5),
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


class MemoryStore(Store):
    """A store in memory: what a worker has written is there, whatever happens to the worker."""

    def __init__(self, *, is_local: bool = True) -> None:
        super().__init__("memory")
        self.is_local = is_local
        self.data: dict[str, bytes] = {}

    def _read_bytes(self, path: str) -> bytes:
        try:
            return self.data[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    def _create_exclusive(self, path: str, data: bytes) -> bool:
        return self.data.setdefault(path, data) is data

    def _replace_exact(self, path: str, before: bytes, after: bytes) -> bool:
        if self.data.get(path) != before:
            return False
        self.data[path] = after
        return True

    def _files(self, folder: str, recursive: bool) -> list[tuple[str, int]]:
        return [(path, len(data)) for path, data in self.data.items() if path.startswith(folder)]

    def _open_input(self, path: str) -> Any:
        return pa.BufferReader(self._read_bytes(path))

    def _delete(self, path: str) -> None:
        self.data.pop(path, None)


for _name_ in MemoryStore.__abstractmethods__:
    setattr(MemoryStore, _name_, None)
MemoryStore.__abstractmethods__ = frozenset()


class Journal(Notes):
    """Outcomes of a worker, durable at each commit."""

    def __init__(self, store: MemoryStore, folder: str, member: Membership) -> None:
        super().__init__()
        self.open: list[Outcome] = []
        self.store_, self.folder, self.member, self.index = store, folder, member, 0

    def add(self, outcome: Outcome) -> None:
        self.open.append(outcome)

    def rest(self) -> Commit | None:  # type: ignore[override]
        self.index += 1
        outcomes, self.open = self.open, []
        return Commit(self.index, outcomes, None) if outcomes else None

    loose = rest

    def carry_out(self, commit: Commit) -> None:
        self.member.confirm()
        shards = pa.array([outcome.shard for outcome in commit.outcomes], pa.int32())
        buffer = io.BytesIO()
        table = to_table(commit.outcomes).add_column(0, STORED_SCHEMA.field(0), shards)
        pq.write_table(table, buffer)
        self.store_.data[f"{self.folder}/outcomes-{commit.index:05}.parquet"] = buffer.getvalue()


class SyncCommitter(Committer):
    """Carries commits out at once: a virtual clock waits for no thread."""

    def start(self, commit: Commit | None) -> None:
        if commit is None:
            return
        try:
            self._ledger.carry_out(commit)
        except FatalError as error:
            self._failed(error)
        else:
            self._notify(commit.outcomes)


async def call(function: Any, *arguments: Any) -> Any:
    """Run a blocking function, which takes its time: others run before and after."""
    await asyncio.sleep(CALL_S)
    result = function(*arguments)
    await asyncio.sleep(CALL_S)
    return result


@dataclass
class Worker:
    """A worker under way."""

    task: asyncio.Task[None] | None = None
    frozen_until: float = 0.0
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    dispatcher: Dispatcher | None = None

    async def thaw(self) -> bool:
        """Wait until the worker is not frozen; True if it was."""
        was, loop = False, asyncio.get_running_loop()
        while (wait_s := self.frozen_until - loop.time()) > 0:
            was = True
            await asyncio.sleep(wait_s)
        return was


class Links:
    """The links of a batch and the states of its workers, as `FleetFiles` has them."""

    def __init__(self, crawl: Crawl, folder: str) -> None:
        self.crawl, self.folder = crawl, folder

    def links(self, shards: Sequence[int]) -> dict[int, pa.Table]:
        self.crawl.opened.update(shards)
        return {shard: self.crawl.tables[shard] for shard in shards}

    def states(self, lives: Iterable[int]) -> list[dict[str, Any]]:
        return [self.crawl.states[life] for life in lives if life in self.crawl.states]

    def save(self, state: dict[str, Any]) -> None:
        self.crawl.states[int(self.folder[-5:])] = state


@dataclass
class Crawl:
    """A batch under way."""

    world: World
    fleet: Fleet
    hits: list[tuple[str, str, float, float]] = field(default_factory=list)
    """Pace key, URL, begin and end of each request."""
    states: dict[int, dict[str, Any]] = field(default_factory=dict)
    opened: Counter[int] = field(default_factory=Counter)
    """Times that workers began with a shard."""
    workers: list[Worker] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    is_local: bool = True
    """False: on an object store, where workers have no table of addresses in common."""

    def __post_init__(self) -> None:
        self.config = FetchConfig(
            contact="https://example.org/",
            delay_s=DELAY_S,
            latency_factor=0.0,
            max_redirects=MAX_REDIRECTS,
            retry_delay_s=5.0,
        ).model_copy(update={"robots_cache_bytes": self.fleet.cache_bytes})
        self.pacer = SharedPacer(self.config.ip_interval_s)
        self.store = MemoryStore(is_local=self.is_local)
        rows = [
            {"doc_id": str(number), "url": url, "domain": _key(url), "score": 3}
            for number, url in enumerate(self.world.links)
        ]
        schema = pa.schema(
            [
                ("doc_id", pa.string()),
                ("url", pa.string()),
                ("domain", pa.string()),
                ("score", pa.int32()),
            ]
        )
        self.tables = {
            shard: pa.Table.from_pylist(
                [row for row in rows if self.owner(row["url"]) == shard], schema
            )
            for shard in range(self.fleet.num_shards)
        }

    def owner(self, url: str) -> int:
        return shard_of(_key(url), self.fleet.num_shards)

    async def run(self) -> None:
        """Fetch until no shard has links left. A worker that ends early is followed by another."""
        for _ in range(self.fleet.workers):
            self.join()
        fate = asyncio.create_task(self.happen())
        observer = Membership(self.store, "fleet", self.fleet.num_shards)
        while not observer.read().roster.is_finished:
            await asyncio.sleep(1.0)
            for worker in [each for each in self.workers if each.task and each.task.done()]:
                self.workers.remove(worker)
                if not worker.task.cancelled() and (error := worker.task.exception()) is not None:
                    assert isinstance(error, LostLeaseError), repr(error)
            if not self.workers:
                self.join()
        fate.cancel()
        await asyncio.wait([each.task for each in self.workers if each.task], timeout=400)
        assert all(each.task.done() for each in self.workers if each.task)

    def join(self) -> None:
        worker = Worker()
        worker.task = asyncio.create_task(self.life(worker))
        self.workers.append(worker)

    async def happen(self) -> None:
        loop = asyncio.get_running_loop()
        for event in sorted(self.fleet.events, key=lambda each: each.at):
            await asyncio.sleep(max(0.0, 1000.0 + event.at - loop.time()))
            if event.kind == "join":
                self.join()
            elif self.workers:
                worker = self.workers[int(event.at * 7) % len(self.workers)]
                if event.kind == "freeze":
                    worker.frozen_until = loop.time() + event.frozen_s
                elif event.kind == "kill" and worker.task is not None:
                    worker.task.cancel()
                else:
                    worker.stop.set()

    async def life(self, worker: Worker) -> None:
        """One worker, until the batch ends or something happens to it."""
        loop = asyncio.get_running_loop()
        member = Membership(
            self.store, "fleet", self.fleet.num_shards, clock=loop.time, wait=lambda s: None
        )
        life = member.join()
        journals = Journals(self.store, "fleet", self.fleet.num_shards)
        tables = LinkTables()
        dispatcher = worker.dispatcher = Dispatcher(
            self.config,
            Names(),  # type: ignore[arg-type]
            Journal(self.store, journals.life_folder(life), member),
            tables.link,
            total=0,
            shard_of=lambda key: shard_of(key, self.fleet.num_shards),
            ip_limits=IpLimits(
                8, self.pacer if self.is_local else OwnIpPacer(self.config.ip_interval_s)
            ),
        )

        def share(num_workers: int) -> None:
            part = address_share(self.config, num_workers, has_table=self.is_local)
            dispatcher.share_addresses(*part)

        tender = Tender(
            dispatcher,
            member,
            journals,
            Links(self, journals.life_folder(life)),
            tables,
            Terms(
                num_shards=self.fleet.num_shards,
                expected=self.fleet.workers,
                first=range(self.fleet.num_shards),
                rest_s=QUIET_S,
                delay_s=DELAY_S,
                cap=0,
            ),
            share=share,
            call=call,
            clock=loop.time,
            wall=loop.time,
        )
        requests: set[asyncio.Task[None]] = set()
        watches = [
            asyncio.create_task(work)
            for work in (self.look(worker, tender), self.save(worker, tender, life))
        ]
        asking = asyncio.create_task(self.ask(worker, dispatcher, requests))
        stopping = asyncio.create_task(worker.stop.wait())
        tasks = {*watches, asking, stopping}
        try:
            while not asking.done() and not stopping.done():
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in tasks if task.done()]:
                    tasks.remove(task)
                    task.result()
            await worker.thaw()
            dispatcher.stop()
            for task in (*watches, asking, *requests):
                task.cancel()
            await dispatcher.close()
            await tender.leave()
        finally:
            for task in (*watches, asking, stopping, *requests):
                task.cancel()

    async def look(self, worker: Worker, tender: Tender) -> None:
        """Look after shards, as the worker does; the moment of a thaw is the first look after it."""
        if not self.is_local:
            await tender.tend(is_local=False)
        while not tender.is_finished:
            pause_s = await tender.look()
            await asyncio.sleep(pause_s)
            await worker.thaw()

    async def save(self, worker: Worker, tender: Tender, life: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1.0)
            if loop.time() < worker.frozen_until:
                await worker.thaw()
                await asyncio.sleep(1.0)
            self.states[life] = tender.state()
            if int(loop.time()) % COMMIT_S == 0:
                worker.dispatcher.commit()

    async def ask(
        self, worker: Worker, dispatcher: Dispatcher, requests: set[asyncio.Task[None]]
    ) -> None:
        while (permit := await dispatcher.next_permit()) is not None:
            if await worker.thaw():
                # A frozen process asks nobody. The first look decides if it may go on.
                await asyncio.sleep(0.5)
            requests.add(asyncio.create_task(self.request(worker, permit, dispatcher)))

    async def request(self, worker: Worker, permit: Permit, dispatcher: Dispatcher) -> None:
        loop = asyncio.get_running_loop()
        result, began = permit.result, loop.time()
        result.started_at = began
        try:
            await asyncio.sleep(LATENCY_S)
        finally:
            self.hits.append((_key(result.url), result.url, began, loop.time()))
        self.answer(result)
        if await worker.thaw():
            await asyncio.sleep(0.5)
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

    def ends(self) -> dict[str, list[dict[str, Any]]]:
        """Rows of the journals by link, without hand-overs."""
        found = defaultdict(list)
        for path in self.store.data:
            if "outcomes" in path:
                for row in pq.read_table(self.store.open_input(path)).to_pylist():
                    if row["reason"] != Reason.HANDED_OVER:
                        found[row["doc_id"]].append(row)
        return found


def _is_slow(world: World, url: str) -> bool:
    return world.rules[url.split("/")[2]] == "slow"


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
        walls = types.SimpleNamespace(
            time=clock.monotonic, monotonic=clock.monotonic, sleep=lambda s: None
        )
        patch.setattr(lease, "time", walls)
        patch.setattr(dispatcher_module, "Committer", SyncCommitter)
        # Worlds are small: shards change hands for a few links.
        patch.setattr(roster, "LEAST_GAP", 2.0)
        patch.setattr(tending, "WEIGH_S", 5.0)
        yield


def crawled(world: World, fleet: Fleet, *, is_local: bool = True) -> Crawl:
    crawl = Crawl(world, fleet, is_local=is_local)
    loop = VirtualLoop()
    try:
        loop.run_until_complete(asyncio.wait_for(crawl.run(), SLOWEST_S))
    finally:
        loop.close()
    return crawl


def check(world: World, fleet: Fleet) -> None:
    crawl = crawled(world, fleet)
    ends = crawl.ends()
    for number, url in enumerate(world.links):
        [end] = ends[str(number)]
        found = (end["reason"], end["final_url"] or end["url"], tuple(end["redirects"]))
        assert found == walk(world, url), url

    by_key = defaultdict(list)
    for key, url, began, ended in sorted(crawl.hits, key=lambda hit: hit[2]):
        by_key[key].append((url, began, ended))
    for key, hits in by_key.items():
        rest_s = DELAY_S
        for (url, _, ended), (_, began, _) in pairwise(hits):
            # A worker that is killed within a second of a robots.txt has not saved its delay.
            if url.endswith("robots.txt") and _is_slow(world, url) and fleet.is_safe:
                rest_s = 3.0
            assert began - ended >= rest_s - 1e-6, (key, url)

    began_at = sorted(hit[2] for hit in crawl.hits)
    for first, last in zip(began_at, began_at[2:], strict=False):
        assert last - first >= crawl.config.ip_interval_s - 1e-6, "two addresses, three requests"

    # Rules are asked for once by each worker that a shard has, whatever the size of the cache.
    for url, times in crawl.asked.items():
        if url.endswith("robots.txt"):
            # `retries` more of a site that is down.
            tries = 3 if world.rules[url.split("/")[2]] == "down" else 1
            assert times <= tries * crawl.opened[crawl.owner(url)], url


@settings(max_examples=25, deadline=None)
@given(worlds(), fleets)
def test_any_workers_fetch_the_same_pages_at_the_same_pace(world: World, fleet: Fleet) -> None:
    check(world, fleet)


@pytest.mark.parametrize("events", [[], [Event(4.0, "join")]], ids=["two", "a third joins"])
def test_workers_on_an_object_store_divide_the_pace_of_an_address(events: list[Event]) -> None:
    """Forty domains on one address: two workers ask it no more often than one may."""
    links = [f"http://a.d{n}.test/{page}" for n in range(10, 50) for page in range(4)]
    rules = {link.split("/")[2]: "missing" for link in links}
    world = World(links, {}, frozenset(), frozenset(), rules)
    crawl = crawled(world, Fleet(24, 2, 1 << 20, events), is_local=False)
    assert {url for _, url, _, _ in crawl.hits} >= {*links}

    began_at = sorted(began for _, _, began, _ in crawl.hits)
    interval_s = crawl.config.ip_interval_s
    # In any time, one request more than the rate for each worker: their clocks are their own.
    most_early_s = 3 * interval_s
    for first, begin in enumerate(began_at):
        for last in range(first + 1, len(began_at)):
            least_s = (last - first) * interval_s - most_early_s
            assert began_at[last] - begin >= least_s - 1e-6, (first, last)


@pytest.mark.parametrize(
    ("is_local", "pages", "within_s"), [(True, 16, 8.0), (False, 16, 20.0)], ids=["local", "remote"]
)
def test_a_worker_that_joins_gets_its_share_and_a_leaver_s_is_taken(
    is_local: bool, pages: int, within_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While hosts rest as well: each counted as one link then, and no gap of theirs was ever 64."""
    monkeypatch.setattr(roster, "LEAST_GAP", LEAST_GAP)
    monkeypatch.setattr(tending, "WEIGH_S", WEIGH_S)
    links = [f"http://a.d{n}.test/{page}" for n in range(10, 50) for page in range(pages)]
    rules = {link.split("/")[2]: "missing" for link in links}
    world = World(links, {}, frozenset(), frozenset(), rules)
    # Of two workers, the event at an even number of seconds concerns the first.
    joins_at, leaves_at = 5.0, 2.0 * round(within_s / 2 + 3)
    events = [Event(joins_at, "join"), Event(leaves_at, "leave")]
    crawl = Crawl(world, Fleet(24, 1, 1 << 20, events), is_local=is_local)

    async def look(at: float) -> roster.Roster:
        await asyncio.sleep(1000.0 + at - asyncio.get_running_loop().time())
        return roster.Roster.parse(crawl.store.data["fleet/roster.json"])

    async def run() -> tuple[roster.Roster, ...]:
        looks = look(joins_at + within_s), look(leaves_at + within_s)
        *seen, _ = await asyncio.gather(*looks, crawl.run())
        return (*seen,)

    loop = VirtualLoop()
    joined, left = loop.run_until_complete(asyncio.wait_for(run(), SLOWEST_S))
    loop.close()
    hosts = Counter(joined.owners[crawl.owner(f"http://{host}/")] for host in rules)
    assert hosts.keys() == {0, 1}
    assert min(hosts.values()) >= 16, "about half of forty"
    undone = [o for o, done in zip(left.owners, left.is_done, strict=True) if not done]
    assert {*undone} == {1}
    assert {len(ends) for ends in crawl.ends().values()} == {1}
    assert len(crawl.ends()) == len(links)


def test_what_becomes_durable_while_a_shard_is_opened_is_not_missed() -> None:
    """Its journal was read a moment before: the link was lost, and its batch never ended."""
    links = Links(Crawl(World([], {}, frozenset(), frozenset(), {}), Fleet(2, 1, 1 << 20, [])), "")
    store, crawl = links.crawl.store, links.crawl
    theirs = next(f"d{n}.test" for n in range(99) if shard_of(f"d{n}.test", 2) == 1)
    handed = Outcome(
        doc_id="x",
        url="http://a.test/1",
        final_url=f"http://{theirs}/2",
        redirects=["http://a.test/1"],
        reason=Reason.HANDED_OVER,
    )

    async def run() -> None:
        member = Membership(store, "fleet", 2, clock=asyncio.get_running_loop().time)
        member.join()
        journals, tables = Journals(store, "fleet", 2), LinkTables()
        journal = Journal(store, journals.life_folder(0), member)
        dispatcher = Dispatcher(
            crawl.config,
            Names(),  # type: ignore[arg-type]
            journal,
            tables.link,
            total=0,
            shard_of=lambda key: shard_of(key, 2),
        )

        async def call_late(function: Any, *arguments: Any) -> Any:
            result = function(*arguments)
            if function == journals.history:
                dispatcher.committed([handed])
            return result

        terms = Terms(num_shards=2, expected=1, first=range(2), rest_s=0.0, delay_s=DELAY_S, cap=0)
        tender = Tender(
            dispatcher, member, journals, links, tables, terms, call=call_late, clock=lambda: 0.0
        )
        await tender.look()
        assert tender.num_shards == 2
        assert dispatcher.left == {0: 0, 1: 1}

    loop = VirtualLoop()
    loop.run_until_complete(run())
    loop.close()


@pytest.mark.soak
@settings(max_examples=2000, deadline=None)
@given(worlds(), fleets)
def test_any_workers_fetch_the_same_pages_soak(world: World, fleet: Fleet) -> None:
    check(world, fleet)
