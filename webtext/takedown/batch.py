"""Removal of pages from everything a batch has.

Tables lose their rows one after the other in the order of the stages: the invariants hold at every
commit. Removing rows does not change a table's fingerprint, so nothing derived from it becomes
stale. Every step looks at the present state, so after an interruption the same steps complete.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_hexdigest

from corpus.snapshots.snapshot import (
    SPLITS,
)
from corpus.storage.store import Store, table_dir
from corpus.tables.commit import commit_table
from corpus.tables.conservation import CUT, FETCHED, KEPT, NOT_KEPT
from corpus.tables.manifest import Manifest, Part, find_manifest, read_manifest
from corpus.tables.parquet import iter_tables, part_index, read_file, write_part
from corpus.tables.schemas import (
    BANDS,
    DOCUMENTS,
    DOCUMENTS_DROPPED,
    LINKS,
    MARKS,
    PAGES,
    RIGHTS,
    SIGNATURES,
    SPANS,
    TOKENS,
    VERDICTS,
    Table,
    part_of_id,
)
from corpus.tables.segments import segment_files
from corpus.tables.takedown_list import HOST
from corpus.urls import host_identity
from webtext.reports.of_batch import delete_reports
from webtext.stages import needing
from webtext.takedown.rows import among, row_groups

# Segments of `webtext rights check`.
RIGHTS_SEGMENT = "/rights-"
ROW_TABLES = (
    LINKS,
    PAGES,
    RIGHTS,
    DOCUMENTS_DROPPED,
    DOCUMENTS,
    MARKS,
    SIGNATURES,
    VERDICTS,
    BANDS,
)


def remove_from_batch(store: Store, batch: str, doc_ids: frozenset[str]) -> Counter[str]:
    """Take pages out of everything a batch has; return the removed counts by kind.

    The caller holds the batch's lease.
    """
    removed: Counter[str] = Counter(warc_records=_erase_records(store, batch, doc_ids))
    dropped: Counter[str] = Counter()
    for table in ROW_TABLES:
        manifest = find_manifest(store, table.name, batch)
        if manifest is not None:
            gone = _filter_table(store, table, manifest, doc_ids)
            removed[table.name] += len(gone)
            if table is DOCUMENTS_DROPPED:
                dropped = Counter(row["reason"] for row in gone)

    if dropped:
        _discount(store, batch, dropped)
    removed += _excise(store, batch, doc_ids)

    if removed.total():
        delete_reports(store, batch)

    return +removed


def _erase_records(store: Store, batch: str, doc_ids: frozenset[str]) -> int:
    """Blank the WARC records of pages: responses, requests and the redirects to them."""
    pages = find_manifest(store, PAGES.name, batch)
    columns = ["doc_id", "url", "final_url", "redirects", "reason", "warc_file"]
    uris: set[str] = set()
    shards: set[str] = set()

    for piece in row_groups(store, pages, columns, doc_ids):
        for row in piece.filter(among(piece["doc_id"], doc_ids)).to_pylist():
            uris.update(uri for uri in (row["url"], row["final_url"], *row["redirects"]) if uri)
            shards.add(_shard_of(row))

    segments = [
        path
        for path, _ in segment_files(store, batch)
        if "" in shards or _shard(path) in shards or RIGHTS_SEGMENT in path
    ]
    if not segments or not uris:
        return 0

    keep: dict[str, set[tuple[int, int]]] = {path: set() for path in segments}
    for piece in row_groups(store, pages, ["doc_id", "warc_file", "warc_offset", "warc_length"]):
        others = piece.filter(
            pc.and_(
                pc.invert(among(piece["doc_id"], doc_ids)),
                pc.is_in(piece["warc_file"], pa.array(segments)),
            )
        )
        for row in others.to_pylist():
            keep[row["warc_file"]].add((row["warc_offset"], row["warc_length"]))

    with needing("crawl"):
        from crawl.warc.erase import erase_records
    return sum(
        erase_records(store, path, frozenset(uris), frozenset(keep[path])) for path in segments
    )


def _shard_of(page: dict[str, Any]) -> str:
    """The shard with all records of a page.

    Empty if any shard may have them: each hop is stored with the owner of its domain.
    """
    hops = [uri for uri in (page["final_url"], *page["redirects"]) if uri]
    domains = {host_identity(found[1]).domain for uri in hops if (found := HOST.match(uri))}
    if page["redirects"] and (len(domains) > 1 or not page["warc_file"]):
        return ""
    if not page["warc_file"]:
        # The evidence of a refusal is in a segment named by no column.
        return "" if page["reason"] == "training_opt_out" else "none"
    return _shard(page["warc_file"])


def _shard(segment: str) -> str:
    """A segment's shard of domains: its name without the number of the segment."""
    return segment.rpartition("-")[0]


