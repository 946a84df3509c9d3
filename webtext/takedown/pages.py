"""The parts of a take-down: finding its pages, and removing them from batches and snapshots.

Tables lose their rows one after the other in the order of the stages, which keeps the invariants at
every commit. Removing rows does not change a table's fingerprint, so nothing derived from it
becomes stale. Every step looks at the present state, so after an interruption the same steps
complete.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_hexdigest

from corpus.errors import InputError
from corpus.storage.store import Store, table_dir
from corpus.tables.commit import commit_table
from corpus.tables.conservation import CUT, FETCHED, KEPT, NOT_KEPT
from corpus.tables.generations import delete_unpinned
from corpus.tables.inventory import batch_names
from corpus.tables.manifest import Manifest, Part, batches, find_manifest, read_manifest
from corpus.tables.parquet import iter_tables, part_index, read_file, write_part
from corpus.tables.retirement import retire, retirement
from corpus.tables.schemas import (
    BANDS,
    DOCUMENTS,
    DOCUMENTS_DROPPED,
    LINKS,
    MARKS,
    PAGES,
    SIGNATURES,
    SPANS,
    TOKENS,
    VERDICTS,
    Table,
    part_of_id,
)
from corpus.tables.segments import segment_files
from corpus.tables.snapshot import (
    SPLITS,
    Snapshot,
    TokenFile,
    read_snapshot,
    snapshots,
    write_revision,
)
from corpus.tables.takedown_list import HOST, Forgotten, Takedown
from corpus.urls import UrlProblem, host_identity, page_identity, target
from webtext.stages import needing

log = logging.getLogger(__name__)

DOMAIN = "domain:"
ROW_TABLES = (LINKS, PAGES, DOCUMENTS_DROPPED, DOCUMENTS, MARKS, SIGNATURES, VERDICTS, BANDS)


# ---- which pages ---------------------------------------------------------------------------------------------------


def read_request(urls: Sequence[str], names: Sequence[str], list_path: str | None) -> list[str]:
    """Read a request: addresses, doc_ids, and domains as `domain:example.org`."""
    asked = [*urls, *(f"{DOMAIN}{name}" for name in names)]
    if list_path is not None:
        try:
            lines = Path(list_path).read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"--list {list_path}: {error}; name a readable UTF-8 text file"
            ) from error
        words = [re.split(r"(?:^|\s)#", line)[0].strip() for line in lines]
        asked += [word if _is_page(word) else f"{DOMAIN}{word}" for word in words if word]

    for each in asked:
        _check(each)
    return list(dict.fromkeys(asked))


def domains(asked: Iterable[str]) -> list[str]:
    """The domains and hosts that are asked for, as identities have them."""
    return [
        host_identity(each.removeprefix(DOMAIN).lower().strip(".")).key
        for each in asked
        if each.startswith(DOMAIN)
    ]


def find_pages(
    store: Store, asked: Sequence[str], names: Sequence[str] | None = None
) -> dict[str, str]:
    """Find the requested pages: `doc_id` to identity.

    An address means the page of its identity, with or without a batch, and every page redirected to
    it; a domain means all its pages, and those redirected into it.
    """
    pages: dict[str, str] = {}
    for each in asked:
        if not each.startswith(DOMAIN):
            doc_id, key = _identity(each)
            pages[doc_id] = key

    listed = Forgotten(frozenset(pages), frozenset(domains(asked)))
    for batch in batch_names(store) if names is None else names:
        pages.update(_in_batch(store, batch, listed))
    return pages


def _is_page(word: str) -> bool:
    return "/" in word or re.fullmatch("[0-9a-f]{32}", word) is not None


def _check(asked: str) -> None:
    name = asked.removeprefix(DOMAIN)
    if asked.startswith(DOMAIN) and not re.fullmatch(
        r"[^\s/:@?#]+\.[^\s/:@?#]+|\[[0-9a-f:]+\]", name
    ):
        raise InputError(f"{name!r} is no domain; expected one such as example.org")
    if not asked.startswith(DOMAIN):
        _identity(asked)


def _identity(asked: str) -> tuple[str, str]:
    if re.fullmatch("[0-9a-f]{32}", asked):
        return asked, ""

    page = target(asked if "://" in asked else f"http://{asked}")
    if isinstance(page, UrlProblem):
        raise InputError(
            f"{asked!r} is no address of a page ({page.value}); expected one such as http://example.org/page"
        )

    identity = page_identity(page)
    return identity.doc_id, identity.url_key


def _in_batch(store: Store, batch: str, listed: Forgotten) -> dict[str, str]:
    links, pages = find_manifest(store, LINKS.name, batch), find_manifest(store, PAGES.name, batch)
    found: dict[str, str] = {}
    led: set[str] = set()
    for piece in _pieces(store, pages, ["doc_id", "url", "final_url"]):
        moved = piece.filter(pc.fill_null(pc.not_equal(piece["url"], piece["final_url"]), False))
        led.update(row["doc_id"] for row in moved.to_pylist() if listed.has_page(row["final_url"]))

    wanted = Forgotten(listed.doc_ids | led, listed.domains)
    for piece in _pieces(store, links, ["doc_id", "url_key", "domain", "url"]):
        rows = piece.filter(wanted.mask(piece["doc_id"], piece["domain"], piece["url"]))
        found.update(zip(rows["doc_id"].to_pylist(), rows["url_key"].to_pylist(), strict=True))

    return found


# ---- out of a batch ------------------------------------------------------------------------------------------------


def remove_from_batch(store: Store, batch: str, doc_ids: frozenset[str]) -> Counter[str]:
    """Take pages out of everything a batch has; what went, by kind.

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
        for path, _ in store.files("reports"):
            if path.endswith(f"-{batch}.json"):
                store.delete(path)

    return +removed


