"""The step for importing foreign WARC files as `links` and `pages`.

Captures are regrouped by `doc_id` and written as segments of this corpus, one gzip member per
record, so the batch can be cleaned again without its source files. Of several captures of a page
the latest stays. A page stored by an earlier batch is left to it, and a taken-down one is not
imported again. A page that an earlier batch linked without storing it keeps that link, with its
score. Any other link made from a capture has no submission: score 0, no subreddit, no title. The
bytes follow from the captures alone, so the same files give the same batch.
"""

from __future__ import annotations

import itertools
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
from corpus.tables.conservation import FETCHED
from corpus.tables.external_files import identity, open_source, parts_of_batch
from corpus.tables.manifest import (
    Input,
    earlier_batches,
    earlier_inputs,
    find_manifest,
    is_imported,
)
from corpus.tables.parquet import read_file
from corpus.tables.schemas import LINKS, PAGES, part_of
from corpus.tables.segments import segment_files, warc_dir
from corpus.tables.takedown_list import load_forgotten
from crawl.config import CrawlConfig
from crawl.warc.archives import Capture, RecordDisposition, read_captures

OPTION = "--warc"
# Segments of `webtext rights check`: no row of `pages` names them.
CHECK_PREFIX = "/rights-"
# Bytes of WARC files per part if the config leaves the number open. A part is regrouped in
# memory.
BYTES_PER_PART = 32 << 20
BATCH_BYTES = 16 << 20
# A page of 145 kB takes 1.1 ms at level 4 and 1.8 ms at level 6, for 5 % fewer bytes (2026-11).
GZIP_LEVEL = 4
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The place of a capture in its part, while records are put aside.
ROW = "row"
# The columns carried from the files to the parts: the fields of `Capture`.
CAPTURES = pa.schema(
    [
        ("doc_id", pa.string()),
        ("url", pa.string()),
        ("url_key", pa.string()),
        ("domain", pa.string()),
        ("final_url", pa.string()),
        ("fetched_at", pa.timestamp("ms", tz="UTC")),
        ("ip", pa.string()),
        ("content_type", pa.string()),
        ("body_bytes", pa.int64()),
        ("payload_digest", pa.string()),
        ("truncated", pa.bool_()),
        ("record_id", pa.string()),
        ("capture", pa.string()),
        ("record", pa.large_binary()),
    ]
)


def num_parts(store: Store, batch: str, files: Sequence[str], config: CrawlConfig) -> int:
    """Parts of the batch: as recorded, else as configured, else by the size of the files."""
    return parts_of_batch(
        store,
        batch,
        files,
        OPTION,
        configured=config.warc.num_parts,
        bytes_per_part=BYTES_PER_PART,
    )


def refuse_crawled(store: Store, batch: str) -> None:
    """Refuse a batch with links from a crawl: a rebuild must not replace them.

    Raises: InputError.
    """
    manifest = find_manifest(store, LINKS.name, batch)
    if manifest is not None and not is_imported(manifest):
        raise InputError(
            f"{OPTION}: batch {batch!r} of {store.root} was crawled from dumps; "
            "name another batch with --batch"
        )


def refuse_imported(store: Store, batch: str) -> None:
    """Refuse a batch imported from WARC files: there is nothing to fetch.

    Raises: InputError.
    """
    manifest = find_manifest(store, LINKS.name, batch)
    if manifest is not None and is_imported(manifest):
        raise InputError(
            f"{store.root}: batch {batch!r} was imported from WARC files; name them with {OPTION} FILE ..., "
            "or another batch with --batch"
        )


def sweep(store: Store, batch: str) -> None:
    """Delete segments no longer named by the batch's pages, and temporary files of killed runs."""
    store.sweep(warc_dir(batch))
    manifest = find_manifest(store, PAGES.name, batch)
    if manifest is None:
        return
    folder = PAGES.folder(batch)
    named = {
        name
        for part in manifest.parts
        for name in read_file(store, f"{folder}/{part.file}", ["warc_file"])["warc_file"]
        .unique()
        .to_pylist()
    }
    for path, _ in segment_files(store, batch):
        if path not in named and CHECK_PREFIX not in path:
            store.delete(path)


def _depends(config: CrawlConfig, context: Context) -> list[Input]:
    """The files, and earlier batches: these keep their pages."""
    files = [identity(path, OPTION, "warc") for path in context.files]
    return files + earlier_inputs(context.store, context.batch, PAGES.name)


