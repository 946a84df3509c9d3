"""Links to pages: the links are spread over shards of domains, shared by a fleet of workers.

The first exchange spreads links by shard. Its tasks are seats for workers: each runs a
`crawl.fetch.worker`. A worker takes shards from the fleet's roster (`crawl.fetch.fleet`) until none
of the batch has links left, so even a late task on a new node gets its part of the work. A domain
belongs to one shard and is asked by one process at any time. The next steps keep the last outcome
of each link, end those left over by a deadline, and order the pages by `doc_id`.

Outcomes are durable in the journals of the workers, so a kill costs at most an open segment.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus.errors import FatalError, InputError, RetryableError
from corpus.rights.rows import rights_counts
from corpus.run.step import (
    Context,
    Exchange,
    Joins,
    Map,
    MapFunction,
    Output,
    ReduceFunction,
    Scattered,
    ScatterFunction,
    one_bucket_per_part,
)
from corpus.storage.store import Store, work_dir
from corpus.tables.conservation import FETCHED, REQUESTS
from corpus.tables.schemas import LINKS, PAGES, RIGHTS, Table, part_of
from corpus.tables.segments import warc_dir
from crawl.config import CrawlConfig
from crawl.fetch import frozen_settings, stop_request
from crawl.fetch.fleet.files import remove_leftovers, remove_other_segments, shards_of
from crawl.fetch.fleet.journals import Journals
from crawl.fetch.fleet.membership import Membership, Seen
from crawl.fetch.progress import Reporter
from crawl.fetch.settings import deadline_at
from crawl.outcomes import LIVE, STORED_SCHEMA, Outcome, Reason, to_table

log = logging.getLogger(__name__)

# Exit code of a worker stopped with links left; it continues when run again.
EXIT_LEFT = 3
# Logged bytes from the end of a worker's stderr.
LOGGED_BYTES = 16 << 10
LINK_COLUMNS = ("doc_id", "url", "domain", "score")
# Rows of `pages` by shard of domains. A link that was handed over has a row of each shard.
FETCHED_OUTCOMES = Table(name="outcomes_fetched", schema=STORED_SCHEMA, scratch=True)
# The last row of each link.
OUTCOMES = Table(name="outcomes", schema=STORED_SCHEMA, scratch=True)
# The same, with an end for links left over by a deadline.
FOLLOWED = Table(name="outcomes_followed", schema=STORED_SCHEMA, scratch=True)
# The same under the name that finished batches know.
SETTLED = Table(name="outcomes_settled", schema=STORED_SCHEMA, scratch=True)


# Buckets of the links: the most workers of a batch.
MOST_SEATS = 256
# Crashes in a row, without a link done between them, before a seat is given up.
MOST_CRASHES = 3
# Seconds a seat waits at the end for other seats' workers to save their state.
LEAVE_WAIT_S = 120.0


def _load_spread(config: CrawlConfig, context: Context) -> ScatterFunction:
    num_shards = config.fetch.shards

    def spread(links: pa.Table) -> Scattered:
        return Scattered(
            links, shards_of(links["domain"], num_shards) % _num_seats(config, context)
        )

    return spread


def _load_by_link(config: CrawlConfig, context: Context) -> ScatterFunction:
    def spread(outcomes: pa.Table) -> Scattered:
        return Scattered(outcomes, part_of(outcomes["doc_id"], context.num_parts))

    return spread


def _load_last_outcome(config: CrawlConfig, context: Context) -> ReduceFunction:
    def keep(bucket: int, outcomes: pa.Table) -> Output:
        return Output({OUTCOMES.name: last_outcomes(outcomes)})

    return keep


def last_outcomes(outcomes: pa.Table) -> pa.Table:
    """The row of each link with the longest chain of redirects: each hand-over makes it longer.

    A link left over by a deadline has a row for this beside its earlier ones.
    """
    hops = pc.list_value_length(outcomes["redirects"])
    rank = pc.add(
        _is_reason(outcomes, Reason.HANDED_OVER).cast(pa.int8()),
        pc.multiply(_is_reason(outcomes, Reason.DEFERRED).cast(pa.int8()), 2),
    )
    ranked = outcomes.append_column("hops", hops).append_column("rank", rank)
    keys = [("doc_id", "ascending"), ("hops", "descending"), ("rank", "ascending")]
    ranked = ranked.sort_by([*keys, ("shard", "ascending")]).combine_chunks()
    if not ranked.num_rows:
        return outcomes

    ids = ranked["doc_id"].combine_chunks()
    first = np.ones(len(ids), bool)
    first[1:] = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)

    return ranked.filter(pa.array(first)).drop_columns(["hops", "rank"])


def _is_reason(outcomes: pa.Table, reason: Reason) -> pa.Array:
    return pc.fill_null(pc.equal(outcomes["reason"], reason.value), False).combine_chunks()


def _load_fetch(config: CrawlConfig, context: Context) -> ReduceFunction:
    def fetch(seat: int, links: pa.Table) -> Output:
        outcomes = _Seat(config, context, seat).fetch(links)
        return Output({FETCHED_OUTCOMES.name: outcomes.cast(FETCHED_OUTCOMES.schema)})

    return fetch


def _load_end_left(config: CrawlConfig, context: Context) -> MapFunction:
    """Links on their way to another shard when the batch was closed end as `deferred`."""
    closed = _is_closed(config)

    def end(outcomes: pa.Table, joins: Joins) -> Output:
        handed = _is_reason(outcomes, Reason.HANDED_OVER)
        left = outcomes.filter(handed)
        if not left.num_rows:
            return Output({FOLLOWED.name: outcomes})
        if not closed:
            raise FatalError(
                f"{left.num_rows:,} links were handed over and have no end, such as "
                f"{left['final_url'][0].as_py()}: fetch the batch again with --rebuild"
            )

        deferred = to_table([*map(_deferred, left.to_pylist())])
        deferred = deferred.add_column(0, STORED_SCHEMA.field(0), left["shard"])
        ended = outcomes.filter(pc.invert(handed))
        return Output({FOLLOWED.name: pa.concat_tables([ended, deferred]).sort_by("doc_id")})

    return end


def _load_settle(config: CrawlConfig, context: Context) -> MapFunction:
    def settle(outcomes: pa.Table, joins: Joins) -> Output:
        return Output({SETTLED.name: outcomes})

    return settle


def _load_regroup(config: CrawlConfig, context: Context) -> ScatterFunction:
    def regroup(outcomes: pa.Table) -> Scattered:
        pages = outcomes.select(PAGES.schema.names)
        return Scattered(pages, part_of(pages["doc_id"], context.num_parts))

    return regroup


def _load_order(config: CrawlConfig, context: Context) -> ReduceFunction:
    def order(part: int, pages: pa.Table) -> Output:
        reasons = pages["reason"].to_pylist()
        counts = Counter(reason or FETCHED for reason in reasons)
        archived = pages.filter(pc.not_equal(pages["capture"], LIVE))
        counts.update(f"capture:{name}" for name in archived["capture"].to_pylist())
        opted_out = pages.filter(pc.equal(pages["reason"], Reason.TRAINING_OPT_OUT.value))
        for cause in opted_out["cause"].to_pylist():
            counts.update(opt_out_counts(cause))
        counts[REQUESTS] = num_requests(pages)
        return Output({"pages": pages.sort_by("doc_id")}, counts)

    return order


def num_requests(pages: pa.Table) -> int:
    """Requests behind these pages: each attempt at the last address, and one for each redirect.

    Attempts at an address are no longer known if it redirected in the end.
    """
    hops = pc.sum(pc.list_value_length(pages["redirects"])).as_py() or 0
    return hops + (pc.sum(pages["attempts"]).as_py() or 0)


def opt_out_counts(cause: str | None) -> list[str]:
    """Notes with counts of `training_opt_out` by signal."""
    return [f"{Reason.TRAINING_OPT_OUT.value}:{signal}" for signal in (cause or "").split(",")]


def _load_rights_scatter(config: CrawlConfig, context: Context) -> ScatterFunction:
    def scatter(outcomes: pa.Table) -> Scattered:
        asked = outcomes.filter(pc.is_valid(outcomes["training"])).select(RIGHTS.schema.names)
        return Scattered(asked, part_of(asked["doc_id"], context.num_parts))

    return scatter


def _load_rights(config: CrawlConfig, context: Context) -> ReduceFunction:
    def order(part: int, rights: pa.Table) -> Output:
        return Output(
            {RIGHTS.name: rights.sort_by("doc_id").cast(RIGHTS.schema)}, rights_counts(rights)
        )

    return order


def _is_closed(config: CrawlConfig) -> bool:
    deadline = deadline_at(config.fetch.deadline, 0.0)
    return deadline is not None and time.time() >= deadline


def _deferred(row: dict[str, Any]) -> Outcome:
    """The outcome of a link without one at the close of the batch."""
    return Outcome(
        doc_id=row["doc_id"],
        url=row["url"],
        redirects=row.get("redirects") or (),
        reason=Reason.DEFERRED,
    )


class _Seat:
    """One task of the fetch: a place for a worker, and at the end for a part of the outcomes."""

    def __init__(self, config: CrawlConfig, context: Context, number: int) -> None:
        self._config = config
        self._context = context
        self._number = number
        self._folder = f"{context.scratch}/fleet"
        self._journals = Journals(context.store, self._folder, config.fetch.shards)
        self._roster = Membership(
            context.store,
            self._folder,
            config.fetch.shards,
            clean_up=lambda life: remove_leftovers(
                context.store, self._journals, warc_dir(context.batch), life
            ),
        )

    def fetch(self, links: pa.Table) -> pa.Table:
        """Run workers until no shard has links left; the outcomes of some of them.

        `links` are those of this seat's bucket. Raises: RetryableError if a worker stopped with
        links left, InputError if it reports that none can succeed.
        """
        reporter = Reporter(
            self._context.store,
            self._context.batch,
            self._number,
            delay_s=self._config.fetch.delay_s,
        )
        crashes = 0
        while not self._is_over():
            code, error, num_done = self._work(reporter)
            if code == 2:
                raise InputError(f"batch {self._context.batch}: {error}")
            if code == EXIT_LEFT and not _is_closed(self._config):
                raise RetryableError(f"seat {self._number}: the worker was stopped: {error}")
            if code in (0, EXIT_LEFT):
                continue

            crashes = 1 if num_done else crashes + 1
            log.warning("seat %d: a worker ended with exit code %d: %s", self._number, code, error)
            if code == 1 or crashes >= MOST_CRASHES:
                raise RetryableError(
                    f"seat {self._number}: the worker ended with exit code {code}: {error}"
                )

        return self._collect(links)

    def _is_over(self) -> bool:
        return _is_closed(self._config) or self._roster.read().roster.is_finished

    def _work(self, reporter: Reporter) -> tuple[int, str, int]:
        """Run one worker; its exit code, its error and its number of ended links."""
        with tempfile.TemporaryDirectory(prefix="webtext-seat-") as temporary:
            spec = Path(temporary) / "spec.json"
            spec.write_text(json.dumps(self._spec()))
            return _run_worker(spec, self._context.report, reporter)

    def _spec(self) -> dict[str, Any]:
        config, context = self._config, self._context
        return {
            "corpus": context.store.root,
            "shard": self._number,
            "fleet": {
                "batch": context.batch,
                "folder": self._folder,
                "scattered": context.scratch,
                "num_buckets": _num_seats(config, context),
                "num_shards": config.fetch.shards,
                "expected": frozen_settings.expected_workers(context.store, context.batch),
            },
            "warc_prefix": warc_dir(context.batch),
            "config": config.fetch.model_dump(mode="json"),
            "excluded": config.links.model_dump(mode="json"),
            "rights": config.rights.model_dump(mode="json"),
            "deadline": deadline_at(config.fetch.deadline, 0.0),
            "ip_table": str(_ip_table(context)),
            "parent": os.getpid(),
            "stop_batch": context.batch,
            "lease_token": stop_request.lease_token(context.store, context.batch),
        }

    def _collect(self, links: pa.Table) -> pa.Table:
        """The outcomes in this seat's share of the journals, and links left over by a deadline."""
        store, num_seats = self._context.store, _num_seats(self._config, self._context)
        seen = self._wait_for_others()
        tables = [STORED_SCHEMA.empty_table()]
        for life, paths in self._journals.files().items():
            if life % num_seats == self._number:
                tables += [_read_outcomes(store, path) for path in paths]
        if self._number == 0:
            remove_other_segments(store, warc_dir(self._context.batch), seen.roster.next_life)

        if not seen.roster.is_finished:
            # Of those that have another outcome, that one counts (`last_outcomes`).
            deferred = to_table([*map(_deferred, links.to_pylist())])
            zeros = pa.array(np.zeros(deferred.num_rows, np.int32))
            tables.append(deferred.add_column(0, STORED_SCHEMA.field(0), zeros))

        return pa.concat_tables(tables)

    def _wait_for_others(self) -> Seen:
        """Wait until the workers of a closed batch have saved everything; the last roster."""
        until = time.monotonic() + LEAVE_WAIT_S
        while True:
            seen = self._roster.look()
            if seen.roster.is_finished or not seen.roster.members or time.monotonic() >= until:
                return seen
            time.sleep(0.2)


