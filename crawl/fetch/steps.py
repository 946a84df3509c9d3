"""Links to pages: the links are spread over shards of domains, each fetched by its own process.

The first exchange regroups links by shard, so that a domain is paced by one process for any number
of workers, and runs `crawl.fetch.worker` on each shard. A link with a redirect to another shard's
domain is handed over while both run (`crawl.fetch.hand_over`); the second exchange keeps the last
outcome of each link. A third exchange brings links to a shard already ended, and a fourth lets one
process end those handed over again. The last sorts the outcomes by `doc_id`. Between two rounds
nothing runs, so a domain is asked by one process at any time; `crawl.fetch.shard_state` passes on
its pace.

A shard keeps its own durable state, so a kill costs at most its open segment.
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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus.errors import InputError, RetryableError, WebtextError
from corpus.rights.rows import rights_counts
from corpus.run.step import (
    Context,
    Exchange,
    Output,
    ReduceFunction,
    Scattered,
    ScatterFunction,
    one_bucket_per_part,
)
from corpus.storage.store import work_dir
from corpus.tables.conservation import FETCHED, REQUESTS
from corpus.tables.schemas import LINKS, PAGES, RIGHTS, Table, part_of
from corpus.tables.segments import warc_dir
from crawl.config import CrawlConfig
from crawl.fetch import stop_request
from crawl.fetch.jobs import locate
from crawl.fetch.pace.frontier import pace_key, shard_of
from crawl.fetch.progress import Reporter
from crawl.fetch.settings import deadline_at
from crawl.fetch.shard_state import Mirror, hand_on_pace, take_over_pace
from crawl.outcomes import LIVE, OUTCOME_SCHEMA, Outcome, Reason, read_outcomes, to_table

log = logging.getLogger(__name__)

# Exit code of a worker that stopped with links left; it continues when run again.
EXIT_LEFT = 3
# Bytes at the end of a worker's stderr that are logged.
LOGGED_BYTES = 16 << 10
LINK_COLUMNS = ("doc_id", "url", "domain", "score")
_OUTCOME = pa.schema([pa.field("shard", pa.int32(), nullable=False), *OUTCOME_SCHEMA])
# Rows of `pages` by shard of domains. A link that was handed over has a row of each shard.
FETCHED_OUTCOMES = Table(name="outcomes_fetched", schema=_OUTCOME, scratch=True)
# The last row of each link.
OUTCOMES = Table(name="outcomes", schema=_OUTCOME, scratch=True)
# The same after links that were handed over too late have been fetched by their owners.
FOLLOWED = Table(name="outcomes_followed", schema=_OUTCOME, scratch=True)
# The same without links that are handed over.
SETTLED = Table(name="outcomes_settled", schema=_OUTCOME, scratch=True)


@dataclass(frozen=True, slots=True)
class Round:
    """One pass of the fetch. In the last one a single process fetches what is left."""

    number: int
    reads: Table
    writes: Table
    last: bool = False


ROUNDS = (
    Round(0, LINKS, FETCHED_OUTCOMES),
    Round(1, OUTCOMES, FOLLOWED),
    Round(2, FOLLOWED, SETTLED, last=True),
)


def _load_spread(config: CrawlConfig, context: Context) -> ScatterFunction:
    def spread(links: pa.Table) -> Scattered:
        return Scattered(links, _owners(links["domain"], config.fetch.shards))

    return spread


def _load_by_link(config: CrawlConfig, context: Context) -> ScatterFunction:
    def spread(outcomes: pa.Table) -> Scattered:
        return Scattered(outcomes, part_of(outcomes["doc_id"], config.fetch.shards))

    return spread


def _load_last_outcome(config: CrawlConfig, context: Context) -> ReduceFunction:
    def keep(bucket: int, outcomes: pa.Table) -> Output:
        return Output({OUTCOMES.name: last_outcomes(outcomes)})

    return keep


def last_outcomes(outcomes: pa.Table) -> pa.Table:
    """The row of each link with the longest chain of redirects: each hand-over makes it longer."""
    hops = pc.list_value_length(outcomes["redirects"])
    handed = _is_handed(outcomes)
    ranked = outcomes.append_column("hops", hops).append_column("handed", handed)
    keys = [("doc_id", "ascending"), ("hops", "descending"), ("handed", "ascending")]
    ranked = ranked.sort_by([*keys, ("shard", "ascending")]).combine_chunks()
    if not ranked.num_rows:
        return outcomes

    ids = ranked["doc_id"].combine_chunks()
    first = np.ones(len(ids), bool)
    first[1:] = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)

    return ranked.filter(pa.array(first)).drop_columns(["hops", "handed"])


def _load_hand_over(config: CrawlConfig, context: Context, *, last: bool) -> ScatterFunction:
    """Bring links that were handed over to the owner of their domain; outcomes stay in place."""

    def spread(outcomes: pa.Table) -> Scattered:
        shards = np.zeros(outcomes.num_rows, np.int64)
        handed = _is_handed(outcomes).to_numpy(zero_copy_only=False)
        if not last:
            shards[:] = outcomes["shard"].to_numpy()
            targets = outcomes["final_url"].filter(pa.array(handed)).to_pylist()
            domains = pa.chunked_array([[*map(_domain, targets)]], pa.string())
            shards[handed] = _owners(domains, config.fetch.shards)

        return Scattered(outcomes, shards)

    return spread


def _owners(domains: pa.ChunkedArray, num_shards: int) -> np.ndarray:
    encoded = domains.combine_chunks().dictionary_encode()
    owners = [shard_of(pace_key(domain), num_shards) for domain in encoded.dictionary.to_pylist()]
    if not owners:
        return np.zeros(0, np.int64)
    return np.array(owners, np.int64)[encoded.indices.to_numpy()]


def _is_handed(outcomes: pa.Table) -> pa.Array:
    return pc.fill_null(
        pc.equal(outcomes["reason"], Reason.HANDED_OVER.value), False
    ).combine_chunks()


def _domain(url: str) -> str:
    site = locate(url)
    if site is None:
        raise ValueError(f"{url} was judged before it was handed over")
    return site.key


def _load_fetch(config: CrawlConfig, context: Context) -> ReduceFunction:
    def fetch(shard: int, links: pa.Table) -> Output:
        fetched = _fetch_shard(config, context, ROUNDS[0], shard, links)
        return _output(FETCHED_OUTCOMES, shard, fetched)

    return fetch


def _load_follow(config: CrawlConfig, context: Context, *, of: Round) -> ReduceFunction:
    def follow(shard: int, outcomes: pa.Table) -> Output:
        handed = _is_handed(outcomes)
        left = outcomes.filter(handed)
        links = pa.table(
            {
                "doc_id": left["doc_id"],
                "url": left["url"],
                "domain": pa.array(map(_domain, left["final_url"].to_pylist()), pa.string()),
                "score": pa.array(np.zeros(left.num_rows, np.int32)),
                "target": left["final_url"],
                "redirects": left["redirects"],
            }
        )
        ended = outcomes.filter(pc.invert(handed)).drop_columns("shard")
        fetched = _fetch_shard(config, context, of, shard, links)

        return _output(of.writes, shard, pa.concat_tables([ended, fetched]))

    return follow


def _output(table: Table, shard: int, pages: pa.Table) -> Output:
    column = pa.array(np.full(pages.num_rows, shard, np.int32))
    return Output({table.name: pages.add_column(0, table.schema.field(0), column)})


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

    Attempts at an address that redirected in the end are not known any more.
    """
    hops = pc.sum(pc.list_value_length(pages["redirects"])).as_py() or 0
    return hops + (pc.sum(pages["attempts"]).as_py() or 0)


