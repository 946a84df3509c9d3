"""Copies of pages: those removed as their duplicates, and the content to know later ones by.

A page's chain of duplicates ends at the page kept in its place. A page is a copy of a taken-down
page if its chain leads there. The content of a page is put on the list only if the page kept in its
place is taken down as well: otherwise the same text stays in the corpus by right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow.compute as pc

from corpus.bulk import read_many
from corpus.storage.store import Store
from corpus.tables.elsewhere import is_elsewhere
from corpus.tables.manifest import find_manifest, find_manifests
from corpus.tables.schemas import LINKS, PAGES, SIGNATURES, VERDICTS
from corpus.tables.takedown_list import TakenContent
from dedup.taken_down import REASON, encode_signature
from webtext.takedown.rows import among, row_groups


def find_copies(store: Store, pages: Iterable[str], names: Sequence[str]) -> dict[str, str]:
    """The copies of pages in some batches: `doc_id` to identity."""
    wanted = frozenset(pages)
    copies: set[str] = set()
    reached = wanted
    while reached:
        children = {child for child, _ in _removals(store, names, of=reached)}
        reached = frozenset(children - copies - wanted)
        copies |= reached

    return identities(store, copies, names)


def find_returned(store: Store, names: Sequence[str]) -> dict[str, str]:
    """Pages left out because they match the list: `doc_id` to identity."""
    found: set[str] = set()
    for manifest in find_manifests(store, ((VERDICTS.name, batch) for batch in names)).values():
        if manifest is None or not manifest.counts.get(REASON):
            continue
        for piece in row_groups(store, manifest, ["doc_id", "reason"]):
            rows = piece.filter(pc.equal(piece["reason"], REASON))
            found.update(rows["doc_id"].to_pylist())

    return identities(store, found, names)


def identities(store: Store, doc_ids: Iterable[str], names: Sequence[str]) -> dict[str, str]:
    """The identities of pages, from the batches linking them."""
    wanted = frozenset(doc_ids)

    def of_batch(batch: str) -> dict[str, str]:
        found: dict[str, str] = {}
        manifest = find_manifest(store, LINKS.name, batch)
        for piece in row_groups(store, manifest, ["doc_id", "url_key"], wanted):
            rows = piece.filter(among(piece["doc_id"], wanted))
            found.update(zip(rows["doc_id"].to_pylist(), rows["url_key"].to_pylist(), strict=True))
        return found

    return {
        doc_id: key
        for found in read_many(store, names if wanted else (), of_batch)
        for doc_id, key in found.items()
    }


def contents(store: Store, pages: Iterable[str], names: Sequence[str]) -> list[TakenContent]:
    """Content hashes identifying later copies of these pages."""
    wanted = frozenset(pages)

    def of_batch(batch: str) -> dict[str, TakenContent]:
        manifest = find_manifest(store, SIGNATURES.name, batch)
        if manifest is None:
            return {}

        found = {}
        stay = _copies_of_others(store, batch, wanted)
        columns = ["doc_id", "content_hash", "num_shingles", "signature"]
        for piece in row_groups(store, manifest, columns, wanted):
            for row in piece.filter(among(piece["doc_id"], wanted - stay)).to_pylist():
                if row["num_shingles"]:
                    found[row["content_hash"]] = _content(row, manifest.config)
        return found

    told = {
        key: content
        for found in read_many(store, names, of_batch)
        for key, content in found.items()
    }
    return [told[key] for key in sorted(told)]


def digests(store: Store, pages: Iterable[str], names: Sequence[str]) -> list[str]:
    """The payload digests of the pages' stored responses."""
    wanted = frozenset(pages)

    def of_batch(batch: str) -> set[str]:
        found: set[str] = set()
        manifest = find_manifest(store, PAGES.name, batch)
        for piece in row_groups(store, manifest, ["doc_id", "payload_digest"], wanted):
            rows = piece.filter(among(piece["doc_id"], wanted))
            found.update(each for each in rows["payload_digest"].to_pylist() if each)
        return found

    return sorted(set().union(*read_many(store, names, of_batch)))


def _content(row: Mapping[str, Any], settings: Mapping[str, Any]) -> TakenContent:
    return TakenContent(
        content_hash=row["content_hash"],
        signature=encode_signature(row["signature"]),
        shingles=int(settings.get("shingles", {}).get("n", 0)),
        seed=int(settings.get("minhash", {}).get("seed", 0)),
    )


def _copies_of_others(store: Store, batch: str, wanted: frozenset[str]) -> frozenset[str]:
    """Those of the wanted pages whose survivor is a page of the corpus that is not wanted."""
    return frozenset(
        child
        for child, parent in _removals(store, [batch], doc_ids=wanted)
        if child in wanted and parent not in wanted and not is_elsewhere(parent)
    )


def _removals(
    store: Store,
    names: Sequence[str],
    *,
    of: frozenset[str] | None = None,
    doc_ids: frozenset[str] | None = None,
) -> Iterable[tuple[str, str]]:
    """The pages removed as duplicates, each with its survivor.

    With `of` only the duplicates of these pages, with `doc_ids` only from the parts of these ids.
    """

    def of_batch(batch: str) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        manifest = find_manifest(store, VERDICTS.name, batch)
        for piece in row_groups(store, manifest, ["doc_id", "duplicate_of"], doc_ids, of):
            parents = piece["duplicate_of"]
            rows = piece.filter(pc.is_valid(parents) if of is None else among(parents, of))
            found += zip(rows["doc_id"].to_pylist(), rows["duplicate_of"].to_pylist(), strict=True)
        return found

    return [pair for found in read_many(store, names, of_batch) for pair in found]