def _read_outcomes(store: Store, path: str) -> pa.Table:
    with store.open_input(path) as stream:
        return pq.read_table(stream, schema=STORED_SCHEMA)


def _ip_table(context: Context) -> Path:
    """The table for sharing the pace of IP addresses among workers.

    With a local corpus all workers share one. Machines sharing only an object store have one each,
    and each worker takes its part of the rate (`crawl.fetch.worker`).
    """
    shared = context.store.local_path(f"{work_dir(context.batch)}/crawl.fetch-ip/table")
    if shared is None:
        return Path(tempfile.gettempdir()) / f"webtext-crawl-ip-{os.getuid()}"
    shared.parent.mkdir(parents=True, exist_ok=True)
    return shared


def _run_worker(
    spec: Path, report: Callable[[int], None], reporter: Reporter
) -> tuple[int, str, int]:
    """Run `crawl.fetch.worker` on `spec`; its exit code, its error and its number of ended links.

    Its stderr is logged.

    The worker checks each second that this process exists; if not, it saves and ends.
    """
    command = [sys.executable, "-m", "crawl.fetch.worker", str(spec)]
    error = ""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=os.environ
        )
        if process.stdout is None:
            raise TypeError("a pipe was asked for")

        try:
            state: dict[str, Any] = {"done": 0, "total": 1}
            for line in process.stdout:
                reported = _parse_report(line)
                error = reported.get("error", error)
                before = state["done"]
                state = reported if {"done", "total"} <= reported.keys() else state
                report(max(0, state["done"] - before))
                reporter.write(state)
            code = process.wait()
            report(-state["done"])  # the task counts the whole shard once, at its end
            reporter.write(state, last=True)
        finally:
            _end(process)

        lines = _last_lines(errors)

    for text in lines if not error else ():  # an error is logged once, by the caller
        log.warning("%s", text)
    return code, error or (lines[-1] if lines else ""), state["done"]


