"""Asks archives for the missing pages of a crawl.

With `crawl.fetch.archive = "fallback"` it reads the settled outcomes of the fetch: links with a
permanent failure, and answers given away as soft failures by headers, title or redirects,
are looked up, and a capture takes the place of the failure. With `"only"` it reads the links, and
no site is asked. A link has one outcome either way.

One process asks, since an archive is a host like others. Captures of a group are a segment, written
before the outcomes of its links, so a kill costs one group.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.errors import RetryableError
from corpus.run.step import Context, Exchange, Output, ReduceFunction, Scattered, ScatterFunction
from corpus.storage.store import Store, work_dir
from corpus.tables.manifest import find_manifest
from corpus.tables.parquet import read_file
from corpus.tables.schemas import LINKS, Table, part_of
from corpus.tables.segments import warc_dir
from corpus.tables.takedown_list import load_forgotten
from crawl.captures.captured_page import check_capture, store_capture
from crawl.captures.dead_links import DeadLink, is_permanent
from crawl.captures.lookup import (
    GROUP_LINKS,
    SCAN_LINKS,
    ArchiveTerms,
    Attempt,
    IndexedLink,
    fetch_captures,
    in_file_order,
    look_up,
    open_terms,
    pieces,
)
from crawl.config import CrawlConfig
from crawl.fetch import stop_request
from crawl.fetch.progress import report_archive
from crawl.fetch.segment_ledger import GZIP_LEVEL, segment_info
from crawl.fetch.settings import deadline_at
from crawl.fetch.shard_state import Mirror
from crawl.fetch.walls import BOT_WALL
from crawl.outcomes import (
    LIVE,
    OUTCOME_SCHEMA,
    STORED_SCHEMA,
    Outcome,
    Reason,
    next_index,
    read_outcomes,
    remove_orphans,
    segment_path,
    write_outcomes,
)
from crawl.warc.astray import led_astray
from crawl.warc.refusals import SOFT_404
from crawl.warc.writer import SegmentWriter

# Causes of stored answers other than pages.
SOFT_CAUSES: Final = (BOT_WALL, SOFT_404)
# Segments of captures. Those of a fetch are numbered by workers, however many there come to be.
SEGMENTS: Final = "archive-00000"
# Folders of a fetch below a batch's work. The step `crawl/fetch` removes them, if it runs.
FETCH_STATE: Final = "crawl.fetch-"
# The bucket whose links are looked up; all others pass.
DEAD: Final = 0
_LINK_COLUMNS: Final = ("doc_id", "url", "domain", "created")
# Outcomes after the archives were asked.
ARCHIVED = Table(name="outcomes_archived", schema=STORED_SCHEMA, scratch=True)


def _load_dead(config: CrawlConfig, context: Context) -> ScatterFunction:
    def spread(outcomes: pa.Table) -> Scattered:
        others = 1 + part_of(outcomes["doc_id"], config.fetch.shards).astype(np.int64)
        return Scattered(outcomes, np.where(is_dead(outcomes), DEAD, others))

    return spread


def is_dead(outcomes: pa.Table) -> np.ndarray:
    """True for rows whose page is not there, as far as a crawl can tell without reading its text.

    The judge of the clean stage finds the other soft failures; `webtext revive` looks those up.
    """
    columns = outcomes.select(["reason", "status", "cause", "url", "final_url"]).to_pydict()
    rows = zip(*columns.values(), strict=True)
    return np.fromiter(
        (
            is_permanent(reason, status)
            or (
                reason is None
                and (cause in SOFT_CAUSES or led_astray(url, final or url) is not None)
            )
            for reason, status, cause, url, final in rows
        ),
        bool,
        outcomes.num_rows,
    )


def _load_all(config: CrawlConfig, context: Context) -> ScatterFunction:
    return lambda links: Scattered(links, np.zeros(links.num_rows, np.int64))


def _load_fallback(config: CrawlConfig, context: Context) -> ReduceFunction:
    def replace(bucket: int, outcomes: pa.Table) -> Output:
        if bucket != DEAD or not outcomes.num_rows:
            return Output({ARCHIVED.name: outcomes})

        live = outcomes.drop_columns("shard")
        ids = outcomes["doc_id"].combine_chunks()
        asked = _ask(config, context, _links(context, ids), live)
        passed = live.filter(pc.invert(pc.is_in(ids, asked["doc_id"].combine_chunks())))
        return _output(pa.concat_tables([passed, asked]))

    return replace


def _load_only(config: CrawlConfig, context: Context) -> ReduceFunction:
    def ask(bucket: int, links: pa.Table) -> Output:
        return _output(_ask(config, context, links, None))

    return ask


def _output(outcomes: pa.Table) -> Output:
    column = pa.array(np.zeros(outcomes.num_rows, np.int32))
    return Output({ARCHIVED.name: outcomes.add_column(0, STORED_SCHEMA.field(0), column)})


def _links(context: Context, ids: pa.Array) -> pa.Table:
    """The links of these ids, with the time of their submission."""
    manifest = find_manifest(context.store, LINKS.name, context.batch)
    assert manifest is not None, context.batch
    found = []
    for part in manifest.parts:
        path = f"{LINKS.folder(context.batch)}/{part.file}"
        rows = read_file(context.store, path, list(_LINK_COLUMNS))
        found.append(rows.filter(pc.is_in(rows["doc_id"], ids)))
    return pa.concat_tables(found)


def _ask(config: CrawlConfig, context: Context, links: pa.Table, live: pa.Table | None) -> pa.Table:
    """Ask the archives for all links, and return an outcome of each. `live` has the fetched ones.

    Raises: RetryableError if the archive stays unavailable or a stop was asked for. Finished groups
    are kept, and the next run continues with the others.
    """
    store = context.store
    durable = f"{context.scratch}/archive"
    with tempfile.TemporaryDirectory(prefix="webtext-archive-") as temporary:
        folder = store.local_path(durable) or Path(temporary) / "state"
        folder.mkdir(parents=True, exist_ok=True)
        mirror = Mirror(store, durable, folder)
        mirror.restore()
        run = _ArchiveRun(config, context, folder, live)
        for _ in run.groups(links):
            mirror.save()
        mirror.save()
        # The task counts all links once, at its end.
        context.report(-run.num_written)
        return run.outcomes()


class _ArchiveRun:
    """Asks archives for links, group by group, and keeps the outcomes in a folder."""

    def __init__(
        self, config: CrawlConfig, context: Context, folder: Path, live: pa.Table | None
    ) -> None:
        self._config = config
        self._context = context
        self._store: Store = context.store
        self._folder = folder
        self._terms: ArchiveTerms = open_terms(config.captures, config.fetch)
        self._token = stop_request.lease_token(context.store, context.batch)
        self._deadline = deadline_at(config.fetch.deadline, 0.0)
        self._only = live is None
        rows = live.to_pylist() if live is not None else []
        self._live: dict[str, dict[str, Any]] = {row["doc_id"]: row for row in rows}
        self._prefix = f"{warc_dir(context.batch)}/{SEGMENTS}"
        self._index = next_index(folder, remove_orphans(self._store, self._prefix, folder))
        self._counts: Counter[str] = Counter()
        self.num_written = 0

    def outcomes(self) -> pa.Table:
        """The outcome of each link asked for."""
        return read_outcomes(self._folder)

    def groups(self, links: pa.Table) -> Iterator[None]:
        """Carry out one group after another, and yield after each."""
        done = self.outcomes()["doc_id"].combine_chunks()
        left = links.filter(pc.invert(pc.is_in(links["doc_id"], done))).sort_by("doc_id")
        taken = load_forgotten(self._store).mask(left["doc_id"], left["domain"], left["url"])
        self._counts.update(of=links.num_rows, asked=len(done))
        scan = GROUP_LINKS if self._terms.asks_server else SCAN_LINKS

        # A taken-down page is not looked up; without a live outcome it has no capture.
        gone = left.filter(taken)
        if gone.num_rows and self._only:
            self._write(
                [self._lost(_dead_link(row), Reason.NO_CAPTURE) for row in gone.to_pylist()]
            )
            yield

        rows = left.filter(pc.invert(taken)).to_pylist()
        for scanned in pieces(map(_dead_link, rows), scan):
            if self._deadline is not None and time.time() >= self._deadline:
                self._write([self._lost(each, Reason.DEFERRED) for each in scanned])
                continue

            found = in_file_order(look_up(scanned, self._terms))
            for group in pieces(found, GROUP_LINKS):
                self._stop_if_asked()
                self._carry_out(group)
                yield

    def _stop_if_asked(self) -> None:
        reason = stop_request.reason_to_stop(self._store, self._context.batch, self._token)
        if reason is not None:
            raise RetryableError(f"{reason}; the same command continues")

    def _carry_out(self, group: Sequence[IndexedLink]) -> None:
        """Fetch the captures of a group, then write its segment and its outcomes."""
        segment = None
        outcomes: list[Outcome] = []
        try:
            for each in fetch_captures(group, self._terms, check_capture):
                if each.capture is not None and segment is None:
                    segment = self._open_segment()
                outcomes.append(self._outcome(each, segment))
        except BaseException:
            if segment is not None:
                segment.abort()
            raise

        if segment is not None:
            segment.commit()
        self._write(outcomes)

    def _open_segment(self) -> SegmentWriter:
        return SegmentWriter(
            self._store,
            segment_path(self._prefix, self._index),
            info=segment_info(self._config.fetch),
            gzip_level=GZIP_LEVEL,
        )

    def _write(self, outcomes: Sequence[Outcome]) -> None:
        write_outcomes(self._folder, self._index, outcomes)
        self._index += 1
        self._context.report(len(outcomes))
        self.num_written += len(outcomes)
        revived = sum(each.capture != LIVE for each in outcomes)
        self._counts.update(asked=len(outcomes), revived=revived)
        report_archive(self._store, self._context.batch, self._counts)

    def _outcome(self, attempt: Attempt, segment: SegmentWriter | None) -> Outcome:
        link, capture = attempt.found.link, attempt.capture
        if capture is None:
            named = Reason.CAPTURE_UNREADABLE if attempt.problems else Reason.NO_CAPTURE
            return self._lost(link, named)

        assert segment is not None
        attempts = self._live[link.doc_id]["attempts"] if link.doc_id in self._live else 1
        return store_capture(self._config, segment, link, capture, attempts=max(1, attempts))

    def _lost(self, link: DeadLink, reason: Reason) -> Outcome:
        """The outcome of a link without a capture: that of its fetch, if there was one."""
        row = self._live.get(link.doc_id)
        if row is None:
            return Outcome(doc_id=link.doc_id, url=link.url, reason=reason)

        kept = {name: value for name, value in row.items() if name in OUTCOME_SCHEMA.names}
        kept["reason"] = Reason(row["reason"]) if row["reason"] else None
        kept["cause"] = row["cause"] or reason.value
        return Outcome(**kept)


def _dead_link(row: dict[str, Any]) -> DeadLink:
    return DeadLink(row["doc_id"], row["url"], row["created"].astimezone(UTC), "")


def _num_buckets(config: CrawlConfig, context: Context) -> int:
    return 1 + config.fetch.shards


def _one_bucket(config: CrawlConfig, context: Context) -> int:
    return 1


def sweep(store: Store, batch: str) -> None:
    """Delete the state of a fetch that no step of its own cleans up: only archives were asked."""
    for name in store.folders(work_dir(batch)):
        if name.startswith(FETCH_STATE):
            store.delete_dir(f"{work_dir(batch)}/{name}")


def fallback_step(reads: Table) -> Exchange:
    """The step from a table of outcomes to one with captures in place of failures."""
    return Exchange(
        name="crawl/archive",
        reads=reads,
        writes=(ARCHIVED,),
        limited=False,
        sections=("fetch_identity",),
        scattered=STORED_SCHEMA,
        load_scatter=_load_dead,
        load_reduce=_load_fallback,
        num_buckets=_num_buckets,
    )


ONLY_STEP = Exchange(
    name="crawl/archive",
    reads=LINKS,
    columns=_LINK_COLUMNS,
    writes=(ARCHIVED,),
    limited=False,
    sections=("fetch_identity",),
    scattered=pa.schema([LINKS.schema.field(name) for name in _LINK_COLUMNS]),
    load_scatter=_load_all,
    load_reduce=_load_only,
    num_buckets=_one_bucket,
)