def _erase_records(store: Store, batch: str, doc_ids: frozenset[str]) -> int:
    """Blank the WARC records of pages: responses, requests and the redirects on the way."""
    pages = find_manifest(store, PAGES.name, batch)
    columns = ["doc_id", "url", "final_url", "redirects", "warc_file", "warc_offset", "warc_length"]
    uris: set[str] = set()
    shards: set[str] = set()

    for piece in _pieces(store, pages, columns, doc_ids):
        for row in piece.filter(_among(piece["doc_id"], doc_ids)).to_pylist():
            uris.update(uri for uri in (row["url"], row["final_url"], *row["redirects"]) if uri)
            shards.add(_shard_of(row))

    segments = [
        path for path, _ in segment_files(store, batch) if "" in shards or _shard(path) in shards
    ]
    if not segments or not uris:
        return 0

    keep: dict[str, set[tuple[int, int]]] = {path: set() for path in segments}
    for piece in _pieces(store, pages, ["doc_id", "warc_file", "warc_offset", "warc_length"]):
        others = piece.filter(
            pc.and_(
                pc.invert(_among(piece["doc_id"], doc_ids)),
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
    """The shard that holds all records of a page.

    Empty where any may: each hop lies with the owner of its domain.
    """
    hops = [uri for uri in (page["final_url"], *page["redirects"]) if uri]
    domains = {host_identity(found[1]).domain for uri in hops if (found := HOST.match(uri))}
    if page["redirects"] and (len(domains) > 1 or not page["warc_file"]):
        return ""
    return _shard(page["warc_file"]) if page["warc_file"] else "none"


def _shard(segment: str) -> str:
    """The shard of domains that a segment belongs to: its name without the number of the segment."""
    return segment.rpartition("-")[0]


def _filter_table(
    store: Store, table: Table, manifest: Manifest, doc_ids: frozenset[str]
) -> list[dict[str, Any]]:
    """Commit the table without some pages' rows, under the fingerprint that it has.

    The rows that went.
    """
    parts: list[Part] = []
    gone: list[dict[str, Any]] = []
    for part in manifest.parts:
        path = f"{table_dir(table.name, manifest.batch)}/{part.file}"
        if not _may_hold(table, part, manifest.num_parts, doc_ids):
            parts.append(part)
            continue
        ids = read_file(store, path, ["doc_id"])["doc_id"]
        if not pc.any(_among(ids, doc_ids)).as_py():
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
            listed = _among(piece["doc_id"], doc_ids)
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
    """The counts of a table by reason, without the rows that go."""
    counts = Counter(manifest.counts)
    for row in gone:
        if table is PAGES:
            counts[row["reason"] or FETCHED] -= 1
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

    # Tokens first: an interruption between the two leaves the spans, by which the rest is found again. The law about
    # spans is checked with theirs.
    _recommit(store, TOKENS, tokens, made.tokens, counts)
    _recommit(store, SPANS, spans, made.spans, dict(spans.counts))
    return Counter(token_documents=made.num_documents, tokens=made.num_tokens)


# ---- out of the snapshots ------------------------------------------------------------------------------------------


def withdraw_snapshots(store: Store, record: Takedown, *, keep_files: bool) -> dict[str, str]:
    """Withdraw every snapshot that holds such a page, write its replacement, delete its files; old to new names.

    Snapshots of batches that still wait are left for later.
    """
    doc_ids = frozenset(record.url_keys)
    withdrawn: dict[str, str] = {}
    doomed: dict[str, TokenFile] = {}

    for name in snapshots(store):
        snapshot = read_snapshot(store, name)
        if not {each.batch for each in snapshot.batches} <= set(record.done):
            continue

        held = [
            file
            for split in SPLITS
            for file in snapshot.splits[split].files
            if _holds(store, file, doc_ids)
        ]
        if not held:
            continue

        doomed.update({file.path: file for file in held})
        present = retirement(store, name)
        if present is None:
            replacement = _replace(store, snapshot)
            retire(store, name, "withdrawn", f"take-down {record.id}", replacement)
            withdrawn[name] = replacement or ""
        elif record.id in present.why:
            withdrawn[name] = present.replaced_by or ""

    if not keep_files:
        for file in doomed.values():
            store.delete(file.path)
            store.delete(file.spans_path)
        for batch in record.done:
            delete_unpinned(store, (TOKENS.name, SPANS.name), batch)

    return withdrawn


def runs_on(store: Store, names: Sequence[str]) -> list[str]:
    """Training runs that were made on one of these snapshots."""
    found = []
    for run in store.folders("runs"):
        try:
            described = store.read_object(f"runs/{run}/config.json")
        except (FileNotFoundError, InputError):
            continue
        if isinstance(described, dict) and described.get("snapshot") in names:
            found.append(run)

    return found


def _replace(store: Store, snapshot: Snapshot) -> str | None:
    """The same batches as they are now, under the next free name.

    None where they can't be one snapshot any more.
    """
    present = {manifest.batch for manifest in batches(store, TOKENS.name)}
    names = [each.batch for each in snapshot.batches]
    if not set(names) <= present:
        return None

    try:
        return write_revision(store, snapshot.name, names, parents=[snapshot.name]).name
    except InputError as error:
        log.warning("snapshot %s has no replacement: %s", snapshot.name, error)
        return None


def _holds(store: Store, file: TokenFile, doc_ids: frozenset[str]) -> bool:
    """True if a token file has tokens of one of these pages; False for one that is gone."""
    if not store.exists(file.spans_path) and not store.exists(file.path):
        return False
    if not store.exists(file.spans_path):
        return True  # half deleted by an interrupted take-down
    ids = read_file(store, file.spans_path, ["doc_id"])["doc_id"]
    return bool(pc.any(_among(ids, doc_ids)).as_py())


# ---- rows ----------------------------------------------------------------------------------------------------------


def _pieces(
    store: Store,
    manifest: Manifest | None,
    columns: Sequence[str],
    doc_ids: frozenset[str] | None = None,
) -> Iterable[pa.Table]:
    """Row groups of a table that may not be there.

    With `doc_ids` only of the parts that may hold them.
    """
    if manifest is None:
        return

    parts = (
        {part_of_id(doc_id, manifest.num_parts) for doc_id in doc_ids}
        if doc_ids is not None
        else None
    )

    for part in manifest.parts:
        if parts is None or part_index(part.file) in parts:
            yield from iter_tables(
                store, f"{table_dir(manifest.table, manifest.batch)}/{part.file}", columns
            )


def _among(ids: Any, doc_ids: frozenset[str]) -> Any:
    return pc.is_in(ids, pa.array(sorted(doc_ids), pa.string()))
