"""Rows for the views over many pages: pairs, domains, runs, active crawls, rights, take-downs."""

from __future__ import annotations

import time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpus.storage.store import Store, table_dir
from corpus.tables.elsewhere import is_elsewhere
from corpus.tables.inventory import batch_names
from corpus.tables.manifest import batches, find_manifest
from corpus.tables.parquet import iter_tables
from corpus.tables.takedown_list import standing
from webtext.inspection.explain import row_of
from webtext.inspection.query import query, views
from webtext.look.domain_counts import domain_counts
from webtext.stages import needing

DOMAINS_SHOWN = 100
PAIRS = pa.schema(
    [("doc_id", pa.string()), ("duplicate_of", pa.string()), ("similarity", pa.float32())]
)
PAGES_SHOWN = 50


def pairs(store: Store) -> pa.Table:
    """Every page that was removed as a duplicate and its survivor, the least similar first.

    A table and not rows: a million pages have a hundred thousand pairs, and one is shown.
    """
    found = [PAIRS.empty_table()]
    for batch in batch_names(store):
        manifest = find_manifest(store, "verdicts", batch)
        for part in manifest.parts if manifest else []:
            path = f"{table_dir('verdicts', batch)}/{part.file}"
            for piece in iter_tables(store, path, PAIRS.names):
                rows = piece.filter(pc.is_valid(piece["similarity"]))
                found.append(rows.select(PAIRS.names).cast(PAIRS))

    return pa.concat_tables(found).sort_by([("similarity", "ascending"), ("doc_id", "ascending")])


def document_text(store: Store, doc_id: str) -> str:
    """The text of a document of any batch, empty if none has it."""
    if is_elsewhere(doc_id):
        return ""
    for batch in batch_names(store):
        row = row_of(store, "documents", batch, doc_id)
        if row is not None:
            return str(row["text"])

    return ""


def domains(store: Store, name: str) -> list[dict[str, Any]]:
    """The domains with most links: links, pages, documents and kept documents of each batch."""
    return domain_counts(store, name, DOMAINS_SHOWN)


def domain_losses(store: Store, domain: str) -> list[dict[str, Any]]:
    """The lost pages of a domain by batch, stage and reason."""
    known = views(store)
    parts = [
        f"SELECT batch, '{stage}' AS stage, {table}.reason FROM {table} JOIN links USING (doc_id, batch) "
        f"WHERE {table}.reason IS NOT NULL AND links.domain = {quoted(domain)}"
        for stage, table in (
            ("pages", "pages"),
            ("documents", "documents_dropped"),
            ("verdicts", "verdicts"),
        )
        if table in known and "links" in known
    ]
    if not parts:
        return []

    union = " UNION ALL ".join(parts)
    return query(
        store,
        f"SELECT batch, stage, reason, count(*) AS pages FROM ({union}) GROUP BY ALL ORDER BY ALL",
    ).to_pylist()


def domain_pages(store: Store, domain: str) -> list[dict[str, Any]]:
    """The first pages of a domain."""
    return query(
        store,
        f"SELECT doc_id, url, batch FROM links WHERE domain = {quoted(domain)} ORDER BY doc_id LIMIT {PAGES_SHOWN}",
    ).to_pylist()


def quoted(value: str) -> str:
    """A value as a string of SQL. The standard's strings have no escape but the doubled quote."""
    return "'" + value.replace("'", "''") + "'"


def crawls(store: Store) -> list[tuple[str, list[str]]]:
    """Batches with links but no pages yet, and the lines of their progress."""
    with needing("crawl"):
        from crawl.fetch import progress

    return [
        (manifest.batch, progress.read(store, manifest.batch, time.time()).lines())
        for manifest in batches(store, "links")
        if find_manifest(store, "pages", manifest.batch) is None
    ]


def opt_outs(store: Store) -> list[dict[str, Any]]:
    """Pages by signal and value of the rights table."""
    if "rights" not in views(store):
        return []

    return query(
        store,
        "SELECT batch, s.signal, s.value, training, count(*) AS pages "
        "FROM (SELECT batch, training, unnest(signals) AS s FROM rights) GROUP BY ALL ORDER BY ALL",
    ).to_pylist()


def takedowns(store: Store) -> list[dict[str, Any]]:
    """Take-downs with their finished and their waiting batches."""
    names = batch_names(store)
    return [
        {
            "record": record,
            "pages": len(record.url_keys),
            "waiting": [name for name in names if name not in record.done],
        }
        for record in standing(store)
    ]
