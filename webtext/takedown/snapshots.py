"""Withdrawal of the snapshots that hold taken-down pages, and their replacements."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pyarrow.compute as pc

from corpus.errors import InputError
from corpus.storage.store import Store
from corpus.tables.generations import delete_unpinned
from corpus.tables.manifest import batches
from corpus.tables.parquet import read_file
from corpus.tables.retirement import retire, retirement
from corpus.tables.schemas import SPANS, TOKENS
from corpus.tables.snapshot import (
    SPLITS,
    Snapshot,
    TokenFile,
    read_snapshot,
    snapshots,
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
    return bool(pc.any(among(ids, doc_ids)).as_py())
