"""One shard of domains, fetched by one process: `python -m crawl.fetch.worker SPEC.json`.

The spec (see `Spec`) names the shard's links, a local folder for its state, and where its WARC segments go. Run again
with the same spec, the worker goes on where it was, whatever stopped it: what is left are the links without a committed
outcome. Exit codes: 0 all links have outcomes; 3 stopped (deadline, SIGTERM, SIGINT) with links left; 1 or 2 an error,
one line on stderr. On stdout a line of JSON each second says how far it is; the last one names the error, if there is one.

A process of its own per shard: a crawl never inherits a loop, a reactor or memory from an earlier one.
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
from crawl.fetch.dispatcher import Dispatcher
from crawl.fetch.frontier import pace_key, shard_of
from crawl.fetch.jobs import Link, Resume
from crawl.fetch.resolver import Resolver
from crawl.fetch.segment_ledger import Ledger
from crawl.fetch.settings import FetchConfig
from crawl.fetch.shard_state import HEARTBEAT, alive_at, alone, read_state, write_state
from crawl.fetch.spider import LinkSpider, scrapy_settings
from crawl.links.select import LinksConfig
from crawl.outcomes import Reason, next_index, read_outcomes, remove_orphans

log = logging.getLogger(__name__)

EXIT_LEFT = 3
"""Stopped with links left; run again to go on."""
PROGRESS_S = 1.0
STOP_GRACE_S = 1.0
"""Given to requests in flight when the worker is told to stop; Ray kills a job after 3 s."""
CLOSE_GRACE_S = 0.5
SAVE_PAUSE = 50
"""Retry times are saved each second, but with a pause of this times what a save took."""
TOP_DOMAINS = 5
TOP_EVERY_S = 5.0
LINK_COLUMNS = ("doc_id", "url", "domain", "score")
HAND_OVER_COLUMNS = ("target", "redirects")


@dataclass(frozen=True, slots=True)
class Spec:
    """What a worker is started with; the keys of the JSON file."""

    corpus: str
    shard: int
    links: Path
    """Parquet with the columns of `LINK_COLUMNS`; for links that were handed over, `HAND_OVER_COLUMNS` too."""
    out_dir: Path
    """Local folder of the shard's own state: outcomes, retry times."""
    warc_prefix: str
    """Segments are `<warc_prefix>-00000.warc.gz` and so on, relative to the corpus root."""
    config: FetchConfig
    deadline: float | None = None
    """Unix seconds after which nothing more is begun."""
    num_shards: int = 0
    """Shards of the batch: what leads to a domain of another one is handed over; 0: nothing is."""
    excluded: LinksConfig | None = None
    """Its rules leave out targets of redirects as they leave out links."""
    parent: int | None = None
    """The process that started the worker: when it is gone, the worker ends as well. None: nobody is watched."""


def read_spec(path: str) -> Spec:
    """The spec at `path`. Raises InputError."""
    try:
        document = json.loads(Path(path).read_bytes())
        return Spec(
            corpus=document["corpus"],
            shard=int(document["shard"]),
            links=Path(document["links"]),
            out_dir=Path(document["out_dir"]),
            warc_prefix=document["warc_prefix"],
            config=FetchConfig.model_validate(document["config"]),
            deadline=document.get("deadline"),
            num_shards=int(document.get("num_shards", 0)),
            excluded=LinksConfig.model_validate(document["excluded"])
            if "excluded" in document
            else None,
            parent=document.get("parent"),
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
                "usage: python -m crawl.fetch.worker SPEC.json; crawl.run starts workers and writes their specs"
            )
        return run(read_spec(arguments[0]))
    except WebtextError as error:
        sys.stderr.write(f"{error}\n")
        _report({"error": str(error)})
        return error.exit_code


def run(spec: Spec) -> int:
    """Fetch what is left of a shard; 0 or `EXIT_LEFT`. Raises WebtextError."""
    spec.config.require_contact()
    spec.out_dir.mkdir(parents=True, exist_ok=True)
    store = open_store(spec.corpus)
    links = _read_links(spec.links)
    with alone(spec.out_dir):
        segments = remove_orphans(store, spec.warc_prefix, spec.out_dir)
        done = pa.array(read_outcomes(spec.out_dir)["doc_id"].combine_chunks())
        # What was handed over counted under the cap of its own domain already.
        handed = HAND_OVER_COLUMNS[0] in links.schema.names
        left = _left(links, done, 0 if handed else spec.config.per_domain_cap)
        if left.num_rows == 0:
            _report(
                {
                    "done": links.num_rows,
                    "total": links.num_rows,
                    "ok": 0,
                    "in_flight": 0,
                    "bytes": 0,
                }
            )
            return 0
        _allow_many_files()
        index = next_index(spec.out_dir, segments)
        return asyncio.run(_Shard(spec, store, left, num_done=len(done), first_index=index).fetch())