def opt_out_counts(cause: str | None) -> list[str]:
    """The notes that count a `training_opt_out` by its signals."""
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


def _fetch_shard(
    config: CrawlConfig, context: Context, of: Round, shard: int, links: pa.Table
) -> pa.Table:
    """Run the worker on one shard until every link has its outcome; the outcomes.

    Outcomes of links that other shards handed over are among them. Raises: RetryableError when the
    worker stopped with links left, InputError when it says that none can succeed.
    """
    number = of.number * config.fetch.shards + shard
    reporter = Reporter(context.store, context.batch, number, delay_s=config.fetch.delay_s)
    # Others hand over links only while they know that this shard runs.
    reporter.begin(links.num_rows)
    if links.num_rows == 0:
        return OUTCOME_SCHEMA.empty_table()

    durable = f"{context.scratch}/shard-{shard:05}"
    deadline = deadline_at(config.fetch.deadline, 0.0)
    with tempfile.TemporaryDirectory(prefix="webtext-fetch-") as temporary:
        folder = context.store.local_path(durable) or Path(temporary) / "state"
        folder.mkdir(parents=True, exist_ok=True)
        mirror = Mirror(context.store, durable, folder)
        mirror.restore()
        paces = f"{work_dir(context.batch)}/crawl.fetch-pace"
        if of.number:
            take_over_pace(context.store, paces, folder)

        inputs = Path(temporary) / "links.parquet"
        pq.write_table(links, inputs)
        spec = Path(temporary) / "spec.json"
        document = {
            "corpus": context.store.root,
            "batch": context.batch if of.number == 0 else None,
            "shard": shard,
            "num_shards": 0 if of.last else config.fetch.shards,
            "links": str(inputs),
            "out_dir": str(folder),
            "warc_prefix": f"{warc_dir(context.batch)}/part-{number:05}",
            "config": config.fetch.model_dump(mode="json"),
            "excluded": config.links.model_dump(mode="json"),
            "rights": config.rights.model_dump(mode="json"),
            "deadline": deadline,
            **_ip_pace(config, context, alone=of.last),
            "parent": os.getpid(),
            "stop_batch": context.batch,
            "lease_token": stop_request.lease_token(context.store, context.batch),
        }
        spec.write_text(json.dumps(document))
        code, error = _run_worker(spec, context.report, reporter, mirror.save)
        mirror.save()
        outcomes = read_outcomes(folder)
        hand_on_pace(context.store, paces, shard, folder)

    if code == 2:
        raise InputError(f"shard {shard} of {context.batch}: {error}")
    if code == EXIT_LEFT and deadline is not None and time.time() >= deadline:
        return pa.concat_tables([outcomes, _deferred(links, outcomes)])

    ended = pc.is_in(links["doc_id"], value_set=outcomes["doc_id"].combine_chunks())
    num_ended = pc.sum(ended).as_py() or 0
    if code != 0 or num_ended != links.num_rows:
        raise RetryableError(
            f"shard {shard}: the worker ended with exit code {code}, "
            f"{num_ended:,} of {links.num_rows:,} links done: {error}"
        )

    return outcomes