def _last_lines(errors: IO[bytes]) -> list[str]:
    """The end of a worker's stderr: our faults with their place, warnings of Scrapy."""
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - LOGGED_BYTES))
    return errors.read().decode(errors="replace").strip().splitlines()


def _parse_report(line: bytes) -> dict[str, Any]:
    """A line of a worker's stdout; empty for one from other code."""
    try:
        reported = json.loads(line)
    except ValueError:
        return {}
    return reported if isinstance(reported, dict) else {}


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a running worker to stop, and kill it if it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    if process.stdout is not None:
        process.stdout.close()


def _num_seats(config: CrawlConfig, context: Context) -> int:
    return min(config.fetch.shards, MOST_SEATS)


# A step of its own before `pages`, whose manifest says that the fetch is done. Batches of before it
# have no such table.
RIGHTS_STEP = Exchange(
    name="crawl/rights",
    reads=SETTLED,
    writes=(RIGHTS,),
    repeatable=False,
    sections=("fetch_identity",),
    scattered=pa.schema([STORED_SCHEMA.field(name) for name in RIGHTS.schema.names]),
    load_scatter=_load_rights_scatter,
    load_reduce=_load_rights,
    num_buckets=one_bucket_per_part,
)

PAGES_STEP = Exchange(
    name="crawl/pages",
    reads=SETTLED,
    writes=(PAGES,),
    repeatable=False,
    sections=("fetch_identity",),
    scattered=PAGES.schema,
    load_scatter=_load_regroup,
    load_reduce=_load_order,
    num_buckets=one_bucket_per_part,
)