def _load_scatter(config: CrawlConfig, context: Context) -> FileScatterFunction:
    def scatter(path: str) -> Iterator[Scattered]:
        counts: Counter[str] = Counter()
        pending: list[Capture] = []
        size = 0
        records = 0

        def taken() -> Scattered:
            nonlocal records
            records += counts.total() - counts[RecordDisposition.DAMAGED]
            table = pa.Table.from_pylist([each._asdict() for each in pending], CAPTURES)
            batch = Scattered(table, part_of(table["doc_id"], context.num_parts), Counter(counts))
            context.report(counts.total())
            counts.clear()
            pending.clear()
            return batch

        with open_source(path, OPTION) as stream:
            for capture in read_captures(stream, counts):
                size += len(capture.record)
                # Parts are regrouped in memory, where members take a fifth of the records.
                pending.append(capture._replace(record=capture.member or _member(capture.record)))
                if size >= BATCH_BYTES:
                    yield taken()
                    size = 0
        yield taken()
        if not records:
            raise InputError(
                f"{OPTION} {path}: no WARC record in it; name WARC files themselves, not lists of them or ARC files"
            )

    return scatter


def _load_reduce(config: CrawlConfig, context: Context) -> ReduceFunction:
    earlier = earlier_batches(context.store, context.batch)
    # No input of the fingerprint, as for links: a take-down must not make a batch stale.
    forgotten = load_forgotten(context.store)

    def reduce(index: int, captures: pa.Table) -> Output:
        # Members are taken last: each selection would copy all of them.
        rows = pa.array(range(captures.num_rows), pa.int64())
        latest = latest_captures(captures.drop_columns(["record"]).append_column(ROW, rows))
        seen = _stored_before(context, earlier, index)
        unseen = latest.filter(pc.invert(pc.is_in(latest["doc_id"], seen)))
        new = unseen.filter(
            pc.invert(forgotten.mask(unseen["doc_id"], unseen["domain"], unseen["url"]))
        )
        linked = _linked_before(context, earlier, index, new["doc_id"])
        generation = f".{context.generation}" if context.generation else ""
        segment = f"{warc_dir(context.batch)}/part-{index:05}-00000{generation}.warc.gz"
        members = _members_of(captures, new)
        places = _write_segment(context.store, segment, members)
        counts = Counter(
            {
                FETCHED: new.num_rows,
                "capture:earlier": captures.num_rows - latest.num_rows,
                "capture:seen_before": latest.num_rows - unseen.num_rows,
                "capture:taken_down": unseen.num_rows - new.num_rows,
            }
        )
        return Output(
            {PAGES.name: _pages(new, segment, places), LINKS.name: _links(new, linked)}, +counts
        )

    return reduce


def latest_captures(captures: pa.Table) -> pa.Table:
    """One row per `doc_id`, in its order: the latest capture, then the first by record id."""
    order = pc.sort_indices(
        captures,
        sort_keys=[
            ("doc_id", "ascending"),
            ("fetched_at", "descending"),
            ("record_id", "ascending"),
        ],
    )
    ids = captures["doc_id"].take(order).to_numpy(zero_copy_only=False)
    first = np.ones(len(ids), bool)
    first[1:] = ids[1:] != ids[:-1]
    return captures.take(order.filter(pa.array(first)))


def _stored_before(context: Context, earlier: Sequence[str], index: int) -> pa.Array:
    """The ids in the range of part `index` stored by earlier batches.

    An answer that is not a page does not count: a capture may take its place.
    """
    low, high = index / context.num_parts, (index + 1) / context.num_parts
    failures = {batch: soft_failures(context.store, batch) for batch in earlier}
    stored = []
    for batch in earlier:
        manifest = find_manifest(context.store, PAGES.name, batch)
        for number, part in enumerate(manifest.parts if manifest is not None else ()):
            if (
                manifest is None
                or (number + 1) / manifest.num_parts <= low
                or number / manifest.num_parts >= high
            ):
                continue
            rows = read_file(
                context.store, f"{PAGES.folder(batch)}/{part.file}", ["doc_id", "reason"]
            )
            ids = rows.filter(pc.is_null(rows["reason"]))["doc_id"].combine_chunks()
            stored.append(ids.filter(pc.invert(pc.is_in(ids, failures[batch]))))
    return pa.concat_arrays(stored) if stored else pa.array([], pa.string())


def soft_failures(store: Store, batch: str) -> pa.Array:
    """The ids of a batch's answers dropped as soft failures."""
    manifest = find_manifest(store, "documents_dropped", batch)
    found: list[pa.Array] = []
    for part in manifest.parts if manifest is not None else ():
        rows = read_file(store, f"documents_dropped/{batch}/{part.file}", ["doc_id", "step"])
        found += rows["doc_id"].filter(pc.equal(rows["step"], "soft_failures")).chunks
    return pa.chunked_array(found, pa.string()).combine_chunks()


