"""Withdrawal of the snapshots that hold taken-down pages, and their replacements."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pyarrow.compute as pc

from corpus.errors import InputError
from corpus.storage.store import Store
from corpus.tables.export_log import exports
from corpus.tables.generations import delete_unpinned
from corpus.tables.manifest import find_manifest
from corpus.tables.parquet import part_index, read_file
from corpus.tables.retirement import retire, retirement
from corpus.tables.schemas import SPANS, TOKENS, part_of_id
from corpus.tables.snapshot import (
    SPLITS,
    Composer,
    SnapshotHead,
    TokenFile,
    read_heads,
    read_snapshot,
    write_revision,
)
from corpus.tables.takedown_list import Takedown
from webtext.takedown.rows import among

log = logging.getLogger(__name__)


def withdraw_snapshots(store: Store, record: Takedown, *, keep_files: bool) -> dict[str, str]:
    """Withdraw every snapshot that holds such a page, write its replacement, delete its files; old to new names.

    Snapshots of batches that still wait are left for later.
    """
    doc_ids = frozenset(record.url_keys)
    heads = read_heads(store)
    settled = [head for head in heads if {b.batch for b in head.batches} <= set(record.done)]
    held = _files_with(store, settled, doc_ids)
    withdrawn: dict[str, str] = {}
    doomed: dict[str, TokenFile] = {}
    composer = Composer(store, [b.batch for head in settled for b in head.batches])

    for head in settled:
        mine = [file for each in head.batches for file in held[each.files]]
        if not mine:
            continue

        doomed.update({file.path: file for file in mine})
        present = retirement(store, head.name)
        if present is None:
            replacement = _replace(store, head, composer)
            retire(store, head.name, "withdrawn", f"take-down {record.id}", replacement)
            withdrawn[head.name] = replacement or ""
        elif record.id in present.why:
            withdrawn[head.name] = present.replaced_by or ""

    if not keep_files:
        paths = [path for file in doomed.values() for path in (file.path, file.spans_path)]
        there = [path for path in paths if store.exists(path)]
        for path in there:
            log.info("will delete %s", path)
        for path in there:
            store.delete(path)
            log.info("deleted %s", path)
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


def exports_of(store: Store, names: Sequence[str]) -> list[str]:
    """Recorded exports of these snapshots, as `format to place`."""
    return [
        f"{each.get('format')} to {each.get('place')}"
        for each in exports(store)
        if each.get("snapshot") in names
    ]


def _files_with(
    store: Store, heads: Sequence[SnapshotHead], doc_ids: frozenset[str]
) -> dict[str, list[TokenFile]]:
    """Token files with such a page by the list that names them. Each list is looked at once."""
    found: dict[str, list[TokenFile]] = {}
    num_parts: dict[str, int] = {}
    for head in heads:
        for each in head.batches:
            if each.files in found:
                continue
            if each.batch not in num_parts:
                spans = find_manifest(store, SPANS.name, each.batch)
                num_parts[each.batch] = spans.num_parts if spans else 0
            parts = (
                {part_of_id(doc_id, num_parts[each.batch]) for doc_id in doc_ids}
                if num_parts[each.batch]
                else None
            )
            files = read_snapshot(store, head.name, [each.batch]).splits
            found[each.files] = [
                file
                for split in SPLITS
                for file in files[split].files
                if (parts is None or part_index(file.path) in parts)
                and _holds(store, file, doc_ids)
            ]
    return found


def _replace(store: Store, snapshot: SnapshotHead, composer: Composer) -> str | None:
    """The same batches as they are now, under the next free name.

    None where they can't be one snapshot any more.
    """
    names = [each.batch for each in snapshot.batches]
    if any(find_manifest(store, TOKENS.name, name) is None for name in names):
        return None

    try:
        return write_revision(
            store, snapshot.name, names, parents=[snapshot.name], composer=composer
        ).name
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
    return bool(pc.any(among(ids, doc_ids)).as_py())
