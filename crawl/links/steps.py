"""The step from the dumps of a batch to `links`."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_128_hexdigest

from corpus.errors import InputError
from corpus.run.step import (
    Context,
    Exchange,
    FileScatterFunction,
    Output,
    ReduceFunction,
    Scattered,
    one_bucket_per_part,
)
from corpus.storage.store import Store
from corpus.tables.external_files import identity, open_source, parts_of_batch
from corpus.tables.manifest import Input, earlier_batches, earlier_inputs
from corpus.tables.schemas import LINKS, part_of
from corpus.tables.takedown_list import load_forgotten
from crawl.config import CrawlConfig
from crawl.links import containers, dump_memory, dump_windows, group, select
from crawl.links.earlier_pages import carried_over, seen_ids, walled_inputs
from crawl.links.judge import SUBMISSIONS
from crawl.links.maturity import ImmatureScoresError, ScoreStatistics, immature_among
from crawl.rules import Disposition

OPTION = "--dumps"
# Compressed dump bytes behind one part of `links` when the config leaves the number open.
BYTES_PER_PART = 64 << 20


def num_parts(store: Store, batch: str, dumps: Sequence[str], config: CrawlConfig) -> int:
    """Parts of the batch: as recorded, else as configured, else by the size of the dumps."""
    return parts_of_batch(
        store,
        batch,
        dumps,
        OPTION,
        configured=config.links.num_parts,
        bytes_per_part=BYTES_PER_PART,
    )


def require_memory(paths: Sequence[str], limit_bytes: int) -> None:
    """Refuse dumps with a memory need beyond the limit.

    Raises: InputError naming dump, need and setting.
    """
    for path in paths:
        with open_source(path, OPTION) as stream, _named(path):
            dump_memory.require(dump_windows.memory_bytes(stream), limit_bytes)


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """Name the dump in an error about memory."""
    try:
        yield
    except dump_memory.MemoryLimitError as error:
        raise InputError(f"{OPTION} {path}: {error}") from error


def _depends(config: CrawlConfig, context: Context) -> list[Input]:
    """The dumps, the content of the block lists, and earlier batches.

    Pages of earlier batches are not linked again. With `retry_failed` or `carry_over`, the `pages`
    of those batches decide on exceptions, so they count as well.
    """
    by_pages = config.links.retry_failed or config.links.carry_over
    tables = ("links", "pages") if by_pages else ("links",)
    earlier = earlier_inputs(context.store, context.batch, *tables)
    rules = Input(
        table="rules", batch=config.links.preset.value, fingerprint=config.links.rules().digest()
    )
    walls = (
        walled_inputs(context.store, earlier_batches(context.store, context.batch))
        if config.links.retry_failed
        else []
    )
    return [*(identity(path, OPTION, "dump") for path in context.files), rules, *earlier, *walls]


def _load_scatter(config: CrawlConfig, context: Context) -> FileScatterFunction:
    def scatter(path: str) -> Iterator[Scattered]:
        counts: Counter[str] = Counter()
        statistics = ScoreStatistics()
        with open_source(path, OPTION) as stream:
            needed = dump_windows.memory_bytes(stream)
            stream.seek(0)
            with _named(path), dump_memory.reserved(needed, config.reading.limit_bytes()):
                for batch in select.read_dump(
                    stream,
                    name=path,
                    config=config.links,
                    counts=counts,
                    on_progress=context.report,
                    statistics=statistics,
                    read_bytes=_read_bytes(path),
                ):
                    table = pa.Table.from_batches([batch])
                    yield Scattered(
                        table, part_of(table["doc_id"], context.num_parts), _take(counts)
                    )

        context.store.write_bytes(_statistics_path(context, path), statistics.to_json())
        yield Scattered(SUBMISSIONS.empty_table(), np.zeros(0, np.int64), _take(counts))

    return scatter


def _read_bytes(path: str) -> int:
    """Bytes to read at once: on an object store each read is a request."""
    remote = "://" in path and not path.startswith("file://")
    return containers.REMOTE_READ_BYTES if remote else containers.READ_BYTES


def _statistics_path(context: Context, dump: str) -> str:
    return f"{context.scratch}/scores/{xxh3_128_hexdigest(dump.encode())}.json"


def _notes_on_dumps(context: Context, *, allow_immature: bool) -> Counter[str]:
    """The numbers of truncated dumps and of dumps with immature scores, compared with each other.

    Raises: ImmatureScoresError naming the latter, unless they are allowed.
    """
    dumps = {
        path: ScoreStatistics.from_json(context.store.read_bytes(_statistics_path(context, path)))
        for path in context.files
    }
    found = immature_among(dumps)
    if found and not allow_immature:
        others = (
            f"; and so for {', '.join(each.name for each in found[1:])}" if len(found) > 1 else ""
        )
        raise ImmatureScoresError(f"{found[0]}{others}")

    truncated = sum(statistics.truncated for statistics in dumps.values())
    return +Counter({"dump:truncated": truncated, "dump:immature_scores": len(found)})


def _take(counts: Counter[str]) -> Counter[str]:
    """Take the counts since the last call."""
    taken = Counter(counts)
    counts.clear()
    return taken


def _load_reduce(config: CrawlConfig, context: Context) -> ReduceFunction:
    earlier = earlier_batches(context.store, context.batch)
    # No input of the fingerprint: a take-down must neither make old links stale nor stop an unfinished batch.
    forgotten = load_forgotten(context.store)

    def reduce(index: int, submissions: pa.Table) -> Output:
        carried, excluded = LINKS.schema.empty_table(), Counter[str]()
        if config.links.carry_over:
            carried, excluded = carried_over(context, earlier, index, config.links)
        grouped, counts = group.group(submissions, config.links, carried)
        counts.update(+excluded)

        if index == 0:  # once for the batch, before anything of it is committed
            counts.update(
                _notes_on_dumps(context, allow_immature=config.links.allow_immature_scores)
            )

        seen = seen_ids(context, earlier, index, retry_failed=config.links.retry_failed)
        again = pc.and_not(
            pc.is_in(grouped["doc_id"], seen),
            pc.is_in(grouped["doc_id"], carried["doc_id"].combine_chunks()),
        )
        new = _left(grouped, again, "seen_before", counts)
        listed = forgotten.mask(new["doc_id"], new["domain"], new["url"])
        return Output({"links": _left(new, listed, "taken_down", counts)}, counts)

    return reduce


def _left(pages: pa.Table, leaving: Any, disposition: str, counts: Counter[str]) -> pa.Table:
    """Remove the leaving pages.

    Their submissions move from `kept` to `disposition`, so counters still add up.
    """
    gone = pc.sum(pages.filter(leaving)["num_submissions"]).as_py()
    if not gone:
        return pages
    counts[disposition] += gone
    counts[Disposition.KEPT.value] -= gone
    return pages.filter(pc.invert(leaving))


STEP = Exchange(
    name="crawl/links",
    reads=None,
    writes=(LINKS,),
    sections=("links",),
    depends=_depends,
    scattered=SUBMISSIONS,
    load_file_scatter=_load_scatter,
    load_reduce=_load_reduce,
    num_buckets=one_bucket_per_part,
)