def _ip_pace(config: CrawlConfig, context: Context, *, alone: bool) -> dict[str, Any]:
    """The table through which workers share the pace of IP addresses, and its interval.

    With a local corpus all workers share one table. Machines that share only an object store have
    one each, and each takes its part of the rate, but never less than a single domain's.
    """
    fetch = config.fetch
    shared = context.store.local_path(f"{work_dir(context.batch)}/crawl.fetch-ip/table")
    if shared is not None:
        shared.parent.mkdir(parents=True, exist_ok=True)
        return {"ip_table": str(shared), "ip_interval_s": fetch.ip_interval_s}

    own = Path(tempfile.gettempdir()) / f"webtext-crawl-ip-{os.getuid()}"
    machines = 1 if alone else fetch.shards
    return {
        "ip_table": str(own),
        "ip_interval_s": min(fetch.delay_s, fetch.ip_interval_s * machines),
    }


def _deferred(links: pa.Table, outcomes: pa.Table) -> pa.Table:
    """Outcomes of the links that have none when the batch is closed."""
    ended = pc.is_in(links["doc_id"], value_set=outcomes["doc_id"].combine_chunks())
    return to_table(
        [
            Outcome(
                doc_id=row["doc_id"],
                url=row["url"],
                redirects=row.get("redirects") or (),
                reason=Reason.DEFERRED,
            )
            for row in links.filter(pc.invert(ended)).to_pylist()
        ]
    )


def _run_worker(
    spec: Path, report: Callable[[int], None], reporter: Reporter, each_second: Callable[[], None]
) -> tuple[int, str]:
    """Run `crawl.fetch.worker` on `spec`; its exit code and its error. Its stderr is logged.

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
                try:
                    each_second()
                except (OSError, WebtextError) as failure:
                    log.warning("%s", failure)  # may pass; what counts is saved at the end
            code = process.wait()
            report(-state["done"])  # the task counts the whole shard once, at its end
            reporter.write(state, last=True)
        finally:
            _end(process)

        lines = _last_lines(errors)

    for text in lines if not error else ():  # an error is logged once, by the caller
        log.warning("%s", text)
    return code, error or (lines[-1] if lines else "")


def _last_lines(errors: IO[bytes]) -> list[str]:
    """The end of a worker's stderr: our faults with their place, warnings of Scrapy."""
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - LOGGED_BYTES))
    return errors.read().decode(errors="replace").strip().splitlines()


def _parse_report(line: bytes) -> dict[str, Any]:
    """A line of a worker's stdout; empty for one that is not the worker's own."""
    try:
        reported = json.loads(line)
    except ValueError:
        return {}
    return reported if isinstance(reported, dict) else {}


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a worker that still runs to stop, and kill it if it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    if process.stdout is not None:
        process.stdout.close()


def _num_shards(config: CrawlConfig, context: Context) -> int:
    return config.fetch.shards


def _one_bucket(config: CrawlConfig, context: Context) -> int:
    return 1


def _follow(of: Round) -> Exchange:
    return Exchange(
        name=f"crawl/{'settle' if of.last else 'follow'}",
        reads=of.reads,
        writes=(of.writes,),
        limited=False,
        sections=("fetch_identity",),
        scattered=_OUTCOME,
        load_scatter=partial(_load_hand_over, last=of.last),
        load_reduce=partial(_load_follow, of=of),
        num_buckets=_one_bucket if of.last else _num_shards,
    )


# A step of its own before `pages`, whose manifest says that the fetch is done. Batches of before it
# have no such table.
RIGHTS_STEP = Exchange(
    name="crawl/rights",
    reads=SETTLED,
    writes=(RIGHTS,),
    repeatable=False,
    sections=("fetch_identity",),
    scattered=pa.schema([_OUTCOME.field(name) for name in RIGHTS.schema.names]),
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

# The tables that a crawl leaves, from the last outcomes of its links.
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
        num_buckets=_num_shards,
    ),
    Exchange(
        name="crawl/outcomes",
        reads=FETCHED_OUTCOMES,
        writes=(OUTCOMES,),
        sections=("fetch_identity",),
        scattered=_OUTCOME,
        load_scatter=_load_by_link,
        load_reduce=_load_last_outcome,
        num_buckets=_num_shards,
    ),
    _follow(ROUNDS[1]),
    _follow(ROUNDS[2]),
    *ENDING,
)
