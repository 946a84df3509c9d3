"""Links to pages: the links are spread over shards of domains, each shard is fetched by one process of its own.

Exchanges. The first regroups links by shard, so that a domain is paced by one process whatever the number of workers,
and runs `crawl.fetch.worker` on each shard. A link whose redirect leads to a domain of another shard comes back as handed
over: the second exchange brings it to that shard, and the third lets one process end whatever was handed over again.
The last brings the outcomes into the order of `doc_id`. Between two rounds nothing is under way, so a domain is asked
by one process at any time, and `crawl.fetch.shard_state` hands on what is known of its pace.

A shard keeps its own durable state, so a kill costs at most its open segment; see `crawl.fetch.worker`.
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
from corpus.tables.conservation import FETCHED
from corpus.tables.schemas import LINKS, PAGES, Table, part_of
from corpus.tables.segments import warc_dir
from crawl.config import CrawlConfig
from crawl.fetch.frontier import pace_key, shard_of
from crawl.fetch.jobs import locate
from crawl.fetch.progress import Reporter
from crawl.fetch.settings import deadline_at
from crawl.fetch.shard_state import Mirror, bequeath, inherit
from crawl.outcomes import Outcome, Reason, read_outcomes, to_table

log = logging.getLogger(__name__)

EXIT_LEFT = 3
"""Of the worker: stopped with links left; run again to go on."""
LOGGED_BYTES = 16 << 10
"""Of what a worker wrote on stderr, this much of the end is logged."""
LINK_COLUMNS = ("doc_id", "url", "domain", "score")
_OUTCOME = pa.schema([pa.field("shard", pa.int32(), nullable=False), *PAGES.schema])
OUTCOMES = Table(name="outcomes", schema=_OUTCOME, scratch=True)
"""Rows of `pages` in parts by shard of domains, before they are brought into the order of ids."""
FOLLOWED = Table(name="outcomes_followed", schema=_OUTCOME, scratch=True)
"""The same after links that were handed over have been fetched by the shards they led to."""
SETTLED = Table(name="outcomes_settled", schema=_OUTCOME, scratch=True)
"""The same without links that are handed over."""


@dataclass(frozen=True, slots=True)
class Round:
    """One pass of the fetch. In the last one a single process goes on with whatever is left, and hands over nothing."""

    number: int
    reads: Table
    writes: Table
    last: bool = False


ROUNDS = (
    Round(0, LINKS, OUTCOMES),
    Round(1, OUTCOMES, FOLLOWED),
    Round(2, FOLLOWED, SETTLED, last=True),
)


def _load_spread(config: CrawlConfig, context: Context) -> ScatterFunction:
    def spread(links: pa.Table) -> Scattered:
        return Scattered(links, _owners(links["domain"], config.fetch.shards))

    return spread


def _load_hand_over(config: CrawlConfig, context: Context, *, last: bool) -> ScatterFunction:
    """Outcomes stay with their shard; links that were handed over go to the owner of the domain they led to."""

    def spread(outcomes: pa.Table) -> Scattered:
        shards = np.zeros(outcomes.num_rows, np.int64)
        handed = _is_handed(outcomes).to_numpy(zero_copy_only=False)
        if not last:
            shards[:] = outcomes["shard"].to_numpy()
            targets = outcomes["final_url"].filter(pa.array(handed)).to_pylist()
            shards[handed] = _owners(
                pa.chunked_array([[*map(_domain, targets)]], pa.string()), config.fetch.shards
            )
        return Scattered(outcomes, shards)

    return spread


def _owners(domains: pa.ChunkedArray, num_shards: int) -> np.ndarray:
    encoded = domains.combine_chunks().dictionary_encode()
    owners = [shard_of(pace_key(domain), num_shards) for domain in encoded.dictionary.to_pylist()]
    return (
        np.array(owners, np.int64)[encoded.indices.to_numpy()] if owners else np.zeros(0, np.int64)
    )


def _is_handed(outcomes: pa.Table) -> pa.Array:
    return pc.fill_null(
        pc.equal(outcomes["reason"], Reason.HANDED_OVER.value), False
    ).combine_chunks()


def _domain(url: str) -> str:
    place = locate(url)
    assert place is not None, "a hop was judged before it was handed over"
    return place.key


def _load_fetch(config: CrawlConfig, context: Context) -> ReduceFunction:
    def fetch(shard: int, links: pa.Table) -> Output:
        return _output(OUTCOMES, shard, _fetch_shard(config, context, ROUNDS[0], shard, links))

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
        pages = outcomes.drop_columns("shard")
        return Scattered(pages, part_of(pages["doc_id"], context.num_parts))

    return regroup


def _load_order(config: CrawlConfig, context: Context) -> ReduceFunction:
    def order(part: int, pages: pa.Table) -> Output:
        reasons = pages["reason"].to_pylist()
        return Output(
            {"pages": pages.sort_by("doc_id")}, Counter(reason or FETCHED for reason in reasons)
        )

    return order


def _fetch_shard(
    config: CrawlConfig, context: Context, of: Round, shard: int, links: pa.Table
) -> pa.Table:
    """Run the worker on one shard until every link has its outcome; the outcomes.

    Raises: RetryableError when the worker stopped with links left, InputError when it says that none can succeed.
    """
    if links.num_rows == 0:
        return PAGES.schema.empty_table()
    durable = f"{context.scratch}/shard-{shard:05}"
    number = of.number * config.fetch.shards + shard
    deadline = deadline_at(config.fetch.deadline, 0.0)
    with tempfile.TemporaryDirectory(prefix="webtext-fetch-") as temporary:
        folder = context.store.local_path(durable) or Path(temporary) / "state"
        folder.mkdir(parents=True, exist_ok=True)
        mirror = Mirror(context.store, durable, folder)
        mirror.restore()
        paces = f"{work_dir(context.batch)}/crawl.fetch-pace"
        if of.number:
            inherit(context.store, paces, folder)
        inputs = Path(temporary) / "links.parquet"
        pq.write_table(links, inputs)
        spec = Path(temporary) / "spec.json"
        spec.write_text(
            json.dumps(
                {
                    "corpus": context.store.root,
                    "shard": shard,
                    "num_shards": 0 if of.last else config.fetch.shards,
                    "links": str(inputs),
                    "out_dir": str(folder),
                    "warc_prefix": f"{warc_dir(context.batch)}/part-{number:05}",
                    "config": config.fetch.model_dump(mode="json"),
                    "excluded": config.links.model_dump(mode="json"),
                    "deadline": deadline,
                    "parent": os.getpid(),
                }
            )
        )
        reporter = Reporter(context.store, context.batch, number, delay_s=config.fetch.delay_s)
        code, error = _run_worker(spec, context.report, reporter, mirror.save)
        mirror.save()
        outcomes = read_outcomes(folder)
        bequeath(context.store, paces, shard, folder)
    if code == 2:
        raise InputError(f"shard {shard} of {context.batch}: {error}")
    if code == EXIT_LEFT and deadline is not None and time.time() >= deadline:
        return pa.concat_tables([outcomes, _deferred(links, outcomes)])
    if code != 0 or outcomes.num_rows != links.num_rows:
        raise RetryableError(
            f"shard {shard}: the worker ended with exit code {code}, {outcomes.num_rows:,} of {links.num_rows:,} links done: {error}"
        )
    return outcomes


def _deferred(links: pa.Table, outcomes: pa.Table) -> pa.Table:
    """Outcomes of the links that have none when the batch is closed."""
    left = links.filter(
        pc.invert(pc.is_in(links["doc_id"], value_set=outcomes["doc_id"].combine_chunks()))
    )
    return to_table(
        [
            Outcome(
                doc_id=row["doc_id"],
                url=row["url"],
                redirects=row.get("redirects") or (),
                reason=Reason.DEFERRED,
            )
            for row in left.to_pylist()
        ]
    )


def _run_worker(
    spec: Path, report: Callable[[int], None], reporter: Reporter, each_second: Callable[[], None]
) -> tuple[int, str]:
    """Run `crawl.fetch.worker` on `spec`; its exit code and its error. What it wrote on stderr is logged.

    The worker looks each second whether this process is still there; when it is gone, the worker saves and ends.
    """
    command = [sys.executable, "-m", "crawl.fetch.worker", str(spec)]
    error = ""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=os.environ
        )
        assert process.stdout is not None
        try:
            state: dict[str, Any] = {"done": 0, "total": 1}
            for line in process.stdout:
                said = _said(line)
                error = said.get("error", error)
                before, state = state["done"], said if {"done", "total"} <= said.keys() else state
                report(max(0, state["done"] - before))
                reporter.tell(state)
                try:
                    each_second()
                except (
                    OSError,
                    WebtextError,
                ) as failure:  # may pass; what counts is saved at the end
                    log.warning("%s", failure)
            code = process.wait()
            report(-state["done"])  # the whole shard is counted by the task, once, at its end
            reporter.tell(state, last=True)
        finally:
            _end(process)
        lines = _last_lines(errors)
    for text in lines if not error else ():  # an error is said once, by whoever is told
        log.warning("%s", text)
    return code, error or (lines[-1] if lines else "")


def _last_lines(errors: IO[bytes]) -> list[str]:
    """The end of what a worker wrote on stderr: faults of ours with where they were, warnings of Scrapy."""
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - LOGGED_BYTES))
    return errors.read().decode(errors="replace").strip().splitlines()


def _said(line: bytes) -> dict[str, Any]:
    """A line of a worker's stdout; empty for one that is not the worker's own."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a worker that still runs to stop, and end it when it does not."""
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
        sections=("fetch_identity",),
        scattered=_OUTCOME,
        load_scatter=partial(_load_hand_over, last=of.last),
        load_reduce=partial(_load_follow, of=of),
        num_buckets=_one_bucket if of.last else _num_shards,
    )


STEPS = (
    Exchange(
        name="crawl/fetch",
        reads=LINKS,
        columns=LINK_COLUMNS,
        writes=(OUTCOMES,),
        sections=("fetch_identity",),
        scattered=pa.schema([LINKS.schema.field(name) for name in LINK_COLUMNS]),
        load_scatter=_load_spread,
        load_reduce=_load_fetch,
        num_buckets=_num_shards,
    ),
    _follow(ROUNDS[1]),
    _follow(ROUNDS[2]),
    Exchange(
        name="crawl/pages",
        reads=SETTLED,
        writes=(PAGES,),
        repeatable=False,
        sections=("fetch_identity",),
        scattered=PAGES.schema,
        load_scatter=_load_regroup,
        load_reduce=_load_order,
        num_buckets=one_bucket_per_part,
    ),
)
