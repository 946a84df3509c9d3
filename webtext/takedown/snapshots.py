"""Withdrawal of the snapshots with taken-down pages, and their replacements."""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set

import pyarrow.compute as pc

from corpus.bulk import read_many
from corpus.errors import InputError, SchemaError
from corpus.snapshots.export_log import exports
from corpus.snapshots.file_lists import list_path, read_lists
from corpus.snapshots.retirement import retire, retirement
from corpus.snapshots.snapshot import (
    SPLITS,
    Composer,
    SnapshotHead,
    TokenFile,
    located,
    read_heads,
    write_revision,
)
from corpus.storage.store import Store
from corpus.tables.generations import delete_unpinned, files_moved
from corpus.tables.manifest import find_manifests
from corpus.tables.parquet import part_index, read_file
from corpus.tables.schemas import SPANS, TOKENS, part_of_id
from corpus.tables.takedown_list import Takedown
from webtext.takedown.rows import among

log = logging.getLogger(__name__)


def withdraw_snapshots(store: Store, record: Takedown, *, keep_files: bool) -> dict[str, str]:
    """Withdraw every snapshot with such a page, write its replacement, delete its files.

    Returns new names by old ones. Snapshots of waiting batches are left for later.
    """
    doc_ids = frozenset(record.url_keys)
    done = set(record.done)
    settled = [head for head in read_heads(store) if {b.batch for b in head.batches} <= done]
    held = _files_with(store, settled, doc_ids)
    holding = [head for head in settled if any(held[each.files] for each in head.batches)]
    doomed = {
        file.path: file for head in holding for each in head.batches for file in held[each.files]
    }
    withdrawn = _withdraw(store, holding, record.id)
    if keep_files:
        return withdrawn

    paths = [path for file in doomed.values() for path in (file.path, file.spans_path)]
    present = read_many(store, paths, store.exists)
    there = [path for path, exists in zip(paths, present, strict=True) if exists]
    for path in there:
        log.info("will delete %s", path)
    for path in there:
        store.delete(path)
        log.info("deleted %s", path)

    for batch in sorted(
        {file.batch for file in doomed.values()} | done.intersection(record.opened or done)
    ):
        delete_unpinned(store, (TOKENS.name, SPANS.name), batch)
    return withdrawn


def _withdraw(store: Store, holding: Sequence[SnapshotHead], takedown_id: str) -> dict[str, str]:
    """Withdraw these snapshots and write their replacements; old to new names.

    Revisions of one name follow each other, since each takes the next free number.
    """
    names = list(dict.fromkeys(each.batch for head in holding for each in head.batches))
    composer = Composer(store, names)
    tokens = find_manifests(store, ((TOKENS.name, name) for name in names))
    gone = {batch for (_, batch), manifest in tokens.items() if manifest is None}
    revisions: dict[str, list[SnapshotHead]] = {}
    for head in holding:
        revisions.setdefault(head.name.partition(".")[0], []).append(head)

    def withdraw(heads: Sequence[SnapshotHead]) -> dict[str, str]:
        withdrawn: dict[str, str] = {}
        for head in heads:
            present = retirement(store, head.name)
            if present is None:
                replacement = _replace(store, head, composer, gone)
                retire(store, head.name, "withdrawn", f"take-down {takedown_id}", replacement)
                withdrawn[head.name] = replacement or ""
            elif takedown_id in present.why:
                withdrawn[head.name] = present.replaced_by or ""
        return withdrawn

    found = read_many(store, list(revisions.values()), withdraw)
    merged = {old: new for each in found for old, new in each.items()}
    return {head.name: merged[head.name] for head in holding if head.name in merged}


def runs_on(store: Store, names: Sequence[str]) -> list[str]:
    """Training runs on one of these snapshots."""
    by_snapshot = runs_by_snapshot(store) if names else {}
    return sorted(run for name in names for run in by_snapshot.get(name, ()))


def runs_by_snapshot(store: Store) -> dict[str, list[str]]:
    """Training runs by name of their snapshot; those without a readable description are left out."""

    def snapshot_of(run: str) -> object:
        try:
            return store.read_object(f"runs/{run}/config.json").get("snapshot")
        except (FileNotFoundError, InputError):
            return None

    runs = store.folders("runs")
    found: dict[str, list[str]] = {}
    for run, name in zip(runs, read_many(store, runs, snapshot_of), strict=True):
        if isinstance(name, str):
            found.setdefault(name, []).append(run)
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
    """Token files with such a page, by the list naming them. Each list is read once."""
    batch_of = {each.files: each.batch for head in heads for each in head.batches}
    spans = find_manifests(store, ((SPANS.name, batch) for batch in batch_of.values()))
    moved = files_moved(store, (TOKENS.name, SPANS.name))
    lists = read_lists(store, batch_of)
    for digest, batch in batch_of.items():
        if lists[digest].batch != batch:
            raise SchemaError(
                f"{store.root}/{list_path(digest)}: a snapshot names it as the list of batch "
                f"{batch!r}, it is of {lists[digest].batch!r}; write the snapshot again under "
                "another name"
            )

    def files_with(digest: str) -> list[TokenFile]:
        manifest = spans[SPANS.name, batch_of[digest]]
        parts = (
            {part_of_id(doc_id, manifest.num_parts) for doc_id in doc_ids}
            if manifest and manifest.num_parts
            else None
        )
        return [
            file
            for split in SPLITS
            for file in located(lists[digest].splits[split], moved)
            if (parts is None or part_index(file.path) in parts) and _holds(store, file, doc_ids)
        ]

    return dict(zip(batch_of, read_many(store, batch_of, files_with), strict=True))


def _replace(
    store: Store, snapshot: SnapshotHead, composer: Composer, gone: Set[str]
) -> str | None:
    """The same batches as they are now, under the next free name.

    None if they can't be one snapshot any more; `gone` are batches without tokens.
    """
    names = [each.batch for each in snapshot.batches]
    if not gone.isdisjoint(names):
        return None

    try:
        return write_revision(
            store, snapshot.name, names, parents=[snapshot.name], composer=composer
        ).name
    except InputError as error:
        log.warning("snapshot %s has no replacement: %s", snapshot.name, error)
        return None


def _holds(store: Store, file: TokenFile, doc_ids: frozenset[str]) -> bool:
    """True if a token file has tokens of one of these pages; False for a missing one."""
    if not store.exists(file.spans_path):
        # Tokens without spans are half deleted, by an interrupted take-down.
        return store.exists(file.path)

    ids = read_file(store, file.spans_path, ["doc_id"])["doc_id"]
    return bool(pc.any(among(ids, doc_ids)).as_py())
