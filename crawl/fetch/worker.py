"""A process for fetching pages: `python -m crawl.fetch.worker SPEC.json`.

The spec (see `Spec`) names either a file of links with a local folder for their state, or the fleet
of a batch: then the worker takes shards of domains, and gives them away when others need work
(`crawl.fetch.fleet`). Run again with the same spec, the links without a committed outcome are
fetched, however the worker was stopped. Exit codes: 0 all links have outcomes; 3 stopped (deadline,
SIGTERM, SIGINT) with links left; 1 or 2 an error, one line on stderr. A line of JSON on stdout each
second reports progress; the last one names the error, if there is one.

A crawl never inherits a loop, a reactor or memory from an earlier one: each worker is a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError
from scrapy.crawler import AsyncCrawlerRunner

from corpus.errors import FatalError, InputError, WebtextError
from corpus.storage.store import Store, open_store
from corpus.tables.takedown_list import load_forgotten
from crawl.fetch import stop_request
from crawl.fetch.dispatcher import Dispatcher
from crawl.fetch.fleet.files import FleetFiles, remove_leftovers, segment_prefix
from crawl.fetch.fleet.journals import Journals
from crawl.fetch.fleet.link_tables import (
    CONDITION_COLUMNS,
    LINK_COLUMNS,
    LinkTables,
    Start,
    links_left,
    restore_paces,
)
from crawl.fetch.fleet.membership import Membership
from crawl.fetch.fleet.tending import Tender, Terms
from crawl.fetch.network.resolver import Resolver
from crawl.fetch.pace.frontier import shard_of
from crawl.fetch.pace.politeness import (
    IpLimits,
    IpPacer,
    OwnIpPacer,
    SharedIpPacer,
    address_share,
)
from crawl.fetch.segment_ledger import Ledger
from crawl.fetch.settings import FetchConfig, RightsCheck
from crawl.fetch.shard_state import HEARTBEAT, alive_at, alone, read_state, write_state
from crawl.fetch.spider import LinkSpider, scrapy_settings
from crawl.links.config import LinksConfig
from crawl.outcomes import Reason, next_index, read_outcomes, remove_orphans
from crawl.rights.settings import RightsConfig

log = logging.getLogger(__name__)

# Stopped with links left; the worker continues when run again.
EXIT_LEFT = 3
PROGRESS_S = 1.0
# Seconds for requests in flight when the worker is stopped; Ray kills a job after 3 s.
STOP_GRACE_S = 1.0
CLOSE_GRACE_S = 0.5
# The same on an object store: a lost worker's shards are free much later than that.
REMOTE_SAVE_S = 5.0
# Retry times are saved each second, but with a pause of this many times the last save.
SAVE_PAUSE = 50
TOP_DOMAINS = 5
TOP_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class FleetSpec:
    """The fleet that a worker joins."""

    batch: str
    folder: str
    """Leases, roster and journals, below the corpus root."""
    scattered: str
    """The folder of the links by bucket: a shard is in bucket `shard % num_buckets`."""
    num_buckets: int
    num_shards: int
    expected: int
    """Workers that are likely to start at the same time."""

    def order(self, first: int) -> list[int]:
        """Shards in this worker's order: workers begin at different ones."""
        return sorted(
            range(self.num_shards), key=lambda shard: ((shard - first) % self.num_buckets, shard)
        )


@dataclass(frozen=True, slots=True)
class Spec:
    """Arguments of a worker; the keys of the JSON file."""

    corpus: str
    shard: int
    """A number for the log; among a fleet, the shard with which the worker begins."""
    links: Path | None
    """Parquet with `LINK_COLUMNS`, and `CONDITION_COLUMNS` where pages are asked for again."""
    out_dir: Path | None
    """Local folder of the worker's own state: outcomes, retry times."""
    warc_prefix: str
    """Segments are `<warc_prefix>-00000.warc.gz` and so on, relative to the corpus root."""
    config: FetchConfig
    fleet: FleetSpec | None = None
    """The fleet to join, instead of `links` and `out_dir`. Then `warc_prefix` is a folder."""
    deadline: float | None = None
    """Unix seconds after which nothing more is started."""
    excluded: LinksConfig | None = None
    """Rules that leave out targets of redirects, as they leave out links."""
    ip_table: Path | None = None
    """File through which workers share the pace of IP addresses. None: this one has its own."""
    rights: RightsConfig | None = None
    """Settings of rights. None: nothing is asked about training."""
    checks: RightsCheck | None = None
    """Only rights are asked for, of pages that were stored before."""
    parent: int | None = None
    """The process that started the worker, which ends with it. None: no process is watched."""
    stop_batch: str | None = None
    """The batch in whose folder a request to stop appears. None: none is looked for."""
    lease_token: str | None = None
    """The lease under which the worker was started. None: no lease is watched."""