def _read_links(path: Path) -> pa.Table:
    try:
        present = pq.read_schema(path).names
        columns = [*LINK_COLUMNS, *(name for name in HAND_OVER_COLUMNS if name in present)]
        return pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise InputError(f"{path}: no links ({error})") from error


def _left(links: pa.Table, done: pa.Array, cap: int) -> pa.Table:
    """Links without an outcome, by pace key, best score first; `capped` marks those beyond the cap of their key."""
    domains = links["domain"].combine_chunks().dictionary_encode()
    keys = pa.array([pace_key(domain) for domain in domains.dictionary.to_pylist()], pa.string())
    table = links.append_column("key", keys.take(domains.indices))
    order = [("key", "ascending"), ("score", "descending"), ("doc_id", "ascending")]
    table = table.sort_by(order).combine_chunks()
    rank = np.zeros(table.num_rows, np.int64)
    for _, start, stop in _runs(table):
        rank[start:stop] = np.arange(stop - start)
    table = table.append_column(
        "capped", pa.array((rank >= cap) if cap else np.zeros(len(rank), bool))
    )
    return table.filter(pc.invert(pc.is_in(table["doc_id"], value_set=done))).combine_chunks()


def _runs(table: pa.Table) -> Iterator[tuple[str, int, int]]:
    """(key, start, stop) of the rows of each pace key."""
    keys = table["key"].combine_chunks()
    if len(keys) == 0:
        return
    changed = pc.not_equal(keys[1:], keys[:-1]).to_numpy(zero_copy_only=False)
    for start, stop in pairwise([0, *(np.flatnonzero(changed) + 1).tolist(), len(keys)]):
        yield keys[start].as_py(), start, stop