def _filter_table(
    store: Store, table: Table, manifest: Manifest, doc_ids: frozenset[str]
) -> list[dict[str, Any]]:
    """Commit the table without some pages' rows, under its present fingerprint.

    Returns the removed rows.
    """
    parts: list[Part] = []
    gone: list[dict[str, Any]] = []
    for part in manifest.parts:
        path = f"{table_dir(table.name, manifest.batch)}/{part.file}"
        if not _may_hold(table, part, manifest.num_parts, doc_ids):
            parts.append(part)
            continue
        ids = read_file(store, path, ["doc_id"])["doc_id"]
        if not pc.any(among(ids, doc_ids)).as_py():
            parts.append(part)
            continue
        parts.append(_rewrite(store, table, manifest, part, doc_ids, gone))

    if gone:
        _recommit(store, table, manifest, parts, _counts_without(manifest, table, gone))
    return gone


def _rewrite(
    store: Store,
    table: Table,
    manifest: Manifest,
    part: Part,
    doc_ids: frozenset[str],
    gone: list[dict[str, Any]],
) -> Part:
    folder = table_dir(table.name, manifest.batch)
    small = [name for name in table.schema.names if name not in ("text", "signature")]

    def left() -> Iterable[pa.Table]:
        for piece in iter_tables(store, f"{folder}/{part.file}"):
            listed = among(piece["doc_id"], doc_ids)
            gone.extend(piece.select(small).filter(listed).to_pylist())
            yield piece.filter(pc.invert(listed))

    generation = xxh3_64_hexdigest(f"{part.digest} {sorted(doc_ids)}".encode())[:12]
    number = part_index(part.file)
    index = number if table.by_doc_id else None
    file = f"part-{number:05}.{generation}.parquet"

    return write_part(store, folder, file, table, left(), index, manifest.num_parts)


def _may_hold(table: Table, part: Part, num_parts: int, doc_ids: frozenset[str]) -> bool:
    if not table.by_doc_id:
        return True
    return part_index(part.file) in {part_of_id(doc_id, num_parts) for doc_id in doc_ids}


def _counts_without(
    manifest: Manifest, table: Table, gone: Sequence[dict[str, Any]]
) -> dict[str, int]:
    """The counts of a table by reason, without the removed rows."""
    counts = Counter(manifest.counts)
    for row in gone:
        if table is PAGES:
            counts[row["reason"] or FETCHED] -= 1
            if row["reason"] == "training_opt_out":
                signals = (row["cause"] or "").split(",")
                counts.subtract(f"training_opt_out:{signal}" for signal in signals)
        elif table is RIGHTS:
            counts[f"training:{row['training']}"] -= 1
            counts.subtract({f"{each['signal']}:{each['says']}" for each in row["signals"]})
        elif table is DOCUMENTS:
            counts[KEPT] -= 1
        elif table is VERDICTS:
            counts[KEPT if row["kept"] else row["reason"]] -= 1
            counts[CUT] -= bool(row["cuts"])

    return {name: count for name, count in counts.items() if count > 0 or name in manifest.counts}


def _discount(store: Store, batch: str, dropped: Counter[str]) -> None:
    """The reasons of dropped pages are counted in the manifest of `documents`."""
    manifest = read_manifest(store, DOCUMENTS.name, batch)
    counts = Counter(manifest.counts)
    counts.subtract(dropped)
    _recommit(store, DOCUMENTS, manifest, manifest.parts, dict(counts))


def _recommit(
    store: Store, table: Table, manifest: Manifest, parts: Sequence[Part], counts: dict[str, int]
) -> None:
    commit_table(
        store,
        table,
        manifest.batch,
        parts,
        stage=manifest.stage,
        counts={name: max(0, count) for name, count in counts.items()},
        num_parts=manifest.num_parts,
        config=manifest.config,
        inputs=manifest.inputs,
        given_fingerprint=manifest.fingerprint,
        wall_s=manifest.wall_s,
        details={**manifest.details, "taken_down": True},
    )


def _excise(store: Store, batch: str, doc_ids: frozenset[str]) -> Counter[str]:
    """Cut documents out of the batch's shards."""
    if (
        find_manifest(store, TOKENS.name, batch) is None
        or find_manifest(store, SPANS.name, batch) is None
    ):
        return Counter()

    tokens, spans = (
        read_manifest(store, TOKENS.name, batch),
        read_manifest(store, SPANS.name, batch),
    )
    with needing("shards"):
        from shards.excise import excise
    made = excise(store, batch, doc_ids)
    counts = dict(tokens.counts)
    verdicts = find_manifest(store, VERDICTS.name, batch)

    if verdicts is not None and verdicts.fingerprint in {
        given.fingerprint for given in tokens.inputs
    }:
        counts[NOT_KEPT] = verdicts.rows - verdicts.counts.get(KEPT, 0)

    if not made.num_documents:
        if counts != tokens.counts:
            _recommit(store, TOKENS, tokens, tokens.parts, counts)
        return Counter()

    for split in SPLITS:
        mine = [part.metadata for part in made.tokens if part.metadata["split"] == split]
        counts[f"{split}_documents"] = sum(each["num_documents"] for each in mine)
        counts[f"tokens:{split}"] = sum(each["num_tokens"] for each in mine)

    # Tokens first: an interruption between the two leaves the spans, and the rest is found by them.
    # The invariant of spans is checked with their commit.
    _recommit(store, TOKENS, tokens, made.tokens, counts)
    _recommit(store, SPANS, spans, made.spans, dict(spans.counts))
    return Counter(token_documents=made.num_documents, tokens=made.num_tokens)
