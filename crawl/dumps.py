"""The dumps of a batch, and the step that makes `links` of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.layout import Store
from corpus.manifest import Input, find_manifest
from corpus.runner import earlier_batches
from corpus.schemas import LINKS, part_of
from corpus.sources import identity, open_source, total_bytes
from corpus.step import (
    Context,
    Exchange,
    FileScatterFunction,
    Output,
    ReduceFunction,
    Scattered,
    one_bucket_per_part,
)
from corpus.tables import read_file
from crawl import links, retry
from crawl.config import CrawlConfig

OPTION = "--dumps"
BYTES_PER_PART = 64 << 20
"""Compressed dump bytes behind one part of `links` when the config leaves the number open."""


def num_parts(store: Store, batch: str, dumps: Sequence[str], config: CrawlConfig) -> int:
    """Parts of the batch: as recorded, else as configured, else by the size of the dumps."""
    manifest = find_manifest(store, "links", batch)
    if manifest is not None:
        return manifest.num_parts
    if config.links.num_parts:
        return config.links.num_parts
    return max(4, -(-total_bytes(dumps, OPTION) // BYTES_PER_PART))


def _depends(config: CrawlConfig, context: Context) -> list[Input]:
    """The dumps, and the earlier batches whose pages are not linked again."""
    earlier = []
    for batch in earlier_batches(context.store, context.batch):
        manifest = find_manifest(context.store, "links", batch)
        assert manifest is not None
        earlier.append(Input(table="links", batch=batch, fingerprint=manifest.fingerprint))
    return [identity(path, OPTION, "dump") for path in context.files] + earlier


def _load_scatter(config: CrawlConfig, context: Context) -> FileScatterFunction:
    def scatter(path: str) -> Iterator[Scattered]:
        counts: Counter[str] = Counter()
        with open_source(path, OPTION) as stream:
            for batch in links.read_dump(
                stream, name=path, config=config.links, counts=counts, on_progress=context.report
            ):
                table = pa.Table.from_batches([batch])
                yield Scattered(table, part_of(table["doc_id"], context.num_parts), _take(counts))
        yield Scattered(links.SUBMISSIONS.empty_table(), np.zeros(0, np.int64), _take(counts))

    return scatter


def _take(counts: Counter[str]) -> Counter[str]:
    """What has been counted since the last time."""
    taken = Counter(counts)
    counts.clear()
    return taken


def _load_reduce(config: CrawlConfig, context: Context) -> ReduceFunction:
    earlier = earlier_batches(context.store, context.batch)

    def reduce(index: int, submissions: pa.Table) -> Output:
        grouped, counts = links.group(submissions, config.links)
        seen = _seen(context, earlier, index, config.links.retry_failed)
        new = grouped.filter(pc.invert(pc.is_in(grouped["doc_id"], seen)))
        if grouped.num_rows > new.num_rows:
            counts["seen_before"] += grouped.num_rows - new.num_rows
        return Output({"links": new}, counts)

    return reduce


def _seen(context: Context, earlier: Sequence[str], index: int, retry_failed: bool) -> pa.Array:
    """The ids of part `index` that earlier batches have; with `retry_failed`, without those whose fetch may pass now."""
    low, high = index / context.num_parts, (index + 1) / context.num_parts
    seen = []
    for batch in earlier:
        table, passing = "links", False
        pages = find_manifest(context.store, "pages", batch)
        if retry_failed and pages is not None:
            table, passing = "pages", True
        manifest = find_manifest(context.store, table, batch)
        assert manifest is not None
        for number, part in enumerate(manifest.parts):
            if (number + 1) / manifest.num_parts <= low or number / manifest.num_parts >= high:
                continue
            columns = ["doc_id", "reason", "status"] if passing else ["doc_id"]
            rows = read_file(context.store, f"{table}/{batch}/{part.file}", columns)
            if passing:
                rows = rows.filter(pc.invert(_may_pass(rows)))
            seen.append(rows["doc_id"])
    return pa.chunked_array(seen, pa.string()).combine_chunks() if seen else pa.array([], pa.string())


def _may_pass(rows: pa.Table) -> pa.ChunkedArray:
    """Which rows of pages another try may fetch."""
    return pc.or_(
        pc.is_in(rows["reason"], pa.array(sorted(retry.PASSING_REASONS), pa.string())),
        pc.is_in(rows["status"], pa.array(sorted(retry.PASSING_STATUSES), pa.int16())),
    )


STEP = Exchange(
    name="crawl/links",
    reads=None,
    writes=(LINKS,),
    sections=("links",),
    depends=_depends,
    scattered=links.SUBMISSIONS,
    load_file_scatter=_load_scatter,
    load_reduce=_load_reduce,
    num_buckets=one_bucket_per_part,
)