def _member(record: bytes) -> bytes:
    """A record as a gzip member."""
    deflater = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 31)
    return deflater.compress(record) + deflater.flush()


def _members_of(captures: pa.Table, chosen: pa.Table) -> Iterator[pa.Buffer]:
    """The members of the chosen captures, in their order and without a copy."""
    members = captures["record"]
    for row in chosen[ROW].to_pylist():
        yield members[row].as_buffer()


def _write_segment(store: Store, path: str, members: Iterator[pa.Buffer]) -> list[tuple[int, int]]:
    """Write gzip members and return their (offset, length). Without members there is no file."""
    places: list[tuple[int, int]] = []
    first = next(members, None)
    if first is None:
        return places

    offset = 0
    with store.open_output(path) as stream:
        for member in itertools.chain([first], members):
            stream.write(member)
            places.append((offset, member.size))
            offset += member.size

    return places


def _pages(captures: pa.Table, segment: str, places: list[tuple[int, int]]) -> pa.Table:
    rows = captures.num_rows
    given = {name: captures[name] for name in PAGES.schema.names if name in captures.column_names}
    made = {
        "redirects": pa.array([[]] * rows, PAGES.schema.field("redirects").type),
        "status": pa.array([200] * rows, pa.int16()),
        "reason": pa.nulls(rows, pa.string()),
        "cause": pa.nulls(rows, pa.string()),
        "repairs": pa.nulls(rows, pa.list_(pa.string())),
        "captured_at": captures["fetched_at"],
        "original_record_id": captures["record_id"],
        "attempts": pa.array([1] * rows, pa.int16()),
        "warc_file": pa.array([segment] * rows, pa.string()),
        "warc_offset": pa.array([offset for offset, _ in places], pa.int64()),
        "warc_length": pa.array([length for _, length in places], pa.int64()),
    }
    return pa.table({name: (given | made)[name] for name in PAGES.schema.names})


def _linked_before(
    context: Context, earlier: Sequence[str], index: int, ids: pa.ChunkedArray
) -> pa.Table:
    """The LINKS row of each page in the last earlier batch with it: its score and submission."""
    low, high = index / context.num_parts, (index + 1) / context.num_parts
    found = LINKS.schema.empty_table()
    wanted = ids.combine_chunks()
    for batch in reversed(earlier):
        manifest = find_manifest(context.store, LINKS.name, batch)
        if manifest is None or is_imported(manifest) or not len(wanted):
            continue
        for number, part in enumerate(manifest.parts):
            if (number + 1) / manifest.num_parts <= low or number / manifest.num_parts >= high:
                continue
            rows = read_file(context.store, f"{LINKS.folder(batch)}/{part.file}")
            rows = rows.filter(pc.is_in(rows["doc_id"], wanted)).cast(LINKS.schema)
            found = pa.concat_tables([found, rows])
        wanted = wanted.filter(pc.invert(pc.is_in(wanted, found["doc_id"].combine_chunks())))

    return found


def _links(captures: pa.Table, linked: pa.Table) -> pa.Table:
    """A link for each capture: the earlier one, or one without a submission."""
    columns: dict[str, Any] = {
        name: captures[name] for name in LINKS.schema.names if name in captures.column_names
    }
    columns["created"] = pc.fill_null(
        captures["fetched_at"], pa.scalar(EPOCH, pa.timestamp("ms", tz="UTC"))
    )
    columns["created"] = pc.floor_temporal(columns["created"], unit="second")
    constants = {
        "score": 0,
        "score_sum": 0,
        "num_submissions": 0,
        "submission_id": "",
        "subreddit": "",
        "title": "",
        "over_18": False,
    }
    for name, value in constants.items():
        columns[name] = pa.array([value] * captures.num_rows, LINKS.schema.field(name).type)
    made = pa.table({name: columns[name] for name in LINKS.schema.names}).cast(LINKS.schema)
    new = made.filter(pc.invert(pc.is_in(made["doc_id"], linked["doc_id"].combine_chunks())))
    return pa.concat_tables([new, linked]).sort_by("doc_id") if linked.num_rows else made


# `pages` is the main table and committed last: a broken invariant leaves no pages.
STEP = Exchange(
    name="crawl/import",
    reads=None,
    writes=(PAGES, LINKS),
    depends=_depends,
    scattered=CAPTURES,
    load_file_scatter=_load_scatter,
    load_reduce=_load_reduce,
    num_buckets=one_bucket_per_part,
)