def _allow_many_files() -> None:
    """Idle connections of the last seconds stay open: more than the usual soft limit."""
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
    """The crawl of one shard's remaining links."""

    def __init__(
        self, spec: Spec, store: Store, links: pa.Table, *, num_done: int, first_index: int
    ) -> None:
        self._spec = spec
        self._store = store
        self._links = links
        self._num_done = num_done
        self._doc_ids = links["doc_id"].combine_chunks()
        self._urls = links["url"].combine_chunks()
        handed = all(name in links.schema.names for name in HAND_OVER_COLUMNS)
        self._targets = links["target"].combine_chunks() if handed else None
        self._redirects = links["redirects"].combine_chunks() if handed else None
        config = spec.config
        self._resolver = Resolver(
            connect_to=config.endpoints,
            networks=config.networks,
            public=not config.only_loopback,
            timeout_s=config.dns_timeout_s,
        )
        self._ledger = Ledger(
            store, spec.warc_prefix, spec.out_dir, config, first_index=first_index
        )
        rules = spec.excluded.rules() if spec.excluded is not None else None
        taken_down = load_forgotten(store)
        self._dispatcher = Dispatcher(
            config,
            self._resolver,
            self._ledger,
            self._link,
            total=links.num_rows,
            owns=lambda key: not spec.num_shards or shard_of(key, spec.num_shards) == spec.shard,
            excluded=lambda url: (
                (rules is not None and rules.judge_url(url) is not None) or taken_down.has_page(url)
            ),
        )
        self._stopped = asyncio.Event()
        self._began_at = time.monotonic()
        self._writing: asyncio.Future[None] | None = None
        self._top: list[tuple[str, int]] = []
        self._top_at = 0.0

    async def fetch(self) -> int:
        """Run to the end or to a stop; the exit code."""
        self._fill()
        runner = AsyncCrawlerRunner(settings=scrapy_settings(self._spec.config))
        crawler = runner.create_crawler(LinkSpider)
        watches = [asyncio.create_task(self._guarded(work)) for work in (self._beat, self._save)]
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
        if self._writing is not None:  # an older state is not to come after the last one
            await asyncio.wait({self._writing})
        write_state(self._spec.out_dir, self._state())
        await self._resolver.close()
        self._progress()
        if crawl.done() and not crawl.cancelled() and (error := crawl.exception()) is not None:
            if not self._spec.config.scrapy_settings:
                raise error
            raise InputError(
                f"Scrapy does not start with crawl.fetch.scrapy_settings = {self._spec.config.scrapy_settings}: "
                f"{type(error).__name__}: {error}"
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

    def _link(self, row: int) -> Link:
        doc_id, url = self._doc_ids[row].as_py(), self._urls[row].as_py()
        if self._targets is None or self._redirects is None:
            return Link(doc_id, url)
        return Link(doc_id, url, self._targets[row].as_py(), tuple(self._redirects[row].as_py()))

    def _fill(self) -> None:
        """Give the links to the dispatcher, with what is remembered of an earlier run."""
        state = read_state(self._spec.out_dir)
        now, wall = time.monotonic(), time.time()
        shift = now - wall
        quiet_until = now + max(0.0, self._quiet_until() - wall)
        retrying: dict[str, list[float]] = state.get("retrying", {})
        capped = self._links["capped"].to_numpy()
        for key, start, stop in _runs(self._links):
            fresh = [*range(start, stop)]
            if retrying or capped[start:stop].any():
                fresh = [row for row in fresh if not self._begun(row, key, retrying, shift, capped)]
            self._dispatcher.add_rows(
                key,
                fresh if len(fresh) < stop - start else range(start, stop),
                ready_at=quiet_until,
            )
        for key, delay_s in state.get("crawl_delay_s", {}).items():
            self._dispatcher.set_pace(key, crawl_delay_s=delay_s, ready_at=quiet_until + delay_s)
        for key, slow_s in state.get("slow_s", {}).items():
            self._dispatcher.set_pace(key, slow_s=slow_s)
        for key, until in state.get("postponed", {}).items():
            self._dispatcher.set_pace(key, ready_at=until + shift)

    def _begun(
        self, row: int, key: str, retrying: dict[str, list[float]], shift: float, capped: np.ndarray
    ) -> bool:
        """Whether a row is not a fresh one: beyond its domain's cap, or waiting for a retry."""
        if capped[row]:
            self._dispatcher.refuse(self._link(row), Reason.DOMAIN_CAP)
            return True
        entry = retrying.get(self._doc_ids[row].as_py())
        if entry is None:
            return False
        attempts, tries, not_before = entry
        self._dispatcher.add_resumed(
            key, row, Resume(int(attempts), int(tries), not_before + shift)
        )
        return True

    def _quiet_until(self) -> float:
        """Unix seconds before which no domain is asked: an earlier worker may just have done so, and been killed."""
        lived = alive_at(self._spec.out_dir)
        if lived is None:
            return 0.0
        return lived + PROGRESS_S + self._spec.config.delay_s * (1 + self._spec.config.jitter_frac)

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
        """Do `work` until cancelled; where it fails (a full disk), the crawl ends."""
        try:
            await work()
        except (OSError, WebtextError) as error:
            self._dispatcher.fail(
                error if isinstance(error, FatalError) else FatalError(str(error))
            )
            self._stopped.set()

    async def _beat(self) -> None:
        """Progress and heartbeat; a look whether anything says that the end has come."""
        while True:
            (self._spec.out_dir / HEARTBEAT).touch()
            self._progress()
            if self._dispatcher.error is not None:
                self._stopped.set()
            if self._spec.parent is not None and os.getppid() != self._spec.parent:
                self._end_orphaned()
            await asyncio.sleep(PROGRESS_S)

    def _end_orphaned(self) -> None:
        """Stop, as nobody is there any more who would go on with the outcomes; another worker may have begun."""
        if self._store.is_local:
            self._stop()
        else:
            # The folder dies with this node's task, and a segment written from now on could replace the other worker's.
            os._exit(EXIT_LEFT)

    async def _save(self) -> None:
        """Retry times and rests soon after they are noted, outcomes without a record every `flush_s`."""
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
        """What is saved; taken in the event loop, where nothing changes meanwhile."""
        return self._dispatcher.state(time.monotonic(), time.time())

    def _progress(self) -> None:
        dispatcher = self._dispatcher
        frontier = dispatcher.frontier
        if (
            time.monotonic() - self._top_at >= TOP_EVERY_S
        ):  # a look at every domain: 50 ms where there are 100,000
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
            }
        )


if __name__ == "__main__":
    raise SystemExit(main())
