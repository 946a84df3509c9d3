"""One shard of domains, fetched by one process: `python -m crawl.fetch.worker SPEC.json`.

The spec (see `Spec`) names the shard's links, a local folder for its state, and the place of its
WARC segments. Run again with the same spec, the worker continues from the links without a committed
outcome, however it was stopped. Exit codes: 0 all links have outcomes; 3 stopped (deadline, SIGTERM,
SIGINT) with links left; 1 or 2 an error, one line on stderr. A line of JSON on stdout each second
reports progress; the last one names the error, if there is one.

Each shard has its own process, so that a crawl never inherits a loop, a reactor or memory from an
earlier one.
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
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
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
from crawl.fetch.hand_over import HandOver
from crawl.fetch.jobs import Link, Resume
from crawl.fetch.network.resolver import Resolver
from crawl.fetch.pace.frontier import pace_key, shard_of
from crawl.fetch.pace.politeness import IpLimits, IpPacer, OwnIpPacer, SharedIpPacer
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
# Retry times are saved each second, but with a pause of this many times the last save.
SAVE_PAUSE = 50
TOP_DOMAINS = 5
TOP_EVERY_S = 5.0
LINK_COLUMNS = ("doc_id", "url", "domain", "score")
HAND_OVER_COLUMNS = ("target", "redirects")
CONDITION_COLUMNS = {"etag": "If-None-Match", "last_modified": "If-Modified-Since"}


@dataclass(frozen=True, slots=True)
class Spec:
    """Arguments of a worker; the keys of the JSON file."""

    corpus: str
    shard: int
    links: Path
    """Parquet with `LINK_COLUMNS`; for links that were handed over, `HAND_OVER_COLUMNS` too."""
    out_dir: Path
    """Local folder of the shard's own state: outcomes, retry times."""
    warc_prefix: str
    """Segments are `<warc_prefix>-00000.warc.gz` and so on, relative to the corpus root."""
    config: FetchConfig
    batch: str | None = None
    """The batch whose shards exchange links while they run. None: nothing is exchanged."""
    deadline: float | None = None
    """Unix seconds after which nothing more is started."""
    num_shards: int = 0
    """Shards of the batch: links into domains of other ones are handed over. 0: none are."""
    excluded: LinksConfig | None = None
    """Rules that leave out targets of redirects, as they leave out links."""
    ip_table: Path | None = None
    """File through which workers share the pace of IP addresses. None: this one has its own."""
    ip_interval_s: float | None = None
    """Seconds between requests to an IP address. None: as the config says."""
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

        return Spec(
            corpus=document["corpus"],
            shard=int(document["shard"]),
            links=Path(document["links"]),
            out_dir=Path(document["out_dir"]),
            warc_prefix=document["warc_prefix"],
            config=FetchConfig.model_validate(document["config"]),
            batch=document.get("batch"),
            deadline=document.get("deadline"),
            num_shards=int(document.get("num_shards", 0)),
            excluded=None if excluded is None else LinksConfig.model_validate(excluded),
            ip_table=None if ip_table is None else Path(ip_table),
            ip_interval_s=document.get("ip_interval_s"),
            rights=None if rights is None else RightsConfig.model_validate(rights),
            checks=RightsCheck(document["checks"]) if document.get("checks") else None,
            parent=document.get("parent"),
            stop_batch=document.get("stop_batch"),
            lease_token=document.get("lease_token"),
        )
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise InputError(f"{path}: no worker spec ({error!r})") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch the shard that the spec names; the exit code."""
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
    """Fetch the rest of a shard; 0 or `EXIT_LEFT`. Raises WebtextError."""
    spec.config.require_contact()
    spec.out_dir.mkdir(parents=True, exist_ok=True)
    store = open_store(spec.corpus)
    links = _read_links(spec.links)

    with alone(spec.out_dir):
        segments = remove_orphans(store, spec.warc_prefix, spec.out_dir)
        done = read_outcomes(spec.out_dir).select(["doc_id", "redirects"])
        # A link that was handed over counted under the cap of its own domain already.
        handed = HAND_OVER_COLUMNS[0] in links.schema.names
        ids = done["doc_id"].combine_chunks()
        left = _left(links, ids, 0 if handed else spec.config.per_domain_cap)
        if left.num_rows == 0 and spec.batch is None:
            ended = {"done": links.num_rows, "total": links.num_rows}
            _report({**ended, "ok": 0, "in_flight": 0, "bytes": 0})
            return 0

        _allow_many_files()
        index = next_index(spec.out_dir, segments)
        return asyncio.run(_Shard(spec, store, left, done, first_index=index).fetch())


def _read_links(path: Path) -> pa.Table:
    try:
        present = pq.read_schema(path).names
        further = (*HAND_OVER_COLUMNS, *CONDITION_COLUMNS)
        columns = [*LINK_COLUMNS, *(name for name in further if name in present)]
        return pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise InputError(f"{path}: no links ({error})") from error


def _left(links: pa.Table, done: pa.Array, cap: int) -> pa.Table:
    """Links without an outcome, by pace key, best score first.

    `capped` marks those beyond the cap of their key.
    """
    domains = links["domain"].combine_chunks().dictionary_encode()
    keys = pa.array([pace_key(domain) for domain in domains.dictionary.to_pylist()], pa.string())
    table = links.append_column("key", keys.take(domains.indices))
    order = [("key", "ascending"), ("score", "descending"), ("doc_id", "ascending")]
    table = table.sort_by(order).combine_chunks()

    rank = np.zeros(table.num_rows, np.int64)
    for _, start, stop in _runs(table["key"].combine_chunks()):
        rank[start:stop] = np.arange(stop - start)
    table = table.append_column(
        "capped", pa.array((rank >= cap) if cap else np.zeros(len(rank), bool))
    )

    return table.filter(pc.invert(pc.is_in(table["doc_id"], value_set=done))).combine_chunks()


def _runs(keys: pa.Array) -> Iterator[tuple[str, int, int]]:
    """(key, start, stop) of the rows of each pace key."""
    if len(keys) == 0:
        return
    changed = pc.not_equal(keys[1:], keys[:-1]).to_numpy(zero_copy_only=False)
    for start, stop in pairwise([0, *(np.flatnonzero(changed) + 1).tolist(), len(keys)]):
        yield keys[start].as_py(), start, stop


class _LinkRows:
    """The shard's links by row."""

    def __init__(self, links: pa.Table) -> None:
        self._doc_ids = links["doc_id"].combine_chunks()
        self._urls = links["url"].combine_chunks()
        self._keys = links["key"].combine_chunks()
        # True for rows beyond the cap of their domain.
        self.capped: np.ndarray = links["capped"].to_numpy()
        handed = all(name in links.schema.names for name in HAND_OVER_COLUMNS)
        self._targets = links["target"].combine_chunks() if handed else None
        self._redirects = links["redirects"].combine_chunks() if handed else None
        self._conditions = {
            header: links[name].combine_chunks()
            for name, header in CONDITION_COLUMNS.items()
            if name in links.schema.names
        }

    def link(self, row: int) -> Link:
        doc_id, url = self._doc_ids[row].as_py(), self._urls[row].as_py()
        if self._targets is None or self._redirects is None:
            given = ((header, each[row].as_py()) for header, each in self._conditions.items())
            conditions = tuple((header, value) for header, value in given if value)
            return Link(doc_id, url, conditions=conditions)
        return Link(doc_id, url, self._targets[row].as_py(), tuple(self._redirects[row].as_py()))

    def runs(self) -> Iterator[tuple[str, int, int]]:
        """(key, start, stop) of the rows of each pace key."""
        return _runs(self._keys)


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