def read_spec(path: str) -> Spec:
    """The spec at `path`. Raises InputError."""
    try:
        document = json.loads(Path(path).read_bytes())
        excluded = document.get("excluded")
        ip_table = document.get("ip_table")
        rights = document.get("rights")
        fleet = document.get("fleet")

        return Spec(
            corpus=document["corpus"],
            shard=int(document["shard"]),
            links=None if fleet is not None else Path(document["links"]),
            out_dir=None if fleet is not None else Path(document["out_dir"]),
            warc_prefix=document["warc_prefix"],
            config=FetchConfig.model_validate(document["config"]),
            fleet=None if fleet is None else FleetSpec(**fleet),
            deadline=document.get("deadline"),
            excluded=None if excluded is None else LinksConfig.model_validate(excluded),
            ip_table=None if ip_table is None else Path(ip_table),
            rights=None if rights is None else RightsConfig.model_validate(rights),
            checks=RightsCheck(document["checks"]) if document.get("checks") else None,
            parent=document.get("parent"),
            stop_batch=document.get("stop_batch"),
            lease_token=document.get("lease_token"),
        )
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise InputError(f"{path}: no worker spec ({error!r})") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch the shard named by the spec; the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)
    if arguments in (["-h"], ["--help"]):
        print(__doc__)
        return 0

    try:
        if len(arguments) != 1:
            raise InputError(
                "usage: python -m crawl.fetch.worker SPEC.json; "
                "`webtext crawl` starts workers and writes their specs"
            )
        return run(read_spec(arguments[0]))
    except WebtextError as error:
        sys.stderr.write(f"{error}\n")
        _report({"error": str(error)})
        return error.exit_code


def run(spec: Spec) -> int:
    """Fetch the links left; 0 or `EXIT_LEFT`. Raises WebtextError."""
    spec.config.require_contact()
    store = open_store(spec.corpus)
    _allow_many_files()
    if spec.fleet is not None:
        return _run_member(spec, spec.fleet, store)

    assert spec.links is not None
    assert spec.out_dir is not None
    spec.out_dir.mkdir(parents=True, exist_ok=True)
    links = _read_links(spec.links)

    with alone(spec.out_dir):
        done = read_outcomes(spec.out_dir)["doc_id"].combine_chunks()
        if not pc.any(pc.invert(pc.is_in(links["doc_id"], value_set=done))).as_py():
            remove_orphans(store, spec.warc_prefix, spec.out_dir)
            ended = {"done": links.num_rows, "total": links.num_rows}
            _report({**ended, "ok": 0, "in_flight": 0, "bytes": 0})
            return 0

        async def fetch(out_dir: Path) -> int:
            worker = Worker(spec, store, out_dir, spec.warc_prefix, None)
            worker.fill(links, done)
            return await worker.fetch()

        return asyncio.run(fetch(spec.out_dir))


def _run_member(spec: Spec, fleet: FleetSpec, store: Store) -> int:
    """Fetch shards of a batch, beside other workers, until none has links left."""
    journals = Journals(store, fleet.folder, fleet.num_shards)
    member = Membership(
        store,
        fleet.folder,
        fleet.num_shards,
        clean_up=lambda life: remove_leftovers(store, journals, spec.warc_prefix, life),
    )
    life = member.join()

    async def fetch(out_dir: Path) -> int:
        prefix = segment_prefix(spec.warc_prefix, life)
        return await Worker(spec, store, out_dir, prefix, member).fetch()

    with tempfile.TemporaryDirectory(prefix="webtext-fetch-") as temporary:
        out_dir = store.local_path(journals.life_folder(life)) or Path(temporary)
        out_dir.mkdir(parents=True, exist_ok=True)
        return asyncio.run(fetch(out_dir))