# The tables of a crawl, from the last outcomes of its links.
ENDING = (RIGHTS_STEP, PAGES_STEP)

STEPS = (
    Exchange(
        name="crawl/fetch",
        reads=LINKS,
        columns=LINK_COLUMNS,
        writes=(FETCHED_OUTCOMES,),
        limited=False,
        sections=("fetch_identity",),
        scattered=pa.schema([LINKS.schema.field(name) for name in LINK_COLUMNS]),
        load_scatter=_load_spread,
        load_reduce=_load_fetch,
        num_buckets=_num_seats,
    ),
    Exchange(
        name="crawl/outcomes",
        reads=FETCHED_OUTCOMES,
        writes=(OUTCOMES,),
        sections=("fetch_identity",),
        scattered=STORED_SCHEMA,
        load_scatter=_load_by_link,
        load_reduce=_load_last_outcome,
        num_buckets=one_bucket_per_part,
    ),
    # The fingerprints of pages that are there already are made of both names.
    Map(
        name="crawl/follow",
        reads=OUTCOMES,
        writes=(FOLLOWED,),
        sections=("fetch_identity",),
        load=_load_end_left,
        conserves=(FOLLOWED,),
    ),
    Map(
        name="crawl/settle",
        reads=FOLLOWED,
        writes=(SETTLED,),
        sections=("fetch_identity",),
        load=_load_settle,
        conserves=(SETTLED,),
    ),
    *ENDING,
)