class _Shard:
    """The crawl of one shard's remaining links, and of those that other shards hand over."""

    def __init__(
        self, spec: Spec, store: Store, links: pa.Table, done: pa.Table, *, first_index: int
    ) -> None:
        self._spec = spec
        self._store = store
        self._links = _LinkRows(links)
        self._num_done = done.num_rows
        # Redirects behind the last hop that was made here of each link, which may come back.
        self._hops = dict.fromkeys(links["doc_id"].to_pylist(), 0)
        hops = pc.list_value_length(done["redirects"]).to_pylist()
        for doc_id, num_hops in zip(done["doc_id"].to_pylist(), hops, strict=True):
            self._hops[doc_id] = max(num_hops, self._hops.get(doc_id, 0))

        config = spec.config
        self._resolver = Resolver(
            connect_to=config.endpoints,
            networks=config.networks,
            public=not config.only_loopback,
            timeout_s=config.dns_timeout_s,
        )
        self._dispatcher = self._dispatch(links.num_rows, first_index)
        self._queue = self._open_queue()
        self._dispatcher.expects_more = self._queue is not None

        self._stopped = asyncio.Event()
        self._began_at = time.monotonic()
        self._quiet_at = 0.0
        self._writing: asyncio.Future[None] | None = None
        self._top: list[tuple[str, int]] = []
        self._top_at = 0.0

    def _dispatch(self, total: int, first_index: int) -> Dispatcher:
        spec, config = self._spec, self._spec.config
        rules = spec.excluded.rules() if spec.excluded is not None else None
        taken_down = load_forgotten(self._store)
        interval_s = config.ip_interval_s if spec.ip_interval_s is None else spec.ip_interval_s

        if spec.ip_table is not None:
            self._ip_pacer: IpPacer = SharedIpPacer(spec.ip_table, interval_s)
        else:
            self._ip_pacer = OwnIpPacer(interval_s)

        in_flight = max(1, config.max_in_flight_per_ip // max(1, spec.num_shards))
        return Dispatcher(
            config,
            self._resolver,
            Ledger(self._store, spec.warc_prefix, spec.out_dir, config, first_index=first_index),
            self._links.link,
            total=total,
            owns=lambda key: not spec.num_shards or shard_of(key, spec.num_shards) == spec.shard,
            excluded=lambda url: (
                (rules is not None and rules.judge_url(url) is not None) or taken_down.has_page(url)
            ),
            ip_limits=IpLimits(in_flight, self._ip_pacer),
            rights=spec.rights,
            checks=spec.checks,
        )

    def _open_queue(self) -> HandOver | None:
        spec = self._spec
        if spec.batch is None or spec.num_shards < 2:
            return None

        return HandOver(
            self._store,
            spec.batch,
            spec.shard,
            spec.num_shards,
            spec.out_dir,
            lambda key: shard_of(key, spec.num_shards),
        )

    async def fetch(self) -> int:
        """Run to the end or to a stop; the exit code."""
        self._fill()
        runner = AsyncCrawlerRunner(settings=scrapy_settings(self._spec.config))
        crawler = runner.create_crawler(LinkSpider)
        works = (self._beat, self._save, self._exchange_links, self._watch_for_stop)
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

        await self._dispatcher.close()
        if self._writing is not None:  # an older state must not replace the last one
            await asyncio.wait({self._writing})
        write_state(self._spec.out_dir, self._state())
        if self._queue is not None:
            self._queue.send()
        await self._resolver.close()
        self._progress()
        if crawl.done() and not crawl.cancelled() and (error := crawl.exception()) is not None:
            if not self._spec.config.scrapy_settings:
                raise error
            raise InputError(
                "Scrapy does not start with crawl.fetch.scrapy_settings = "
                f"{self._spec.config.scrapy_settings}: {type(error).__name__}: {error}"
            ) from error

        if self._dispatcher.done == self._dispatcher.total:
            return 0
        if not self._stopped.is_set():
            raise FatalError(
                f"shard {self._spec.shard}: Scrapy ended with links left; its log says why"
            )

        return EXIT_LEFT

    async def _crawl(self, runner: AsyncCrawlerRunner, crawler: Any) -> None:
        await runner.crawl(crawler, source=self._dispatcher)

    def _fill(self) -> None:
        """Give the links to the dispatcher, with what an earlier run learned."""
        state = read_state(self._spec.out_dir)
        now, wall = time.monotonic(), time.time()
        shift = now - wall
        quiet_until = self._quiet_at = now + max(0.0, self._quiet_until() - wall)
        retrying: dict[str, list[float]] = state.get("retrying", {})
        capped = self._links.capped

        for key, start, stop in self._links.runs():
            fresh = [*range(start, stop)]
            if retrying or capped[start:stop].any():
                fresh = [row for row in fresh if not self._has_begun(row, key, retrying, shift)]
            rows = fresh if len(fresh) < stop - start else range(start, stop)
            self._dispatcher.add_rows(key, rows, ready_at=quiet_until)

        for key, delay_s in state.get("crawl_delay_s", {}).items():
            self._dispatcher.set_pace(key, crawl_delay_s=delay_s, ready_at=quiet_until + delay_s)
        for key, slow_s in state.get("slow_s", {}).items():
            self._dispatcher.set_pace(key, slow_s=slow_s, ready_at=quiet_until + slow_s)
        for key, until in state.get("postponed", {}).items():
            self._dispatcher.set_pace(key, ready_at=until + shift)

    def _has_begun(
        self, row: int, key: str, retrying: dict[str, list[float]], shift: float
    ) -> bool:
        """End a row beyond its domain's cap, or add one that waits for a retry; else False."""
        link = self._links.link(row)
        if self._links.capped[row]:
            self._dispatcher.refuse(link, Reason.DOMAIN_CAP)
            return True

        entry = retrying.get(link.doc_id)
        if entry is None:
            return False

        attempts, tries, not_before = entry
        resume = Resume(int(attempts), int(tries), not_before + shift)
        self._dispatcher.add_resumed(key, row, resume)

        return True

    def _quiet_until(self) -> float:
        """Unix seconds before which no domain is asked.

        An earlier worker may just have asked one, and been killed.
        """
        lived = alive_at(self._spec.out_dir)
        if lived is None:
            return 0.0

        return lived + PROGRESS_S + self._spec.config.delay_s * (1 + self._spec.config.jitter_frac)

    async def _exchange_links(self) -> None:
        """Send and receive links that are handed over, until no more can come."""
        queue = self._queue
        if queue is None:
            return

        num_handed = -1
        while True:
            handed = self._dispatcher.reasons[Reason.HANDED_OVER]
            if handed != num_handed:
                num_handed = handed
                self._dispatcher.flush()
            await asyncio.to_thread(queue.send)
            idle = self._dispatcher.done >= self._dispatcher.total
            # Asked before the queue: a link that is sent before its shard ends is then seen.
            more = not idle or await asyncio.to_thread(queue.may_get_more, time.time())
            self._take(await asyncio.to_thread(queue.receive))
            if self._dispatcher.done >= self._dispatcher.total and not more:
                self._dispatcher.expect_no_more()
            await asyncio.sleep(queue.look_s)

    def _take(self, links: Sequence[Link]) -> None:
        """Continue links that other shards handed over, each hop once."""
        for link in links:
            if len(link.redirects) > self._hops.get(link.doc_id, -1):
                self._hops[link.doc_id] = len(link.redirects)
                self._dispatcher.total += 1
                self._dispatcher.add_job(link.job(), ready_at=self._quiet_at)

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        if self._spec.deadline is not None:
            loop.call_later(max(0.0, self._spec.deadline - time.time()), self._stop)

    def _stop(self) -> None:
        self._dispatcher.stop()
        self._stopped.set()

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` until cancelled; if it fails (a full disk), the crawl ends."""
        try:
            await work()
        except (OSError, WebtextError) as error:
            self._dispatcher.fail(
                error if isinstance(error, FatalError) else FatalError(str(error))
            )
            self._stopped.set()

    async def _beat(self) -> None:
        """Report progress, touch the heartbeat, and see if the worker must end."""
        while True:
            (self._spec.out_dir / HEARTBEAT).touch()
            self._progress()
            if self._dispatcher.error is not None:
                self._stopped.set()
            if self._spec.parent is not None and os.getppid() != self._spec.parent:
                self._end_orphaned()
            await asyncio.sleep(PROGRESS_S)

    async def _watch_for_stop(self) -> None:
        """Stop if the corpus says so: a request, or another run that has taken the batch over."""
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
                self._dispatcher.flush()

            if self._dispatcher.num_noted != saved:
                saved = self._dispatcher.num_noted
                self._writing = asyncio.ensure_future(
                    asyncio.to_thread(write_state, self._spec.out_dir, self._state())
                )
                await asyncio.shield(self._writing)

            pause_s = min(
                self._spec.config.flush_s,
                max(PROGRESS_S, SAVE_PAUSE * (time.monotonic() - began_at)),
            )

    def _state(self) -> dict[str, Any]:
        """The state to save, taken in the event loop, where nothing changes meanwhile."""
        return self._dispatcher.state(time.monotonic(), time.time())

    def _progress(self) -> None:
        dispatcher = self._dispatcher
        frontier = dispatcher.frontier
        # Takes 50 ms with 100,000 domains.
        if time.monotonic() - self._top_at >= TOP_EVERY_S:
            self._top, self._top_at = frontier.heaviest(TOP_DOMAINS), time.monotonic()
        _report(
            {
                "done": self._num_done + dispatcher.done,
                "begun": dispatcher.done,
                "seconds": time.monotonic() - self._began_at,
                "total": self._num_done + dispatcher.total,
                "ok": dispatcher.reasons["ok"],
                "in_flight": dispatcher.in_flight,
                "bytes": dispatcher.num_bytes,
                "ready_hosts": frontier.num_ready,
                "waiting_hosts": frontier.num_waiting,
                "top": self._top,
                "reasons": dict(dispatcher.reasons),
                **dispatcher.walls.state(),
            }
        )


if __name__ == "__main__":
    raise SystemExit(main())