def _read_links(path: Path) -> pa.Table:
    try:
        present = pq.read_schema(path).names
        columns = [*LINK_COLUMNS, *(name for name in CONDITION_COLUMNS if name in present)]
        return pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise InputError(f"{path}: no links ({error})") from error


def _allow_many_files() -> None:
    """Raise the limit of open files: idle connections stay open for some seconds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1 << 16 if hard == resource.RLIM_INFINITY else min(hard, 1 << 16)
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _report(state: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(state) + "\n")
        sys.stdout.flush()


class Worker:
    """A fetching process, for links of one file or for its own shards of a fleet."""

    def __init__(
        self, spec: Spec, store: Store, out_dir: Path, warc_prefix: str, member: Membership | None
    ) -> None:
        config = spec.config
        self._spec = spec
        self._store = store
        self._out_dir = out_dir
        self._tables = LinkTables()
        self._num_done = 0
        self._resolver = Resolver(
            connect_to=config.endpoints,
            networks=config.networks,
            public=not config.only_loopback,
            timeout_s=config.dns_timeout_s,
        )
        self.dispatcher = self._dispatch(warc_prefix, member)
        self._life = member.life if member is not None else None
        self._tender = self._tend(member) if member is not None else None

        self._stopped = asyncio.Event()
        self._began_at = time.monotonic()
        self._writing: asyncio.Future[None] | None = None
        self._top: list[tuple[str, int]] = []
        self._top_at = 0.0

    def _dispatch(self, warc_prefix: str, member: Membership | None) -> Dispatcher:
        spec, config = self._spec, self._spec.config
        rules = spec.excluded.rules() if spec.excluded is not None else None
        taken_down = load_forgotten(self._store)
        if spec.ip_table is not None:
            pacer: IpPacer = SharedIpPacer(spec.ip_table, config.ip_interval_s)
        else:
            pacer = OwnIpPacer(config.ip_interval_s)

        segments = remove_orphans(self._store, warc_prefix, self._out_dir)
        ledger = Ledger(
            self._store,
            warc_prefix,
            self._out_dir,
            config,
            first_index=next_index(self._out_dir, segments),
            confirm=member.confirm if member is not None else lambda: None,
        )
        num_shards = spec.fleet.num_shards if spec.fleet is not None else 1
        return Dispatcher(
            config,
            self._resolver,
            ledger,
            self._tables.link,
            total=0,
            shard_of=lambda key: shard_of(key, num_shards),
            excluded=lambda url: (
                (rules is not None and rules.judge_url(url) is not None) or taken_down.has_page(url)
            ),
            ip_limits=IpLimits(config.max_in_flight_per_ip, pacer),
            rights=spec.rights,
            checks=spec.checks,
        )

    def _tend(self, member: Membership) -> Tender:
        fleet, config = self._spec.fleet, self._spec.config
        assert fleet is not None
        journals = Journals(self._store, fleet.folder, fleet.num_shards)
        self._files = FleetFiles(
            self._store,
            journals,
            self._out_dir,
            member.life,
            scattered=fleet.scattered,
            num_buckets=fleet.num_buckets,
            num_shards=fleet.num_shards,
        )
        terms = Terms(
            num_shards=fleet.num_shards,
            expected=fleet.expected,
            first=fleet.order(self._spec.shard),
            rest_s=PROGRESS_S + config.delay_s * (1 + config.jitter_frac),
            delay_s=config.delay_s,
            cap=config.per_domain_cap,
        )
        # One blocking call at a time: a state that is being saved is not replaced by an older one.
        guard = asyncio.Lock()

        async def call(function: Callable[..., Any], *arguments: Any) -> Any:
            async with guard:
                return await asyncio.to_thread(function, *arguments)

        self._call = call
        return Tender(
            self.dispatcher,
            member,
            journals,
            self._files,
            self._tables,
            terms,
            share=self._share_addresses,
            call=call,
        )

    def _share_addresses(self, num_workers: int) -> None:
        """Divide the limits of an IP address among the workers of the batch."""
        share = address_share(self._spec.config, num_workers, has_table=self._store.is_local)
        self.dispatcher.share_addresses(*share)

    def fill(self, links: pa.Table, done: pa.Array) -> None:
        """Give the links of one file to the dispatcher, with the state of an earlier run."""
        left = links_left(links, done, self._spec.config.per_domain_cap)
        now, wall = time.monotonic(), time.time()
        quiet_until = now + max(0.0, self._quiet_until() - wall)
        start = Start(quiet_until, now - wall, read_state(self._out_dir))

        self._num_done = len(done)
        self.dispatcher.expect(0, left.num_rows, quiet_until)
        self._tables.add(0, left, self.dispatcher, start)
        restore_paces(self.dispatcher, start)

    def _quiet_until(self) -> float:
        """Unix seconds of the earliest request to any domain.

        An earlier worker may just have asked one, and been killed.
        """
        lived = alive_at(self._out_dir)
        if lived is None:
            return 0.0

        return lived + PROGRESS_S + self._spec.config.delay_s * (1 + self._spec.config.jitter_frac)

    async def fetch(self) -> int:
        """Run to the end or to a stop; the exit code."""
        runner = AsyncCrawlerRunner(settings=scrapy_settings(self._spec.config))
        crawler = runner.create_crawler(LinkSpider)
        works = (self._beat, self._save, self._look_after_shards, self._watch_for_stop)
        watches = [asyncio.create_task(self._guarded(work)) for work in works]
        self._listen()
        crawl = asyncio.ensure_future(self._crawl(runner, crawler))
        stop = asyncio.create_task(self._stopped.wait())
        await asyncio.wait({crawl, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not crawl.done():
            await asyncio.wait({crawl}, timeout=STOP_GRACE_S)

        if not crawl.done():
            # Requests in flight are given up; their links have no outcome and are fetched again.
            crawl.cancel()
            await asyncio.wait({crawl}, timeout=CLOSE_GRACE_S)

        for task in (*watches, stop):
            task.cancel()

        await self.dispatcher.close()
        if self._writing is not None:  # an older state must not replace the last one
            await asyncio.wait({self._writing})
        if self._tender is not None:
            await self._tender.leave()
        else:
            write_state(self._out_dir, self._state())
        await self._resolver.close()
        self._progress()
        if crawl.done() and not crawl.cancelled() and (error := crawl.exception()) is not None:
            if not self._spec.config.scrapy_settings:
                raise error
            raise InputError(
                "Scrapy does not start with crawl.fetch.scrapy_settings = "
                f"{self._spec.config.scrapy_settings}: {type(error).__name__}: {error}"
            ) from error

        if self._is_finished:
            return 0
        if not self._stopped.is_set():
            raise FatalError(
                f"shard {self._spec.shard}: Scrapy ended with links left; its log says why"
            )

        return EXIT_LEFT

    @property
    def _is_finished(self) -> bool:
        if self._tender is not None:
            return self._tender.is_finished
        return self.dispatcher.done == self.dispatcher.total

    async def _crawl(self, runner: AsyncCrawlerRunner, crawler: Any) -> None:
        await runner.crawl(crawler, source=self.dispatcher)

    async def _look_after_shards(self) -> None:
        if self._tender is not None:
            await self._tender.tend(is_local=self._store.is_local)

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        if self._spec.deadline is not None:
            loop.call_later(max(0.0, self._spec.deadline - time.time()), self._stop)

    def _stop(self) -> None:
        self.dispatcher.stop()
        self._stopped.set()

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` until cancelled; if it fails (a full disk), the crawl ends."""
        try:
            await work()
        except (OSError, WebtextError) as error:
            self.dispatcher.fail(error if isinstance(error, FatalError) else FatalError(str(error)))
            self._stopped.set()
        except Exception as error:
            # A bug of ours: without its watches a worker would wait for ever.
            log.exception("unexpected")
            self.dispatcher.fail(FatalError(f"{type(error).__name__}: {error}"))
            self._stopped.set()

    async def _beat(self) -> None:
        """Report progress, touch the heartbeat, and see if the worker must end."""
        while True:
            (self._out_dir / HEARTBEAT).touch()
            self._progress()
            if self.dispatcher.error is not None:
                self._stopped.set()
            if self._spec.parent is not None and os.getppid() != self._spec.parent:
                self._end_orphaned()
            await asyncio.sleep(PROGRESS_S)

    async def _watch_for_stop(self) -> None:
        """Stop on a request in the corpus, or if another run has taken the batch over."""
        batch = self._spec.stop_batch
        while batch is not None:
            found = await asyncio.to_thread(
                stop_request.reason_to_stop, self._store, batch, self._spec.lease_token
            )
            if found is not None:
                log.warning("shard %d stops: %s", self._spec.shard, found)
                self._stop()
                return
            await asyncio.sleep(stop_request.EVERY_S)

    def _end_orphaned(self) -> None:
        """Stop: the process that would use the outcomes is gone, and may have a successor."""
        if self._store.is_local:
            self._stop()
        else:
            # The folder dies with this node's task, and a segment written from now on could replace
            # one of the successor's.
            os._exit(EXIT_LEFT)

    async def _save(self) -> None:
        """Save retry times and rests soon, outcomes without a record every `flush_s`."""
        flushed_at, saved, pause_s = time.monotonic(), 0, PROGRESS_S
        while True:
            await asyncio.sleep(pause_s)
            began_at = time.monotonic()
            if began_at - flushed_at >= self._spec.config.flush_s:
                flushed_at = began_at
                self.dispatcher.flush()
                if self._tender is not None:
                    await self._call(self._files.merge)

            if self.dispatcher.num_noted != saved:
                saved = self.dispatcher.num_noted
                self._writing = asyncio.ensure_future(self._write_state())
                await asyncio.shield(self._writing)
            elif self._tender is not None:
                await self._call(self._files.mirror)

            pause_s = min(
                self._spec.config.flush_s,
                max(
                    PROGRESS_S if self._store.is_local else REMOTE_SAVE_S,
                    SAVE_PAUSE * (time.monotonic() - began_at),
                ),
            )

    async def _write_state(self) -> None:
        state = self._state()
        if self._tender is not None:
            await self._call(self._files.save, state)
        else:
            await asyncio.to_thread(write_state, self._out_dir, state)

    def _state(self) -> dict[str, Any]:
        """The state to save, taken in the event loop, where nothing changes meanwhile."""
        if self._tender is not None:
            return self._tender.state()
        return self.dispatcher.state(time.monotonic(), time.time())

    def _progress(self) -> None:
        dispatcher = self.dispatcher
        frontier = dispatcher.frontier
        # Takes 50 ms with 100,000 domains.
        if time.monotonic() - self._top_at >= TOP_EVERY_S:
            self._top, self._top_at = frontier.heaviest(TOP_DOMAINS), time.monotonic()
        num_handed = dispatcher.reasons[Reason.HANDED_OVER]
        reasons = {key: n for key, n in dispatcher.reasons.items() if key != Reason.HANDED_OVER}
        shards = {} if self._tender is None else {"shards": self._tender.num_shards}
        _report(
            {
                "life": self._life,
                **shards,
                "done": self._num_done + dispatcher.done - num_handed,
                "begun": dispatcher.done,
                "seconds": time.monotonic() - self._began_at,
                "total": self._num_done + dispatcher.total - num_handed,
                "ok": dispatcher.reasons["ok"],
                "in_flight": dispatcher.in_flight,
                "bytes": dispatcher.num_bytes,
                "ready_hosts": frontier.num_ready,
                "waiting_hosts": frontier.num_waiting,
                "top": self._top,
                "reasons": reasons,
                **dispatcher.walls.state(),
            }
        )


if __name__ == "__main__":
    raise SystemExit(main())
