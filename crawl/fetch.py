"""Links to pages: the links are spread over shards of domains, each shard is fetched by one process of its own.

Two exchanges. The first regroups links by shard, so that a domain is paced by one process whatever the number of
workers, and runs `crawl.worker` on each shard. The second brings the outcomes back into the order of `doc_id`.
A shard keeps its own durable state, so a kill costs at most its open segment; see `crawl.worker`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_64_intdigest

from corpus.errors import FatalError, RetryableError
from corpus.laws import FETCHED
from corpus.layout import Store
from corpus.schemas import LINKS, PAGES, Table, part_of
from corpus.step import (
    Context,
    Exchange,
    Output,
    ReduceFunction,
    Scattered,
    ScatterFunction,
    one_bucket_per_part,
)
from crawl.config import CrawlConfig
from crawl.frontier import pace_key
from crawl.outcomes import read_outcomes

LINK_COLUMNS = ("doc_id", "url", "domain", "score")
OUTCOMES = Table(
    name="outcomes",
    schema=pa.schema([pa.field("shard", pa.int32(), nullable=False), *PAGES.schema]),
    scratch=True,
)
"""Rows of `pages` in parts by shard of domains, before they are brought into the order of ids."""


def shard_of(domain: str, num_shards: int) -> int:
    """The shard of a registered domain: all that shares a pace shares a shard."""
    return xxh3_64_intdigest(pace_key(domain).encode()) % num_shards


def _load_spread(config: CrawlConfig, context: Context) -> ScatterFunction:
    def spread(links: pa.Table) -> Scattered:
        domains = links["domain"].combine_chunks().dictionary_encode()
        shards = np.array(
            [shard_of(domain, config.fetch.shards) for domain in domains.dictionary.to_pylist()], np.int64
        )
        return Scattered(links, shards[domains.indices.to_numpy()] if len(links) else np.zeros(0, np.int64))

    return spread


def _load_fetch(config: CrawlConfig, context: Context) -> ReduceFunction:
    def fetch(shard: int, links: pa.Table) -> Output:
        outcomes = (
            _fetch_shard(config, context, shard, links) if links.num_rows else PAGES.schema.empty_table()
        )
        column = pa.array(np.full(outcomes.num_rows, shard, np.int32))
        return Output({"outcomes": outcomes.add_column(0, OUTCOMES.schema.field(0), column)})

    return fetch


def _load_regroup(config: CrawlConfig, context: Context) -> ScatterFunction:
    def regroup(outcomes: pa.Table) -> Scattered:
        pages = outcomes.drop_columns("shard")
        return Scattered(pages, part_of(pages["doc_id"], context.num_parts))

    return regroup


def _load_order(config: CrawlConfig, context: Context) -> ReduceFunction:
    def order(part: int, pages: pa.Table) -> Output:
        reasons = pages["reason"].to_pylist()
        return Output({"pages": pages.sort_by("doc_id")}, Counter(reason or FETCHED for reason in reasons))

    return order


def _fetch_shard(config: CrawlConfig, context: Context, shard: int, links: pa.Table) -> pa.Table:
    """Run the worker on one shard until every link has its outcome; the outcomes.

    Raises: RetryableError when the worker stopped with links left, FatalError when it says that none can succeed.
    """
    durable = f"{context.scratch}/shard-{shard:05}"
    with tempfile.TemporaryDirectory(prefix="webtext-fetch-") as temporary:
        folder = context.store.local_path(durable) or Path(temporary) / "state"
        folder.mkdir(parents=True, exist_ok=True)
        mirror = _Mirror(context.store, durable, folder)
        mirror.restore()
        inputs = Path(temporary) / "links.parquet"
        pq.write_table(links, inputs)
        spec = Path(temporary) / "spec.json"
        spec.write_text(
            json.dumps(
                {
                    "corpus": context.store.root,
                    "shard": shard,
                    "links": str(inputs),
                    "out_dir": str(folder),
                    "warc_prefix": f"pages/{context.batch}/part-{shard:05}",
                    "config": config.fetch.model_dump(mode="json"),
                    "deadline": None,
                }
            )
        )
        code, error = _run_worker(spec, context.report, mirror.save)
        mirror.save()
        outcomes = read_outcomes(folder)
    if code == 2:
        raise FatalError(f"shard {shard} of {context.batch}: {error}")
    if code != 0 or outcomes.num_rows != links.num_rows:
        raise RetryableError(
            f"shard {shard}: the worker ended with exit code {code}, {outcomes.num_rows:,} of {links.num_rows:,} links done: {error}"
        )
    return outcomes


def _run_worker(
    spec: Path, report: Callable[[int], None], each_second: Callable[[], None]
) -> tuple[int, str]:
    """Run `crawl.worker` on `spec`; its exit code and the last line it wrote on stderr.

    The worker watches its standard input: it closes when this process is gone, and the worker then saves and ends.
    """
    command = [sys.executable, "-m", "crawl.worker", str(spec)]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=os.environ
        )
        assert process.stdout is not None
        try:
            done = 0
            for line in process.stdout:
                state = _state(line)
                report(max(0, state - done))
                done = max(done, state)
                each_second()
            code = process.wait()
        finally:
            _end(process)
        errors.seek(0)
        lines = errors.read().decode(errors="replace").strip().splitlines()
    return code, lines[-1] if lines else ""


def _state(line: bytes) -> int:
    """Links done, from a progress line of the worker."""
    try:
        return int(json.loads(line)["done"])
    except (ValueError, KeyError, TypeError):
        return 0


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a worker that still runs to stop, and end it when it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


class _Mirror:
    """Keeps a shard's local state on an object store too, so that losing the node loses no committed segment."""

    def __init__(self, store: Store, durable: str, folder: Path) -> None:
        self._store = store
        self._durable = durable
        self._folder = folder
        self._saved: dict[str, int] = {}

    def restore(self) -> None:
        """Bring what an earlier attempt saved to this node."""
        if self._store.is_local:
            return
        for path, _ in self._store.files(self._durable):
            target = self._folder / path.rpartition("/")[2]
            target.write_bytes(self._store.read_bytes(path))
            self._saved[target.name] = target.stat().st_mtime_ns

    def save(self) -> None:
        """Save the files that changed since the last time."""
        if self._store.is_local:
            return
        for path in sorted(self._folder.glob("*")):
            changed = path.stat().st_mtime_ns
            if path.is_file() and not path.name.startswith(".") and self._saved.get(path.name) != changed:
                self._store.write_bytes(f"{self._durable}/{path.name}", path.read_bytes())
                self._saved[path.name] = changed


def _num_shards(config: CrawlConfig, context: Context) -> int:
    return config.fetch.shards


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
    Exchange(
        name="crawl/pages",
        reads=OUTCOMES,
        writes=(PAGES,),
        scattered=PAGES.schema,
        load_scatter=_load_regroup,
        load_reduce=_load_order,
        num_buckets=one_bucket_per_part,
    ),
)
